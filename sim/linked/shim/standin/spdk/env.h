/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A stand-in for SPDK's header of this name (see stdinc.h here). */
#pragma once
#include "spdk/stdinc.h"

#define SPDK_VTOPHYS_ERROR (0xFFFFFFFFFFFFFFFFULL)

struct spdk_mempool;
struct spdk_ring;
enum spdk_ring_type { SPDK_RING_TYPE_SP_SC, SPDK_RING_TYPE_MP_SC, SPDK_RING_TYPE_MP_MC };

uint64_t spdk_get_ticks(void);
uint64_t spdk_get_ticks_hz(void);
void spdk_delay_us(unsigned int us);
void spdk_pause(void);
void *spdk_malloc(size_t, size_t, uint64_t *, int, uint32_t);
void *spdk_zmalloc(size_t, size_t, uint64_t *, int, uint32_t);
void *spdk_realloc(void *, size_t, size_t);
void spdk_free(void *);
void *spdk_dma_malloc(size_t, size_t, uint64_t *);
void *spdk_dma_zmalloc(size_t, size_t, uint64_t *);
void spdk_dma_free(void *);
int spdk_mem_register(void *, size_t);
int spdk_mem_unregister(void *, size_t);
int32_t spdk_mem_get_numa_id(const void *, uint64_t *);
uint64_t spdk_vtophys(const void *, uint64_t *);
bool spdk_iommu_is_enabled(void);
uint32_t spdk_env_get_core_count(void);
uint32_t spdk_env_get_current_core(void);
uint32_t spdk_env_get_main_core(void);
uint32_t spdk_env_get_first_core(void);
uint32_t spdk_env_get_last_core(void);
uint32_t spdk_env_get_next_core(uint32_t);
int32_t spdk_env_get_numa_id(uint32_t);
int32_t spdk_env_get_first_numa_id(void);
int32_t spdk_env_get_last_numa_id(void);
int32_t spdk_env_get_next_numa_id(int32_t);
struct spdk_mempool *spdk_mempool_create(const char *, size_t, size_t, size_t, int);
void *spdk_mempool_get(struct spdk_mempool *);
void spdk_mempool_put(struct spdk_mempool *, void *);
int spdk_mempool_get_bulk(struct spdk_mempool *, void **, size_t);
void spdk_mempool_put_bulk(struct spdk_mempool *, void **, size_t);
size_t spdk_mempool_count(const struct spdk_mempool *);
void spdk_mempool_free(struct spdk_mempool *);
struct spdk_ring *spdk_ring_create(enum spdk_ring_type, size_t, int);
void spdk_ring_free(struct spdk_ring *);
size_t spdk_ring_count(struct spdk_ring *);
size_t spdk_ring_enqueue(struct spdk_ring *, void **, size_t, size_t *);
size_t spdk_ring_dequeue(struct spdk_ring *, void **, size_t);
