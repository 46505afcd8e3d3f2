/* Page tables of 4 KiB pages in the four formats, written and cleared by loops over their entries: what a map of the
   daemon's leaves in memory, and nothing else. Words: FORMAT LEVELS FIRST_PAGE PAGES FIRST_FRAME SEED. */
#include "peer.h"

struct format {
    const char *name;
    uint64_t table, leaf;
};

/* Spelled out of the manuals: Arm D8.3, VT-d 9.7 and 9.8. */
static const struct format formats[] = {
    {"smmuv3-stage-1", 0x3, 0xf47}, /* valid, page, AttrIndx 1, AP 01, SH 11, AF, nG */
    {"smmuv3-stage-2", 0x3, 0x7db}, /* valid, page, MemAttr 0110 (FWB write-back), S2AP 11, SH 11, AF */
    {"vtd-first-stage", 0x27, 0x67}, /* P, R/W, U/S, A; leaves D too */
    {"vtd-second-stage", 0x3, 0x803}, /* R, W; leaves SNP */
};

static const struct format *format;
static unsigned levels;
static uint64_t first_page, pages, first_frame;
static uint32_t *scattered;

/* Tables come out of one piece of memory, and emptied ones are handed out again. Each is zeroed when it is handed out. */
static const uint64_t BASE = 1ull << 33;
static uint64_t *pool;
static uint32_t made, returned_count;
static uint64_t **returned;
/* Entries that are set, by table: who clears one by one must know which is the last. */
static uint16_t *live;
static uint64_t *root;

static uint64_t *table_new(void)
{
    uint64_t *table = returned_count ? returned[--returned_count] : pool + 512ull * made++;
    memset(table, 0, 4096);
    return table;
}
static inline uint64_t address_of(const uint64_t *table) { return BASE + 8ull * (uint64_t)(table - pool); }
static inline uint64_t *table_at(uint64_t entry) { return pool + ((entry & 0xffffffffff000ull) - BASE) / 8; }
static inline uint16_t *live_of(const uint64_t *table) { return &live[(table - pool) / 512]; }
static inline unsigned index_in(uint64_t page, unsigned level) { return (page >> (9 * level)) & 511; }

/* The table with a page's leaf; those on the way are made. */
static inline uint64_t *leaves_of(uint64_t page)
{
    uint64_t *table = root;
    for (unsigned level = levels - 1; level > 0; level--) {
        uint64_t *entry = &table[index_in(page, level)];
        if (!*entry) {
            *entry = address_of(table_new()) | format->table;
            ++*live_of(table);
        }
        table = table_at(*entry);
    }
    return table;
}

/* Clears the entry that leads to an emptied table, and those above as they empty. */
static void take_out(uint64_t page)
{
    for (unsigned level = 1; level < levels; level++) {
        uint64_t *table = root;
        for (unsigned at = levels - 1; at > level; at--) table = table_at(table[index_in(page, at)]);
        uint64_t *entry = &table[index_in(page, level)];
        returned[returned_count++] = table_at(*entry);
        *entry = 0;
        if (--*live_of(table)) return;
    }
}

static void map_run(void)
{
    for (uint64_t done = 0; done < pages;) {
        uint64_t page = first_page + done, from = page & 511;
        uint64_t count = 512 - from < pages - done ? 512 - from : pages - done;
        volatile uint64_t *leaves = leaves_of(page);
        for (uint64_t i = 0; i < count; i++) leaves[from + i] = (first_frame + done + i) << 12 | format->leaf;
        *live_of((uint64_t *)leaves) += count;
        done += count;
    }
}

static void unmap_run(void)
{
    for (uint64_t done = 0; done < pages;) {
        uint64_t page = first_page + done, from = page & 511;
        uint64_t count = 512 - from < pages - done ? 512 - from : pages - done;
        volatile uint64_t *leaves = leaves_of(page);
        for (uint64_t i = 0; i < count; i++) leaves[from + i] = 0;
        if (!(*live_of((uint64_t *)leaves) -= count)) take_out(page);
        done += count;
    }
}

