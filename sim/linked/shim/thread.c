/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Each spdk_thread as an actor: a step is one spdk_thread_poll.
 *
 * Nobody spins. A thread whose poll found nothing sleeps until a message is put into its ring, one of its
 * vrings is looked at, or one of its timers is due. A timer counts only if something happened since it last
 * ran, so a target with nothing to do is at rest. A message that sends itself again (a lock that was taken, a
 * deletion that is too early) and I/O that a bdev holds back are looked at again after a pause that grows by a
 * quarter of the time since the last progress. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include "spdk/stdinc.h"
#include "spdk/thread.h"
#include "shim.h"

enum { BATCH = 16 };

struct message {
	spdk_msg_fn run;
	void *arg;
};

/* A poller of SPDK's, and when it last ran. */
struct poller {
	spdk_poller_fn run;
	void *arg;
	uint64_t period_ns, due, seen;
	bool busy, in, gone;
	uint32_t name;
	struct spdk_poller *real;
	struct fibre *of;
	struct poller *next;
};

/* What a thread's fibre needs to know of itself. */
struct actor {
	void *ring;
	struct message batch[BATCH];  /* what is being run */
	int in_batch;
	int again;                    /* of it, what has sent itself again */
	uint64_t progress;            /* when something was last done */
	uint64_t seen, seen_releases; /* the counts after its last poll */
	uint64_t last;                /* when that was */
	bool spins, woken;
};

uint64_t stimuli, releases;
static struct actor actors[FIBRES];
static struct poller *pollers;
static void *last_ring;
static uint32_t cores = 1;
/* Of the message that is being sent. */
static struct message sending;

/* A timer that slept keeps its phase: it is due at its next tick, not at the one it slept through. */
void stimulus(void)
{
	for (struct poller *p = pollers; p; p = p->next) {
		if (p->seen == stimuli && !p->busy && p->period_ns && p->due < now_ns) {
			p->due += (now_ns - p->due + p->period_ns - 1) / p->period_ns * p->period_ns;
		}
	}
	stimuli++;
}

void thread_set_cores(uint32_t n)
{
	cores = n;
}

static struct actor *actor_of(const struct fibre *f)
{
	return &actors[f - fibres];
}

/* ---- messages ---- */

int __real_spdk_thread_send_msg(const struct spdk_thread *thread, spdk_msg_fn run, void *arg);
int __wrap_spdk_thread_send_msg(const struct spdk_thread *thread, spdk_msg_fn run, void *arg)
{
	sending = (struct message) { run, arg };
	int rc = __real_spdk_thread_send_msg(thread, run, arg);
	sending.run = NULL;
	point();
	return rc;
}

void thread_note_ring(void *ring)
{
	last_ring = ring;
}

static struct fibre *of_ring(const void *ring)
{
	for (struct fibre *f = fibres; f < &fibres[HELPER]; f++) {
		if (f->state != FREE && f->thread && actor_of(f)->ring == ring) {
			return f;
		}
	}
	return NULL;
}

static void wake(struct fibre *f)
{
	actor_of(f)->woken = true;
	if (f->ready > now_ns + WAKE_NS) {
		f->ready = now_ns + WAKE_NS;
	}
}

/* Something was put into a ring: returns what it was, for thread_took. */
struct pf_sent thread_sent(const void *ring)
{
	struct fibre *f = of_ring(ring);
	struct message m = sending;
	if (f && f == running) {
		struct actor *a = actor_of(f);
		for (int i = 0; i < a->in_batch; i++) {
			if (m.run && a->batch[i].run == m.run) {
				a->again++;
				return (struct pf_sent) { (void *)m.run, m.arg };
			}
		}
	}
	stimulus();
	if (f) {
		wake(f);
	}
	return (struct pf_sent) { (void *)m.run, m.arg };
}

/* It was taken out and is about to run. */
void thread_took(struct pf_sent sent)
{
	struct actor *a = running ? actor_of(running) : NULL;
	if (a && a->in_batch < BATCH) {
		a->batch[a->in_batch++] = (struct message) { (spdk_msg_fn)sent.run, sent.arg };
	}
	did(sent.run ? name_of(sent.run) : name_text("message"));
}

/* ---- pollers ---- */

static void unlink_poller(struct poller *p)
{
	for (struct poller **at = &pollers; *at; at = &(*at)->next) {
		if (*at == p) {
			*at = p->next;
			free(p);
			return;
		}
	}
}

static int run_poller(void *arg)
{
	struct poller *p = arg;
	p->in = true;
	p->seen = stimuli;
	p->due = now_ns + p->period_ns;
	int rc = p->run(p->arg);
	p->in = false;
	p->busy = rc > 0;
	if (rc > 0) {
		did(p->name);
	}
	if (p->gone) {
		unlink_poller(p);
	}
	return rc;
}

