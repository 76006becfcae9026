/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * What each request of a front-end does. DPDK 26.03, lib/vhost/vhost_user.c: vhost_message_handlers[].
 * Descriptors are not passed here, so all that DPDK checks of them (validate_msg_fds, mmap) has gone well. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "vhost.h"

enum { VRING_SIZE_MAX = 32768, FEATURES_OK = 8 };

/* vring_invalidate */
static void invalidate(struct vq *vq)
{
	vq->access_ok = false;
	vq->desc = NULL;
	vq->avail = NULL;
	vq->used = NULL;
	vq->log_guest_addr = 0;
}

static void *map(const struct device *dev, uint64_t address, uint64_t bytes)
{
	uint64_t got = bytes;
	uint64_t host = to_host(dev, address, &got);
	return got == bytes ? (void *)(uintptr_t)host : NULL;
}

/* translate_ring_addresses: what was mapped before one failed stays */
static void translate(struct device *dev, struct vq *vq)
{
	uint64_t event = dev->features & 1ULL << VIRTIO_RING_F_EVENT_IDX ? sizeof(uint16_t) : 0;
	if (vq->ring_log) {
		vq->log_guest_addr = vq->ring_log;
	}
	if (vq->desc && vq->avail && vq->used) {
		return;
	}
	vq->desc = map(dev, vq->ring_desc, sizeof(struct vring_desc) * vq->size);
	if (!vq->desc) {
		return;
	}
	vq->avail = map(dev, vq->ring_avail, sizeof(struct vring_avail) + sizeof(uint16_t) * vq->size + event);
	if (!vq->avail) {
		return;
	}
	vq->used = map(dev, vq->ring_used, sizeof(struct vring_used) + sizeof(struct vring_used_elem) * vq->size + event);
	if (!vq->used) {
		return;
	}
	if (vq->last_used != vq->used->idx) {
		vq->last_used = vq->used->idx;
		vq->last_avail = vq->used->idx;
	}
	vq->access_ok = true;
}

/* vhost_user_set_features */
static int set_features(struct device *dev, uint64_t features)
{
	uint64_t offered = 0;
	driver_features(dev->ifname, &offered);
	if (features & ~offered) {
		dev->flags |= DEV_FEATURES_FAILED;
		dev->status &= (uint8_t)~FEATURES_OK;
		return RTE_VHOST_MSG_RESULT_ERR;
	}
	if (dev->flags & DEV_RUNNING) {
		if (dev->features == features) {
			return RTE_VHOST_MSG_RESULT_OK;
		}
		if ((dev->features ^ features) & ~(1ULL << VHOST_F_LOG_ALL)) {
			return RTE_VHOST_MSG_RESULT_ERR;
		}
		if (dev->notify->features_changed) {
			dev->notify->features_changed(dev->vid, features);
		}
	}
	dev->features = features;
	dev->flags &= ~(uint32_t)DEV_FEATURES_FAILED;
	return RTE_VHOST_MSG_RESULT_OK;
}

/* vhost_memory_changed */
static bool memory_changed(const struct memory *new, const struct rte_vhost_memory *old)
{
	if (new->regions != old->nregions) {
		return true;
	}
	for (uint32_t i = 0; i < new->regions; i++) {
		const struct rte_vhost_mem_region *r = &old->regions[i];
		if (new->region[i].address != r->guest_phys_addr || new->region[i].bytes != r->size) {
			return true;
		}
	}
	return false;
}

