/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Every call of libc in which SPDK could block, read a clock, or get something that no seed fixes. The linker
 * sends them here (--wrap). Each is a preemption point. Locks are libc's own, tried without blocking. */
#define _GNU_SOURCE
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "shim.h"

int __real_pthread_mutex_lock(pthread_mutex_t *);
int __real_pthread_mutex_trylock(pthread_mutex_t *);
int __real_pthread_mutex_unlock(pthread_mutex_t *);
int __real_pthread_spin_unlock(pthread_spinlock_t *);

/* Who holds what: for the question who waits for whom. */
enum { HELD = 64 };
static struct { void *lock; int by; } held[HELD];

static void hold(void *lock)
{
	for (int i = 0; i < HELD; i++) {
		if (!held[i].lock) {
			held[i].lock = lock;
			held[i].by = running ? (int)(running - fibres) : -1;
			return;
		}
	}
}

static void let_go(void *lock)
{
	for (int i = 0; i < HELD; i++) {
		if (held[i].lock == lock) {
			held[i].lock = NULL;
			return;
		}
	}
}

unsigned locks_held(void)
{
	unsigned n = 0;
	for (int i = 0; i < HELD; i++) {
		n += held[i].lock != NULL;
	}
	return n;
}

int lock_waits(const struct fibre *f, char *text, size_t bytes)
{
	static const char *const kind[] = { "", "", "a mutex", "a spin lock", "a semaphore", "" };
	if (f->state == ON_CONDITION) {
		return snprintf(text, bytes, "%s waits: %s", f->name, f->waits_for);
	}
	if (f->state != ON_LOCK && f->state != ON_SPIN && f->state != ON_SEM) {
		return 0;
	}
	for (int i = 0; i < HELD; i++) {
		if (held[i].lock == f->waits && held[i].by >= 0) {
			return snprintf(text, bytes, "%s waits for %s that %s holds", f->name, kind[f->state],
					fibres[held[i].by].name);
		}
	}
	return snprintf(text, bytes, "%s waits for %s", f->name, kind[f->state]);
}

static bool free_mutex(void *lock)
{
	if (__real_pthread_mutex_trylock(lock) != 0) {
		return false;
	}
	__real_pthread_mutex_unlock(lock);
	return true;
}

static bool free_spin(void *lock)
{
	if (pthread_spin_trylock(lock) != 0) {
		return false;
	}
	__real_pthread_spin_unlock(lock);
	return true;
}

static bool posted(void *semaphore)
{
	int value = 0;
	sem_getvalue(semaphore, &value);
	return value > 0;
}

/* Whether what it waits for has come. */
bool fibre_can_go(struct fibre *f)
{
	return f->state == ON_LOCK ? free_mutex(f->waits) : f->state == ON_SPIN ? free_spin(f->waits)
	       : f->state == ON_SEM ? posted(f->waits) : f->state == ON_CONDITION && f->met(f->waits);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
	point();
	while (__real_pthread_mutex_trylock(lock) != 0) {
		if (!running) {
			die("a lock is held while nobody runs");
		}
		fibre_block(ON_LOCK, lock, PF_BLOCKED);
	}
	hold(lock);
	return 0;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *lock)
{
	point();
	int rc = __real_pthread_mutex_trylock(lock);
	if (rc == 0) {
		hold(lock);
	}
	return rc;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock)
{
	let_go(lock);
	int rc = __real_pthread_mutex_unlock(lock);
	releases++;
	point();
	return rc;
}

void lock(pthread_mutex_t *mutex)
{
	__wrap_pthread_mutex_lock(mutex);
}

void unlock(pthread_mutex_t *mutex)
{
	__wrap_pthread_mutex_unlock(mutex);
}

int __wrap_pthread_spin_lock(pthread_spinlock_t *lock)
{
	point();
	while (pthread_spin_trylock(lock) != 0) {
		if (!running) {
			die("a spin lock is held while nobody runs");
		}
		fibre_block(ON_SPIN, (void *)lock, PF_BLOCKED);
	}
	hold((void *)lock);
	return 0;
}

