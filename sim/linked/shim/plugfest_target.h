/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * plugfest_target.h: a vhost-user target inside somebody else's process, in virtual time.
 *
 * A library behind this header holds one whole target: its threads, its RPC server, its vhost-user message
 * thread. It starts no thread, opens no socket and reads no clock. Whoever loads it decides who runs next
 * and what time it is. Everything is pulled: the library never calls back.
 *
 *     pf_boot, pf_mark
 *     for each schedule:
 *         pf_rewind
 *         until done:
 *             put something in (pf_rpc, pf_connect, pf_message, pf_look)
 *             pick an actor with pf_when(actor) <= now, and pf_step it
 *             pf_pop what came out, and ask pf_changed who can run now
 *
 * Rules for the caller: all calls come from one OS thread, the one that called pf_boot; one target a process
 * (a second pf_boot is PF_SECOND); memory that was handed over stays mapped until it is taken back.
 * Rules for the library: no chance of its own, so the same calls give the same results, at any address that
 * the library or the guest's memory is mapped to; no address in a hash, a name or a log line; a fault in the
 * target ends the target (PF_DIED), not the process. Signal handlers are its own only while a call lasts. */
#ifndef PLUGFEST_TARGET_H
#define PLUGFEST_TARGET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows by one whenever anything below changes its meaning or layout. */
#define PF_ABI 1u
/* Later than any time: not before something is put in. */
#define PF_BLOCKED UINT64_MAX
/* States that can be marked at a time. */
#define PF_MARKS 4u
/* Regions of a guest's memory (VHOST_MEMORY_MAX_NREGIONS of vhost-user). */
#define PF_REGIONS_MAX 8u

/* What a call may return below zero. */
enum pf_error {
	PF_SECOND = -1,   /* there is a target in this process already */
	PF_ROOM = -2,     /* an address range or a table is full */
	PF_ARGUMENT = -3, /* a number is out of range, or nothing has that number */
	PF_DIED = -4,     /* the target has died: see PF_OUT_DIED; only pf_rewind helps */
	PF_ORDER = -5,    /* not now: before pf_boot, before pf_mark, or the actor is blocked */
	PF_THREAD = -6    /* not from this OS thread */
};

struct pf_config {
	uint32_t size;          /* sizeof(struct pf_config) of the caller */
	uint32_t cores;         /* reactors: with 1, threads of the target never overlap */
	const char *socket_dir; /* where the vhost-user sockets are said to be, with the last slash */
};

/* A part of a guest's memory, as VHOST_USER_SET_MEM_TABLE has it. */
struct pf_region {
	uint64_t address; /* guest physical; also the front-end's own address of it */
	uint64_t bytes;
	void *host;       /* where it is mapped in this process */
};

/* A vhost-user request: its number in the specification, and what of the rest that number uses. */
struct pf_message {
	uint32_t request;
	uint32_t need_reply; /* 1: VHOST_USER_NEED_REPLY is set */
	uint32_t vring;      /* SET_VRING_*, GET_VRING_BASE */
	uint32_t memory;     /* SET_MEM_TABLE, GET_INFLIGHT_FD (room for the answer), SET_INFLIGHT_FD, SET_LOG_BASE */
	uint64_t value;      /* a u64 payload, or the num of a vring state */
	uint64_t desc, avail, used, log; /* SET_VRING_ADDR; log != 0 sets VHOST_VRING_F_LOG */
	uint16_t queues, queue_size;     /* *_INFLIGHT_FD */
};

/* Something that came out. */
enum pf_out_kind {
	PF_OUT_ANSWER = 1,  /* id: connection; a: request; value: payload; b: vring or memory */
	PF_OUT_CLOSED,      /* id: connection: refused, or closed by the target */
	PF_OUT_CALL,        /* id: connection; a: vring */
	PF_OUT_RPC,         /* id: client; bytes */
	PF_OUT_RPC_CLOSED,  /* id: client */
	PF_OUT_LOG,         /* bytes: a line of the log, without time and place; a: level, 0 error to 3 info */
	PF_OUT_DIED,        /* bytes: how and where, lines: the reason, then the call stack from the inside out */
	PF_OUT_WROTE        /* id: memory; a: region; value: offset; b: bytes. May have been written, or will be */
};
/* PF_OUT_ANSWER: a is the request's number, or this for the reply to a request that carried need_reply;
 * value is then 0 for success. */
