/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Names of functions, from this library's own .symtab: most functions of lib/vhost are static, so dladdr does
 * not know them. What the compiler appends to a clone (.isra.0, .part.1, .cold) is cut. A name's number says
 * nothing (it depends on what was named before); its hash does. Outside of what is put back. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "shim.h"

enum { NAMES = 4096, TEXT = 64, SLOTS = 8192 };

struct symbol {
	uintptr_t at;
	uint32_t text;
};

struct names {
	const char *texts;      /* .strtab of the file */
	struct symbol *symbol;  /* by address */
	size_t symbols;
	uint32_t count;
	char name[NAMES][TEXT];
	uint64_t hash[NAMES];
	struct { const void *function; uint32_t name; } slot[SLOTS];
};
static struct names *names;
struct pf_stepped step_now;

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;
	return (x->at > y->at) - (x->at < y->at);
}

static void read_symbols(const char *file, uintptr_t base)
{
	int fd = __real_open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0) {
		return;
	}
	const char *elf = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	__real_close(fd);
	if (elf == MAP_FAILED) {
		return;
	}
	const ElfW(Ehdr) *head = (const void *)elf;
	const ElfW(Shdr) *section = (const void *)(elf + head->e_shoff);
	for (int i = 0; i < head->e_shnum; i++) {
		if (section[i].sh_type != SHT_SYMTAB) {
			continue;
		}
		const ElfW(Sym) *symbol = (const void *)(elf + section[i].sh_offset);
		size_t count = section[i].sh_size / sizeof(*symbol);
		names->texts = elf + section[section[i].sh_link].sh_offset;
		names->symbol = mmap(NULL, count * sizeof(*names->symbol), PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (size_t k = 0; k < count; k++) {
			if (ELF64_ST_TYPE(symbol[k].st_info) == STT_FUNC && symbol[k].st_value) {
				names->symbol[names->symbols++] = (struct symbol) { base + symbol[k].st_value, symbol[k].st_name };
			}
		}
		qsort(names->symbol, names->symbols, sizeof(*names->symbol), by_address);
	}
}

void names_open(void)
{
	names = mmap(NULL, sizeof(*names), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	names->count = 1;
	Dl_info info;
	if (dladdr((void *)names_open, &info) && info.dli_fname) {
		read_symbols(info.dli_fname, (uintptr_t)info.dli_fbase);
	}
}

/* The function that holds an address. */
static const char *symbol_at(const void *address)
{
	size_t low = 0, high = names->symbols;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (names->symbol[middle].at <= (uintptr_t)address) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	bool near = low > 0 && (uintptr_t)address - names->symbol[low - 1].at < (1 << 20);
	return near ? names->texts + names->symbol[low - 1].text : "?";
}

uint32_t name_text(const char *text)
{
	char cut[TEXT];
	snprintf(cut, sizeof(cut), "%.*s", (int)strcspn(text, "."), text);
	for (uint32_t i = 1; i < names->count; i++) {
		if (strcmp(names->name[i], cut) == 0) {
			return i;
		}
	}
	if (names->count == NAMES) {
		return 0;
	}
	uint64_t hash = 0xcbf29ce484222325ULL;
	for (const char *c = cut; *c; c++) {
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3ULL;
	}
	memcpy(names->name[names->count], cut, sizeof(cut));
	names->hash[names->count] = hash;
	return names->count++;
}

uint32_t name_of(const void *function)
{
	size_t slot = ((uintptr_t)function >> 4) % SLOTS;
	for (int probes = 0; probes < 16; probes++, slot = (slot + 1) % SLOTS) {
		if (names->slot[slot].function == function) {
			return names->slot[slot].name;
		}
		if (!names->slot[slot].function) {
			names->slot[slot].function = function;
			return names->slot[slot].name = name_text(symbol_at(function));
		}
	}
	return name_text(symbol_at(function));
}

const char *name_get(uint32_t name)
{
	return names && name < names->count ? names->name[name] : "";
}

void did(uint32_t name)
{
	if (!step_now.name) {
		step_now.name = name;
	} else {
		step_now.more++;
	}
	step_now.hash = (step_now.hash ^ (names ? names->hash[name] : 0)) * 0x100000001b3ULL;
}
