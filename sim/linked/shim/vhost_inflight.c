/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Inflight buffers (what a back-end had taken when it went away) and the dirty log of a migration. DPDK 26.03,
 * lib/vhost/vhost.c and vhost_user.c. Known bug D1 lives here: check_inflight moves last_avail for requests
 * that were taken, which DPDK reads from a buffer that it trusts. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "vhost.h"

enum { LOG_PAGE = 4096, INFLIGHT_ALIGN = 64, INFLIGHT_VERSION = 1 };

/* get_pervq_shm_size_split */
static uint64_t bytes_per_queue(uint16_t size)
{
	uint64_t bytes = sizeof(struct rte_vhost_inflight_desc_split) * size + sizeof(uint64_t) + sizeof(uint16_t) * 4;
	return (bytes + INFLIGHT_ALIGN - 1) / INFLIGHT_ALIGN * INFLIGHT_ALIGN;
}

static bool negotiated(const struct device *dev)
{
	return dev->protocol_features & 1ULL << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD;
}

/* cleanup_vq_inflight */
void drop_inflight(struct device *dev, struct vq *vq)
{
	if (!negotiated(dev)) {
		return;
	}
	vq->inflight = NULL;
	if (vq->resubmit) {
		free(vq->resubmit->resubmit_list);
		free(vq->resubmit);
		vq->resubmit = NULL;
	}
}

static void mark_inflight(const struct device *dev, const struct vq *vq)
{
	(void)dev;
	for (uint32_t m = 0; m < MEMORIES; m++) {
		for (uint32_t r = 0; r < memories[m].regions; r++) {
			const struct pf_region *region = &memories[m].region[r];
			uint64_t offset = (uint64_t)((uintptr_t)vq->inflight - (uintptr_t)region->host);
			if (offset < region->bytes) {
				out_put(PF_OUT_WROTE, m, r, (uint32_t)bytes_per_queue(vq->inflight->desc_num), offset);
				return;
			}
		}
	}
}

/* vhost_user_get_inflight_fd: the caller made the buffer */
int get_inflight(struct device *dev, const struct pf_message *m, struct pf_out *reply)
{
	(void)dev;
	uint64_t bytes = m->queues * bytes_per_queue(m->queue_size);
	if (m->memory >= MEMORIES || memories[m->memory].regions != 1 || memories[m->memory].region[0].bytes < bytes) {
		return RTE_VHOST_MSG_RESULT_ERR;
	}
	memset(memories[m->memory].region[0].host, 0, bytes);
	out_put(PF_OUT_WROTE, m->memory, 0, (uint32_t)bytes, 0);
	reply->b = m->memory;
	reply->value = bytes;
	return RTE_VHOST_MSG_RESULT_REPLY;
}

/* vhost_user_set_inflight_fd. More queues than the buffer has room for are DPDK's to walk past its end. */
int set_inflight(struct device *dev, const struct pf_message *m)
{
	if (m->memory >= MEMORIES || memories[m->memory].regions != 1) {
		return RTE_VHOST_MSG_RESULT_ERR;
	}
	char *at = memories[m->memory].region[0].host;
	for (uint32_t i = 0; i < m->queues; i++, at += bytes_per_queue(m->queue_size)) {
		struct vq *vq = dev->vq[i];
		if (!vq) {
			continue;
		}
		drop_inflight(dev, vq);
		vq->inflight = (void *)at;
		vq->inflight->desc_num = m->queue_size;
		mark_inflight(dev, vq);
	}
	return RTE_VHOST_MSG_RESULT_OK;
}

/* resubmit_desc_compare: the youngest first */
static int by_counter(const void *a, const void *b)
{
	uint64_t x = ((const struct rte_vhost_resubmit_desc *)a)->counter;
	uint64_t y = ((const struct rte_vhost_resubmit_desc *)b)->counter;
	return x > y ? -1 : 1;
}

