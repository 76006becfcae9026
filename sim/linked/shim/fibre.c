/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Threads as fibres on one OS thread: they run until they wait, yield, or reach the preemption point that was
 * asked for. Knows no thread of SPDK's or DPDK's, and nothing of who goes next. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "spdk/stdinc.h"
#include "spdk/thread.h"
#include "shim.h"

#ifndef __x86_64__
#error "x86-64 only: fibre_switch is written for it"
#endif

struct fibre fibres[FIBRES];
struct fibre *running;
uint64_t now_ns = EPOCH_NS;
uint32_t points;
static uint32_t stop_at;
static void *caller_sp;

/* Saves what the System V ABI lets a function keep, and goes over to another stack. */
__asm__(".text\n"
	".globl fibre_switch\n"
	".hidden fibre_switch\n"
	".type fibre_switch,@function\n"
	"fibre_switch:\n"
	" pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
	" movq %rsp,(%rdi)\n movq %rsi,%rsp\n"
	" popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n"
	".size fibre_switch,.-fibre_switch\n");
void fibre_switch(void **save, void *to);

/* A stack, and below it a page that nobody may touch. */
static char *stack_of(const struct fibre *f)
{
	return (char *)STACKS_AT + (size_t)(f - fibres) * (STACK_BYTES + PAGE) + PAGE;
}

bool fibre_open(void)
{
	size_t bytes = FIBRES * (STACK_BYTES + PAGE);
	char *at = mmap((void *)STACKS_AT, bytes, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (at != (char *)STACKS_AT) {
		return false;
	}
	for (int i = 0; i < FIBRES; i++) {
		if (mprotect(stack_of(&fibres[i]), STACK_BYTES, PROT_READ | PROT_WRITE) != 0) {
			return false;
		}
	}
	return true;
}

void fibre_leave(void)
{
	struct fibre *f = running;
	f->tls = spdk_get_thread();
	fibre_switch(&f->sp, caller_sp);
}

static void begin(void)
{
	struct fibre *f = running;
	f->body(f->arg);
	f->state = FREE;
	f->thread = NULL;
	f->midway = false;
	fibre_leave();
	__builtin_trap();
}

struct fibre *fibre_start(int first, int count, const char *name, void (*body)(void *), void *arg)
{
	for (struct fibre *f = &fibres[first]; f < &fibres[first + count]; f++) {
		if (f->state != FREE || f == running) {
			continue;
		}
		memset(f, 0, sizeof(*f));
		snprintf(f->name, sizeof(f->name), "%s", name);
		f->state = READY;
		f->ready = now_ns + WAKE_NS;
		f->body = body;
		f->arg = arg;
		uint64_t *sp = (uint64_t *)(stack_of(f) + STACK_BYTES);
		*--sp = 0; /* the alignment that the ABI wants at a function's entry */
		*--sp = (uint64_t)(uintptr_t)begin;
		for (int i = 0; i < 6; i++) {
			*--sp = 0;
		}
		f->sp = sp;
		return f;
	}
	return NULL;
}

void fibre_run(struct fibre *f, uint32_t stop)
{
	struct spdk_thread *callers = spdk_get_thread();
	int error = errno;
	points = 0;
	stop_at = stop;
	running = f;
	spdk_set_thread(f->tls);
	fibre_switch(&caller_sp, f->sp);
	running = NULL;
	spdk_set_thread(callers);
	errno = error;
}

void fibre_yield(uint64_t ready)
{
	running->state = READY;
	running->ready = ready;
	fibre_leave();
}

void point(void)
{
	if (!running || ++points != stop_at) {
		return;
	}
	int error = errno;
	running->midway = true;
	fibre_yield(now_ns);
	running->midway = false;
	errno = error;
}

/* Only fibre_run comes back from here, and only if it can go or its time has come. errno is the OS thread's, and
 * other fibres run meanwhile: it stays the caller's. */
bool fibre_block(enum fibre_state state, void *on, uint64_t deadline)
{
	struct fibre *f = running;
	int error = errno;
	f->state = state;
	f->waits = on;
	f->since = now_ns;
	f->ready = PF_BLOCKED;
	f->deadline = deadline;
	f->timed_out = false;
	fibre_leave();
	errno = error;
	return !f->timed_out;
}

bool fibre_wait(condition met, void *arg, uint64_t deadline, const char *what)
{
	if (!running) {
		return met(arg);
	}
	running->met = met;
	running->waits_for = what;
	return fibre_block(ON_CONDITION, arg, deadline);
}

bool fibre_live_stack(const struct fibre *f, char **at, size_t *bytes)
{
	/* Below the stack pointer lie 128 bytes that a function may use without moving it. */
	*at = (char *)f->sp - 128;
	*bytes = f->state == FREE ? 0 : (size_t)(stack_of(f) + STACK_BYTES - *at);
	return *bytes != 0;
}
