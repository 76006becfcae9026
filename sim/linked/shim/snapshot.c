/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The state of the whole library, saved and put back: the heap, the variables of all that is linked into it,
 * its thread-local variables, and the live part of each fibre's stack.
 *
 * Few of its pages ever change. After a mark all are read-only: the first write to a page faults, and from then on
 * the page is writable and always put back. Only disks are not: of them, what will be written is told
 * (snapshot_touch), and put back once. A comparing rewind looks at every byte, whatever is believed of it.
 * Knows pages, not what is in them. */
#define _GNU_SOURCE
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include "shim.h"

enum { RANGES = 16, TOLD = 1 << 16 };

struct range {
	char *at;
	size_t bytes;
	char *save;
	uint8_t *state; /* a byte a page: CHANGES, TOUCHED */
	bool guarded;   /* its pages are read-only until they change */
};
enum { CHANGES = 1, TOUCHED = 2 };

/* All of it outside of what is put back. */
struct snapshot {
	int ranges;
	struct range range[RANGES];
	struct { char *at; size_t bytes; char *save; } stack[FIBRES];
	uint32_t told, told_page[TOLD];
};
/* By slot, and the one that was marked or gone back to last, whose pages are guarded. */
static struct { struct snapshot *slot[PF_MARKS], *last; } *snapshots;

static struct snapshot *last(void)
{
	return snapshots ? snapshots->last : NULL;
}

static void *outside(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

static bool is_zero(const char *at, size_t bytes)
{
	return at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0;
}

static bool add(char *from, char *to, bool guarded)
{
	char *at = (char *)((uintptr_t)from & ~(PAGE - 1));
	if (last()->ranges == RANGES || to <= from) {
		return to <= from;
	}
	struct range *r = &last()->range[last()->ranges++];
	*r = (struct range) { at, (size_t)(to - at), NULL, NULL, guarded };
	r->save = outside(r->bytes);
	r->state = outside(r->bytes / PAGE + 1);
	return r->save && r->state;
}

/* The writable part of this library, without what is read-only after relocation. */
static int add_library(struct dl_phdr_info *info, size_t size, void *ok)
{
	(void)size;
	uintptr_t here = (uintptr_t)&snapshots, relro = 0, relro_end = 0;
	bool ours = false;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + p->p_vaddr;
		ours |= p->p_type == PT_LOAD && here >= at && here < at + p->p_memsz;
		if (p->p_type == PT_GNU_RELRO) {
			relro = at & ~(PAGE - 1);
			relro_end = (at + p->p_memsz) & ~(PAGE - 1);
		}
	}
	if (!ours) {
		return 0;
	}
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + p->p_vaddr, end = at + p->p_memsz;
		if (p->p_type == PT_TLS && info->dlpi_tls_data) {
			/* Not whole pages: the rest of them is the host's. */
			*(bool *)ok &= add(info->dlpi_tls_data, (char *)info->dlpi_tls_data + p->p_memsz, false);
			struct range *r = &last()->range[last()->ranges - 1];
			r->bytes = p->p_memsz;
			r->at = info->dlpi_tls_data;
			memset(r->state, CHANGES, r->bytes / PAGE + 1);
		}
		if (p->p_type != PT_LOAD || !(p->p_flags & PF_W)) {
			continue;
		}
		if (relro_end > at && relro < end) {
			*(bool *)ok &= add((char *)at, (char *)relro, true);
			at = relro_end;
		}
		*(bool *)ok &= add((char *)at, (char *)end, true);
	}
	return 1;
}

static bool save_stacks(void)
{
	for (int i = 0; i < FIBRES; i++) {
		if (!last()->stack[i].save && !(last()->stack[i].save = outside(STACK_BYTES))) {
			return false;
		}
		last()->stack[i].bytes = 0;
		if (fibre_live_stack(&fibres[i], &last()->stack[i].at, &last()->stack[i].bytes)) {
			memcpy(last()->stack[i].save, last()->stack[i].at, last()->stack[i].bytes);
		}
	}
	return true;
}

static void drop(struct snapshot *old)
{
	for (int i = 0; old && i < old->ranges; i++) {
		munmap(old->range[i].save, old->range[i].bytes);
		munmap(old->range[i].state, old->range[i].bytes / PAGE + 1);
	}
}

static void guard(int protection)
{
	for (int i = 0; i < last()->ranges; i++) {
		struct range *r = &last()->range[i];
		if (r->guarded) {
			mprotect(r->at, (r->bytes + PAGE - 1) & ~(PAGE - 1), protection);
		}
	}
}

static bool copy_all(void)
{
	bool ok = add((char *)DISKS_AT, disks_top(), false) && add((char *)ARENA_AT, arena_top(), true);
	dl_iterate_phdr(add_library, &ok);
	if (!ok || !save_stacks()) {
		return false;
	}
	for (int i = 0; i < last()->ranges; i++) {
		struct range *r = &last()->range[i];
		for (size_t o = 0; o < r->bytes; o += PAGE) {
			size_t n = r->bytes - o < PAGE ? r->bytes - o : PAGE;
			if (!is_zero(r->at + o, n)) {
				memcpy(r->save + o, r->at + o, n);
			}
		}
	}
	return true;
}

