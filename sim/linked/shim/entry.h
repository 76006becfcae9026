/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The frame around each call of plugfest_target.h that runs or touches the target. */
#pragma once
#include <setjmp.h>
#include "shim.h"

int entry_begin(void);
void entry_end(void);
sigjmp_buf *entry_jump(void);

/* What `call` returns, or PF_DIED if the target died in it. The mask of signals is not saved, as the handlers
 * do not change it (SA_NODEFER). */
#define ENTER(call) ({ \
	volatile int64_t result_ = entry_begin(); \
	if (result_ == 0) { \
		result_ = sigsetjmp(*entry_jump(), 0) == 0 ? (int64_t)(call) : PF_DIED; \
		entry_end(); \
	} \
	result_; \
})
