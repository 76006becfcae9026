/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * What the files of the fake rte_vhost know of each other. Names and fields are DPDK's (26.03, lib/vhost),
 * in which each function that is modelled is named beside ours.
 *
 *   vhost_driver.c   sockets and their registry   (socket.c)
 *   vhost_device.c   devices, what SPDK asks them (vhost.c)
 *   vhost_handler.c  what is done with a request  (vhost_user.c)
 *   vhost_message.c  what each of them does       (vhost_user.c)
 *   vhost_inflight.c inflight buffers and the log (vhost.c, vhost_user.c)
 *   vhost_events.c   the message thread           (fd_man.c, socket.c) */
#pragma once
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <limits.h>
#include <rte_vhost.h>
#include <sys/queue.h>
#include "shim.h"

#ifndef VHOST_F_LOG_ALL
#define VHOST_F_LOG_ALL 26
#endif
/* vhost.h: VHOST_MAX_QUEUE_PAIRS, VHOST_MAX_VRING; vhost_user.h: VHOST_MEMORY_MAX_NREGIONS */
enum { QUEUE_PAIRS_MAX = 0x80, VRINGS_MAX = 2 * QUEUE_PAIRS_MAX + 1, MEMORIES = 256, CONNECTIONS = 256 };
/* vhost.h: descriptors that are not set, and that are set to none. */
enum { FD_UNSET = -2, FD_NONE = -1, FD_SET_ = 0 };
/* vhost.h: VIRTIO_DEV_* */
enum { DEV_RUNNING = 1, DEV_READY = 2, DEV_FEATURES_FAILED = 4 };

enum request {
	GET_FEATURES = 1, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE, SET_LOG_FD,
	SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL,
	SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE,
	GET_CONFIG = 24, SET_CONFIG, GET_INFLIGHT_FD = 31, SET_INFLIGHT_FD, SET_STATUS = 39, GET_STATUS
};

/* vhost.h: struct vhost_virtqueue */
struct vq {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint32_t size, index;
	uint16_t last_avail, last_used, signalled_used;
	bool signalled_used_valid, enabled, access_ok, ready, write_locked;
	int kick, call;
	uint64_t ring_desc, ring_avail, ring_used, ring_log, log_guest_addr;
	struct rte_vhost_inflight_info_split *inflight;
	struct rte_vhost_resubmit_info *resubmit;
	uint64_t global_counter;
	uint32_t out;          /* ours: heads that SPDK has taken and not given back */
	uint64_t *taken;       /* ours: a bit each */
};

/* vhost.h: struct virtio_net */
struct device {
	int vid;
	uint32_t flags, connection, vrings;
	uint64_t features, protocol_features;
	uint8_t status;
	struct rte_vhost_memory *mem;
	struct vq *vq[VRINGS_MAX];
	struct rte_vhost_user_extern_ops ops;
	const struct rte_vhost_device_ops *notify;
	char ifname[256];
	uint8_t *log_base;
	uint64_t log_bytes;
};

/* socket.c: struct vhost_user_connection; and what the kernel knows of it */
struct connection {
	TAILQ_ENTRY(connection) next;
	uint32_t id;
	struct device *device;
	struct vsocket *socket;
	bool used, accepted, refused, peer_closed, closed, busy, listed;
	STAILQ_HEAD(, request_waiting) requests;
};

struct request_waiting {
	STAILQ_ENTRY(request_waiting) next;
	struct pf_message message;
};

/* socket.c: struct vhost_user_socket */
struct vsocket {
	char *path;
	bool listens, busy, listed, builtin_net;
	uint64_t supported_features, features, protocol_features;
	const struct rte_vhost_device_ops *notify;
	pthread_mutex_t conn_mutex;
	TAILQ_HEAD(connection_list, connection) conns, pending;
};

struct memory {
	uint32_t regions;
	struct pf_region region[PF_REGIONS_MAX];
};
extern struct memory memories[MEMORIES];

/* What is ready to be read, in the order in which it became so (epoll's). */
struct ready {
	STAILQ_ENTRY(ready) next;
	struct vsocket *socket;
	struct connection *connection;
};

/* ---- vhost_driver.c ---- */
extern pthread_mutex_t vhost_mutex;
struct vsocket *find_socket(const char *path);
int driver_features(const char *path, uint64_t *features);
const struct rte_vhost_device_ops *driver_ops(const char *path);

/* ---- vhost_device.c ---- */
extern struct device *devices[RTE_MAX_VHOST_DEVICE];
struct device *get_device(int vid);
struct device *new_device(const char *path, uint32_t connection);
void destroy_device_notify(struct device *);
void destroy_device(struct device *);
int alloc_vring(struct device *, uint32_t index);
void mark_written(const struct device *, uint64_t address, uint64_t bytes);
void mark_chain(const struct device *, const struct vq *, uint16_t head);
void mark_used(const struct device *, const struct vq *);
uint64_t to_host(const struct device *, uint64_t address, uint64_t *bytes);

/* ---- vhost_inflight.c ---- */
int check_inflight(struct device *, struct vq *);
void drop_inflight(struct device *, struct vq *);
int get_inflight(struct device *, const struct pf_message *, struct pf_out *reply);
int set_inflight(struct device *, const struct pf_message *);
int set_log_base(struct device *, const struct pf_message *);

/* ---- vhost_message.c ---- */
int request_handle(struct device *, const struct pf_message *, struct pf_out *reply);

/* ---- vhost_handler.c ---- */
int message_handle(struct device *, const struct pf_message *);

/* ---- vhost_events.c ---- */
bool events_start(void);
void events_stop(void);
void events_ready(struct vsocket *, struct connection *);
void events_forget(struct vsocket *, struct connection *);
