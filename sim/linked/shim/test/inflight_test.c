/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Inflight buffers and the dirty log: see vhost_test.c. */
#include "rig.h"

/* A front-end that negotiated VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD. */
static int negotiate(uint32_t id)
{
	uint64_t bits = 0;
	CHECK(rte_vhost_driver_get_protocol_features(PATH, &bits) == 0);
	CHECK(rte_vhost_driver_set_protocol_features(PATH, bits | 1 << 12) == 0);
	int vid = connect_front_end(id);
	request(id, SET_PROTOCOL_FEATURES, 0, 1 << 12);
	return vid;
}

static void hand_over(uint32_t id, uint32_t number, uint16_t queues)
{
	struct pf_message m = { .request = number, .memory = 1, .queues = queues, .queue_size = RING_SIZE };
	CHECK(vhost_message(id, &m) == 0);
	run_events();
}

static struct rte_vhost_inflight_info_split *info(void)
{
	return (struct rte_vhost_inflight_info_split *)inflight;
}

/* vhost.c: rte_vhost_{set,clr}_inflight_desc_split, rte_vhost_set_last_inflight_io_split: 0 without the feature; -1
 * without the vring, without the buffer, with a head that is too large */
static void early_returns(void)
{
	fresh();
	int vid = connect_front_end(1);
	start(1, 1);
	CHECK(rte_vhost_set_inflight_desc_split(vid, 0, 0) == 0);
	CHECK(rte_vhost_clr_inflight_desc_split(vid, 0, 1, 0) == 0);
	CHECK(rte_vhost_set_last_inflight_io_split(vid, 0, 0) == 0);
	CHECK(rte_vhost_set_inflight_desc_packed(vid, 0, 0, 0, NULL) == 0);
	fresh();
	vid = negotiate(2);
	start(2, 1);
	for (int i = 0; i < 3; i++) {
		uint16_t vring = i == 0 ? 0 : i == 1 ? 5 : VRINGS_MAX;
		CHECK(rte_vhost_set_inflight_desc_split(vid, vring, 0) == -1);
		CHECK(rte_vhost_clr_inflight_desc_split(vid, vring, 1, 0) == -1);
		CHECK(rte_vhost_set_last_inflight_io_split(vid, vring, 0) == -1);
	}
	CHECK(rte_vhost_set_inflight_desc_packed(vid, 0, 0, 0, NULL) == -1);
	CHECK(rte_vhost_clr_inflight_desc_packed(vid, 0, 0) == -1);
	CHECK(rte_vhost_set_last_inflight_io_packed(vid, 0, 0) == -1);
	struct rte_vhost_ring_inflight ring;
	CHECK(rte_vhost_get_vhost_ring_inflight(vid, 0, &ring) == -1);
	hand_over(2, SET_INFLIGHT_FD, 1);
	CHECK(rte_vhost_get_vhost_ring_inflight(vid, 0, &ring) == 0 && ring.inflight_split == info());
	CHECK(rte_vhost_set_inflight_desc_split(vid, 0, RING_SIZE) == -1);
	CHECK(rte_vhost_clr_inflight_desc_split(vid, 0, 1, RING_SIZE) == -1);
	CHECK(rte_vhost_set_last_inflight_io_split(vid, 0, RING_SIZE) == -1);
	CHECK(rte_vhost_set_inflight_desc_split(vid, 0, 3) == 0 && info()->desc[3].inflight == 1);
	CHECK(rte_vhost_set_last_inflight_io_split(vid, 0, 3) == 0 && info()->last_inflight_io == 3);
	CHECK(rte_vhost_clr_inflight_desc_split(vid, 0, 7, 3) == 0 && info()->desc[3].inflight == 0 && info()->used_idx == 7);
}

/* vhost_user.c: vhost_user_get_inflight_fd, vhost_user_set_inflight_fd */
static void buffers(void)
{
	fresh();
	negotiate(1);
	inflight[0] = 9;
	hand_over(1, GET_INFLIGHT_FD, 2);
	/* 8 descriptors of 16 bytes and 16 more are 144: a queue takes 192 */
	CHECK(last_out(PF_OUT_ANSWER)->a == GET_INFLIGHT_FD && last_out(PF_OUT_ANSWER)->value == 384 && inflight[0] == 0);
	struct pf_message m = { .request = SET_INFLIGHT_FD, .memory = 9, .queues = 1, .queue_size = RING_SIZE };
	CHECK(vhost_message(1, &m) == 0);
	run_events();
	CHECK(!is_open(1));
	connect_front_end(2);
	m = (struct pf_message) { .request = GET_INFLIGHT_FD, .memory = 1, .queues = 200, .queue_size = 128 };
	CHECK(vhost_message(2, &m) == 0);
	run_events();
	CHECK(!is_open(2));
}

/* vhost_user.c: vhost_check_queue_inflights_split: what was taken when the last back-end went away, youngest first;
 * the last one is let go if its used entry was written */
