/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for SPDK's header of this name (see stdinc.h here). */
#pragma once
#include "spdk/stdinc.h"

struct spdk_accel_sequence;
struct spdk_memory_domain;
struct spdk_io_channel;
struct spdk_accel_opts {
	size_t opts_size;
	uint32_t small_cache_size, large_cache_size, task_count, sequence_count, buf_count;
};
typedef void (*spdk_accel_step_cb)(void *);
typedef void (*spdk_accel_completion_cb)(void *, int);
int spdk_accel_initialize(void);
void spdk_accel_get_opts(struct spdk_accel_opts *, size_t);
int spdk_accel_set_opts(const struct spdk_accel_opts *);
