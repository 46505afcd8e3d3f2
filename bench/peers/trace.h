/* A guest's trace as bench/traces.ts packs it: every DMA and every command, in order. */
#ifndef TRACE_H
#define TRACE_H

#include "work.h"

struct trace_row {
    uint32_t kind;            /* 0: DMA; 1: command */
    uint32_t who;             /* SMMUv3: ASID; VT-d: source-id, domain-id above bit 16. Command: quadword 0 from here */
    uint32_t lo, hi;          /* IOVA; of a command: high half of quadword 0, low half of quadword 1 */
    uint32_t address_lo, address_hi; /* what was recorded; of a command: high half of quadword 1 */
    uint32_t rights, leaf_lg2;
};

static struct trace_row *trace_row;
static uint32_t trace_rows;

static void trace_load(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint32_t *head;
    if (!file) {
        perror(path);
        exit(2);
    }
    head = work_read(file, sizeof *head);
    trace_rows = *head;
    free(head);
    trace_row = work_read(file, trace_rows * sizeof *trace_row);
    fclose(file);
}

/* The address that a DMA is given, filled from what was recorded where there is none. */
static uint32_t trace_dma(const struct trace_row *row, uint64_t iova);
static void trace_command(uint64_t first, uint64_t second);

static uint32_t replay(void)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < trace_rows; i++) {
        const struct trace_row *row = trace_row + i;
        if (row->kind == 0) sum += trace_dma(row, (uint64_t)row->hi << 32 | row->lo);
        else trace_command((uint64_t)row->lo << 32 | row->who, (uint64_t)row->address_lo << 32 | row->hi);
    }
    return sum;
}

#endif