/* vhost_user_set_mem_table */
static int set_mem_table(struct device *dev, uint32_t number)
{
	if (number >= MEMORIES || memories[number].regions == 0 || memories[number].regions > PF_REGIONS_MAX) {
		return RTE_VHOST_MSG_RESULT_ERR;
	}
	const struct memory *memory = &memories[number];
	if (dev->mem && !memory_changed(memory, dev->mem)) {
		return RTE_VHOST_MSG_RESULT_OK;
	}
	free(dev->mem);
	dev->mem = calloc(1, sizeof(*dev->mem) + memory->regions * sizeof(dev->mem->regions[0]));
	for (uint32_t i = 0; i < memory->regions; i++) {
		const struct pf_region *r = &memory->region[i];
		dev->mem->regions[dev->mem->nregions++] = (struct rte_vhost_mem_region) {
			.guest_phys_addr = r->address, .guest_user_addr = r->address, .size = r->bytes,
			.host_user_addr = (uint64_t)(uintptr_t)r->host, .mmap_addr = r->host, .mmap_size = r->bytes,
			.fd = (int)(number * PF_REGIONS_MAX + i),
		};
	}
	for (uint32_t i = 0; i < dev->vrings; i++) {
		struct vq *vq = dev->vq[i];
		if (vq && (vq->desc || vq->avail || vq->used)) {
			invalidate(vq);
			translate(dev, vq);
		}
	}
	return RTE_VHOST_MSG_RESULT_OK;
}

/* vhost_user_set_vring_num */
static int set_vring_num(struct vq *vq, uint64_t size)
{
	if (size > VRING_SIZE_MAX) {
		return RTE_VHOST_MSG_RESULT_ERR;
	}
	vq->size = (uint32_t)size;
	return size & (size - 1) ? RTE_VHOST_MSG_RESULT_ERR : RTE_VHOST_MSG_RESULT_OK;
}

/* vhost_user_set_vring_addr */
static int set_vring_addr(struct device *dev, struct vq *vq, const struct pf_message *m)
{
	if (!dev->mem) {
		return RTE_VHOST_MSG_RESULT_ERR;
	}
	vq->ring_desc = m->desc;
	vq->ring_avail = m->avail;
	vq->ring_used = m->used;
	vq->ring_log = m->log;
	bool was = vq->access_ok;
	invalidate(vq);
	if ((vq->enabled && dev->features & 1ULL << VHOST_USER_F_PROTOCOL_FEATURES) || was) {
		translate(dev, vq);
	}
	return RTE_VHOST_MSG_RESULT_OK;
}

/* vhost_user_set_vring_call, vhost_user_notify_queue_state */
static int set_vring_call(struct device *dev, struct vq *vq, bool fd)
{
	if (vq->ready) {
		vq->ready = false;
		if (dev->notify->vring_state_changed) {
			dev->notify->vring_state_changed(dev->vid, (uint16_t)vq->index, 0);
		}
	}
	vq->call = fd ? FD_SET_ : FD_NONE;
	return RTE_VHOST_MSG_RESULT_OK;
}

/* vhost_user_set_vring_kick */
static int set_vring_kick(struct device *dev, struct vq *vq, bool fd)
{
	translate(dev, vq);
	if (!(dev->features & 1ULL << VHOST_USER_F_PROTOCOL_FEATURES)) {
		vq->enabled = true;
	}
	if (vq->ready) {
		vq->ready = false;
		if (dev->notify->vring_state_changed) {
			dev->notify->vring_state_changed(dev->vid, (uint16_t)vq->index, 0);
		}
	}
	vq->kick = fd ? FD_SET_ : FD_NONE;
	return check_inflight(dev, vq);
}

/* vhost_user_get_vring_base: the second destroy_device, if SPDK's handler stopped the session before it */
static int get_vring_base(struct device *dev, struct vq *vq, struct pf_out *reply)
{
	destroy_device_notify(dev);
	dev->flags &= ~(uint32_t)DEV_READY;
	reply->b = vq->index;
	reply->value = vq->last_avail;
	vq->kick = vq->call = FD_UNSET;
	vq->signalled_used_valid = false;
	point();
	invalidate(vq);
	vq->ring_desc = vq->ring_avail = vq->ring_used = vq->ring_log = 0;
	return RTE_VHOST_MSG_RESULT_REPLY;
}