static void resubmission(void)
{
	fresh();
	int vid = negotiate(1);
	request(1, SET_VRING_NUM, 0, RING_SIZE);
	hand_over(1, SET_INFLIGHT_FD, 1);
	start(1, 1);
	CHECK(info()->version == 1 && info()->desc_num == RING_SIZE && !devices[vid]->vq[0]->resubmit);
	info()->desc[2] = (struct rte_vhost_inflight_desc_split) { .inflight = 1, .counter = 4 };
	info()->desc[5] = (struct rte_vhost_inflight_desc_split) { .inflight = 1, .counter = 6 };
	info()->desc[6] = (struct rte_vhost_inflight_desc_split) { .inflight = 1, .counter = 5 };
	info()->last_inflight_io = 6;
	((struct vring_used *)(guest + USED))->idx = 1;
	request(1, GET_VRING_BASE, 0, 0);
	vhost_disconnect(1);
	run_events();
	vid = connect_front_end(2);
	request(2, SET_PROTOCOL_FEATURES, 0, 1 << 12);
	request(2, SET_VRING_NUM, 0, RING_SIZE);
	hand_over(2, SET_INFLIGHT_FD, 1);
	start(2, 1);
	struct rte_vhost_ring_inflight ring;
	CHECK(rte_vhost_get_vhost_ring_inflight(vid, 0, &ring) == 0 && ring.resubmit_inflight->resubmit_num == 2);
	CHECK(ring.resubmit_inflight->resubmit_list[0].index == 5 && ring.resubmit_inflight->resubmit_list[1].index == 2);
	CHECK(info()->desc[6].inflight == 0 && info()->used_idx == 1);
	/* D1: what it makes of it is added to where it begins to read */
	CHECK(devices[vid]->vq[0]->last_avail == 3 && devices[vid]->vq[0]->global_counter == 7);
	request(2, SET_VRING_KICK, 0, 0); /* asked once */
	CHECK(devices[vid]->vq[0]->last_avail == 3);
}

/* vhost.c: vhost_log_write, __vhost_log_write, rte_vhost_log_used_vring; vhost_user.c: vhost_user_set_log_base */
static void dirty_log(void)
{
	fresh();
	int vid = connect_front_end(1);
	start(1, 1);
	struct pf_message m = { .request = SET_LOG_BASE, .memory = 1 };
	rte_vhost_log_write(vid, 0x1000, 1);
	CHECK(vhost_message(1, &m) == 0);
	run_events();
	CHECK(last_out(PF_OUT_ANSWER)->a == SET_LOG_BASE);
	rte_vhost_log_write(vid, 0x1000, 1);
	CHECK(inflight[0] == 0); /* VHOST_F_LOG_ALL was not negotiated */
	request(1, SET_FEATURES, 0, 1ULL << 32 | 1 << 26);
	rte_vhost_log_write(vid, 0x1fff, 2);
	CHECK(inflight[0] == 6);
	rte_vhost_log_write(vid, 0x5000, 0);
	CHECK(inflight[0] == 6);
	rte_vhost_log_write(vid, sizeof(inflight) * 8 * 4096ULL, 1); /* beyond the log */
	rte_vhost_log_used_vring(vid, 0, 4, 8); /* SET_VRING_ADDR gave no log address */
	rte_vhost_log_used_vring(vid, 7, 4, 8);
	CHECK(inflight[0] == 6);
	uint64_t at = GUEST;
	m = (struct pf_message) { .request = SET_VRING_ADDR, .desc = at, .avail = at + AVAIL, .used = at + USED, .log = 0x4000 };
	CHECK(vhost_message(1, &m) == 0);
	run_events();
	rte_vhost_log_used_vring(vid, 0, 4, 8);
	CHECK(inflight[0] == (6 | 1 << 4));
	m = (struct pf_message) { .request = SET_LOG_BASE, .memory = 9 };
	CHECK(vhost_message(1, &m) == 0);
	run_events();
	CHECK(!is_open(1));
}

/* Ours: what SPDK may write is told, through indirect tables and loops too. */
static void marks(void)
{
	fresh();
	int vid = connect_front_end(1);
	start(1, 1);
	struct vring_desc *d = (struct vring_desc *)guest, *table = (struct vring_desc *)(guest + 0x8000);
	d[0] = (struct vring_desc) { GUEST + 0x8000, 32, VRING_DESC_F_INDIRECT, 0 };
	table[0] = (struct vring_desc) { GUEST + 0x9000, 16, VRING_DESC_F_NEXT, 1 };
	table[1] = (struct vring_desc) { GUEST + 0xa000, 100, VRING_DESC_F_WRITE, 0 };
	out_count = 0;
	CHECK(rte_vhost_set_inflight_desc_split(vid, 0, 0) == 0);
	CHECK(out_count == 1 && outs[0].kind == PF_OUT_WROTE && outs[0].value == 0xa000 && outs[0].b == 100);
	CHECK(vhost_requests_out("c0") == 1 && vhost_requests_out("c1") == 0 && vhost_requests_out(NULL) == 1);
	CHECK(rte_vhost_set_last_inflight_io_split(vid, 0, 0) == 0);
	CHECK(last_out(PF_OUT_WROTE)->value == USED);
	CHECK(rte_vhost_clr_inflight_desc_split(vid, 0, 1, 0) == 0 && vhost_requests_out(NULL) == 0);
	d[1] = (struct vring_desc) { GUEST, 16, VRING_DESC_F_NEXT, 1 }; /* points to itself */
	CHECK(rte_vhost_set_inflight_desc_split(vid, 0, 1) == 0);
	CHECK(rte_vhost_set_inflight_desc_split(vid, 0, 999) == 0);
	CHECK(vhost_requests_out(NULL) == 1);
}

void inflight_tests(void)
{
	early_returns();
	buffers();
	resubmission();
	dirty_log();
	marks();
}
