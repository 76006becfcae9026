/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * rte_vhost_*: devices, and what SPDK asks them. DPDK 26.03, lib/vhost/vhost.c.
 *
 * SPDK writes guest memory through pointers that it got here, so here is noted what it may write: the used
 * ring, and the device-writable descriptors of the chains whose heads it names. Packed rings are never
 * negotiated (vhost-scsi does not offer VIRTIO_F_RING_PACKED and SET_FEATURES refuses it), so each function
 * answers as DPDK does for a split ring. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vhost.h"

struct device *devices[RTE_MAX_VHOST_DEVICE];

/* get_device */
struct device *get_device(int vid)
{
	return vid >= 0 && vid < RTE_MAX_VHOST_DEVICE ? devices[vid] : NULL;
}

/* vhost_new_device, vhost_set_ifname: the lowest number that is free */
struct device *new_device(const char *path, uint32_t connection)
{
	int vid = 0;
	while (vid < RTE_MAX_VHOST_DEVICE && devices[vid]) {
		vid++;
	}
	struct device *dev = vid < RTE_MAX_VHOST_DEVICE ? calloc(1, sizeof(*dev)) : NULL;
	if (!dev) {
		return NULL;
	}
	dev->vid = vid;
	dev->connection = connection;
	strncpy(dev->ifname, path, sizeof(dev->ifname) - 1);
	return devices[vid] = dev;
}

/* vhost_destroy_device_notify */
void destroy_device_notify(struct device *dev)
{
	if (dev->flags & DEV_RUNNING) {
		dev->flags &= ~(uint32_t)DEV_RUNNING;
		if (dev->notify && dev->notify->destroy_device) {
			dev->notify->destroy_device(dev->vid);
		}
	}
}

/* vhost_destroy_device */
void destroy_device(struct device *dev)
{
	destroy_device_notify(dev);
	for (int i = 0; i < VRINGS_MAX; i++) {
		if (dev->vq[i]) {
			drop_inflight(dev, dev->vq[i]);
			free(dev->vq[i]->taken);
			free(dev->vq[i]);
		}
	}
	devices[dev->vid] = NULL;
	free(dev->mem);
	free(dev);
}

/* alloc_vring_queue, init_vring_queue: also the holes below it */
int alloc_vring(struct device *dev, uint32_t index)
{
	for (uint32_t i = 0; i <= index; i++) {
		if (dev->vq[i]) {
			continue;
		}
		struct vq *vq = calloc(1, sizeof(*vq));
		if (!vq) {
			return -1;
		}
		vq->index = i;
		vq->kick = vq->call = FD_UNSET;
		dev->vq[i] = vq;
	}
	dev->vrings = dev->vrings > index + 1 ? dev->vrings : index + 1;
	return 0;
}

/* qva_to_vva; the front-end's addresses are the guest's here. */
uint64_t to_host(const struct device *dev, uint64_t address, uint64_t *bytes)
{
	for (uint32_t i = 0; dev->mem && i < dev->mem->nregions; i++) {
		const struct rte_vhost_mem_region *r = &dev->mem->regions[i];
		if (address >= r->guest_user_addr && address < r->guest_user_addr + r->size) {
			uint64_t rest = r->guest_user_addr + r->size - address;
			*bytes = *bytes < rest ? *bytes : rest;
			return address - r->guest_user_addr + r->host_user_addr;
		}
	}
	*bytes = 0;
	return 0;
}

/* ---- what SPDK may write ---- */

void mark_written(const struct device *dev, uint64_t address, uint64_t bytes)
{
	for (uint32_t i = 0; dev->mem && i < dev->mem->nregions && bytes; i++) {
		const struct rte_vhost_mem_region *r = &dev->mem->regions[i];
		if (address >= r->guest_phys_addr && address < r->guest_phys_addr + r->size) {
			uint64_t offset = address - r->guest_phys_addr, rest = r->size - offset;
			uint64_t n = bytes < rest ? bytes : rest;
			/* The descriptor of a region is the number of its memory, and which region of it. */
			out_put(PF_OUT_WROTE, (uint32_t)r->fd / PF_REGIONS_MAX, (uint32_t)r->fd % PF_REGIONS_MAX,
				(uint32_t)n, offset);
			address += n;
			bytes -= n;
			i = UINT32_MAX; /* the rest may lie in any region */
		}
	}
}

