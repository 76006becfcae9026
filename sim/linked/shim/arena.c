/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * One heap at a fixed address for everything in the library, so that the whole of it can be saved and put
 * back with memcpy. What malloc returns is filled, and what free gets is poisoned, always with the same
 * bytes: what SPDK reads without having written it is the same in every run, and a use after free shows.
 * Knows blocks; snapshot.c knows pages. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "shim.h"

enum { CLASSES = 64, SMALLEST = 32, FILL_MAX = 16384, POISON_MAX = 512 };
static const uint32_t LIVE = 0xa110c, DEAD = 0xf4ee;
enum { FILL = 0xa5, POISON = 0xdb };

/* 16 bytes before every block. */
struct header {
	uint32_t class;
	uint32_t magic;
	uint64_t bytes;
};

/* At ARENA_AT: saved with the rest. */
struct arena {
	char *top;
	void *free[CLASSES];
	char *disks;
	void *free_disk[CLASSES];
};
static struct arena *const arena = (struct arena *)ARENA_AT;

/* Beyond this nothing was ever written. Outside of what is put back: only arena_forget lowers it. */
struct outside {
	char *high, *disks;
};
static struct outside *outside;

bool arena_open(void)
{
	char *at = mmap((void *)ARENA_AT, ARENA_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (at != (char *)ARENA_AT) {
		return false;
	}
	outside = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (outside == MAP_FAILED) {
		return false;
	}
	arena->top = at + PAGE;
	outside->high = arena->top;
	at = mmap((void *)DISKS_AT, DISKS_BYTES, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	arena->disks = outside->disks = at;
	return at == (char *)DISKS_AT;
}

/* SPDK's constructors allocate before pf_boot. */
static void need_arena(void)
{
	if (!outside && !arena_open()) {
		static const char text[] = "plugfest: the address range of the heap is taken\n";
		extern long write(int, const void *, size_t);
		(void)!write(2, text, sizeof(text) - 1);
		__builtin_trap();
	}
}

char *arena_top(void)
{
	need_arena();
	return arena->top;
}

char *disks_top(void)
{
	return arena->disks;
}

/* After a rewind, blocks are carved again from where the mark was: large ones would have to be cleared. */
void arena_forget(void)
{
	char *from = (char *)(((uintptr_t)arena->top + PAGE - 1) & ~(PAGE - 1));
	if (outside->high > from && (size_t)(outside->high - from) > (1 << 20)) {
		madvise(from, (size_t)(outside->high - from), MADV_DONTNEED);
		outside->high = from;
	}
	if (outside->disks > arena->disks) {
		madvise(arena->disks, (size_t)(outside->disks - arena->disks), MADV_DONTNEED);
		outside->disks = arena->disks;
	}
}

/* Two classes to each power of two. */
static unsigned class_of(size_t bytes, size_t *room)
{
	if (bytes <= SMALLEST) {
		*room = SMALLEST;
		return 0;
	}
	unsigned bit = 63u - (unsigned)__builtin_clzll(bytes - 1);
	size_t half = (size_t)1 << (bit - 1);
	size_t three = half * 3;
	*room = bytes <= three ? three : half * 4;
	return 1 + (bit - 5) * 2 + (bytes <= three ? 0 : 1);
}

/* `zero`: whether the block is known to be all zero. */
static void *take(size_t bytes, size_t align, bool *zero)
{
	size_t room;
	unsigned class = class_of(bytes, &room);
	*zero = false;
	need_arena();
	if (bytes > ARENA_BYTES / 2 || class >= CLASSES) {
		errno = ENOMEM;
		return NULL;
	}
	align = align < 64 ? 64 : align;
	void *block = arena->free[class];
	if (block && ((uintptr_t)block & (align - 1)) == 0) {
		struct header *h = (struct header *)block - 1;
		arena->free[class] = *(void **)block;
		*h = (struct header) { class, LIVE, bytes };
		return block;
	}
	uintptr_t at = ((uintptr_t)arena->top + sizeof(struct header) + align - 1) & ~(align - 1);
	if (at + room > ARENA_AT + ARENA_BYTES) {
		errno = ENOMEM;
		return NULL;
	}
	arena->top = (char *)at + room;
	*zero = (char *)at >= outside->high;
	if (arena->top > outside->high) {
		outside->high = arena->top;
	}
	((struct header *)at)[-1] = (struct header) { class, LIVE, bytes };
	return (void *)at;
}

/* A disk's contents, zero. Apart from the heap, as most of it never changes and what does is told. */
void *arena_disk(size_t bytes)
{
	size_t room;
	unsigned class = class_of(bytes + PAGE, &room);
	need_arena();
	char *block = class < CLASSES ? arena->free_disk[class] : NULL;
	if (block) {
		arena->free_disk[class] = *(void **)block;
		snapshot_touch(block, bytes);
		memset(block, 0, bytes);
	} else {
		block = arena->disks + PAGE;
		if (class >= CLASSES || arena->disks + room > (char *)DISKS_AT + DISKS_BYTES) {
			errno = ENOMEM;
			return NULL;
		}
		arena->disks += (room + PAGE - 1) & ~(PAGE - 1);
		outside->disks = arena->disks > outside->disks ? arena->disks : outside->disks;
	}
	snapshot_touch(block - PAGE, PAGE);
	((struct header *)block)[-1] = (struct header) { class, LIVE, bytes };
	return block;
}

static bool is_disk(const void *block)
{
	return (uintptr_t)block > DISKS_AT && (uintptr_t)block < DISKS_AT + DISKS_BYTES;
}

static void free_disk(struct header *h)
{
	void **block = (void **)(h + 1);
	snapshot_touch(h, sizeof(*h));
	snapshot_touch(block, sizeof(*block));
	h->magic = DEAD;
	*block = arena->free_disk[h->class];
	arena->free_disk[h->class] = block;
}

static void *filled(size_t bytes, size_t align)
{
	bool zero;
	void *block = take(bytes, align, &zero);
	if (block) {
		memset(block, FILL, bytes < FILL_MAX ? bytes : FILL_MAX);
	}
	return block;
}

void *malloc(size_t bytes)
{
	return filled(bytes, 16);
}

/* Aligned and zero: for spdk_zmalloc, whose blocks are large. */
void *arena_zeroed(size_t bytes, size_t align)
{
	bool zero;
	void *block = take(bytes, align, &zero);
	if (block && !zero) {
		memset(block, 0, bytes);
	}
	return block;
}

void *calloc(size_t count, size_t each)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, each, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return arena_zeroed(bytes, 16);
}

void free(void *block)
{
	if (!block) {
		return;
	}
	struct header *h = (struct header *)block - 1;
	bool ours = ((uintptr_t)block >= ARENA_AT + PAGE && (uintptr_t)block < ARENA_AT + ARENA_BYTES) || is_disk(block);
	if (!ours || h->magic != LIVE) {
		die(!ours ? "free of memory that was not allocated here" : h->magic == DEAD ? "double free"
		    : "free of memory that was not allocated");
	}
	if (is_disk(block)) {
		free_disk(h);
		return;
	}
	h->magic = DEAD;
	memset(block, POISON, h->bytes < POISON_MAX ? h->bytes : POISON_MAX);
	*(void **)block = arena->free[h->class];
	arena->free[h->class] = block;
}

void *realloc(void *block, size_t bytes)
{
	if (!block) {
		return malloc(bytes);
	}
	size_t old = ((struct header *)block)[-1].bytes;
	void *moved = malloc(bytes);
	if (moved) {
		memcpy(moved, block, old < bytes ? old : bytes);
		free(block);
	}
	return moved;
}

void *reallocarray(void *block, size_t count, size_t each)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, each, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(block, bytes);
}

