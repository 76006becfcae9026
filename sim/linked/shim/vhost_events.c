/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * DPDK's message thread ("vhost-evt"): one for all sockets, one request of one connection at a time, in the
 * order in which they became readable. DPDK 26.03, lib/vhost/fd_man.c and socket.c. And what the kernel does
 * for a front-end: connections that wait to be accepted or are refused, requests that wait to be read. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "vhost.h"

/* fdset_event_dispatch waits so long in epoll_wait before it looks whether it is to end. */
static const uint64_t EPOLL_WAIT_NS = 1000000000ULL;

struct memory memories[MEMORIES];
static struct connection connections[CONNECTIONS];
static STAILQ_HEAD(, ready) readable = STAILQ_HEAD_INITIALIZER(readable);
static struct fibre *thread;
static bool destroy;

/* ---- the order of what can be read ---- */

void events_ready(struct vsocket *s, struct connection *c)
{
	bool *listed = s ? &s->listed : &c->listed;
	if (*listed) {
		return;
	}
	struct ready *r = calloc(1, sizeof(*r));
	r->socket = s;
	r->connection = c;
	*listed = true;
	STAILQ_INSERT_TAIL(&readable, r, next);
}

void events_forget(struct vsocket *s, struct connection *c)
{
	struct ready *r, *next;
	for (r = STAILQ_FIRST(&readable); r; r = next) {
		next = STAILQ_NEXT(r, next);
		if ((s && r->socket == s) || (c && r->connection == c)) {
			STAILQ_REMOVE(&readable, r, ready, next);
			free(r);
		}
	}
	if (s) {
		s->listed = false;
	}
	if (c) {
		c->listed = false;
	}
}

/* ---- the thread ---- */

/* vhost_user_server_new_connection, vhost_user_add_connection */
static void accept_connection(struct vsocket *s)
{
	struct connection *c = TAILQ_FIRST(&s->pending);
	if (!c) {
		return;
	}
	TAILQ_REMOVE(&s->pending, c, next);
	if (!TAILQ_EMPTY(&s->pending)) {
		events_ready(s, NULL);
	}
	c->accepted = true;
	struct device *dev = new_device(s->path, c->id);
	if (!dev) {
		c->closed = true;
		out_put(PF_OUT_CLOSED, c->id, 0, 0, 0);
		return;
	}
	point();
	if (s->notify->new_connection && s->notify->new_connection(dev->vid) < 0) {
		destroy_device(dev);
		c->closed = true;
		out_put(PF_OUT_CLOSED, c->id, 0, 0, 0);
		return;
	}
	c->device = dev;
	c->socket = s;
	if (!STAILQ_EMPTY(&c->requests) || c->peer_closed) {
		events_ready(NULL, c);
	}
	lock(&s->conn_mutex);
	TAILQ_INSERT_TAIL(&s->conns, c, next);
	unlock(&s->conn_mutex);
}

static void forget_requests(struct connection *c)
{
	struct request_waiting *r;
	while ((r = STAILQ_FIRST(&c->requests))) {
		STAILQ_REMOVE_HEAD(&c->requests, next);
		free(r);
	}
}

/* vhost_user_read_cb, where the request failed or the peer has closed */
static void close_connection(struct connection *c)
{
	struct device *dev = c->device;
	struct vsocket *s = c->socket;
	destroy_device_notify(dev);
	const struct rte_vhost_device_ops *notify = s->notify;
	if (notify->destroy_connection) {
		notify->destroy_connection(dev->vid);
	}
	destroy_device(dev);
	c->device = NULL;
	lock(&s->conn_mutex);
	TAILQ_REMOVE(&s->conns, c, next);
	unlock(&s->conn_mutex);
	events_forget(NULL, c);
	forget_requests(c);
	if (!c->peer_closed) {
		out_put(PF_OUT_CLOSED, c->id, 0, 0, 0);
	}
	c->closed = true;
}

