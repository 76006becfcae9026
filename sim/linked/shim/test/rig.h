/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * What the tests of the fake rte_vhost stand on: the rest of the shim, played by the test. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../vhost.h"

extern int failures;
#define CHECK(what) \
	do { \
		if (!(what)) { \
			printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
			failures++; \
		} \
	} while (0)

#define PATH "/s/c0"
#define GUEST 0x100000ULL
enum { RING_SIZE = 8, AVAIL = 0x1000, USED = 0x2000 };
extern uint8_t guest[1 << 16], inflight[4096];
/* What came out; the last one of a kind. */
extern struct pf_out outs[256];
extern int out_count;
struct pf_out *last_out(uint32_t kind);

/* How often SPDK's callbacks were called, and what they answer. */
extern int news, destroyed, connected, disconnected;
extern int new_device_says, new_connection_says;
extern enum rte_vhost_msg_result pre_says, post_says;

void fresh(void);                     /* a socket that listens, no connection */
void run_events(void);                /* the message thread, until it has nothing to read */
int connect_front_end(uint32_t id);   /* returns its vid */
void request(uint32_t id, uint32_t number, uint32_t vring, uint64_t value);
void set_up_ring(uint32_t id, uint32_t vring);
void start(uint32_t id, uint32_t vrings);
bool is_open(uint32_t id);
/* As a thread of SPDK's that finds itself in the middle of the message thread's callback. */
extern void (*in_callback)(void);
