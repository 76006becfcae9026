/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The calls of plugfest_target.h, and how SPDK is brought up: what lib/event and lib/init do for the `vhost`
 * application, with small pools. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include "spdk/stdinc.h"
#include "spdk/accel.h"
#include "spdk/bdev.h"
#include "spdk/log.h"
#include "spdk/thread.h"
#include "spdk/version.h"
#include "spdk/vhost.h"
#include "entry.h"

/* spdk/scsi.h includes a header that is not installed. */
int spdk_scsi_init(void);

static bool booted;
static char directory[128];
static uint64_t last_when[FIBRES];

/* ---- boot ---- */

static void log_line(int level, const char *file, const int line, const char *function, const char *format, va_list args)
{
	(void)file, (void)line, (void)function;
	char text[1024];
	int n = vsnprintf(text, sizeof(text), format, args);
	size_t length = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	while (length && text[length - 1] == '\n') {
		length--;
	}
	out_bytes(PF_OUT_LOG, 0, (uint32_t)level, text, length);
}

static void small_pools(void)
{
	struct spdk_iobuf_opts iobuf;
	spdk_iobuf_get_opts(&iobuf, sizeof(iobuf));
	iobuf.small_pool_count = 64;
	iobuf.large_pool_count = 16;
	iobuf.small_bufsize = 8192;
	iobuf.large_bufsize = 135168;
	spdk_iobuf_set_opts(&iobuf);
	struct spdk_bdev_opts bdev = { .opts_size = sizeof(bdev) };
	spdk_bdev_get_opts(&bdev, sizeof(bdev));
	bdev.bdev_io_pool_size = 8192;
	bdev.bdev_io_cache_size = 16;
	bdev.iobuf_small_cache_size = 4;
	bdev.iobuf_large_cache_size = 1;
	spdk_bdev_set_opts(&bdev);
	struct spdk_accel_opts accel = { .opts_size = sizeof(accel) };
	spdk_accel_get_opts(&accel, sizeof(accel));
	accel.task_count = 256;
	accel.sequence_count = 256;
	accel.buf_count = 256;
	accel.small_cache_size = 4;
	accel.large_cache_size = 1;
	spdk_accel_set_opts(&accel);
}

static bool bdev_is_up, vhost_is_up;

static void bdev_up(void *arg, int rc)
{
	(void)arg;
	bdev_is_up = rc == 0;
}

static void vhost_up(int rc)
{
	vhost_is_up = rc == 0;
}

static int boot(const struct pf_config *config)
{
	if (!config || config->size != sizeof(*config) || config->cores == 0 || !config->socket_dir) {
		return PF_ARGUMENT;
	}
	if (!fibre_open()) {
		return PF_ROOM;
	}
	booted = true;
	names_open();
	thread_set_cores(config->cores);
	snprintf(directory, sizeof(directory), "%s", config->socket_dir);
	spdk_log_open(log_line);
	spdk_log_set_print_level(SPDK_LOG_NOTICE);
	spdk_log_set_level(SPDK_LOG_NOTICE);
	threads_open();
	struct spdk_thread *app = spdk_thread_create("app", NULL);
	spdk_set_thread(app);
	small_pools();
	if (spdk_iobuf_initialize() != 0 || spdk_accel_initialize() != 0) {
		die("iobuf or accel does not start");
	}
	spdk_bdev_initialize(bdev_up, NULL);
	for (int i = 0; !bdev_is_up && i < 10000; i++) {
		spdk_thread_poll(app, 0, now_ns);
		now_ns += POLL_NS;
	}
	if (!bdev_is_up || spdk_scsi_init() != 0 || spdk_vhost_set_socket_path(directory) != 0) {
		die("bdev or scsi does not start");
	}
	spdk_vhost_scsi_init(vhost_up);
	if (!vhost_is_up) {
		die("vhost does not start");
	}
	rpc_open();
	spdk_set_thread(NULL);
	now_ns = EPOCH_NS;
	return 0;
}

uint32_t pf_abi(void)
{
	return PF_ABI;
}

const char *pf_about(void)
{
#ifdef DEBUG
	return SPDK_VERSION_STRING ", debug";
#else
	return SPDK_VERSION_STRING;
#endif
}

int pf_boot(const struct pf_config *config)
{
	return booted ? PF_SECOND : (int)ENTER(boot(config));
}

/* ---- mark and rewind ---- */

static int mark(uint32_t slot)
{
	if (!out_empty()) {
		return PF_ORDER;
	}
	return snapshot_take(slot) ? 0 : PF_ROOM;
}

int pf_mark(uint32_t slot)
{
	return !booted ? PF_ORDER : slot >= PF_MARKS ? PF_ARGUMENT : (int)ENTER(mark(slot));
}

static int64_t rewind_to(uint32_t slot, uint32_t compare)
{
	running = NULL;
	int64_t late = snapshot_restore(slot, compare != 0);
	out_clear();
	return late;
}

int64_t pf_rewind(uint32_t slot, uint32_t compare)
{
	if (!snapshot_exists(slot)) {
		return PF_ORDER;
	}
	if (dead) {
		dead = false; /* its page may be written: it was, by who died */
	}
	return ENTER(rewind_to(slot, compare));
}

static int seed_chance(uint64_t seed)
{
	chance_seed(seed);
	return 0;
}

int pf_chance(uint64_t seed)
{
	return (int)ENTER(seed_chance(seed));
}

/* ---- actors ---- */

uint32_t pf_actors(void)
{
	return FIBRES;
}

const char *pf_actor_name(uint32_t actor)
{
	return actor < FIBRES && fibres[actor].state != FREE ? fibres[actor].name : "";
}

