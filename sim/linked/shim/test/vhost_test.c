/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The fake rte_vhost against DPDK 26.03, lib/vhost: each way out of each function. The function of DPDK's that a
 * case holds us to stands in its comment. No SPDK and no DPDK are needed to run it. */
#include <errno.h>
#include "rig.h"

enum { NOBODY = 77 };

/* socket.c: rte_vhost_driver_register */
static void driver_register(void)
{
	fresh();
	CHECK(rte_vhost_driver_register(NULL, 0) == -1);
	CHECK(rte_vhost_driver_register("/s/c1", RTE_VHOST_USER_ASYNC_COPY | RTE_VHOST_USER_IOMMU_SUPPORT) == -1);
	CHECK(rte_vhost_driver_register("/s/c1", RTE_VHOST_USER_ASYNC_COPY | RTE_VHOST_USER_POSTCOPY_SUPPORT) == -1);
	/* All sockets: MAX_VHOST_SOCKET is 1024, and there is one. */
	char path[32];
	int made = 0;
	for (; made < 2000; made++) {
		snprintf(path, sizeof(path), "/s/x%d", made);
		if (rte_vhost_driver_register(path, 0) != 0) {
			break;
		}
	}
	CHECK(made == 1023);
	while (made-- > 0) {
		snprintf(path, sizeof(path), "/s/x%d", made);
		CHECK(rte_vhost_driver_unregister(path) == 0);
	}
}

/* socket.c: rte_vhost_driver_{set,disable}_features, _{get,set}_protocol_features, _callback_register, _start:
 * -1 for a path that nobody registered */
static void driver_unknown_path(void)
{
	fresh();
	uint64_t bits = 7;
	CHECK(rte_vhost_driver_set_features("/no", 1) == -1);
	CHECK(rte_vhost_driver_disable_features("/no", 1) == -1);
	CHECK(rte_vhost_driver_get_protocol_features("/no", &bits) == -1 && bits == 7);
	CHECK(rte_vhost_driver_set_protocol_features("/no", 1) == -1);
	CHECK(rte_vhost_driver_callback_register("/no", NULL) == -1);
	CHECK(rte_vhost_driver_start("/no") == -1);
	CHECK(rte_vhost_driver_start(NULL) == -1);
	CHECK(rte_vhost_driver_unregister("/no") == -1);
	CHECK(rte_vhost_driver_unregister(NULL) == -1);
	/* vhost_user_start_server: bind fails, as the path is bound */
	CHECK(rte_vhost_driver_start(PATH) == -1);
}

/* vhost_user.h: VHOST_USER_PROTOCOL_FEATURES without PAGEFAULT; set takes over whatever it is given */
static void driver_features_are_kept(void)
{
	fresh();
	uint64_t bits = 0;
	CHECK(rte_vhost_driver_get_protocol_features(PATH, &bits) == 0);
	CHECK(bits == (1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 10 | 1 << 11 | 1 << 16));
	CHECK(rte_vhost_driver_set_protocol_features(PATH, bits | 1 << 12) == 0);
	CHECK(rte_vhost_driver_disable_features(PATH, 1 << 28) == 0);
	connect_front_end(1);
	request(1, GET_FEATURES, 0, 0);
	CHECK(last_out(PF_OUT_ANSWER)->value == (1ULL << 32 | 1 << 26 | 1 << 30));
	request(1, GET_PROTOCOL_FEATURES, 0, 0);
	CHECK(last_out(PF_OUT_ANSWER)->value == (bits | 1 << 12));
	request(1, GET_QUEUE_NUM, 0, 0);
	CHECK(last_out(PF_OUT_ANSWER)->value == 0x80);
}