int __wrap_pthread_spin_unlock(pthread_spinlock_t *lock)
{
	let_go((void *)lock);
	__real_pthread_spin_unlock(lock);
	point();
	return 0;
}

static int wait_for(sem_t *semaphore, uint64_t deadline)
{
	point();
	while (sem_trywait(semaphore) != 0) {
		if (!running) {
			die("a semaphore is waited for while nobody runs");
		}
		if (!fibre_block(ON_SEM, semaphore, deadline)) {
			errno = ETIMEDOUT;
			return -1;
		}
	}
	return 0;
}

int __wrap_sem_wait(sem_t *semaphore)
{
	return wait_for(semaphore, PF_BLOCKED);
}

int __wrap_sem_timedwait(sem_t *semaphore, const struct timespec *until)
{
	return wait_for(semaphore, (uint64_t)until->tv_sec * 1000000000ULL + (uint64_t)until->tv_nsec);
}

int __real_sem_post(sem_t *);
int __wrap_sem_post(sem_t *semaphore)
{
	int rc = __real_sem_post(semaphore);
	point();
	return rc;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	(void)clock;
	t->tv_sec = (time_t)(now_ns / 1000000000ULL);
	t->tv_nsec = (long)(now_ns % 1000000000ULL);
	return 0;
}

int __wrap_gettimeofday(struct timeval *t, void *zone)
{
	(void)zone;
	t->tv_sec = (time_t)(now_ns / 1000000000ULL);
	t->tv_usec = (suseconds_t)(now_ns % 1000000000ULL / 1000);
	return 0;
}

time_t __wrap_time(time_t *t)
{
	time_t now = (time_t)(now_ns / 1000000000ULL);
	if (t) {
		*t = now;
	}
	return now;
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

int __wrap_usleep(useconds_t us)
{
	if (running) {
		fibre_wait(never, NULL, now_ns + (uint64_t)us * 1000, "it sleeps");
	}
	return 0;
}

int __wrap_nanosleep(const struct timespec *t, struct timespec *rest)
{
	(void)rest;
	if (running) {
		fibre_wait(never, NULL, now_ns + (uint64_t)t->tv_sec * 1000000000ULL + (uint64_t)t->tv_nsec, "it sleeps");
	}
	return 0;
}

/* What SPDK draws itself: splitmix64. */
static uint64_t chance;

void chance_seed(uint64_t seed)
{
	chance = seed;
}

int __wrap_rand(void)
{
	uint64_t z = (chance += 0x9E3779B97F4A7C15ULL);
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
	return (int)((z ^ (z >> 31)) >> 33);
}

int __wrap_rand_r(unsigned int *seed)
{
	(void)seed;
	return __wrap_rand();
}

long __wrap_random(void)
{
	return __wrap_rand();
}

/* Seeded at a rewind, by who decides on chance. */
void __wrap_srand(unsigned seed)
{
	(void)seed;
}

pid_t __wrap_getpid(void)
{
	return 4242;
}

/* Version 4, variant 1, and otherwise a number. */
static uint64_t uuids;

void __wrap_uuid_generate(unsigned char *uuid)
{
	memset(uuid, 0, 16);
	uuids++;
	memcpy(uuid, &uuids, 6);
	uuid[6] = 0x40;
	uuid[8] = 0x80;
	uuid[15] = 0x51;
}

struct start {
	void *(*run)(void *);
	void *arg;
};

static void run_helper(void *arg)
{
	struct start *start = arg, copy = *start;
	__builtin_free(start);
	copy.run(copy.arg);
}

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
	(void)attributes;
	struct start *start = __builtin_malloc(sizeof(*start));
	*start = (struct start) { run, arg };
	struct fibre *f = fibre_start(HELPER, HELPERS, "helper", run_helper, start);
	if (!f) {
		__builtin_free(start);
		return EAGAIN;
	}
	*id = (pthread_t)(f - fibres + 1);
	point();
	return 0;
}

int __wrap_pthread_detach(pthread_t id)
{
	(void)id;
	return 0;
}