int posix_memalign(void **out, size_t align, size_t bytes)
{
	void *block = filled(bytes, align);
	if (!block) {
		return ENOMEM;
	}
	*out = block;
	return 0;
}

void *aligned_alloc(size_t align, size_t bytes)
{
	return filled(bytes, align);
}

void *memalign(size_t align, size_t bytes)
{
	return filled(bytes, align);
}

size_t malloc_usable_size(void *block)
{
	return block ? ((struct header *)block)[-1].bytes : 0;
}

/* libc's own would use libc's heap. */
char *__wrap_strndup(const char *text, size_t most)
{
	size_t length = strnlen(text, most);
	char *copy = malloc(length + 1);
	if (copy) {
		memcpy(copy, text, length);
		copy[length] = 0;
	}
	return copy;
}

char *__wrap_strdup(const char *text)
{
	return __wrap_strndup(text, strlen(text));
}

int __wrap_vasprintf(char **out, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	int length = vsnprintf(NULL, 0, format, again);
	va_end(again);
	*out = length < 0 ? NULL : malloc((size_t)length + 1);
	return *out ? vsnprintf(*out, (size_t)length + 1, format, args) : -1;
}

/* What a release build calls (_FORTIFY_SOURCE) in place of the one above. */
int __wrap___vasprintf_chk(char **out, int flag, const char *format, va_list args)
{
	(void)flag;
	return __wrap_vasprintf(out, format, args);
}

/* Only files are read with these, and there are none. */
ssize_t __wrap___getdelim(char **line, size_t *bytes, int end, FILE *file)
{
	(void)line, (void)bytes, (void)end, (void)file;
	return -1;
}

ssize_t __wrap_getline(char **line, size_t *bytes, FILE *file)
{
	(void)line, (void)bytes, (void)file;
	return -1;
}
