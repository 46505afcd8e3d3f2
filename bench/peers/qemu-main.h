/*
 * What the peers in the place of QEMU have in common: look-ups and invalidations of the work, or a guest's trace
 * (`program trace FILE`). Only the invalidation itself counts as its time; what it forgot is filled again between two.
 */
#include "trace.h"

static uint32_t hit(uint32_t rounds)
{
    uint32_t sum = 0;
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < work_lookups; i++) {
            const struct work_lookup *l = work_lookup + i;
            sum += translate(l->context_access & 0xffffff, (uint64_t)l->hi << 32 | l->lo, l->context_access >> 24);
        }
    return sum;
}

/* Fills what is missing of a context; the sum is how much that was. */
static uint32_t refill(uint32_t from, uint32_t to)
{
    uint32_t sum = 0;
    for (uint32_t e = from; e < to; e++) {
        if (find_entry(work_entry[e].context, work_iova(work_entry + e))) continue;
        fill_entry(work_entry + e);
        sum++;
    }
    return sum;
}

static uint32_t at_context, at_page;

static uint32_t run_drop_context(uint32_t rounds)
{
    uint32_t sum = 0;
    peer_took = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t began = peer_ns();
        drop_context(at_context);
        peer_took += peer_ns() - began;
        sum += refill(work_first[at_context], work_first[at_context + 1]);
        at_context = (at_context + 1) % work_contexts;
    }
    return sum;
}

static uint32_t run_drop_group(uint32_t rounds)
{
    uint32_t sum = 0;
    peer_took = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t before = g_hash_table_size(table);
        uint64_t began = peer_ns();
        drop_group();
        peer_took += peer_ns() - began;
        sum += before - g_hash_table_size(table);
        for (uint32_t i = 0; i < work_entries; i++) fill_entry(work_entry + work_order[i]);
    }
    return sum;
}

static uint32_t run_drop_all(uint32_t rounds)
{
    uint32_t sum = 0;
    peer_took = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t before = g_hash_table_size(table);
        uint64_t began = peer_ns();
        drop_all();
        peer_took += peer_ns() - began;
        sum += before - g_hash_table_size(table);
        for (uint32_t i = 0; i < work_entries; i++) fill_entry(work_entry + work_order[i]);
    }
    return sum;
}

static uint32_t run_drop_pages(uint32_t rounds, uint32_t pages)
{
    uint32_t sum = 0;
    peer_took = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t first = work_first[at_context] + at_page;
        uint64_t began = peer_ns();
        drop_context_pages(at_context, work_iova(work_entry + first), pages);
        peer_took += peer_ns() - began;
        sum += refill(first, first + pages);
        at_page += pages;
        if (work_first[at_context] + at_page + pages > work_first[at_context + 1]) {
            at_page = 0;
            at_context = (at_context + 1) % work_contexts;
        }
    }
    return sum;
}

static uint32_t run_drop_64(uint32_t rounds) { return run_drop_pages(rounds, 64); }
static uint32_t run_drop_4096(uint32_t rounds) { return run_drop_pages(rounds, 4096); }

/* One page by its key, many in one go: a look at the clock costs more than one of them. */
static uint32_t run_drop_page(uint32_t rounds)
{
    uint32_t sum = 0;
    peer_took = 0;
    for (uint32_t round = 0; round < rounds; round += 1024) {
        uint32_t many = rounds - round < 1024 ? rounds - round : 1024, e = at_page;
        uint64_t began = peer_ns();
        for (uint32_t i = 0; i < many; i++) {
            const struct work_entry *entry = work_entry + work_order[e];
            sum += (uint32_t)drop_context_page(entry->context, work_iova(entry));
            if (++e == work_entries) e = 0;
        }
        peer_took += peer_ns() - began;
        for (uint32_t i = 0; i < many; i++) {
            fill_entry(work_entry + work_order[at_page]);
            if (++at_page == work_entries) at_page = 0;
        }
    }
    return sum;
}

/* The guest's trace from its beginning, with an empty table each round. */
static uint32_t run_trace(uint32_t rounds)
{
    uint32_t sum = 0;
    peer_took = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        g_hash_table_remove_all(table);
        uint64_t began = peer_ns();
        sum += replay();
        peer_took += peer_ns() - began;
    }
    return sum;
}

int main(int argc, char **argv)
{
    static const struct peer_work works[] = {
        {"hit", hit},
        {"drop-context", run_drop_context},
        {"drop-group", run_drop_group},
        {"drop-all", run_drop_all},
        {"drop-page", run_drop_page},
        {"drop-64", run_drop_64},
        {"drop-4096", run_drop_4096},
    };
    static const struct peer_work traces[] = {{"trace", run_trace}};
    if (argc < 2) return 2;
    make();
    if (argc > 2 && !strcmp(argv[1], "trace")) {
        trace_load(argv[2]);
        return peer_serve(traces, 1);
    }
#ifdef HAS_PASIDS
    has_pasids = argc > 2 && !strcmp(argv[2], "pasids");
#endif
    work_load(argv[1]);
    for (uint32_t i = 0; i < work_entries; i++) fill_entry(work_entry + work_order[i]);
    return peer_serve(works, sizeof works / sizeof *works);
}