/* vhost.c: every function says -1 (rte_vhost_backend_config_change: -ENODEV) where get_device finds nobody */
static void unknown_device(void)
{
	fresh();
	char name[8];
	uint64_t bits;
	uint16_t a, u;
	struct rte_vhost_memory *mem;
	struct rte_vhost_vring vring;
	struct rte_vhost_ring_inflight ring;
	static const struct rte_vhost_user_extern_ops ops;
	for (int i = 0; i < 3; i++) {
		int vid = i == 0 ? -1 : i == 1 ? NOBODY : RTE_MAX_VHOST_DEVICE;
		CHECK(rte_vhost_extern_callback_register(vid, &ops, NULL) == -1);
		CHECK(rte_vhost_get_ifname(vid, name, sizeof(name)) == -1);
		CHECK(rte_vhost_get_negotiated_features(vid, &bits) == -1);
		CHECK(rte_vhost_get_mem_table(vid, &mem) == -1);
		CHECK(rte_vhost_get_vhost_vring(vid, 0, &vring) == -1);
		CHECK(rte_vhost_get_vhost_ring_inflight(vid, 0, &ring) == -1);
		CHECK(rte_vhost_get_vring_base(vid, 0, &a, &u) == -1);
		CHECK(rte_vhost_set_vring_base(vid, 0, 1, 1) == -1);
		CHECK(rte_vhost_get_vring_base_from_inflight(vid, 0, &a, &u) == -1);
		CHECK(rte_vhost_vring_call(vid, 0) == -1);
		CHECK(rte_vhost_vring_call_nonblock(vid, 0) == -1);
		CHECK(rte_vhost_set_inflight_desc_split(vid, 0, 0) == -1);
		CHECK(rte_vhost_clr_inflight_desc_split(vid, 0, 0, 0) == -1);
		CHECK(rte_vhost_set_last_inflight_io_split(vid, 0, 0) == -1);
		CHECK(rte_vhost_set_inflight_desc_packed(vid, 0, 0, 0, NULL) == -1);
		CHECK(rte_vhost_clr_inflight_desc_packed(vid, 0, 0) == -1);
		CHECK(rte_vhost_set_last_inflight_io_packed(vid, 0, 0) == -1);
		CHECK(rte_vhost_backend_config_change(vid, false) == -ENODEV);
		rte_vhost_log_write(vid, 0, 1);
		rte_vhost_log_used_vring(vid, 0, 0, 1);
	}
}

/* vhost.c: the other arguments: no place for the answer, a vring beyond VHOST_MAX_VRING, one that was never named */
static void wrong_arguments(void)
{
	fresh();
	int vid = connect_front_end(1);
	start(1, 1);
	uint16_t a = 0, u = 0;
	struct rte_vhost_vring vring;
	CHECK(rte_vhost_extern_callback_register(vid, NULL, NULL) == -1);
	CHECK(rte_vhost_get_ifname(vid, NULL, 1) == -1);
	CHECK(rte_vhost_get_negotiated_features(vid, NULL) == -1);
	CHECK(rte_vhost_get_mem_table(vid, NULL) == -1);
	CHECK(rte_vhost_get_vhost_vring(vid, 0, NULL) == -1);
	CHECK(rte_vhost_get_vring_base(vid, 0, NULL, &u) == -1);
	CHECK(rte_vhost_get_vring_base(vid, 0, &a, NULL) == -1);
	for (int i = 0; i < 2; i++) {
		uint16_t index = i ? VRINGS_MAX : 5;
		struct rte_vhost_ring_inflight ring;
		CHECK(rte_vhost_get_vhost_vring(vid, index, &vring) == -1);
		CHECK(rte_vhost_get_vhost_ring_inflight(vid, index, &ring) == -1);
		CHECK(rte_vhost_get_vring_base(vid, index, &a, &u) == -1);
		CHECK(rte_vhost_set_vring_base(vid, index, 1, 1) == -1);
		CHECK(rte_vhost_vring_call(vid, index) == -1);
		CHECK(rte_vhost_vring_call_nonblock(vid, index) == -1);
	}
	char name[4];
	CHECK(rte_vhost_get_ifname(vid, name, sizeof(name)) == 0 && strcmp(name, "/s/") == 0);
}

/* vhost.c: rte_vhost_vring_call(_nonblock): -1 while the ring is not mapped, -EAGAIN while the message thread
 * holds it; no call if the driver wants none (vhost_vring_call_split) or gave no descriptor */
static int vid_in_callback, rc_in_callback;

static void call_in_callback(void)
{
	rc_in_callback = rte_vhost_vring_call_nonblock(vid_in_callback, 0);
}