#define PF_ACK 0u

struct pf_out {
	uint32_t kind, id, a, b;
	uint64_t value;
	const char *bytes; /* until the next call */
	uint64_t length;
};

/* How a step ended. */
enum pf_how {
	PF_DONE = 1, /* the end of a poll or of a message */
	PF_POINT,    /* at the preemption point that was asked for */
	PF_WAITS     /* on a lock, a semaphore or a time in the middle of something */
};

struct pf_stepped {
	uint32_t how;    /* enum pf_how */
	uint32_t points; /* preemption points that were passed */
	uint32_t name;   /* the first function that did something: see pf_name. 0: nothing was done */
	uint32_t more;   /* further functions that did something */
	uint64_t hash;   /* of the names of all of them, in order */
};

/* What is left over at the end. */
struct pf_left {
	uint32_t memory_registrations; /* spdk_mem_register without its unregister */
	uint32_t connections;          /* open vhost-user connections */
	uint32_t threads;              /* threads of the target, without the app thread */
	uint32_t requests;             /* heads of request queues that were taken and not given back */
	uint32_t rpcs;                 /* RPC clients that wait for an answer */
	uint32_t locks;                /* locks that are held */
};

#pragma GCC visibility push(default)
/* PF_ABI of the library. */
uint32_t pf_abi(void);
/* What is in it, in a line: "SPDK v26.09-pre, debug". */
const char *pf_about(void);

/* Starts the target: no bdevs, no controllers. 0 or an error. */
int pf_boot(const struct pf_config *config);
/* Actors there can be, always; their numbers are 0 to this, exclusively. */
uint32_t pf_actors(void);
/* "app", "vhost-events", "vdev c0": for people. The empty string if there is none at the moment. */
const char *pf_actor_name(uint32_t actor);

/* Marks the target as it is now, in a slot below PF_MARKS. All that came out must have been popped. */
int pf_mark(uint32_t slot);
/* Becomes what it was at the mark in a slot; quickly, if that is the last one that was marked or gone back to. With `compare`, every byte is compared: returns how many pages had changed
 * that nobody knew of, which puts in doubt all that was run since the last comparing; else 0. Guest memory is
 * the caller's. */
int64_t pf_rewind(uint32_t slot, uint32_t compare);
/* Seeds what the target draws itself (rand). */
int pf_chance(uint64_t seed);

/* From when on an actor can take a step, in ns; may be past; PF_BLOCKED. */
uint64_t pf_when(uint32_t actor);
/* The actors whose pf_when has changed since this was last called, a bit each. */
uint64_t pf_changed(void);
/* Lets an actor run at the time `now` to the `stop_at`-th preemption point of this step, or to its end if that
 * comes first or stop_at is 0. 0 or an error. */
int pf_step(uint32_t actor, uint64_t now, uint32_t stop_at, struct pf_stepped *stepped);
/* The text of a name: a function's, without the compiler's suffixes, or a message's. */
const char *pf_name(uint32_t name);
/* Writes whom an actor waits for into `text`, as a line; returns its length, 0 if it waits for nobody. */
int pf_waits(uint32_t actor, char *text, size_t bytes);

/* Makes `regions` of memory known under a number below 256; 0 regions: forgets it. */
int pf_memory(uint32_t memory, const struct pf_region *region, uint32_t regions);
/* A front-end connects to the socket of the controller with this name. */
int pf_connect(uint64_t now, uint32_t connection, const char *controller);
/* It closes its connection. */
int pf_disconnect(uint64_t now, uint32_t connection);
/* It sends a request. */
int pf_message(uint64_t now, uint32_t connection, const struct pf_message *message);
/* The available index of a vring may have moved. */
int pf_look(uint64_t now, uint32_t connection, uint32_t vring);
/* Bytes on an RPC connection, cut anywhere; the first ones open it. */
int pf_rpc(uint64_t now, uint32_t client, const void *bytes, size_t length);
/* The client closes its RPC connection. */
int pf_rpc_closed(uint64_t now, uint32_t client);
/* The next thing that came out: 1, or 0 if there is none. */
int pf_pop(struct pf_out *out);
/* What is left over. */
int pf_left(struct pf_left *left);
#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
