/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * rte_vhost_driver_*: the sockets that are registered. DPDK 26.03, lib/vhost/socket.c.
 *
 * Where DPDK spins (rte_vhost_driver_unregister: "goto again" while a callback of a descriptor runs) the
 * caller waits here, so that a deadlock is one. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "vhost.h"

enum { SOCKETS_MAX = 1024 }; /* MAX_VHOST_SOCKET */

/* socket.c: struct vhost_user */
pthread_mutex_t vhost_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct vsocket *sockets[SOCKETS_MAX];
static int socket_count;

/* vhost_user.h VHOST_USER_PROTOCOL_FEATURES, without PAGEFAULT, as rte_vhost_driver_register removes it. */
static const uint64_t PROTOCOL_FEATURES = 1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 7
		| 1u << 10 | 1u << 11 | 1u << 16;

/* find_vhost_user_socket */
struct vsocket *find_socket(const char *path)
{
	for (int i = 0; path && i < socket_count; i++) {
		if (strcmp(sockets[i]->path, path) == 0) {
			return sockets[i];
		}
	}
	return NULL;
}

bool vhost_is_bound(const char *path)
{
	struct vsocket *s = find_socket(path);
	return s && s->listens;
}

/* rte_vhost_driver_register; create_unix_socket cannot fail here, and nobody is a client. */
int rte_vhost_driver_register(const char *path, uint64_t flags)
{
	if (!path) {
		return -1;
	}
	point();
	lock(&vhost_mutex);
	struct vsocket *s = socket_count < SOCKETS_MAX ? calloc(1, sizeof(*s)) : NULL;
	bool refused = (flags & RTE_VHOST_USER_ASYNC_COPY)
		       && (flags & (RTE_VHOST_USER_IOMMU_SUPPORT | RTE_VHOST_USER_POSTCOPY_SUPPORT));
	if (!s || refused || (flags & RTE_VHOST_USER_CLIENT)) {
		free(s);
		unlock(&vhost_mutex);
		return -1;
	}
	s->path = malloc(strlen(path) + 1);
	strcpy(s->path, path);
	TAILQ_INIT(&s->conns);
	TAILQ_INIT(&s->pending);
	pthread_mutex_init(&s->conn_mutex, NULL);
	s->builtin_net = true;
	s->protocol_features = PROTOCOL_FEATURES;
	sockets[socket_count++] = s;
	unlock(&vhost_mutex);
	return 0;
}

/* rte_vhost_driver_set_features */
int rte_vhost_driver_set_features(const char *path, uint64_t features)
{
	lock(&vhost_mutex);
	struct vsocket *s = find_socket(path);
	if (s) {
		s->supported_features = features;
		s->features = features;
		s->builtin_net = false;
	}
	unlock(&vhost_mutex);
	return s ? 0 : -1;
}

/* rte_vhost_driver_disable_features */
int rte_vhost_driver_disable_features(const char *path, uint64_t features)
{
	lock(&vhost_mutex);
	struct vsocket *s = find_socket(path);
	if (s) {
		s->features &= ~features;
	}
	unlock(&vhost_mutex);
	return s ? 0 : -1;
}

/* rte_vhost_driver_get_features, without vDPA */
int driver_features(const char *path, uint64_t *features)
{
	lock(&vhost_mutex);
	struct vsocket *s = find_socket(path);
	if (s) {
		*features = s->features;
	}
	unlock(&vhost_mutex);
	return s ? 0 : -1;
}

/* rte_vhost_driver_get_protocol_features, without vDPA */
int rte_vhost_driver_get_protocol_features(const char *path, uint64_t *protocol_features)
{
	lock(&vhost_mutex);
	struct vsocket *s = find_socket(path);
	if (s) {
		*protocol_features = s->protocol_features;
	}
	unlock(&vhost_mutex);
	return s ? 0 : -1;
}