/* vhost_user_reset_owner, cleanup_device, reset_device */
static int reset_owner(struct device *dev)
{
	destroy_device_notify(dev);
	dev->features = dev->protocol_features = 0;
	dev->flags = 0;
	for (uint32_t i = 0; i < dev->vrings; i++) {
		struct vq *vq = dev->vq[i];
		int call = vq ? vq->call : 0;
		if (vq) {
			free(vq->taken);
			*vq = (struct vq) { .index = i, .kick = FD_UNSET, .call = call };
		}
	}
	return RTE_VHOST_MSG_RESULT_OK;
}

/* vhost_user_set_status */
static int set_status(struct device *dev, uint64_t status)
{
	if (status > UINT8_MAX) {
		return RTE_VHOST_MSG_RESULT_ERR;
	}
	dev->status = (uint8_t)status;
	if (dev->status & FEATURES_OK && dev->flags & DEV_FEATURES_FAILED) {
		dev->status &= (uint8_t)~FEATURES_OK;
	}
	return RTE_VHOST_MSG_RESULT_OK;
}

static int replies(struct pf_out *reply, uint64_t value)
{
	reply->value = value;
	return RTE_VHOST_MSG_RESULT_REPLY;
}

/* vhost_user_set_protocol_features */
static int set_protocol_features(struct device *dev, uint64_t features)
{
	uint64_t offered = 0;
	rte_vhost_driver_get_protocol_features(dev->ifname, &offered);
	if (features & ~offered) {
		return RTE_VHOST_MSG_RESULT_ERR;
	}
	dev->protocol_features = features;
	return RTE_VHOST_MSG_RESULT_OK;
}

/* vhost_message_handlers[]: the handlers of what concerns the device as a whole */
static int handle_device(struct device *dev, const struct pf_message *m, struct pf_out *reply)
{
	uint64_t value = 0;
	switch (m->request) {
	case GET_FEATURES:
		driver_features(dev->ifname, &value);
		return replies(reply, value);
	case SET_FEATURES:
		return set_features(dev, m->value);
	case SET_OWNER:
		return RTE_VHOST_MSG_RESULT_OK;
	case RESET_OWNER:
		return reset_owner(dev);
	case SET_MEM_TABLE:
		return set_mem_table(dev, m->memory);
	case SET_LOG_BASE:
		return set_log_base(dev, m);
	case SET_LOG_FD:
		return RTE_VHOST_MSG_RESULT_OK;
	case GET_PROTOCOL_FEATURES:
		rte_vhost_driver_get_protocol_features(dev->ifname, &value);
		return replies(reply, value);
	case SET_PROTOCOL_FEATURES:
		return set_protocol_features(dev, m->value);
	case GET_QUEUE_NUM:
		return replies(reply, QUEUE_PAIRS_MAX);
	case GET_INFLIGHT_FD:
		return get_inflight(dev, m, reply);
	case SET_INFLIGHT_FD:
		return set_inflight(dev, m);
	case SET_STATUS:
		return set_status(dev, m->value);
	case GET_STATUS:
		return replies(reply, dev->status);
	default:
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	}
}

int request_handle(struct device *dev, const struct pf_message *m, struct pf_out *reply)
{
	struct vq *vq = m->vring < VRINGS_MAX ? dev->vq[m->vring] : NULL;
	switch (m->request) {
	case SET_VRING_NUM:
		return set_vring_num(vq, m->value);
	case SET_VRING_ADDR:
		return set_vring_addr(dev, vq, m);
	case SET_VRING_BASE:
		vq->last_avail = vq->last_used = (uint16_t)m->value;
		return RTE_VHOST_MSG_RESULT_OK;
	case GET_VRING_BASE:
		return get_vring_base(dev, vq, reply);
	case SET_VRING_KICK:
		return set_vring_kick(dev, vq, m->value == 0);
	case SET_VRING_CALL:
		return set_vring_call(dev, vq, m->value == 0);
	case SET_VRING_ERR:
		return RTE_VHOST_MSG_RESULT_OK;
	case SET_VRING_ENABLE:
		vq->enabled = m->value != 0;
		return RTE_VHOST_MSG_RESULT_OK;
	default:
		return handle_device(dev, m, reply);
	}
}
