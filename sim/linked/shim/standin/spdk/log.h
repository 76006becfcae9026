/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for SPDK's header of this name (see stdinc.h here). */
#pragma once
#include "spdk/stdinc.h"

enum spdk_log_level { SPDK_LOG_DISABLED = -1, SPDK_LOG_ERROR, SPDK_LOG_WARN, SPDK_LOG_NOTICE, SPDK_LOG_INFO, SPDK_LOG_DEBUG };
typedef void logfunc(int level, const char *file, const int line, const char *func, const char *format, va_list args);
void spdk_log_open(logfunc *);
void spdk_log_set_print_level(enum spdk_log_level);
void spdk_log_set_level(enum spdk_log_level);
