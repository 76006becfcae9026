/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for SPDK's header of this name (see stdinc.h here). */
#pragma once
#include "spdk/stdinc.h"

#define SPDK_JSONRPC_ERROR_INVALID_PARAMS -32602

struct spdk_jsonrpc_request;
struct spdk_json_write_ctx;
struct spdk_json_write_ctx *spdk_jsonrpc_begin_result(struct spdk_jsonrpc_request *);
void spdk_jsonrpc_end_result(struct spdk_jsonrpc_request *, struct spdk_json_write_ctx *);
void spdk_jsonrpc_send_error_response(struct spdk_jsonrpc_request *, int, const char *);
void spdk_jsonrpc_send_error_response_fmt(struct spdk_jsonrpc_request *, int, const char *, ...)
	__attribute__((format(printf, 3, 4)));
