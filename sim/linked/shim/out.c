/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * What came out and was not popped yet: first in, first out. Outside of what is put back, and no malloc: it
 * must work when the heap does not. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include "shim.h"

enum { OUTS = 1 << 15, BYTES = 8 << 20 };

struct queue {
	uint32_t head, tail, used;
	struct pf_out out[OUTS];
	char bytes[BYTES];
};
static struct queue *queue;

static struct queue *get(void)
{
	if (!queue) {
		queue = mmap(NULL, sizeof(*queue), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	}
	return queue;
}

static void put(struct pf_out out)
{
	struct queue *q = get();
	if (q->tail == OUTS) {
		if (out.kind == PF_OUT_LOG || out.kind == PF_OUT_WROTE) {
			return;
		}
		q->tail--; /* nobody pops: the last thing must be what is wrong */
	}
	q->out[q->tail++] = out;
}

void out_put(uint32_t kind, uint32_t id, uint32_t a, uint32_t b, uint64_t value)
{
	put((struct pf_out) { .kind = kind, .id = id, .a = a, .b = b, .value = value });
}

void out_bytes(uint32_t kind, uint32_t id, uint32_t a, const char *bytes, size_t length)
{
	struct queue *q = get();
	size_t room = BYTES - q->used;
	length = length < room ? length : room;
	char *copy = q->bytes + q->used;
	memcpy(copy, bytes, length);
	q->used += (uint32_t)length;
	put((struct pf_out) { .kind = kind, .id = id, .a = a, .bytes = copy, .length = length });
}

bool out_pop(struct pf_out *out)
{
	struct queue *q = get();
	if (q->head == q->tail) {
		q->head = q->tail = q->used = 0;
		return false;
	}
	*out = q->out[q->head++];
	return true;
}

bool out_empty(void)
{
	return get()->head == get()->tail;
}

void out_clear(void)
{
	get()->head = get()->tail = get()->used = 0;
}
