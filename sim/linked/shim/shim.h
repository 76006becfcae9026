/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * What the files of the shim know of each other.
 *
 *   arena.c     the heap           fibre.c    threads as fibres, preemption points
 *   snapshot.c  mark and rewind    wait.c     what could block in libc
 *   env.c       spdk_env           thread.c   spdk_threads and pollers as actors
 *   rpc.c       sockets in memory  vhost_*.c  DPDK's rte_vhost
 *   crash.c     entries, faults    name.c     names of functions
 *   out.c       what came out      target.c   the calls of plugfest_target.h
 */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "plugfest_target.h"

/* Where everything of the target lies, so that it is at the same address in every process: SPDK keeps trees
 * that are ordered by pointers. */
#define ARENA_AT 0x200000000000ULL
#define ARENA_BYTES (512ULL << 20)
#define STACKS_AT (ARENA_AT + (1ULL << 32))
#define DISKS_AT (ARENA_AT + (2ULL << 32))
#define DISKS_BYTES (16ULL << 30)
#define STACK_BYTES (256ULL << 10)
#define PAGE 4096ULL

/* Actors: the app thread, DPDK's message thread, a pool of controllers' threads, helper pthreads. */
enum { APP, EVENTS, VDEV, VDEVS = 16, HELPER = VDEV + VDEVS, HELPERS = 4, FIBRES = HELPER + HELPERS };
/* A busy poller runs this often; who sleeps wakes this long after it was given something to do. */
#define POLL_NS 1000ULL
#define WAKE_NS 500ULL
/* Virtual time begins here: SPDK reads 0 as "not given". */
#define EPOCH_NS 1000000000ULL

/* ---- arena.c ---- */
char *arena_top(void);
bool arena_open(void);
void arena_forget(void);
void *arena_zeroed(size_t bytes, size_t align);
void *arena_disk(size_t bytes);
char *disks_top(void);

/* ---- fibre.c ---- */
typedef bool (*condition)(void *arg);
enum fibre_state { FREE, READY, ON_LOCK, ON_SPIN, ON_SEM, ON_CONDITION };
struct spdk_thread;
struct fibre {
	enum fibre_state state;
	char name[48];
	void *sp;
	void (*body)(void *);
	void *arg;
	bool midway;              /* stopped in the middle of a step */
	uint64_t ready;           /* from when on, if READY */
	void *waits;              /* lock, semaphore or the condition's argument */
	condition met;
	const char *waits_for;    /* in words */
	uint64_t since, deadline;
	bool timed_out;
	struct spdk_thread *tls;  /* SPDK's current thread */
	struct spdk_thread *thread;
	bool polling;             /* inside spdk_thread_poll */
};
extern struct fibre fibres[FIBRES];
extern uint64_t now_ns;           /* virtual, from EPOCH_NS on */
extern struct fibre *running;     /* NULL: nobody, the caller's stack */
extern uint32_t points;           /* preemption points of this step */

bool fibre_open(void);
struct fibre *fibre_start(int first, int count, const char *name, void (*body)(void *), void *arg);
void fibre_run(struct fibre *, uint32_t stop_at);
void fibre_leave(void);
void fibre_yield(uint64_t ready);
bool fibre_block(enum fibre_state state, void *on, uint64_t deadline);
bool fibre_wait(condition met, void *arg, uint64_t deadline, const char *what);
bool fibre_can_go(struct fibre *);
bool fibre_live_stack(const struct fibre *, char **at, size_t *bytes);
/* Another thread could run here. */
void point(void);

/* ---- wait.c ---- */
int lock_waits(const struct fibre *, char *text, size_t bytes);
unsigned locks_held(void);
void chance_seed(uint64_t seed);
void lock(pthread_mutex_t *);
void unlock(pthread_mutex_t *);

/* ---- thread.c ---- */
extern uint64_t stimuli;          /* grows whenever a sleeping poller could find something */
extern uint64_t releases;         /* grows whenever a mutex is unlocked */
void stimulus(void);
void threads_open(void);
uint64_t thread_when(const struct fibre *);
void thread_wake_named(const char *name);
/* A message: its function and what that is called with. */
struct pf_sent {
	void *run, *arg;
};
struct pf_sent thread_sent(const void *ring);
void thread_took(struct pf_sent);
bool thread_others_midway(const struct fibre *);
void thread_set_cores(uint32_t cores);
void thread_note_ring(void *ring);
unsigned threads_alive(void);

/* ---- name.c ---- */
void names_open(void);
uint32_t name_of(const void *function);
uint32_t name_text(const char *text);
const char *name_get(uint32_t name);
void did(uint32_t name);          /* the step did this */
extern struct pf_stepped step_now;

/* ---- out.c ---- */
void out_put(uint32_t kind, uint32_t id, uint32_t a, uint32_t b, uint64_t value);
void out_bytes(uint32_t kind, uint32_t id, uint32_t a, const char *bytes, size_t length);
bool out_pop(struct pf_out *);
bool out_empty(void);
void out_clear(void);

/* ---- crash.c ---- */
extern bool dead;
void die(const char *why) __attribute__((noreturn));

/* ---- snapshot.c ---- */
bool snapshot_take(uint32_t slot);
bool snapshot_exists(uint32_t slot);
void snapshot_touch(const void *from, size_t bytes);
bool snapshot_changes(const void *address);
int64_t snapshot_restore(uint32_t slot, bool compare);

/* ---- env.c ---- */
extern int32_t memory_registrations;

/* ---- libc, as it is ---- */
int __real_open(const char *, int, ...);
int __real_close(int);

/* ---- rpc.c ---- */
void rpc_open(void);
bool rpc_feed(uint32_t client, const char *bytes, size_t length);
bool rpc_close(uint32_t client);
unsigned rpc_waiting(void);

/* ---- vhost_*.c: what the front-ends do ---- */
int vhost_connect(uint32_t connection, const char *path);
int vhost_disconnect(uint32_t connection);
int vhost_message(uint32_t connection, const struct pf_message *);
int vhost_look(uint32_t connection, uint32_t vring);
int vhost_memory(uint32_t memory, const struct pf_region *, uint32_t regions);
bool vhost_refusals_pending(void);
void vhost_refuse(void);
bool vhost_is_bound(const char *path);
unsigned vhost_connections(void);
unsigned vhost_requests_out(const char *controller);
void vhost_forget_marks(void);