static void calls(void)
{
	fresh();
	int vid = vid_in_callback = connect_front_end(1);
	request(1, SET_FEATURES, 0, 1ULL << 32);
	request(1, SET_MEM_TABLE, 0, 0);
	request(1, SET_VRING_NUM, 0, RING_SIZE);
	CHECK(rte_vhost_vring_call_nonblock(vid, 0) == -1);
	CHECK(rte_vhost_vring_call(vid, 0) == -1);
	set_up_ring(1, 0);
	CHECK(rte_vhost_vring_call_nonblock(vid, 0) == 0 && last_out(PF_OUT_CALL)->a == 0);
	out_count = 0;
	((struct vring_avail *)(guest + AVAIL))->flags = VRING_AVAIL_F_NO_INTERRUPT;
	CHECK(rte_vhost_vring_call_nonblock(vid, 0) == 0 && !last_out(PF_OUT_CALL));
	((struct vring_avail *)(guest + AVAIL))->flags = 0;
	request(1, SET_VRING_CALL, 0, 1);
	CHECK(rte_vhost_vring_call(vid, 0) == 0 && !last_out(PF_OUT_CALL));
	/* lock_all_qps: held over SET_VRING_ENABLE, not over GET_VRING_BASE */
	in_callback = call_in_callback;
	request(1, SET_VRING_ENABLE, 0, 1);
	CHECK(rc_in_callback == -EAGAIN);
	request(1, GET_VRING_BASE, 0, 0);
	CHECK(rc_in_callback == 0);
	in_callback = NULL;
	CHECK(rte_vhost_vring_call_nonblock(vid, 0) == -1);
}

/* vhost_user.c: vhost_user_set_features */
static void features(void)
{
	fresh();
	int vid = connect_front_end(1);
	uint64_t bits = 0;
	request(1, SET_FEATURES, 0, 1ULL << 34); /* VIRTIO_F_RING_PACKED was not offered */
	CHECK(!is_open(1) && disconnected == 1 && last_out(PF_OUT_CLOSED)->id == 1);
	vid = connect_front_end(2);
	start(2, 1);
	CHECK(news == 1 && devices[vid]->flags & DEV_RUNNING);
	request(2, SET_FEATURES, 0, 1ULL << 32); /* the same */
	CHECK(is_open(2));
	request(2, SET_FEATURES, 0, 1ULL << 32 | 1 << 26); /* the log may begin while it runs */
	CHECK(is_open(2) && rte_vhost_get_negotiated_features(vid, &bits) == 0 && bits == (1ULL << 32 | 1 << 26));
	request(2, SET_FEATURES, 0, 1ULL << 32 | 1 << 28); /* nothing else may */
	CHECK(!is_open(2) && destroyed == 1);
}

/* vhost_user.c: vhost_user_set_protocol_features */
static void protocol_features(void)
{
	fresh();
	connect_front_end(1);
	request(1, SET_PROTOCOL_FEATURES, 0, 1 << 3);
	CHECK(is_open(1));
	request(1, SET_PROTOCOL_FEATURES, 0, 1 << 9);
	CHECK(!is_open(1));
}

/* vhost_user.c: vhost_user_set_vring_num: 32768 at most, a power of two; the size stays for all that */
static void vring_num(void)
{
	fresh();
	int vid = connect_front_end(1);
	request(1, SET_VRING_NUM, 0, 32768);
	CHECK(is_open(1) && devices[vid]->vq[0]->size == 32768);
	request(1, SET_VRING_NUM, 0, 65536);
	CHECK(!is_open(1));
	connect_front_end(2);
	request(2, SET_VRING_NUM, 0, 12);
	CHECK(!is_open(2));
}

/* vhost_user.c: vhost_user_check_and_alloc_queue_pair: holes are made, too far is an error */
static void vring_index(void)
{
	fresh();
	int vid = connect_front_end(1);
	request(1, SET_VRING_NUM, 3, RING_SIZE);
	CHECK(devices[vid]->vrings == 4 && devices[vid]->vq[1] && !devices[vid]->vq[4]);
	request(1, SET_VRING_NUM, VRINGS_MAX, RING_SIZE);
	CHECK(!is_open(1));
}

/* vhost_user.c: vhost_user_set_vring_addr: before there is memory; and translate_ring_addresses */
static void vring_addr(void)
{
	fresh();
	int vid = connect_front_end(1);
	request(1, SET_MEM_TABLE, 0, 0);
	request(1, SET_VRING_NUM, 0, RING_SIZE);
	struct pf_message m = { .request = SET_VRING_ADDR, .desc = GUEST, .avail = GUEST + AVAIL, .used = GUEST + sizeof(guest) - 8 };
	vhost_message(1, &m);
	run_events();
	request(1, SET_VRING_KICK, 0, 0);
	CHECK(devices[vid]->vq[0]->desc && devices[vid]->vq[0]->avail && !devices[vid]->vq[0]->access_ok);
	connect_front_end(2);
	request(2, SET_VRING_NUM, 0, RING_SIZE);
	vhost_message(2, &m);
	run_events();
	CHECK(!is_open(2));
	/* "last_used_idx and vq->used->idx mismatches": DPDK believes the ring */
	fresh();
	vid = connect_front_end(3);
	((struct vring_used *)(guest + USED))->idx = 5;
	start(3, 1);
	CHECK(devices[vid]->vq[0]->last_used == 5 && devices[vid]->vq[0]->last_avail == 5);
}

