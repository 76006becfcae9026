/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * What is done with every request: SPDK's handlers before and after, locks, replies, and whether the device is
 * ready. DPDK 26.03, lib/vhost/vhost_user.c: vhost_user_msg_handler. */
#define _GNU_SOURCE
#include "vhost.h"

enum { DRIVER_OK = 4, VERSION = 1, NEED_REPLY = 8, NO_FD = 1 << 8 };

/* What SPDK's handlers are shown: the message as it is on the wire. */
struct wire {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct { uint32_t index, num; } state;
		char most[1024];
	} payload;
} __attribute__((packed));

static struct wire to_wire(const struct pf_message *m)
{
	struct wire w = { .request = m->request, .flags = VERSION | (m->need_reply ? NEED_REPLY : 0u), .size = 8 };
	switch (m->request) {
	case SET_VRING_KICK:
	case SET_VRING_CALL:
	case SET_VRING_ERR:
		w.payload.u64 = m->vring | (m->value ? NO_FD : 0u);
		break;
	case SET_VRING_NUM:
	case SET_VRING_BASE:
	case GET_VRING_BASE:
	case SET_VRING_ENABLE:
		w.payload.state.index = m->vring;
		w.payload.state.num = (uint32_t)m->value;
		break;
	default:
		w.payload.u64 = m->value;
	}
	return w;
}

/* vhost_user_check_and_alloc_queue_pair */
static int check_and_alloc(struct device *dev, const struct pf_message *m)
{
	uint32_t index = m->vring;
	switch (m->request) {
	case SET_VRING_KICK:
	case SET_VRING_CALL:
	case SET_VRING_ERR:
		index &= 0xff;
		break;
	case SET_VRING_NUM:
	case SET_VRING_BASE:
	case GET_VRING_BASE:
	case SET_VRING_ENABLE:
	case SET_VRING_ADDR:
		break;
	case SET_INFLIGHT_FD:
		index = (uint32_t)m->queues - 1;
		break;
	default:
		return 0;
	}
	if (index >= VRINGS_MAX) {
		return -1;
	}
	return dev->vq[index] ? 0 : alloc_vring(dev, index);
}

/* The column lock_all_qps of VHOST_MESSAGE_HANDLERS. */
static bool locks_all(uint32_t request)
{
	switch (request) {
	case SET_FEATURES:
	case SET_OWNER:
	case SET_MEM_TABLE:
	case SET_LOG_BASE:
	case SET_LOG_FD:
	case SET_VRING_NUM:
	case SET_VRING_ADDR:
	case SET_VRING_BASE:
	case SET_VRING_KICK:
	case SET_VRING_CALL:
	case SET_VRING_ERR:
	case SET_PROTOCOL_FEATURES:
	case SET_VRING_ENABLE:
		return true;
	default:
		return false;
	}
}

static void lock_all(struct device *dev, bool on)
{
	for (uint32_t i = 0; i < dev->vrings; i++) {
		if (dev->vq[i]) {
			dev->vq[i]->write_locked = on;
		}
	}
}

/* vq_is_ready */
static bool vq_is_ready(const struct vq *vq)
{
	return vq && vq->desc && vq->avail && vq->used && vq->kick != FD_UNSET && vq->call != FD_UNSET && vq->enabled;
}

/* virtio_is_ready, without vDPA and the built-in net device */
static bool is_ready(struct device *dev)
{
	if (dev->flags & DEV_READY) {
		return true;
	}
	for (uint32_t i = 0; i < dev->vrings; i++) {
		if (!vq_is_ready(dev->vq[i])) {
			return false;
		}
	}
	bool waits = dev->protocol_features & 1ULL << VHOST_USER_PROTOCOL_F_STATUS && !(dev->status & DRIVER_OK);
	if (!dev->vrings || waits) {
		return false;
	}
	dev->flags |= DEV_READY;
	return true;
}

static void answer(const struct device *dev, struct pf_out *reply, struct wire *w)
{
	out_put(PF_OUT_ANSWER, dev->connection, reply->a, reply->b, reply->value);
	w->flags &= ~(uint32_t)NEED_REPLY;
}

/* The part between check_and_alloc and the end of the locks. */
static int handle_all(struct device *dev, const struct pf_message *m, struct wire *w)
{
	struct pf_out reply = { .a = m->request };
	bool handled = false;
	int result = RTE_VHOST_MSG_RESULT_OK;
	if (dev->ops.pre_msg_handle) {
		result = dev->ops.pre_msg_handle(dev->vid, w);
		handled = result != RTE_VHOST_MSG_RESULT_NOT_HANDLED;
		if (result == RTE_VHOST_MSG_RESULT_REPLY) {
			answer(dev, &reply, w);
		}
	}
	if (!handled) {
		point();
		result = request_handle(dev, m, &reply);
		handled = result != RTE_VHOST_MSG_RESULT_NOT_HANDLED;
		if (result == RTE_VHOST_MSG_RESULT_REPLY) {
			answer(dev, &reply, w);
		}
		point();
	}
	if (result != RTE_VHOST_MSG_RESULT_ERR && dev->ops.post_msg_handle) {
		result = dev->ops.post_msg_handle(dev->vid, w);
		if (result == RTE_VHOST_MSG_RESULT_REPLY) {
			answer(dev, &reply, w);
		}
		handled |= result != RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	}
	result = handled ? result : RTE_VHOST_MSG_RESULT_ERR;
	if (w->flags & NEED_REPLY) {
		out_put(PF_OUT_ANSWER, dev->connection, PF_ACK, 0, result == RTE_VHOST_MSG_RESULT_ERR);
	} else if (result == RTE_VHOST_MSG_RESULT_ERR) {
		return -1;
	}
	return 0;
}

/* vhost_user_msg_handler: below 0, the connection is to be closed */
int message_handle(struct device *dev, const struct pf_message *m)
{
	if (!dev->notify && !(dev->notify = driver_ops(dev->ifname))) {
		return -1;
	}
	if (check_and_alloc(dev, m) < 0) {
		return -1;
	}
	struct wire w = to_wire(m);
	bool locks = locks_all(m->request);
	if (locks) {
		lock_all(dev, true);
	}
	int rc = handle_all(dev, m, &w);
	for (uint32_t i = 0; rc == 0 && i < dev->vrings; i++) {
		struct vq *vq = dev->vq[i];
		bool ready = vq_is_ready(vq);
		if (vq && ready != vq->ready) {
			vq->ready = ready;
			if (dev->notify->vring_state_changed) {
				dev->notify->vring_state_changed(dev->vid, (uint16_t)i, ready);
			}
		}
	}
	if (locks) {
		lock_all(dev, false);
	}
	if (rc == 0 && is_ready(dev) && !(dev->flags & DEV_RUNNING)) {
		point();
		if (!dev->notify->new_device || dev->notify->new_device(dev->vid) == 0) {
			dev->flags |= DEV_RUNNING;
		}
	}
	return rc;
}