static __attribute__((noinline)) void map_page(uint64_t page, uint64_t frame)
{
    uint64_t *leaves = leaves_of(page);
    ((volatile uint64_t *)leaves)[page & 511] = frame << 12 | format->leaf;
    ++*live_of(leaves);
}

static __attribute__((noinline)) void unmap_page(uint64_t page)
{
    uint64_t *leaves = leaves_of(page);
    ((volatile uint64_t *)leaves)[page & 511] = 0;
    if (!--*live_of(leaves)) take_out(page);
}

static void map_scattered(void)
{
    for (uint64_t i = 0; i < pages; i++) map_page(first_page + i, first_frame + scattered[i]);
}

static void unmap_scattered(void)
{
    for (uint64_t i = 0; i < pages; i++) unmap_page(first_page + i);
}

/* Of all entries: leaves as they are, entries of tables without the address of the table. Matches bench/rows/p8.ts. */
static uint32_t sum_of(const uint64_t *table, unsigned level)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 512; i++) {
        uint64_t entry = table[i];
        if (!entry) continue;
        if (level > 0) sum = sum * 31 + sum_of(table_at(entry), level - 1);
        uint64_t told = level > 0 ? entry & ~0xffffffffff000ull : entry;
        sum += ((uint32_t)told ^ (uint32_t)(told >> 32) * 0x9e3779b1u) * (2 * i + 1);
    }
    return sum;
}

/* One of the two ways there, the other untimed. */
static uint32_t turns(uint32_t rounds, void (*map)(void), void (*unmap)(void), int is_map)
{
    uint32_t sum = 0;
    uint64_t took = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t began = peer_ns();
        map();
        uint64_t mapped = peer_ns();
        sum += sum_of(root, levels - 1);
        uint64_t went_on = peer_ns();
        unmap();
        took += is_map ? mapped - began : peer_ns() - went_on;
        sum += sum_of(root, levels - 1);
    }
    peer_took = took;
    return sum;
}

static uint32_t run_map(uint32_t rounds) { return turns(rounds, map_run, unmap_run, 1); }
static uint32_t run_unmap(uint32_t rounds) { return turns(rounds, map_run, unmap_run, 0); }
static uint32_t run_map_each(uint32_t rounds) { return turns(rounds, map_scattered, unmap_scattered, 1); }
static uint32_t run_unmap_each(uint32_t rounds) { return turns(rounds, map_scattered, unmap_scattered, 0); }

int main(int argc, char **argv)
{
    if (argc != 7) return 2;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(formats[i].name, argv[1])) format = &formats[i];
    if (!format) return 2;
    levels = (unsigned)atoi(argv[2]);
    first_page = strtoull(argv[3], 0, 10);
    pages = strtoull(argv[4], 0, 10);
    first_frame = strtoull(argv[5], 0, 10);
    peer_seed((uint32_t)strtoul(argv[6], 0, 10));
    uint64_t tables = pages / 512 + 16;
    pool = aligned_alloc(4096, tables * 4096);
    returned = malloc(tables * sizeof *returned);
    live = calloc(tables, sizeof *live);
    scattered = malloc(pages * sizeof *scattered);
    if (!pool || !returned || !live || !scattered) return 1;
    memset(pool, 0, tables * 4096);
    for (uint64_t i = 0; i < pages; i++) scattered[i] = (uint32_t)i;
    for (uint64_t i = pages - 1; i > 0; i--) {
        uint64_t other = peer_below((uint32_t)i + 1);
        uint32_t kept = scattered[i];
        scattered[i] = scattered[other];
        scattered[other] = kept;
    }
    root = table_new();
    const struct peer_work works[] = {
        {"map", run_map},
        {"unmap", run_unmap},
        {"map-each", run_map_each},
        {"unmap-each", run_unmap_each},
    };
    return peer_serve(works, sizeof works / sizeof *works);
}
