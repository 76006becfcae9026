/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for SPDK's header of this name (see stdinc.h here). */
#pragma once
#include "spdk/stdinc.h"

enum { SPDK_POLLER_IDLE, SPDK_POLLER_BUSY };
struct spdk_thread;
struct spdk_poller;
struct spdk_cpuset;
struct spdk_io_channel;
struct spdk_iobuf_opts {
	uint64_t small_pool_count, large_pool_count;
	uint32_t small_bufsize, large_bufsize;
};
typedef void (*spdk_msg_fn)(void *ctx);
typedef int (*spdk_poller_fn)(void *ctx);
typedef int (*spdk_new_thread_fn)(struct spdk_thread *thread);

int spdk_thread_lib_init(spdk_new_thread_fn, size_t);
struct spdk_thread *spdk_thread_create(const char *, const struct spdk_cpuset *);
struct spdk_thread *spdk_get_thread(void);
void spdk_set_thread(struct spdk_thread *);
int spdk_thread_poll(struct spdk_thread *, uint32_t, uint64_t);
bool spdk_thread_is_exited(struct spdk_thread *);
void spdk_thread_destroy(struct spdk_thread *);
const char *spdk_thread_get_name(const struct spdk_thread *);
struct spdk_poller *spdk_poller_register_named(spdk_poller_fn, void *, uint64_t, const char *);
void spdk_iobuf_get_opts(struct spdk_iobuf_opts *, size_t);
int spdk_iobuf_set_opts(const struct spdk_iobuf_opts *);
int spdk_iobuf_initialize(void);