/* In the library's time. */
static uint64_t when(uint32_t actor)
{
	struct fibre *f = &fibres[actor];
	if (actor == EVENTS && vhost_refusals_pending()) {
		return now_ns;
	}
	if (f->state == FREE || (f->thread && thread_others_midway(f))) {
		return PF_BLOCKED;
	}
	if (f->state == READY) {
		return f->thread && !f->midway ? thread_when(f) : f->ready;
	}
	if (!fibre_can_go(f)) {
		f->ready = PF_BLOCKED;
	} else if (f->ready == PF_BLOCKED) {
		f->ready = now_ns + WAKE_NS;
	}
	return f->ready < f->deadline ? f->ready : f->deadline;
}

static uint64_t to_caller_time(uint64_t at)
{
	return at == PF_BLOCKED ? at : at < EPOCH_NS ? 0 : at - EPOCH_NS;
}

uint64_t pf_when(uint32_t actor)
{
	volatile uint64_t at = PF_BLOCKED;
	if (actor < FIBRES && !dead) {
		ENTER((at = to_caller_time(when(actor)), 0));
	}
	return at;
}

static uint64_t changed_since(void)
{
	uint64_t changed = 0;
	for (uint32_t i = 0; i < FIBRES; i++) {
		uint64_t at = when(i);
		if (at != last_when[i]) {
			last_when[i] = at;
			changed |= 1ULL << i;
		}
	}
	return changed;
}

uint64_t pf_changed(void)
{
	if (dead) {
		return (1ULL << FIBRES) - 1;
	}
	volatile uint64_t changed = 0;
	ENTER((changed = changed_since(), 0));
	return changed;
}

static void set_time(uint64_t now)
{
	if (now + EPOCH_NS > now_ns) {
		now_ns = now + EPOCH_NS;
	}
}

static int step(uint32_t actor, uint64_t now, uint32_t stop_at, struct pf_stepped *stepped)
{
	set_time(now);
	struct fibre *f = &fibres[actor];
	step_now = (struct pf_stepped) { .how = PF_DONE };
	if (actor == EVENTS && vhost_refusals_pending()) {
		did(name_text("refuse"));
		vhost_refuse();
		*stepped = step_now;
		return 0;
	}
	if (when(actor) > now_ns) {
		return PF_ORDER;
	}
	if (f->state != READY) {
		f->timed_out = !fibre_can_go(f);
		f->ready = PF_BLOCKED;
	}
	fibre_run(f, stop_at);
	step_now.points = points;
	step_now.how = f->state == FREE ? PF_DONE : f->state != READY ? PF_WAITS : f->midway ? PF_POINT : PF_DONE;
	*stepped = step_now;
	return 0;
}

int pf_step(uint32_t actor, uint64_t now, uint32_t stop_at, struct pf_stepped *stepped)
{
	return !booted ? PF_ORDER : actor >= FIBRES ? PF_ARGUMENT : (int)ENTER(step(actor, now, stop_at, stepped));
}

const char *pf_name(uint32_t name)
{
	return name_get(name);
}

int pf_waits(uint32_t actor, char *text, size_t bytes)
{
	return actor < FIBRES ? lock_waits(&fibres[actor], text, bytes) : PF_ARGUMENT;
}

/* ---- in and out ---- */

int pf_memory(uint32_t memory, const struct pf_region *region, uint32_t regions)
{
	return (int)ENTER(vhost_memory(memory, region, regions));
}

static int connect_to(uint64_t now, uint32_t connection, const char *controller)
{
	char path[256];
	set_time(now);
	snprintf(path, sizeof(path), "%s%s", directory, controller);
	return vhost_connect(connection, path);
}

int pf_connect(uint64_t now, uint32_t connection, const char *controller)
{
	return (int)ENTER(connect_to(now, connection, controller));
}

static int disconnect(uint64_t now, uint32_t connection)
{
	set_time(now);
	return vhost_disconnect(connection);
}

int pf_disconnect(uint64_t now, uint32_t connection)
{
	return (int)ENTER(disconnect(now, connection));
}

static int send_message(uint64_t now, uint32_t connection, const struct pf_message *message)
{
	set_time(now);
	return vhost_message(connection, message);
}

int pf_message(uint64_t now, uint32_t connection, const struct pf_message *message)
{
	return (int)ENTER(send_message(now, connection, message));
}

static int look(uint64_t now, uint32_t connection, uint32_t vring)
{
	set_time(now);
	return vhost_look(connection, vring);
}

int pf_look(uint64_t now, uint32_t connection, uint32_t vring)
{
	return (int)ENTER(look(now, connection, vring));
}

static int feed(uint64_t now, uint32_t client, const void *bytes, size_t length)
{
	set_time(now);
	return rpc_feed(client, bytes, length) ? 0 : PF_ROOM;
}

int pf_rpc(uint64_t now, uint32_t client, const void *bytes, size_t length)
{
	return (int)ENTER(feed(now, client, bytes, length));
}

static int close_rpc(uint64_t now, uint32_t client)
{
	set_time(now);
	return rpc_close(client) ? 0 : PF_ARGUMENT;
}

int pf_rpc_closed(uint64_t now, uint32_t client)
{
	return (int)ENTER(close_rpc(now, client));
}

int pf_pop(struct pf_out *out)
{
	return out_pop(out);
}

int pf_left(struct pf_left *left)
{
	*left = (struct pf_left) {
		.memory_registrations = (uint32_t)memory_registrations, .connections = vhost_connections(),
		.threads = threads_alive(), .requests = vhost_requests_out(NULL), .rpcs = rpc_waiting(),
		.locks = locks_held(),
	};
	return 0;
}
