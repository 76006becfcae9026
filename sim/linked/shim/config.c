/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The RPCs framework_get_config and framework_get_subsystems, of which `rpc.py save_config` is made. SPDK's are in
 * lib/init, which would bring in the subsystems sock, vmd and keyring; these name the four that are here and call
 * the same functions of theirs. */
#define _GNU_SOURCE
#include "spdk/stdinc.h"
#include "spdk/bdev.h"
#include "spdk/json.h"
#include "spdk/jsonrpc.h"
#include "spdk/rpc.h"
#include "spdk/vhost.h"
#include "shim.h"

struct subsystem {
	const char *name, *depends_on;
	void (*write_config)(struct spdk_json_write_ctx *);
};

static const struct subsystem subsystems[] = {
	{ "accel", NULL, NULL },
	{ "bdev", "accel", spdk_bdev_subsystem_config_json },
	{ "scsi", "bdev", NULL },
	{ "vhost_scsi", "scsi", spdk_vhost_scsi_config_json },
};
enum { SUBSYSTEMS = sizeof(subsystems) / sizeof(subsystems[0]) };

/* lib/init/subsystem_rpc.c: rpc_framework_get_subsystems */
static void get_subsystems(struct spdk_jsonrpc_request *request, const struct spdk_json_val *params)
{
	if (params) {
		spdk_jsonrpc_send_error_response(request, SPDK_JSONRPC_ERROR_INVALID_PARAMS,
						 "'framework_get_subsystems' requires no arguments");
		return;
	}
	struct spdk_json_write_ctx *w = spdk_jsonrpc_begin_result(request);
	spdk_json_write_array_begin(w);
	for (int i = 0; i < SUBSYSTEMS; i++) {
		spdk_json_write_object_begin(w);
		spdk_json_write_named_string(w, "subsystem", subsystems[i].name);
		spdk_json_write_named_array_begin(w, "depends_on");
		if (subsystems[i].depends_on) {
			spdk_json_write_string(w, subsystems[i].depends_on);
		}
		spdk_json_write_array_end(w);
		spdk_json_write_object_end(w);
	}
	spdk_json_write_array_end(w);
	spdk_jsonrpc_end_result(request, w);
}

SPDK_RPC_REGISTER("framework_get_subsystems", get_subsystems, SPDK_RPC_RUNTIME)

struct asked {
	char *name;
	bool with_batches;
};

static const struct spdk_json_object_decoder decoders[] = {
	{ "name", offsetof(struct asked, name), spdk_json_decode_string, false },
	{ "with_batches", offsetof(struct asked, with_batches), spdk_json_decode_bool, true },
};

/* lib/init/subsystem_rpc.c: rpc_framework_get_config */
static void get_config(struct spdk_jsonrpc_request *request, const struct spdk_json_val *params)
{
	struct asked asked = { NULL, false };
	if (spdk_json_decode_object(params, decoders, sizeof(decoders) / sizeof(decoders[0]), &asked)) {
		free(asked.name);
		spdk_jsonrpc_send_error_response(request, SPDK_JSONRPC_ERROR_INVALID_PARAMS, "Invalid arguments");
		return;
	}
	const struct subsystem *found = NULL;
	for (int i = 0; i < SUBSYSTEMS && !found; i++) {
		found = strcmp(subsystems[i].name, asked.name) == 0 ? &subsystems[i] : NULL;
	}
	if (!found) {
		spdk_jsonrpc_send_error_response_fmt(request, SPDK_JSONRPC_ERROR_INVALID_PARAMS,
						     "Subsystem '%s' not found", asked.name);
		free(asked.name);
		return;
	}
	free(asked.name);
	struct spdk_json_write_ctx *w = spdk_jsonrpc_begin_result(request);
	spdk_json_write_add_flags(w, asked.with_batches ? 0 : SPDK_JSON_WRITE_FLAG_FLATTEN_BATCHES);
	if (found->write_config) {
		found->write_config(w);
	} else {
		spdk_json_write_null(w);
	}
	spdk_jsonrpc_end_result(request, w);
}

SPDK_RPC_REGISTER("framework_get_config", get_config, SPDK_RPC_RUNTIME)
