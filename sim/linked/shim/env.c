/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The spdk_env API over the arena and virtual time: what lib/{thread,bdev,scsi,vhost,accel,...} call of it.
 * No EAL, no huge pages, no PCI. Pools allocate when asked, so a pool of 262144 messages costs nothing. */
#define _GNU_SOURCE
#include "spdk/stdinc.h"
#include "spdk/env.h"
#include "shim.h"

/* Only contents of malloc bdevs are aligned so: module/bdev/malloc, create_malloc_disk. */
enum { DISK_ALIGN = 2 << 20 };

int32_t memory_registrations;

uint64_t spdk_get_ticks(void)
{
	return now_ns;
}

uint64_t spdk_get_ticks_hz(void)
{
	return 1000000000ULL;
}

void spdk_delay_us(unsigned int us)
{
	(void)us;
}

void spdk_pause(void)
{
}

/* ---- memory ---- */

static void *aligned(size_t bytes, size_t align)
{
	void *block = NULL;
	return posix_memalign(&block, align < 64 ? 64 : align, bytes ? bytes : 1) == 0 ? block : NULL;
}

void *spdk_malloc(size_t size, size_t align, uint64_t *unused, int numa_id, uint32_t flags)
{
	(void)unused, (void)numa_id, (void)flags;
	return aligned(size, align);
}

void *spdk_zmalloc(size_t size, size_t align, uint64_t *unused, int numa_id, uint32_t flags)
{
	(void)unused, (void)numa_id, (void)flags;
	if (align >= DISK_ALIGN) {
		return arena_disk(size);
	}
	return arena_zeroed(size ? size : 1, align < 64 ? 64 : align);
}

void *spdk_realloc(void *buf, size_t size, size_t align)
{
	(void)align;
	return realloc(buf, size);
}

void spdk_free(void *buf)
{
	free(buf);
}

void *spdk_dma_malloc(size_t size, size_t align, uint64_t *unused)
{
	return spdk_malloc(size, align, unused, 0, 0);
}

void *spdk_dma_zmalloc(size_t size, size_t align, uint64_t *unused)
{
	return spdk_zmalloc(size, align, unused, 0, 0);
}

void spdk_dma_free(void *buf)
{
	free(buf);
}

/* What is registered must be unregistered. */
int spdk_mem_register(void *vaddr, size_t len)
{
	(void)vaddr, (void)len;
	memory_registrations++;
	return 0;
}

int spdk_mem_unregister(void *vaddr, size_t len)
{
	(void)vaddr, (void)len;
	memory_registrations--;
	return 0;
}

int32_t spdk_mem_get_numa_id(const void *buf, uint64_t *size)
{
	(void)buf, (void)size;
	return 0;
}

uint64_t spdk_vtophys(const void *buf, uint64_t *size)
{
	(void)buf, (void)size;
	return SPDK_VTOPHYS_ERROR;
}

bool spdk_iommu_is_enabled(void)
{
	return false;
}

/* ---- cores: a core is only a label here, who overlaps with whom is thread.c's ---- */

enum { CORES = 4 };

uint32_t spdk_env_get_core_count(void)
{
	return CORES;
}

uint32_t spdk_env_get_current_core(void)
{
	return 0;
}

uint32_t spdk_env_get_main_core(void)
{
	return 0;
}

uint32_t spdk_env_get_first_core(void)
{
	return 0;
}

uint32_t spdk_env_get_last_core(void)
{
	return CORES - 1;
}

uint32_t spdk_env_get_next_core(uint32_t previous)
{
	return previous + 1 < CORES ? previous + 1 : UINT32_MAX;
}

int32_t spdk_env_get_numa_id(uint32_t core)
{
	(void)core;
	return 0;
}

int32_t spdk_env_get_first_numa_id(void)
{
	return 0;
}

int32_t spdk_env_get_last_numa_id(void)
{
	return 0;
}

int32_t spdk_env_get_next_numa_id(int32_t previous)
{
	(void)previous;
	return INT32_MAX;
}

