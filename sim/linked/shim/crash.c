/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * How a fault in the target ends the target and not the process: each call into the library is an entry, and a
 * signal handler, an assertion or a bad free jumps back to its beginning. No jump crosses a frame of the caller.
 * The handlers stay, as setting them costs more than most steps; outside of an entry they pass a signal on to
 * whoever was asked before. */
#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include "entry.h"
#include "spdk/stdinc.h"
#include "spdk/thread.h"

enum { FRAMES = 32, ALT_STACK = 1 << 16, SIGNALS = 4 };
static const int signals[SIGNALS] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };

/* Outside of what is put back. */
struct entry {
	sigjmp_buf jump;
	struct sigaction before[SIGNALS];
	const void *thread;
	bool inside;
};
static struct entry *entry;
bool dead;

sigjmp_buf *entry_jump(void)
{
	return &entry->jump;
}

static void tell(const char *why, void *const *pc, int frames)
{
	char text[4096];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", why);
	for (int i = 0; i < frames && n < sizeof(text) - 80; i++) {
		const char *name = name_get(name_of(pc[i]));
		n += (size_t)snprintf(text + n, sizeof(text) - n, "\n%s", name);
		if (strcmp(name, "begin") == 0) {
			break;
		}
	}
	out_bytes(PF_OUT_DIED, 0, 0, text, n);
}

static void leave(void)
{
	dead = true;
	if (!entry || !entry->inside) {
		__builtin_trap();
	}
	siglongjmp(entry->jump, 1);
}

void die(const char *why)
{
	void *pc[FRAMES];
	int frames = backtrace(pc, FRAMES);
	tell(why, pc + 1, frames > 1 ? frames - 1 : 0);
	leave();
	__builtin_unreachable();
}

/* A fault that is not the target's: whoever was asked before. */
static void pass_on(int i, int signal, siginfo_t *info, void *context)
{
	const struct sigaction *before = &entry->before[i];
	if (before->sa_flags & SA_SIGINFO) {
		before->sa_sigaction(signal, info, context);
	} else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
		before->sa_handler(signal);
	} else {
		sigaction(signal, before, NULL); /* it comes again when this returns */
	}
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
	static const char *const name[] = { "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL" };
	int i = 0;
	while (signals[i] != signal) {
		i++;
	}
	if (!entry->inside) {
		pass_on(i, signal, info, context);
		return;
	}
	if (signal == SIGSEGV && info->si_code == SEGV_ACCERR && snapshot_changes(info->si_addr)) {
		return;
	}
	const ucontext_t *u = context;
	void *pc[FRAMES + 2];
	int frames = backtrace(pc + 1, FRAMES), from = 1;
	uintptr_t at = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
	/* Begin with the instruction that failed, not with this handler. */
	while (from <= frames && (uintptr_t)pc[from] != at) {
		from++;
	}
	if (from > frames) {
		from = 0; /* it jumped to where no code is: who called is on top of its stack */
		pc[0] = *(void **)(uintptr_t)u->uc_mcontext.gregs[REG_RSP];
		frames = 0;
	}
	tell(name[i], pc + from, frames - from + 1);
	leave();
}

static void install(void)
{
	entry = mmap(NULL, sizeof(*entry) + ALT_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	entry->thread = &errno;
	stack_t alternate = { .ss_sp = entry + 1, .ss_size = ALT_STACK };
	sigaltstack(&alternate, NULL);
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	for (int i = 0; i < SIGNALS; i++) {
		sigaction(signals[i], &action, &entry->before[i]);
	}
	void *pc[2];
	backtrace(pc, 2); /* loads what it needs now and not in a handler */
}

int entry_begin(void)
{
	if (!entry) {
		install();
	}
	if (entry->thread != &errno) {
		return PF_THREAD;
	}
	if (dead) {
		return PF_DIED;
	}
	entry->inside = true;
	return 0;
}

void entry_end(void)
{
	if (dead) {
		running = NULL;
		spdk_set_thread(NULL);
	}
	entry->inside = false;
}

void __wrap___assert_fail(const char *text, const char *file, unsigned line, const char *function)
{
	char why[512];
	const char *name = strrchr(file, '/');
	snprintf(why, sizeof(why), "assert %s:%u %s: %s", name ? name + 1 : file, line, function, text);
	die(why);
}

void __wrap_abort(void)
{
	die("abort");
}