static void sort(struct rte_vhost_resubmit_desc *d, uint16_t count)
{
	/* Not qsort: libc's may allocate. */
	for (uint16_t i = 1; i < count; i++) {
		for (uint16_t k = i; k > 0 && by_counter(&d[k - 1], &d[k]) > 0; k--) {
			struct rte_vhost_resubmit_desc t = d[k];
			d[k] = d[k - 1];
			d[k - 1] = t;
		}
	}
}

/* vhost_check_queue_inflights_split */
int check_inflight(struct device *dev, struct vq *vq)
{
	struct rte_vhost_inflight_info_split *info = vq->inflight;
	if (!negotiated(dev) || !info) {
		return RTE_VHOST_MSG_RESULT_OK;
	}
	mark_inflight(dev, vq);
	if (!info->version) {
		info->version = INFLIGHT_VERSION;
		return RTE_VHOST_MSG_RESULT_OK;
	}
	if (vq->resubmit) {
		return RTE_VHOST_MSG_RESULT_OK;
	}
	vq->global_counter = 0;
	if (info->used_idx != vq->used->idx) {
		info->desc[info->last_inflight_io].inflight = 0;
		info->used_idx = vq->used->idx;
	}
	uint16_t count = 0;
	for (uint16_t i = 0; i < info->desc_num; i++) {
		count += info->desc[i].inflight == 1;
	}
	vq->last_avail = (uint16_t)(vq->last_avail + count);
	if (!count) {
		return RTE_VHOST_MSG_RESULT_OK;
	}
	struct rte_vhost_resubmit_info *again = calloc(1, sizeof(*again));
	again->resubmit_list = calloc(count, sizeof(*again->resubmit_list));
	for (uint16_t i = 0; i < info->desc_num; i++) {
		if (info->desc[i].inflight == 1) {
			again->resubmit_list[again->resubmit_num++] =
				(struct rte_vhost_resubmit_desc) { .index = i, .counter = info->desc[i].counter };
		}
	}
	sort(again->resubmit_list, again->resubmit_num);
	vq->global_counter = again->resubmit_list[0].counter + 1;
	vq->resubmit = again;
	return RTE_VHOST_MSG_RESULT_OK;
}

/* rte_vhost_get_vhost_ring_inflight */
int rte_vhost_get_vhost_ring_inflight(int vid, uint16_t vring_idx, struct rte_vhost_ring_inflight *vring)
{
	struct device *dev = get_device(vid);
	struct vq *vq = dev && vring_idx < VRINGS_MAX ? dev->vq[vring_idx] : NULL;
	if (!vq || !vq->inflight) {
		return -1;
	}
	vring->inflight_split = vq->inflight;
	vring->resubmit_inflight = vq->resubmit;
	return 0;
}

/* ---- what SPDK notes of each request: also how the shim knows its heads ---- */

static struct vq *noted(int vid, uint16_t vring_idx, struct device **dev)
{
	*dev = get_device(vid);
	return *dev && vring_idx < VRINGS_MAX ? (*dev)->vq[vring_idx] : NULL;
}

static void count(struct vq *vq, uint16_t head, bool taken)
{
	uint64_t bit = 1ULL << (head % 64);
	if (head >= vq->size) {
		return;
	}
	if (!vq->taken) {
		vq->taken = calloc(32768 / 64, sizeof(uint64_t));
	}
	bool was = vq->taken[head / 64] & bit;
	if (was == taken) {
		return;
	}
	vq->taken[head / 64] ^= bit;
	vq->out += taken ? 1u : -1u;
}

/* What the three below have in common: 1 to go on, else what they return. */
static int usable(const struct device *dev, const struct vq *vq, uint16_t idx)
{
	if (!dev) {
		return -1;
	}
	if (!negotiated(dev)) {
		return 0;
	}
	return vq && vq->inflight && idx < vq->size ? 1 : -1;
}