/* ---- pools ---- */

struct spdk_mempool {
	size_t count, bytes, used;
	void *head;
};

struct spdk_mempool *spdk_mempool_create(const char *name, size_t count, size_t ele_size, size_t cache_size, int numa_id)
{
	(void)name, (void)cache_size, (void)numa_id;
	struct spdk_mempool *pool = calloc(1, sizeof(*pool));
	if (pool) {
		pool->count = count;
		pool->bytes = ele_size < sizeof(void *) ? sizeof(void *) : ele_size;
	}
	return pool;
}

void *spdk_mempool_get(struct spdk_mempool *pool)
{
	if (pool->used == pool->count) {
		return NULL;
	}
	pool->used++;
	void *element = pool->head;
	if (!element) {
		return aligned(pool->bytes, 64);
	}
	pool->head = *(void **)element;
	return element;
}

void spdk_mempool_put(struct spdk_mempool *pool, void *element)
{
	pool->used--;
	*(void **)element = pool->head;
	pool->head = element;
}

int spdk_mempool_get_bulk(struct spdk_mempool *pool, void **elements, size_t count)
{
	if (pool->count - pool->used < count) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		elements[i] = spdk_mempool_get(pool);
	}
	return 0;
}

void spdk_mempool_put_bulk(struct spdk_mempool *pool, void **elements, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		spdk_mempool_put(pool, elements[i]);
	}
}

size_t spdk_mempool_count(const struct spdk_mempool *pool)
{
	return pool->count - pool->used;
}

void spdk_mempool_free(struct spdk_mempool *pool)
{
	while (pool && pool->head) {
		void *element = pool->head;
		pool->head = *(void **)element;
		free(element);
	}
	free(pool);
}

/* ---- rings: first in, first out; they carry beside each message what it is ---- */

struct entry {
	void *object;
	struct pf_sent sent;
};

struct spdk_ring {
	size_t max, room, head, count;
	struct entry *entry;
};

struct spdk_ring *spdk_ring_create(enum spdk_ring_type type, size_t count, int numa_id)
{
	(void)type, (void)numa_id;
	struct spdk_ring *ring = calloc(1, sizeof(*ring));
	if (!ring) {
		return NULL;
	}
	ring->max = count - 1;
	ring->room = 64;
	ring->entry = calloc(ring->room, sizeof(*ring->entry));
	thread_note_ring(ring);
	return ring;
}

void spdk_ring_free(struct spdk_ring *ring)
{
	if (ring) {
		free(ring->entry);
		free(ring);
	}
}

size_t spdk_ring_count(struct spdk_ring *ring)
{
	return ring->count;
}

static void grow(struct spdk_ring *ring)
{
	struct entry *entry = calloc(ring->room * 2, sizeof(*entry));
	for (size_t i = 0; i < ring->count; i++) {
		entry[i] = ring->entry[(ring->head + i) & (ring->room - 1)];
	}
	free(ring->entry);
	ring->entry = entry;
	ring->head = 0;
	ring->room *= 2;
}

size_t spdk_ring_enqueue(struct spdk_ring *ring, void **objs, size_t count, size_t *free_space)
{
	bool fits = ring->max - ring->count >= count;
	for (size_t i = 0; fits && i < count; i++) {
		if (ring->count == ring->room) {
			grow(ring);
		}
		struct entry *e = &ring->entry[(ring->head + ring->count++) & (ring->room - 1)];
		*e = (struct entry) { objs[i], thread_sent(ring) };
	}
	if (free_space) {
		*free_space = ring->max - ring->count;
	}
	return fits ? count : 0;
}

size_t spdk_ring_dequeue(struct spdk_ring *ring, void **objs, size_t count)
{
	count = count < ring->count ? count : ring->count;
	for (size_t i = 0; i < count; i++) {
		struct entry *e = &ring->entry[ring->head++ & (ring->room - 1)];
		objs[i] = e->object;
		thread_took(e->sent);
	}
	ring->head &= ring->room - 1;
	ring->count -= count;
	return count;
}