/* vhost_user.c: vhost_user_set_mem_table: none, the same, another */
static void mem_table(void)
{
	fresh();
	int vid = connect_front_end(1);
	start(1, 1);
	struct vring_desc *before = devices[vid]->vq[0]->desc;
	request(1, SET_MEM_TABLE, 0, 0);
	CHECK(devices[vid]->vq[0]->desc == before);
	static uint8_t other[sizeof(guest)];
	struct pf_region regions[2] = { { GUEST, sizeof(other), other }, { 0x80000000, 4096, inflight } };
	CHECK(vhost_memory(2, regions, 2) == 0);
	struct pf_message m = { .request = SET_MEM_TABLE, .memory = 2 };
	vhost_message(1, &m);
	run_events();
	CHECK((uint8_t *)devices[vid]->vq[0]->desc == other);
	struct rte_vhost_memory *mem = NULL;
	CHECK(rte_vhost_get_mem_table(vid, &mem) == 0 && mem->nregions == 2 && mem->regions[1].guest_phys_addr == 0x80000000);
	free(mem);
	CHECK(vhost_memory(MEMORIES, regions, 1) == PF_ARGUMENT && vhost_memory(3, regions, 9) == PF_ARGUMENT);
	m.memory = 9;
	vhost_message(1, &m);
	run_events();
	CHECK(!is_open(1));
}

/* vhost_user.c: virtio_is_ready: every vring that exists must be, and DRIVER_OK where STATUS was negotiated */
static void readiness(void)
{
	fresh();
	int vid = connect_front_end(1);
	request(1, SET_FEATURES, 0, 1ULL << 32);
	request(1, SET_MEM_TABLE, 0, 0);
	request(1, SET_VRING_NUM, 1, RING_SIZE);
	set_up_ring(1, 0);
	CHECK(news == 0);
	set_up_ring(1, 1);
	CHECK(news == 1 && devices[vid]->flags & DEV_RUNNING);
	/* new_device refuses: asked again with the next message */
	fresh();
	new_device_says = -1;
	connect_front_end(2);
	start(2, 1);
	request(2, GET_STATUS, 0, 0);
	CHECK(news == 2);
	/* PROTOCOL_FEATURES: a ring begins disabled */
	fresh();
	connect_front_end(3);
	request(3, SET_FEATURES, 0, 1ULL << 32 | 1 << 30);
	request(3, SET_PROTOCOL_FEATURES, 0, 1 << 16);
	request(3, SET_MEM_TABLE, 0, 0);
	set_up_ring(3, 0);
	CHECK(news == 0);
	request(3, SET_VRING_ENABLE, 0, 1);
	CHECK(news == 0);
	request(3, SET_STATUS, 0, 4);
	CHECK(news == 1);
}

/* vhost_user.c: vhost_user_get_vring_base: stops the device, answers, forgets the ring */
static void vring_base(void)
{
	fresh();
	int vid = connect_front_end(1);
	start(1, 2);
	CHECK(rte_vhost_set_vring_base(vid, 1, 9, 9) == 0);
	request(1, GET_VRING_BASE, 1, 0);
	struct pf_out *reply = last_out(PF_OUT_ANSWER);
	CHECK(reply->a == GET_VRING_BASE && reply->b == 1 && reply->value == 9 && destroyed == 1);
	CHECK(!devices[vid]->vq[1]->desc && devices[vid]->vq[1]->kick == FD_UNSET && devices[vid]->vq[0]->desc);
	request(1, GET_VRING_BASE, 0, 0);
	CHECK(destroyed == 1 && news == 1);
}

