/* The work of the cache rows, as bench/work.ts writes it: translations that are resident, and look-ups of them. */
#ifndef WORK_H
#define WORK_H

#include "peer.h"

#define RIGHT_READ 1u
#define RIGHT_WRITE 2u

/* A translation; those of one context stand together. */
struct work_entry {
    uint32_t context, lo, hi, leaf_lg2, address_lo, address_hi, rights, pad;
};

/* One look-up: who and how (the access above bit 24), where, and which translation answers it. */
struct work_lookup {
    uint32_t context_access, lo, hi, entry;
};

static uint32_t work_contexts, work_entries, work_lookups, work_capacity;
static struct work_entry *work_entry;
static struct work_lookup *work_lookup;
/* First translation of each context, and the end. */
static uint32_t *work_first;
/* All translations in an order without order: tables are filled as devices come. */
static uint32_t *work_order;

static inline uint64_t work_iova(const struct work_entry *e) { return (uint64_t)e->hi << 32 | e->lo; }
static inline uint64_t work_address(const struct work_entry *e) { return (uint64_t)e->address_hi << 32 | e->address_lo; }

static void *work_read(FILE *file, size_t bytes)
{
    void *data = malloc(bytes ? bytes : 1);
    if (!data || fread(data, 1, bytes, file) != bytes) {
        fputs("the work cannot be read\n", stderr);
        exit(2);
    }
    return data;
}

static void work_load(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint32_t *head;
    if (!file) {
        perror(path);
        exit(2);
    }
    head = work_read(file, 4 * sizeof *head);
    work_contexts = head[0];
    work_entries = head[1];
    work_lookups = head[2];
    work_capacity = head[3];
    free(head);
    work_entry = work_read(file, work_entries * sizeof *work_entry);
    work_lookup = work_read(file, work_lookups * sizeof *work_lookup);
    fclose(file);
    work_first = calloc(work_contexts + 1, sizeof *work_first);
    for (uint32_t i = 0; i < work_entries; i++) work_first[work_entry[i].context + 1]++;
    for (uint32_t i = 0; i < work_contexts; i++) work_first[i + 1] += work_first[i];
    work_order = malloc((work_entries + 1) * sizeof *work_order);
    peer_seed(0x2545f491);
    for (uint32_t i = 0; i < work_entries; i++) {
        uint32_t j = peer_below(i + 1);
        work_order[i] = work_order[j];
        work_order[j] = i;
    }
}

#endif
