/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * JSON-RPC without sockets: the socket calls of lib/jsonrpc end here, so that its own parser, queues and
 * answers run, and its poller (every 4 ms on the app thread, lib/init/rpc.c RPC_SELECT_INTERVAL). Files are
 * not opened: of lib/rpc's lock file only the calls exist. */
#define _GNU_SOURCE
#include <string.h>
#include "spdk/stdinc.h"
#include "spdk/rpc.h"
#include "spdk/thread.h"
#include "shim.h"

/* Descriptors from FIRST on are not the kernel's. SPDK_JSONRPC_MAX_CONNS is 64. */
enum { FIRST = 1 << 20, LISTEN = FIRST, LOCK_FILE, CONN, CONNS = 64, RPC_PERIOD_US = 4000 };

/* How deep in braces a stream of JSON is. */
struct depth {
	unsigned braces;
	bool text, escaped;
};

struct client {
	bool used, accepted, closed;
	uint32_t id;
	uint64_t order;
	char *bytes;
	size_t length, room;
	struct depth in, out;
	int waiting;
};
static struct client clients[CONNS];
static uint64_t opened;
static struct spdk_rpc_server *server;

/* Objects that end in these bytes. */
static int objects(struct depth *d, const char *bytes, size_t length)
{
	int ended = 0;
	for (size_t i = 0; i < length; i++) {
		char c = bytes[i];
		if (d->text) {
			d->text = d->escaped || c != '"';
			d->escaped = !d->escaped && c == '\\';
		} else if (c == '"') {
			d->text = true;
		} else if (c == '{') {
			d->braces++;
		} else if (c == '}' && d->braces > 0 && --d->braces == 0) {
			ended++;
		}
	}
	return ended;
}

static struct client *find(uint32_t id)
{
	for (int i = 0; i < CONNS; i++) {
		if (clients[i].used && !clients[i].closed && clients[i].id == id) {
			return &clients[i];
		}
	}
	return NULL;
}

bool rpc_feed(uint32_t id, const char *bytes, size_t length)
{
	struct client *c = find(id);
	for (int i = 0; !c && i < CONNS; i++) {
		if (!clients[i].used) {
			c = &clients[i];
			*c = (struct client) { .used = true, .id = id, .order = ++opened };
		}
	}
	if (!c) {
		return false;
	}
	if (c->length + length > c->room) {
		c->room = (c->length + length) * 2;
		c->bytes = realloc(c->bytes, c->room);
	}
	memcpy(c->bytes + c->length, bytes, length);
	c->length += length;
	c->waiting += objects(&c->in, bytes, length);
	stimulus();
	return true;
}

bool rpc_close(uint32_t id)
{
	struct client *c = find(id);
	if (!c) {
		return false;
	}
	c->closed = true;
	c->waiting = 0;
	stimulus();
	return true;
}

unsigned rpc_waiting(void)
{
	unsigned n = 0;
	for (int i = 0; i < CONNS; i++) {
		n += clients[i].used && clients[i].waiting > 0;
	}
	return n;
}

static struct client *of(int fd)
{
	return &clients[fd - CONN];
}

int __wrap_socket(int domain, int type, int protocol)
{
	(void)domain, (void)type, (void)protocol;
	return LISTEN;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	(void)fd, (void)level, (void)name, (void)value, (void)length;
	return 0;
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	(void)fd, (void)address, (void)length;
	return 0;
}

int __wrap_listen(int fd, int backlog)
{
	(void)fd, (void)backlog;
	return 0;
}

int __wrap_accept(int fd, struct sockaddr *address, socklen_t *length)
{
	(void)fd, (void)address, (void)length;
	struct client *first = NULL;
	for (int i = 0; i < CONNS; i++) {
		struct client *c = &clients[i];
		if (c->used && !c->accepted && (!first || c->order < first->order)) {
			first = c;
		}
	}
	if (!first) {
		errno = EAGAIN;
		return -1;
	}
	first->accepted = true;
	return CONN + (int)(first - clients);
}

ssize_t __wrap_recv(int fd, void *buffer, size_t most, int flags)
{
	(void)flags;
	struct client *c = of(fd);
	if (c->length == 0 && c->closed) {
		return 0;
	}
	if (c->length == 0) {
		errno = EAGAIN;
		return -1;
	}
	size_t n = most < c->length ? most : c->length;
	memcpy(buffer, c->bytes, n);
	c->length -= n;
	memmove(c->bytes, c->bytes + n, c->length);
	stimulus(); /* what it answers is sent at the poller's next tick */
	return (ssize_t)n;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags)
{
	(void)flags;
	struct client *c = of(fd);
	if (c->closed) {
		errno = EPIPE;
		return -1;
	}
	c->waiting -= objects(&c->out, bytes, length);
	out_bytes(PF_OUT_RPC, c->id, 0, bytes, length);
	return (ssize_t)length;
}

int __wrap_close(int fd)
{
	if (fd < FIRST) {
		return __real_close(fd);
	}
	if (fd >= CONN && fd < CONN + CONNS) {
		struct client *c = of(fd);
		if (!c->closed) {
			out_put(PF_OUT_RPC_CLOSED, c->id, 0, 0, 0);
		}
		free(c->bytes);
		*c = (struct client) { .used = false };
	}
	return 0;
}

int __wrap_fcntl(int fd, int command, ...)
{
	(void)fd, (void)command;
	return 0;
}

int __wrap_open(const char *path, int flags, ...)
{
	(void)path, (void)flags;
	return LOCK_FILE;
}

int __wrap_flock(int fd, int operation)
{
	(void)fd, (void)operation;
	return 0;
}

int __wrap_unlink(const char *path)
{
	(void)path;
	return 0;
}

/* Only vhost_register_unix_socket asks: whether the socket's path is taken. */
int __wrap_stat(const char *path, struct stat *st)
{
	if (!vhost_is_bound(path)) {
		errno = ENOENT;
		return -1;
	}
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFSOCK | 0777;
	return 0;
}

static int poll_server(void *arg)
{
	(void)arg;
	spdk_rpc_server_accept(server);
	return SPDK_POLLER_IDLE;
}

void rpc_open(void)
{
	spdk_rpc_set_state(SPDK_RPC_RUNTIME);
	server = spdk_rpc_server_listen("/plugfest.sock");
	if (!server) {
		die("the RPC server does not listen");
	}
	spdk_poller_register_named(poll_server, NULL, RPC_PERIOD_US, "rpc_subsystem_poll_servers");
}