static const char *request_name(uint32_t request)
{
	static const char *const names[] = {
		[GET_FEATURES] = "GET_FEATURES", [SET_FEATURES] = "SET_FEATURES", [SET_OWNER] = "SET_OWNER",
		[RESET_OWNER] = "RESET_OWNER", [SET_MEM_TABLE] = "SET_MEM_TABLE", [SET_LOG_BASE] = "SET_LOG_BASE",
		[SET_LOG_FD] = "SET_LOG_FD", [SET_VRING_NUM] = "SET_VRING_NUM", [SET_VRING_ADDR] = "SET_VRING_ADDR",
		[SET_VRING_BASE] = "SET_VRING_BASE", [GET_VRING_BASE] = "GET_VRING_BASE",
		[SET_VRING_KICK] = "SET_VRING_KICK", [SET_VRING_CALL] = "SET_VRING_CALL",
		[SET_VRING_ERR] = "SET_VRING_ERR", [GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
		[SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES", [GET_QUEUE_NUM] = "GET_QUEUE_NUM",
		[SET_VRING_ENABLE] = "SET_VRING_ENABLE", [GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
		[SET_INFLIGHT_FD] = "SET_INFLIGHT_FD", [SET_STATUS] = "SET_STATUS", [GET_STATUS] = "GET_STATUS",
	};
	bool known = request < sizeof(names) / sizeof(names[0]) && names[request];
	return known ? names[request] : "vhost-user request";
}

/* vhost_user_read_cb */
static void read_request(struct connection *c)
{
	struct request_waiting *r = STAILQ_FIRST(&c->requests);
	if (!r) {
		if (c->peer_closed) {
			did(name_text("disconnect"));
			close_connection(c);
		}
		return;
	}
	STAILQ_REMOVE_HEAD(&c->requests, next);
	struct pf_message m = r->message;
	free(r);
	did(name_text(request_name(m.request)));
	if (message_handle(c->device, &m) < 0) {
		close_connection(c);
	} else if (!STAILQ_EMPTY(&c->requests) || c->peer_closed) {
		events_ready(NULL, c);
	}
}

static bool can_read(void *unused)
{
	(void)unused;
	return !STAILQ_EMPTY(&readable);
}

/* fdset_event_dispatch: `busy` keeps rte_vhost_driver_unregister from taking a descriptor away */
static void dispatch(void *unused)
{
	(void)unused;
	while (!destroy) {
		struct ready *r = STAILQ_FIRST(&readable);
		if (!r) {
			/* It looks at `destroy` once a second, but only that is worth a step. */
			fibre_wait(can_read, NULL, PF_BLOCKED, "nothing to read");
			continue;
		}
		STAILQ_REMOVE_HEAD(&readable, next);
		struct vsocket *s = r->socket;
		struct connection *c = r->connection;
		free(r);
		bool *busy = s ? &s->busy : &c->busy;
		*(s ? &s->listed : &c->listed) = false;
		*busy = true;
		if (s) {
			did(name_text("new_connection"));
			accept_connection(s);
		} else {
			read_request(c);
		}
		*busy = false;
		stimulus();
		fibre_yield(now_ns + POLL_NS);
	}
}

/* rte_vhost_driver_start: fdset_init */
bool events_start(void)
{
	if (!thread) {
		destroy = false;
		thread = fibre_start(EVENTS, 1, "vhost-evt", dispatch, NULL);
	}
	return thread != NULL;
}

static bool ended(void *unused)
{
	(void)unused;
	return thread->state == FREE;
}

/* fdset_destroy: joins the thread, which ends after its epoll_wait (N3). */
void events_stop(void)
{
	if (!thread) {
		return;
	}
	destroy = true;
	if (thread->state == ON_CONDITION && thread->met == can_read) {
		uint64_t since = now_ns - thread->since;
		thread->deadline = now_ns + EPOLL_WAIT_NS - since % EPOLL_WAIT_NS;
	}
	if (running) {
		fibre_wait(ended, NULL, PF_BLOCKED, "fdset_destroy, for the message thread");
	}
	thread = NULL;
}

/* ---- the front-ends ---- */

static struct connection *find(uint32_t id)
{
	for (int i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &connections[i];
		if (c->used && c->id == id && !(c->closed && c->peer_closed)) {
			return c;
		}
	}
	return NULL;
}

int vhost_memory(uint32_t number, const struct pf_region *region, uint32_t regions)
{
	if (number >= MEMORIES || regions > PF_REGIONS_MAX) {
		return PF_ARGUMENT;
	}
	memories[number].regions = regions;
	for (uint32_t i = 0; i < regions; i++) {
		memories[number].region[i] = region[i];
	}
	return 0;
}

/* connect: refused if nobody listens, which the front-end learns in a step of the message thread's actor */
int vhost_connect(uint32_t id, const char *path)
{
	struct connection *c = NULL;
	for (int i = 0; i < CONNECTIONS && !c; i++) {
		struct connection *at = &connections[i];
		c = !at->used || (at->closed && at->peer_closed && !at->busy) ? at : NULL;
	}
	if (find(id) || !c) {
		return c ? PF_ARGUMENT : PF_ROOM;
	}
	memset(c, 0, sizeof(*c));
	c->used = true;
	c->id = id;
	STAILQ_INIT(&c->requests);
	struct vsocket *s = find_socket(path);
	if (!s || !s->listens) {
		c->closed = c->refused = true;
		return 0;
	}
	TAILQ_INSERT_TAIL(&s->pending, c, next);
	c->socket = s;
	events_ready(s, NULL);
	stimulus();
	return 0;
}

bool vhost_refusals_pending(void)
{
	for (int i = 0; i < CONNECTIONS; i++) {
		if (connections[i].refused) {
			return true;
		}
	}
	return false;
}

void vhost_refuse(void)
{
	for (int i = 0; i < CONNECTIONS; i++) {
		if (connections[i].refused) {
			connections[i].refused = false;
			out_put(PF_OUT_CLOSED, connections[i].id, 0, 0, 0);
		}
	}
}

int vhost_disconnect(uint32_t id)
{
	struct connection *c = find(id);
	if (!c || c->peer_closed) {
		return PF_ARGUMENT;
	}
	c->peer_closed = true;
	if (c->device) {
		events_ready(NULL, c);
		stimulus();
	}
	return 0;
}

int vhost_message(uint32_t id, const struct pf_message *m)
{
	struct connection *c = find(id);
	if (!c || c->peer_closed) {
		return PF_ARGUMENT;
	}
	if (c->closed) {
		return 0; /* nobody reads it: it was on its way when the target closed */
	}
	struct request_waiting *r = calloc(1, sizeof(*r));
	r->message = *m;
	STAILQ_INSERT_TAIL(&c->requests, r, next);
	if (c->device) {
		events_ready(NULL, c);
	}
	stimulus();
	return 0;
}

int vhost_look(uint32_t id, uint32_t vring)
{
	struct connection *c = find(id);
	(void)vring;
	stimulus();
	if (c && c->device) {
		const char *name = strrchr(c->device->ifname, '/');
		thread_wake_named(name ? name + 1 : c->device->ifname);
	}
	return 0;
}

unsigned vhost_connections(void)
{
	unsigned n = 0;
	for (int i = 0; i < CONNECTIONS; i++) {
		n += connections[i].device != NULL;
	}
	return n;
}
