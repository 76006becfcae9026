/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for SPDK's header of this name (see stdinc.h here). */
#pragma once
#include "spdk/stdinc.h"

struct spdk_bdev_opts {
	size_t opts_size;
	uint32_t bdev_io_pool_size, bdev_io_cache_size, iobuf_small_cache_size, iobuf_large_cache_size;
};
void spdk_bdev_get_opts(struct spdk_bdev_opts *, size_t);
int spdk_bdev_set_opts(struct spdk_bdev_opts *);
void spdk_bdev_initialize(void (*)(void *, int), void *);
struct spdk_json_write_ctx;
void spdk_bdev_subsystem_config_json(struct spdk_json_write_ctx *);
