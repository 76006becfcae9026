/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for SPDK's header of this name (see stdinc.h here). */
#pragma once
#include "spdk/stdinc.h"

enum { SPDK_RPC_STARTUP = 1, SPDK_RPC_RUNTIME = 2 };
struct spdk_rpc_server;
struct spdk_jsonrpc_request;
struct spdk_json_val;
typedef void (*spdk_rpc_method_handler)(struct spdk_jsonrpc_request *, const struct spdk_json_val *);
void spdk_rpc_register_method(const char *, spdk_rpc_method_handler, uint32_t);
#define SPDK_RPC_REGISTER(method, function, states) \
	static void __attribute__((constructor(1000))) register_##function(void) \
	{ \
		spdk_rpc_register_method(method, function, states); \
	}
struct spdk_rpc_server *spdk_rpc_server_listen(const char *);
void spdk_rpc_server_accept(struct spdk_rpc_server *);
void spdk_rpc_set_state(uint32_t);