/* vhost_user.c: vhost_user_{get,set}_status, vhost_user_set_owner, vhost_user_reset_owner, vhost_user_set_vring_err */
static void small_requests(void)
{
	fresh();
	int vid = connect_front_end(1);
	request(1, SET_OWNER, 0, 0);
	request(1, SET_VRING_ERR, 0, 0);
	request(1, SET_STATUS, 0, 15);
	request(1, GET_STATUS, 0, 0);
	CHECK(last_out(PF_OUT_ANSWER)->value == 15);
	start(1, 1);
	request(1, RESET_OWNER, 0, 0);
	CHECK(destroyed == 1 && devices[vid]->features == 0 && !devices[vid]->vq[0]->desc);
	request(1, SET_STATUS, 0, 256);
	CHECK(!is_open(1));
}

/* vhost_user.c: vhost_user_msg_handler: need_reply, what pre and post handlers may say, what nobody handles */
static void replies(void)
{
	fresh();
	connect_front_end(1);
	struct pf_message m = { .request = SET_FEATURES, .value = 1ULL << 34, .need_reply = 1 };
	vhost_message(1, &m);
	run_events();
	CHECK(is_open(1) && last_out(PF_OUT_ANSWER)->a == PF_ACK && last_out(PF_OUT_ANSWER)->value == 1);
	m.value = 1ULL << 32;
	vhost_message(1, &m);
	run_events();
	CHECK(last_out(PF_OUT_ANSWER)->value == 0);
	out_count = 0;
	m = (struct pf_message) { .request = GET_FEATURES, .need_reply = 1 };
	vhost_message(1, &m);
	run_events();
	CHECK(out_count == 1); /* the answer is the reply */
	pre_says = RTE_VHOST_MSG_RESULT_OK;
	request(1, 99, 0, 0);
	CHECK(is_open(1));
	pre_says = RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	post_says = RTE_VHOST_MSG_RESULT_OK;
	request(1, 99, 0, 0);
	CHECK(is_open(1));
	post_says = RTE_VHOST_MSG_RESULT_ERR;
	request(1, SET_OWNER, 0, 0);
	CHECK(!is_open(1));
	fresh();
	connect_front_end(2);
	request(2, 99, 0, 0);
	CHECK(!is_open(2));
	fresh();
	connect_front_end(3);
	pre_says = RTE_VHOST_MSG_RESULT_ERR;
	request(3, SET_OWNER, 0, 0);
	CHECK(!is_open(3));
}

/* socket.c: vhost_user_server_new_connection, vhost_user_read_cb, rte_vhost_driver_unregister */
static void connections(void)
{
	fresh();
	CHECK(vhost_connect(1, "/s/nobody") == 0 && vhost_refusals_pending());
	vhost_refuse();
	CHECK(last_out(PF_OUT_CLOSED)->id == 1 && !vhost_refusals_pending());
	new_connection_says = -1;
	connect_front_end(2);
	CHECK(connected == 1 && disconnected == 0 && last_out(PF_OUT_CLOSED)->id == 2);
	new_connection_says = 0;
	int first = connect_front_end(3), second = connect_front_end(4);
	CHECK(first == 0 && second == 1 && vhost_connections() == 2);
	CHECK(vhost_connect(4, PATH) == PF_ARGUMENT);
	start(3, 1);
	vhost_disconnect(3);
	run_events();
	CHECK(destroyed == 1 && disconnected == 1 && !is_open(3));
	CHECK(connect_front_end(5) == 0); /* the lowest number that is free */
	out_count = 0;
	CHECK(vhost_connect(6, PATH) == 0); /* not accepted yet */
	CHECK(rte_vhost_driver_unregister(PATH) == 0);
	CHECK(out_count == 3 && disconnected == 1 && vhost_connections() == 0 && !vhost_is_bound(PATH));
	CHECK(rte_vhost_driver_unregister(PATH) == -1);
	struct pf_message m = { .request = SET_OWNER };
	CHECK(vhost_message(5, &m) == 0 && vhost_message(NOBODY, &m) == PF_ARGUMENT && vhost_disconnect(NOBODY) == PF_ARGUMENT);
}

void inflight_tests(void);

int main(void)
{
	driver_register();
	driver_unknown_path();
	driver_features_are_kept();
	unknown_device();
	wrong_arguments();
	calls();
	features();
	protocol_features();
	vring_num();
	vring_index();
	vring_addr();
	mem_table();
	readiness();
	vring_base();
	small_requests();
	replies();
	connections();
	inflight_tests();
	printf(failures ? "%d checks failed\n" : "the fake rte_vhost: all as DPDK's\n", failures);
	return failures != 0;
}
