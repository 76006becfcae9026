/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for SPDK's header of this name (see stdinc.h here). */
#pragma once
#include "spdk/stdinc.h"

int spdk_vhost_set_socket_path(const char *);
void spdk_vhost_scsi_init(void (*)(int));
struct spdk_json_write_ctx;
void spdk_vhost_scsi_config_json(struct spdk_json_write_ctx *);