bool snapshot_take(uint32_t slot)
{
	if (!snapshots && !(snapshots = outside(sizeof(*snapshots)))) {
		return false;
	}
	if (last()) {
		guard(PROT_READ | PROT_WRITE);
	}
	if (!snapshots->slot[slot] && !(snapshots->slot[slot] = outside(sizeof(struct snapshot)))) {
		return false;
	}
	snapshots->last = snapshots->slot[slot];
	drop(last());
	last()->ranges = 0;
	last()->told = 0;
	bool ok = copy_all();
	guard(PROT_READ);
	return ok;
}

/* A page that may not be written was: whether it may be now. */
bool snapshot_changes(const void *address)
{
	for (int i = 0; last() && i < last()->ranges; i++) {
		struct range *r = &last()->range[i];
		uintptr_t at = (uintptr_t)address & ~(PAGE - 1), from = (uintptr_t)r->at;
		if (r->guarded && at >= from && at < from + r->bytes && !(r->state[(at - from) / PAGE] & CHANGES)) {
			r->state[(at - from) / PAGE] |= CHANGES;
			return mprotect((void *)at, PAGE, PROT_READ | PROT_WRITE) == 0;
		}
	}
	return false;
}

/* These bytes of a disk will be written. */
void snapshot_touch(const void *from, size_t bytes)
{
	if (!last() || !last()->ranges || bytes == 0) {
		return;
	}
	struct range *r = &last()->range[0];
	uintptr_t at = (uintptr_t)from, end = (uintptr_t)r->at + r->bytes;
	if (at < (uintptr_t)r->at || at >= end) {
		return;
	}
	uintptr_t final = at + bytes < end ? at + bytes - 1 : end - 1;
	for (size_t page = (at - (uintptr_t)r->at) / PAGE; page <= (final - (uintptr_t)r->at) / PAGE; page++) {
		if (r->state[page] == 0) {
			if (last()->told < TOLD) {
				r->state[page] = TOUCHED;
				last()->told_page[last()->told++] = (uint32_t)page;
			} else {
				r->state[page] = CHANGES;
			}
		}
	}
}

static size_t page_bytes(const struct range *r, size_t offset)
{
	return r->bytes - offset < PAGE ? r->bytes - offset : PAGE;
}

static int64_t restore_range(struct range *r, bool compare)
{
	int64_t late = 0;
	for (size_t o = 0, page = 0; o < r->bytes; o += PAGE, page++) {
		if (r->state[page] & CHANGES) {
			memcpy(r->at + o, r->save + o, page_bytes(r, o));
		} else if (compare && memcmp(r->at + o, r->save + o, page_bytes(r, o)) != 0) {
			if (r->guarded) {
				snapshot_changes(r->at + o);
			}
			memcpy(r->at + o, r->save + o, page_bytes(r, o));
			late++;
		}
	}
	return late;
}

static void restore_told(void)
{
	struct range *disks = &last()->range[0];
	for (uint32_t i = 0; i < last()->told; i++) {
		size_t o = last()->told_page[i] * PAGE;
		memcpy(disks->at + o, disks->save + o, page_bytes(disks, o));
		disks->state[last()->told_page[i]] = 0;
	}
	last()->told = 0;
}

/* From another slot: every byte is looked at, and nothing is known yet of what changes. */
static void change_slot(uint32_t slot)
{
	guard(PROT_READ | PROT_WRITE);
	snapshots->last = snapshots->slot[slot];
	last()->told = 0;
	for (int i = 0; i < last()->ranges; i++) {
		struct range *r = &last()->range[i];
		memset(r->state, r->guarded || i == 0 ? 0 : CHANGES, r->bytes / PAGE + 1);
		for (size_t o = 0; o < r->bytes; o += PAGE) {
			if (memcmp(r->at + o, r->save + o, page_bytes(r, o)) != 0) {
				memcpy(r->at + o, r->save + o, page_bytes(r, o));
			}
		}
	}
	guard(PROT_READ);
}

bool snapshot_exists(uint32_t slot)
{
	return snapshots && slot < PF_MARKS && snapshots->slot[slot];
}

int64_t snapshot_restore(uint32_t slot, bool compare)
{
	int64_t late = 0;
	if (snapshots->slot[slot] != snapshots->last) {
		change_slot(slot);
	} else {
		restore_told();
		for (int i = 0; i < last()->ranges; i++) {
			late += restore_range(&last()->range[i], compare);
		}
	}
	for (int i = 0; i < FIBRES; i++) {
		memcpy(last()->stack[i].at, last()->stack[i].save, last()->stack[i].bytes);
	}
	arena_forget();
	return late;
}