struct spdk_poller *__real_spdk_poller_register_named(spdk_poller_fn, void *, uint64_t, const char *);
struct spdk_poller *__wrap_spdk_poller_register_named(spdk_poller_fn run, void *arg, uint64_t us, const char *name)
{
	struct poller *p = calloc(1, sizeof(*p));
	*p = (struct poller) {
		.run = run, .arg = arg, .period_ns = us * 1000, .due = now_ns + us * 1000, .busy = true,
		.name = name_of((void *)run), .of = running ? running : &fibres[APP], .next = pollers,
	};
	pollers = p;
	p->real = __real_spdk_poller_register_named(run_poller, p, us, name);
	return p->real;
}

struct spdk_poller *__wrap_spdk_poller_register(spdk_poller_fn run, void *arg, uint64_t us)
{
	return __wrap_spdk_poller_register_named(run, arg, us, NULL);
}

void __real_spdk_poller_unregister(struct spdk_poller **);
void __wrap_spdk_poller_unregister(struct spdk_poller **poller)
{
	struct spdk_poller *real = *poller;
	__real_spdk_poller_unregister(poller);
	for (struct poller *p = pollers; real && p; p = p->next) {
		if (p->real == real && !p->gone) {
			p->gone = true;
			if (!p->in) {
				unlink_poller(p);
			}
			return;
		}
	}
}

static uint64_t next_timer(const struct fibre *f)
{
	uint64_t due = PF_BLOCKED;
	for (struct poller *p = pollers; p; p = p->next) {
		if (p->of == f && p->period_ns && !p->gone && (p->busy || p->seen != stimuli) && p->due < due) {
			due = p->due;
		}
	}
	return due;
}

/* ---- actors ---- */

/* Whether the poll did nothing but send again what it was sent. */
static bool spun(const struct actor *a, uint64_t stimuli_before)
{
	return a->in_batch > 0 && a->again == a->in_batch && stimuli == stimuli_before;
}

/* When to poll again, if nothing else comes. */
static uint64_t next_poll(struct fibre *f, struct actor *a, int rc)
{
	if (!a->spins && rc != 0) {
		a->progress = now_ns;
		stimulus();
		return now_ns + POLL_NS;
	}
	if (a->woken && !a->spins) {
		return now_ns + POLL_NS;
	}
	uint64_t pause = (now_ns - a->progress) / 4;
	bool again = a->spins || vhost_requests_out(f->name) > 0;
	return again ? now_ns + (pause > POLL_NS ? pause : POLL_NS) : PF_BLOCKED;
}

static void poll_for_ever(void *arg)
{
	struct spdk_thread *thread = arg;
	struct fibre *f = running;
	struct actor *a = actor_of(f);
	for (;;) {
		a->in_batch = a->again = 0;
		a->woken = false;
		uint64_t stimuli_before = stimuli, releases_before = releases;
		f->polling = true;
		int rc = spdk_thread_poll(thread, 0, now_ns);
		f->polling = false;
		if (spdk_thread_is_exited(thread)) {
			f->thread = NULL;
			a->ring = NULL;
			spdk_thread_destroy(thread);
			return;
		}
		a->spins = spun(a, stimuli_before);
		uint64_t next = next_poll(f, a, rc);
		if (a->spins) {
			releases = releases_before; /* or two that spin would wake each other */
		}
		a->seen = stimuli;
		a->seen_releases = releases;
		a->last = now_ns;
		fibre_yield(next);
	}
}

static int new_thread(struct spdk_thread *thread)
{
	const char *name = spdk_thread_get_name(thread);
	bool app = fibres[APP].state == FREE;
	struct fibre *f = app ? fibre_start(APP, 1, name, poll_for_ever, thread)
			  : fibre_start(VDEV, VDEVS, name, poll_for_ever, thread);
	if (!f) {
		return -1;
	}
	f->thread = thread;
	*actor_of(f) = (struct actor) { .ring = last_ring, .progress = now_ns };
	return 0;
}

void threads_open(void)
{
	if (spdk_thread_lib_init(new_thread, 0) != 0) {
		die("spdk_thread_lib_init failed");
	}
}

/* With one reactor, a thread that was stopped in the middle of a poll keeps the others of it from running. */
bool thread_others_midway(const struct fibre *f)
{
	for (const struct fibre *o = fibres; cores < 2 && o < &fibres[HELPER]; o++) {
		if (o != f && o->thread && o->polling) {
			return true;
		}
	}
	return false;
}

uint64_t thread_when(const struct fibre *f)
{
	struct actor *a = actor_of(f);
	uint64_t ready = f->ready, timer;
	bool woken = a->seen != stimuli || a->seen_releases != releases;
	if (!f->polling && a->spins && woken && a->last + POLL_NS < ready) {
		ready = a->last + POLL_NS;
	}
	if (!f->polling && (timer = next_timer(f)) < ready) {
		ready = timer;
	}
	return ready;
}

void thread_wake_named(const char *name)
{
	for (struct fibre *f = &fibres[VDEV]; f < &fibres[HELPER]; f++) {
		if (f->state == READY && f->thread && strcmp(f->name, name) == 0) {
			wake(f);
			actor_of(f)->progress = now_ns;
		}
	}
}

unsigned threads_alive(void)
{
	unsigned n = 0;
	for (int i = VDEV; i < HELPER; i++) {
		n += fibres[i].state != FREE;
	}
	return n;
}
