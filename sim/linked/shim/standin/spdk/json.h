/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for SPDK's header of this name (see stdinc.h here). */
#pragma once
#include "spdk/stdinc.h"

#define SPDK_JSON_WRITE_FLAG_FLATTEN_BATCHES 2

struct spdk_json_write_ctx;
struct spdk_json_val;
typedef int (*spdk_json_decode_fn)(const struct spdk_json_val *, void *);
struct spdk_json_object_decoder {
	const char *name;
	size_t offset;
	spdk_json_decode_fn decode_func;
	bool optional;
};
int spdk_json_decode_object(const struct spdk_json_val *, const struct spdk_json_object_decoder *, size_t, void *);
int spdk_json_decode_string(const struct spdk_json_val *, void *);
int spdk_json_decode_bool(const struct spdk_json_val *, void *);
int spdk_json_write_array_begin(struct spdk_json_write_ctx *);
int spdk_json_write_array_end(struct spdk_json_write_ctx *);
int spdk_json_write_object_begin(struct spdk_json_write_ctx *);
int spdk_json_write_object_end(struct spdk_json_write_ctx *);
int spdk_json_write_named_string(struct spdk_json_write_ctx *, const char *, const char *);
int spdk_json_write_named_array_begin(struct spdk_json_write_ctx *, const char *);
int spdk_json_write_string(struct spdk_json_write_ctx *, const char *);
int spdk_json_write_null(struct spdk_json_write_ctx *);
void spdk_json_write_add_flags(struct spdk_json_write_ctx *, uint32_t);
