/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for SPDK's header of this name (see stdinc.h here). */
#pragma once
#define SPDK_VERSION_STRING "no SPDK: stand-in headers"