void mark_used(const struct device *dev, const struct vq *vq)
{
	mark_written(dev, vq->ring_used, sizeof(struct vring_used) + sizeof(struct vring_used_elem) * vq->size + 2);
}

void mark_chain(const struct device *dev, const struct vq *vq, uint16_t head)
{
	const struct vring_desc *table = vq->desc;
	uint32_t size = vq->size, at = head;
	for (uint32_t steps = 0; table && at < size && steps < 1024; steps++) {
		const struct vring_desc *d = &table[at];
		if (d->flags & VRING_DESC_F_INDIRECT) {
			uint64_t bytes = d->len;
			table = (const struct vring_desc *)(uintptr_t)to_host(dev, d->addr, &bytes);
			size = (uint32_t)(bytes / sizeof(*d));
			at = 0;
			continue;
		}
		if (d->flags & VRING_DESC_F_WRITE) {
			mark_written(dev, d->addr, d->len);
		}
		if (!(d->flags & VRING_DESC_F_NEXT)) {
			return;
		}
		at = d->next;
	}
}

/* ---- what SPDK asks ---- */

/* rte_vhost_extern_callback_register */
int rte_vhost_extern_callback_register(int vid, struct rte_vhost_user_extern_ops const *const ops, void *ctx)
{
	(void)ctx;
	struct device *dev = get_device(vid);
	if (!dev || !ops) {
		return -1;
	}
	dev->ops = *ops;
	return 0;
}

/* rte_vhost_get_ifname */
int rte_vhost_get_ifname(int vid, char *buf, size_t len)
{
	struct device *dev = get_device(vid);
	if (!dev || !buf) {
		return -1;
	}
	len = len < sizeof(dev->ifname) ? len : sizeof(dev->ifname);
	strncpy(buf, dev->ifname, len);
	buf[len - 1] = 0;
	return 0;
}

/* rte_vhost_get_negotiated_features */
int rte_vhost_get_negotiated_features(int vid, uint64_t *features)
{
	struct device *dev = get_device(vid);
	if (!dev || !features) {
		return -1;
	}
	*features = dev->features;
	return 0;
}

/* rte_vhost_get_mem_table. DPDK reads dev->mem without a look at it: a fault, if there is none. */
int rte_vhost_get_mem_table(int vid, struct rte_vhost_memory **mem)
{
	struct device *dev = get_device(vid);
	if (!dev || !mem) {
		return -1;
	}
	size_t bytes = dev->mem->nregions * sizeof(struct rte_vhost_mem_region);
	struct rte_vhost_memory *copy = malloc(sizeof(*copy) + bytes);
	if (!copy) {
		return -1;
	}
	copy->nregions = dev->mem->nregions;
	memcpy(copy->regions, dev->mem->regions, bytes);
	*mem = copy;
	return 0;
}

static struct vq *vq_of(int vid, uint16_t index, struct device **dev)
{
	*dev = get_device(vid);
	return *dev && index < VRINGS_MAX ? (*dev)->vq[index] : NULL;
}

/* rte_vhost_get_vhost_vring */
int rte_vhost_get_vhost_vring(int vid, uint16_t vring_idx, struct rte_vhost_vring *vring)
{
	struct device *dev;
	struct vq *vq = vq_of(vid, vring_idx, &dev);
	if (!vq || !vring) {
		return -1;
	}
	point();
	vring->desc = vq->desc;
	point();
	vring->avail = vq->avail;
	vring->used = vq->used;
	vring->log_guest_addr = vq->log_guest_addr;
	vring->callfd = vq->call;
	vring->kickfd = vq->kick;
	vring->size = (uint16_t)vq->size;
	if (vq->used) {
		mark_used(dev, vq);
	}
	return 0;
}