/* rte_vhost_driver_set_protocol_features */
int rte_vhost_driver_set_protocol_features(const char *path, uint64_t protocol_features)
{
	lock(&vhost_mutex);
	struct vsocket *s = find_socket(path);
	if (s) {
		s->protocol_features = protocol_features;
	}
	unlock(&vhost_mutex);
	return s ? 0 : -1;
}

/* rte_vhost_driver_callback_register */
int rte_vhost_driver_callback_register(const char *path, struct rte_vhost_device_ops const *const ops)
{
	lock(&vhost_mutex);
	struct vsocket *s = find_socket(path);
	if (s) {
		s->notify = ops;
	}
	unlock(&vhost_mutex);
	return s ? 0 : -1;
}

/* vhost_driver_callback_get */
const struct rte_vhost_device_ops *driver_ops(const char *path)
{
	lock(&vhost_mutex);
	struct vsocket *s = find_socket(path);
	unlock(&vhost_mutex);
	return s ? s->notify : NULL;
}

/* rte_vhost_driver_start: fdset_init, vhost_user_start_server. bind fails if the path is bound already. */
int rte_vhost_driver_start(const char *path)
{
	lock(&vhost_mutex);
	struct vsocket *s = find_socket(path);
	unlock(&vhost_mutex);
	if (!s || s->listens || !events_start()) {
		return -1;
	}
	s->listens = true;
	point();
	return 0;
}

static bool idle(void *busy)
{
	return !*(bool *)busy;
}

/* fdset_try_del said "busy": release what is held and try again when it is not. */
static void wait_until_idle(bool *busy)
{
	while (*busy && running) {
		fibre_wait(idle, busy, PF_BLOCKED, "rte_vhost_driver_unregister, for a callback that runs");
	}
}

/* The connections of a socket that is unregistered; the one that is busy, if any. */
static struct connection *drop_connections(struct vsocket *s)
{
	struct connection *c, *next;
	for (c = TAILQ_FIRST(&s->conns); c; c = next) {
		next = TAILQ_NEXT(c, next);
		if (c->busy) {
			return c;
		}
		events_forget(NULL, c);
		c->closed = true;
		out_put(PF_OUT_CLOSED, c->id, 0, 0, 0);
		destroy_device(c->device);
		c->device = NULL;
		TAILQ_REMOVE(&s->conns, c, next);
	}
	return NULL;
}

static void drop_socket(struct vsocket *s)
{
	struct connection *c;
	while ((c = TAILQ_FIRST(&s->pending))) {
		TAILQ_REMOVE(&s->pending, c, next);
		c->closed = true;
		c->socket = NULL;
		out_put(PF_OUT_CLOSED, c->id, 0, 0, 0);
	}
	events_forget(s, NULL);
	pthread_mutex_destroy(&s->conn_mutex);
	int i = 0;
	while (sockets[i] != s) {
		i++;
	}
	sockets[i] = sockets[--socket_count];
	sockets[socket_count] = NULL;
	free(s->path);
	free(s);
}

/* rte_vhost_driver_unregister: the last socket takes the message thread with it (fdset_destroy), which may
 * take as long as its epoll_wait does, with the mutex held (known bug N3). */
int rte_vhost_driver_unregister(const char *path)
{
	if (!path) {
		return -1;
	}
	for (;;) {
		lock(&vhost_mutex);
		struct vsocket *s = find_socket(path);
		if (!s) {
			unlock(&vhost_mutex);
			return -1;
		}
		if (s->busy) {
			unlock(&vhost_mutex);
			wait_until_idle(&s->busy);
			continue;
		}
		s->listens = false;
		lock(&s->conn_mutex);
		struct connection *busy = drop_connections(s);
		unlock(&s->conn_mutex);
		if (busy) {
			unlock(&vhost_mutex);
			wait_until_idle(&busy->busy);
			continue;
		}
		drop_socket(s);
		if (socket_count == 0) {
			events_stop();
		}
		unlock(&vhost_mutex);
		return 0;
	}
}
