/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for DPDK's header of this name: types and functions that the shim's rte_vhost has, in DPDK's layout. */
#pragma once
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RTE_MAX_VHOST_DEVICE 1024
#define RTE_VHOST_USER_CLIENT (1ULL << 0)
#define RTE_VHOST_USER_IOMMU_SUPPORT (1ULL << 3)
#define RTE_VHOST_USER_POSTCOPY_SUPPORT (1ULL << 4)
#define RTE_VHOST_USER_ASYNC_COPY (1ULL << 7)
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD 12
#define VHOST_USER_PROTOCOL_F_STATUS 16
#define VHOST_USER_F_PROTOCOL_FEATURES 30

enum rte_vhost_msg_result {
	RTE_VHOST_MSG_RESULT_ERR = -1,
	RTE_VHOST_MSG_RESULT_OK,
	RTE_VHOST_MSG_RESULT_REPLY,
	RTE_VHOST_MSG_RESULT_NOT_HANDLED
};
typedef enum rte_vhost_msg_result (*rte_vhost_msg_handle)(int vid, void *msg);
struct rte_vhost_user_extern_ops {
	rte_vhost_msg_handle pre_msg_handle, post_msg_handle;
};
struct rte_vhost_device_ops {
	int (*new_device)(int);
	void (*destroy_device)(int);
	int (*vring_state_changed)(int, uint16_t, int);
	int (*features_changed)(int, uint64_t);
	int (*new_connection)(int);
	void (*destroy_connection)(int);
	void (*guest_notified)(int);
	bool (*guest_notify)(int, uint16_t);
};
struct rte_vhost_mem_region {
	uint64_t guest_phys_addr, guest_user_addr, host_user_addr, size;
	void *mmap_addr;
	uint64_t mmap_size;
	int fd;
};
struct rte_vhost_memory {
	uint32_t nregions;
	struct rte_vhost_mem_region regions[];
};
struct rte_vhost_inflight_desc_split {
	uint8_t inflight, padding[5];
	uint16_t next;
	uint64_t counter;
};
struct rte_vhost_inflight_info_split {
	uint64_t features;
	uint16_t version, desc_num, last_inflight_io, used_idx;
	struct rte_vhost_inflight_desc_split desc[];
};
struct rte_vhost_resubmit_desc {
	uint16_t index;
	uint64_t counter;
};
struct rte_vhost_resubmit_info {
	struct rte_vhost_resubmit_desc *resubmit_list;
	uint16_t resubmit_num;
};
struct rte_vhost_ring_inflight {
	struct rte_vhost_inflight_info_split *inflight_split;
	struct rte_vhost_resubmit_info *resubmit_inflight;
};
struct rte_vhost_vring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint64_t log_guest_addr;
	int callfd, kickfd;
	uint16_t size;
};

int rte_vhost_driver_register(const char *, uint64_t);
int rte_vhost_driver_unregister(const char *);
int rte_vhost_driver_set_features(const char *, uint64_t);
int rte_vhost_driver_disable_features(const char *, uint64_t);
int rte_vhost_driver_get_protocol_features(const char *, uint64_t *);
int rte_vhost_driver_set_protocol_features(const char *, uint64_t);
int rte_vhost_driver_callback_register(const char *, struct rte_vhost_device_ops const *const);
int rte_vhost_driver_start(const char *);
int rte_vhost_extern_callback_register(int, struct rte_vhost_user_extern_ops const *const, void *);
int rte_vhost_get_ifname(int, char *, size_t);
int rte_vhost_get_negotiated_features(int, uint64_t *);
int rte_vhost_get_mem_table(int, struct rte_vhost_memory **);
int rte_vhost_get_vhost_vring(int, uint16_t, struct rte_vhost_vring *);
int rte_vhost_get_vhost_ring_inflight(int, uint16_t, struct rte_vhost_ring_inflight *);
int rte_vhost_get_vring_base(int, uint16_t, uint16_t *, uint16_t *);
int rte_vhost_set_vring_base(int, uint16_t, uint16_t, uint16_t);
int rte_vhost_get_vring_base_from_inflight(int, uint16_t, uint16_t *, uint16_t *);
int rte_vhost_vring_call(int, uint16_t);
int rte_vhost_vring_call_nonblock(int, uint16_t);
int rte_vhost_set_inflight_desc_split(int, uint16_t, uint16_t);
int rte_vhost_clr_inflight_desc_split(int, uint16_t, uint16_t, uint16_t);
int rte_vhost_set_last_inflight_io_split(int, uint16_t, uint16_t);
int rte_vhost_set_inflight_desc_packed(int, uint16_t, uint16_t, uint16_t, uint16_t *);
int rte_vhost_clr_inflight_desc_packed(int, uint16_t, uint16_t);
int rte_vhost_set_last_inflight_io_packed(int, uint16_t, uint16_t);
void rte_vhost_log_write(int, uint64_t, uint64_t);
void rte_vhost_log_used_vring(int, uint16_t, uint64_t, uint64_t);
int rte_vhost_backend_config_change(int, bool);
