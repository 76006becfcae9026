/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Who writes the contents of a malloc bdev: its writes, reads and fills go through lib/accel, whose calls the
 * linker sends here first. So what a rewind has to put back is known before it is written. */
#define _GNU_SOURCE
#include "spdk/stdinc.h"
#include "spdk/accel.h"
#include "shim.h"

static void touch(const struct iovec *iov, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		snapshot_touch(iov[i].iov_base, iov[i].iov_len);
	}
}

int __real_spdk_accel_append_copy(struct spdk_accel_sequence **, struct spdk_io_channel *, struct iovec *, uint32_t,
				  struct spdk_memory_domain *, void *, struct iovec *, uint32_t,
				  struct spdk_memory_domain *, void *, spdk_accel_step_cb, void *);
int __wrap_spdk_accel_append_copy(struct spdk_accel_sequence **seq, struct spdk_io_channel *ch, struct iovec *dst,
				  uint32_t dst_count, struct spdk_memory_domain *dst_domain, void *dst_ctx,
				  struct iovec *src, uint32_t src_count, struct spdk_memory_domain *src_domain,
				  void *src_ctx, spdk_accel_step_cb cb, void *arg)
{
	touch(dst, dst_count);
	return __real_spdk_accel_append_copy(seq, ch, dst, dst_count, dst_domain, dst_ctx, src, src_count, src_domain,
					     src_ctx, cb, arg);
}

int __real_spdk_accel_append_fill(struct spdk_accel_sequence **, struct spdk_io_channel *, void *, uint64_t,
				  struct spdk_memory_domain *, void *, uint8_t, spdk_accel_step_cb, void *);
int __wrap_spdk_accel_append_fill(struct spdk_accel_sequence **seq, struct spdk_io_channel *ch, void *buf, uint64_t len,
				  struct spdk_memory_domain *domain, void *ctx, uint8_t pattern, spdk_accel_step_cb cb,
				  void *arg)
{
	snapshot_touch(buf, len);
	return __real_spdk_accel_append_fill(seq, ch, buf, len, domain, ctx, pattern, cb, arg);
}

int __real_spdk_accel_submit_copy(struct spdk_io_channel *, void *, void *, uint64_t, spdk_accel_completion_cb, void *);
int __wrap_spdk_accel_submit_copy(struct spdk_io_channel *ch, void *dst, void *src, uint64_t bytes,
				  spdk_accel_completion_cb cb, void *arg)
{
	snapshot_touch(dst, bytes);
	return __real_spdk_accel_submit_copy(ch, dst, src, bytes, cb, arg);
}

int __real_spdk_accel_submit_fill(struct spdk_io_channel *, void *, uint8_t, uint64_t, spdk_accel_completion_cb, void *);
int __wrap_spdk_accel_submit_fill(struct spdk_io_channel *ch, void *dst, uint8_t fill, uint64_t bytes,
				  spdk_accel_completion_cb cb, void *arg)
{
	snapshot_touch(dst, bytes);
	return __real_spdk_accel_submit_fill(ch, dst, fill, bytes, cb, arg);
}
