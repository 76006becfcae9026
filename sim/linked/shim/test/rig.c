/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * See rig.h. */
#include <setjmp.h>
#include "rig.h"

int failures;
uint8_t guest[1 << 16], inflight[4096];
struct pf_out outs[256];
int out_count;
int news, destroyed, connected, disconnected;
int new_device_says, new_connection_says;
enum rte_vhost_msg_result pre_says, post_says;
void (*in_callback)(void);

struct fibre fibres[FIBRES], *running;
uint64_t now_ns = EPOCH_NS;
struct pf_stepped step_now;
static jmp_buf nothing_to_read;
static bool dispatching;

void point(void)
{
}

void lock(pthread_mutex_t *mutex)
{
	CHECK(pthread_mutex_trylock(mutex) == 0);
}

void unlock(pthread_mutex_t *mutex)
{
	pthread_mutex_unlock(mutex);
}

void stimulus(void)
{
}

void did(uint32_t name)
{
	(void)name;
}

uint32_t name_text(const char *text)
{
	(void)text;
	return 1;
}

void thread_wake_named(const char *name)
{
	CHECK(strcmp(name, "c0") == 0);
}

void out_put(uint32_t kind, uint32_t id, uint32_t a, uint32_t b, uint64_t value)
{
	outs[out_count++ % 256] = (struct pf_out) { .kind = kind, .id = id, .a = a, .b = b, .value = value };
}

struct pf_out *last_out(uint32_t kind)
{
	for (int i = out_count - 1; i >= 0; i--) {
		if (outs[i].kind == kind) {
			return &outs[i];
		}
	}
	return NULL;
}

struct fibre *fibre_start(int first, int count, const char *name, void (*body)(void *), void *arg)
{
	(void)count, (void)name;
	fibres[first].state = READY;
	fibres[first].body = body;
	fibres[first].arg = arg;
	return &fibres[first];
}

void fibre_yield(uint64_t ready)
{
	(void)ready;
}

bool fibre_wait(condition met, void *arg, uint64_t deadline, const char *what)
{
	(void)deadline, (void)what;
	CHECK(dispatching);
	if (met(arg)) {
		return true;
	}
	longjmp(nothing_to_read, 1);
}

void run_events(void)
{
	if (fibres[EVENTS].state == FREE || setjmp(nothing_to_read)) {
		dispatching = false;
		return;
	}
	dispatching = true;
	fibres[EVENTS].body(NULL);
	fibres[EVENTS].state = FREE;
	dispatching = false;
}

static int on_new_device(int vid)
{
	(void)vid;
	news++;
	return new_device_says;
}

static void on_destroy_device(int vid)
{
	(void)vid;
	destroyed++;
}

static enum rte_vhost_msg_result on_pre(int vid, void *message)
{
	(void)vid, (void)message;
	if (in_callback) {
		in_callback();
	}
	return pre_says;
}

static enum rte_vhost_msg_result on_post(int vid, void *message)
{
	(void)vid, (void)message;
	return post_says;
}

static int on_new_connection(int vid)
{
	static const struct rte_vhost_user_extern_ops ops = { on_pre, on_post };
	connected++;
	if (new_connection_says == 0) {
		CHECK(rte_vhost_extern_callback_register(vid, &ops, NULL) == 0);
	}
	return new_connection_says;
}

static void on_destroy_connection(int vid)
{
	(void)vid;
	disconnected++;
}

void fresh(void)
{
	static const struct rte_vhost_device_ops ops = {
		.new_device = on_new_device, .destroy_device = on_destroy_device,
		.new_connection = on_new_connection, .destroy_connection = on_destroy_connection,
	};
	static uint32_t used;
	for (; used < 200; used++) {
		vhost_disconnect(used);
	}
	run_events();
	used = 0;
	rte_vhost_driver_unregister(PATH);
	run_events();
	news = destroyed = connected = disconnected = out_count = 0;
	new_device_says = new_connection_says = 0;
	pre_says = post_says = RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	in_callback = NULL;
	memset(guest, 0, sizeof(guest));
	memset(inflight, 0, sizeof(inflight));
	CHECK(rte_vhost_driver_register(PATH, 0) == 0);
	/* VERSION_1, INDIRECT_DESC, LOG_ALL, PROTOCOL_FEATURES: what vhost-scsi offers, in essence */
	CHECK(rte_vhost_driver_set_features(PATH, 1ULL << 32 | 1 << 28 | 1 << 26 | 1 << 30) == 0);
	CHECK(rte_vhost_driver_callback_register(PATH, &ops) == 0);
	CHECK(rte_vhost_driver_start(PATH) == 0);
	struct pf_region region = { GUEST, sizeof(guest), guest };
	CHECK(vhost_memory(0, &region, 1) == 0);
	region = (struct pf_region) { 0, sizeof(inflight), inflight };
	CHECK(vhost_memory(1, &region, 1) == 0);
}

int connect_front_end(uint32_t id)
{
	CHECK(vhost_connect(id, PATH) == 0);
	run_events();
	for (int vid = 0; vid < RTE_MAX_VHOST_DEVICE; vid++) {
		if (devices[vid] && devices[vid]->connection == id) {
			return vid;
		}
	}
	return -1;
}

void request(uint32_t id, uint32_t number, uint32_t vring, uint64_t value)
{
	struct pf_message m = { .request = number, .vring = vring, .value = value };
	CHECK(vhost_message(id, &m) == 0);
	run_events();
}

void set_up_ring(uint32_t id, uint32_t vring)
{
	uint64_t at = GUEST + vring * 0x4000;
	request(id, SET_VRING_NUM, vring, RING_SIZE);
	request(id, SET_VRING_BASE, vring, 0);
	struct pf_message m = { .request = SET_VRING_ADDR, .vring = vring, .desc = at, .avail = at + AVAIL, .used = at + USED };
	CHECK(vhost_message(id, &m) == 0);
	run_events();
	request(id, SET_VRING_CALL, vring, 0);
	request(id, SET_VRING_KICK, vring, 0);
}

void start(uint32_t id, uint32_t vrings)
{
	request(id, SET_FEATURES, 0, 1ULL << 32);
	request(id, SET_MEM_TABLE, 0, 0);
	for (uint32_t i = 0; i < vrings; i++) {
		set_up_ring(id, i);
	}
}

bool is_open(uint32_t id)
{
	for (int vid = 0; vid < RTE_MAX_VHOST_DEVICE; vid++) {
		if (devices[vid] && devices[vid]->connection == id) {
			return true;
		}
	}
	return false;
}