/* rte_vhost_get_vring_base */
int rte_vhost_get_vring_base(int vid, uint16_t queue_id, uint16_t *last_avail_idx, uint16_t *last_used_idx)
{
	struct device *dev;
	struct vq *vq = vq_of(vid, queue_id, &dev);
	if (!vq || !last_avail_idx || !last_used_idx) {
		return -1;
	}
	point();
	*last_avail_idx = vq->last_avail;
	*last_used_idx = vq->last_used;
	return 0;
}

/* rte_vhost_set_vring_base */
int rte_vhost_set_vring_base(int vid, uint16_t queue_id, uint16_t last_avail_idx, uint16_t last_used_idx)
{
	struct device *dev;
	struct vq *vq = vq_of(vid, queue_id, &dev);
	if (!vq) {
		return -1;
	}
	point();
	vq->last_avail = last_avail_idx;
	vq->last_used = last_used_idx;
	return 0;
}

/* rte_vhost_get_vring_base_from_inflight: for packed rings only */
int rte_vhost_get_vring_base_from_inflight(int vid, uint16_t queue_id, uint16_t *last_avail_idx, uint16_t *last_used_idx)
{
	(void)vid, (void)queue_id, (void)last_avail_idx, (void)last_used_idx;
	return -1;
}

/* vhost_vring_call_split, with vhost_need_event of the specification */
static void call(struct device *dev, struct vq *vq)
{
	bool wanted = !(vq->avail->flags & VRING_AVAIL_F_NO_INTERRUPT);
	if (dev->features & 1ULL << VIRTIO_RING_F_EVENT_IDX) {
		uint16_t event = vq->avail->ring[vq->size], old = vq->signalled_used, new = vq->last_used;
		wanted = (uint16_t)(new - event - 1) < (uint16_t)(new - old) || !vq->signalled_used_valid;
		vq->signalled_used = new;
		vq->signalled_used_valid = true;
	}
	if (wanted && vq->call >= 0) {
		out_put(PF_OUT_CALL, dev->connection, vq->index, 0, 0);
	}
}

/* rte_vhost_vring_call_nonblock: the message thread holds the lock for writing while it handles most requests */
int rte_vhost_vring_call_nonblock(int vid, uint16_t vring_idx)
{
	struct device *dev;
	struct vq *vq = vq_of(vid, vring_idx, &dev);
	if (!vq) {
		return -1;
	}
	point();
	if (vq->write_locked) {
		return -EAGAIN;
	}
	if (!vq->access_ok) {
		return -1;
	}
	call(dev, vq);
	return 0;
}

static bool unlocked(void *vq)
{
	return !((struct vq *)vq)->write_locked;
}

/* rte_vhost_vring_call */
int rte_vhost_vring_call(int vid, uint16_t vring_idx)
{
	struct device *dev;
	struct vq *vq = vq_of(vid, vring_idx, &dev);
	if (!vq) {
		return -1;
	}
	while (vq->write_locked && running) {
		fibre_wait(unlocked, vq, PF_BLOCKED, "rte_vhost_vring_call, for the vring's lock");
	}
	if (!vq->access_ok) {
		return -1;
	}
	call(dev, vq);
	return 0;
}

/* rte_vhost_backend_config_change: nobody gave a descriptor for requests of the back-end */
int rte_vhost_backend_config_change(int vid, bool need_reply)
{
	(void)need_reply;
	return get_device(vid) ? -1 : -ENODEV;
}

unsigned vhost_requests_out(const char *controller)
{
	unsigned n = 0;
	for (int vid = 0; vid < RTE_MAX_VHOST_DEVICE; vid++) {
		struct device *dev = devices[vid];
		if (!dev) {
			if (vid > CONNECTIONS) {
				break;
			}
			continue;
		}
		const char *name = strrchr(dev->ifname, '/');
		if (controller && strcmp(name ? name + 1 : dev->ifname, controller) != 0) {
			continue;
		}
		for (uint32_t i = 0; i < dev->vrings; i++) {
			n += dev->vq[i] ? dev->vq[i]->out : 0;
		}
	}
	return n;
}