/* rte_vhost_set_inflight_desc_split */
int rte_vhost_set_inflight_desc_split(int vid, uint16_t vring_idx, uint16_t idx)
{
	struct device *dev;
	struct vq *vq = noted(vid, vring_idx, &dev);
	point();
	if (vq) {
		count(vq, idx, true);
		mark_chain(dev, vq, idx);
	}
	int rc = usable(dev, vq, idx);
	if (rc != 1) {
		return rc;
	}
	vq->inflight->desc[idx].counter = vq->global_counter++;
	vq->inflight->desc[idx].inflight = 1;
	mark_inflight(dev, vq);
	return 0;
}

/* rte_vhost_set_last_inflight_io_split */
int rte_vhost_set_last_inflight_io_split(int vid, uint16_t vring_idx, uint16_t idx)
{
	struct device *dev;
	struct vq *vq = noted(vid, vring_idx, &dev);
	if (vq) {
		mark_chain(dev, vq, idx);
		mark_used(dev, vq);
	}
	int rc = usable(dev, vq, idx);
	if (rc != 1) {
		return rc;
	}
	vq->inflight->last_inflight_io = idx;
	return 0;
}

/* rte_vhost_clr_inflight_desc_split */
int rte_vhost_clr_inflight_desc_split(int vid, uint16_t vring_idx, uint16_t last_used_idx, uint16_t idx)
{
	struct device *dev;
	struct vq *vq = noted(vid, vring_idx, &dev);
	if (vq) {
		count(vq, idx, false);
	}
	point();
	int rc = usable(dev, vq, idx);
	if (rc != 1) {
		return rc;
	}
	vq->inflight->desc[idx].inflight = 0;
	vq->inflight->used_idx = last_used_idx;
	mark_inflight(dev, vq);
	return 0;
}

/* rte_vhost_set_inflight_desc_packed and its like: the ring is not packed, so 0 without the feature, else -1 */
static int not_packed(int vid)
{
	struct device *dev = get_device(vid);
	return !dev ? -1 : negotiated(dev) ? -1 : 0;
}

int rte_vhost_set_inflight_desc_packed(int vid, uint16_t vring_idx, uint16_t head, uint16_t last, uint16_t *inflight_entry)
{
	(void)vring_idx, (void)head, (void)last, (void)inflight_entry;
	return not_packed(vid);
}

int rte_vhost_clr_inflight_desc_packed(int vid, uint16_t vring_idx, uint16_t head)
{
	(void)vring_idx, (void)head;
	return not_packed(vid);
}

int rte_vhost_set_last_inflight_io_packed(int vid, uint16_t vring_idx, uint16_t head)
{
	(void)vring_idx, (void)head;
	return not_packed(vid);
}

/* ---- the dirty log ---- */

/* vhost_user_set_log_base */
int set_log_base(struct device *dev, const struct pf_message *m)
{
	if (m->memory >= MEMORIES || memories[m->memory].regions != 1) {
		return RTE_VHOST_MSG_RESULT_ERR;
	}
	dev->log_base = memories[m->memory].region[0].host;
	dev->log_bytes = memories[m->memory].region[0].bytes;
	return RTE_VHOST_MSG_RESULT_REPLY;
}

/* vhost_log_write, __vhost_log_write */
void rte_vhost_log_write(int vid, uint64_t addr, uint64_t len)
{
	struct device *dev = get_device(vid);
	if (!dev || !(dev->features & 1ULL << VHOST_F_LOG_ALL) || !dev->log_base || !len) {
		return;
	}
	if (dev->log_bytes <= (addr + len - 1) / LOG_PAGE / 8) {
		return;
	}
	for (uint64_t page = addr / LOG_PAGE; page * LOG_PAGE < addr + len; page++) {
		dev->log_base[page / 8] |= (uint8_t)(1u << (page % 8));
	}
}

/* rte_vhost_log_used_vring, vhost_log_used_vring */
void rte_vhost_log_used_vring(int vid, uint16_t vring_idx, uint64_t offset, uint64_t len)
{
	struct device *dev;
	struct vq *vq = noted(vid, vring_idx, &dev);
	if (vq && vq->log_guest_addr) {
		rte_vhost_log_write(vid, vq->log_guest_addr + offset, len);
	}
}
