/*
 * A whole miss in C: `program REQUESTERS PAGES ENTRIES REQUESTS`. A look-up that misses, a walk of four levels (nested:
 * 24 loads), permission, fill with eviction. Tables and requests are those of bench/fleet.ts, so that checksums agree; the
 * cache is the flat one. Entries are in VMSAv8-64 format, and checked as hardware must check them: valid, kind, output
 * size, access flag. Each is loaded once, whole, and only where there is memory.
 */
#include "flat.h"

#define IOVA 0x1234000000ull
#define FRAMES (1ull << 33)
#define BEHIND (1ull << 34)
#define FRAME 0x0000fffffffff000ull
#define READ 1u
#define WRITE 2u

static uint64_t *ram, ram_bytes, ram_next = 4096;
static uint32_t requesters, pages, requests, *who, *page;
static uint64_t *roots, stage_two;

static uint64_t take(void)
{
    uint64_t at = ram_next;
    ram_next += 4096;
    if (ram_next > ram_bytes) abort();
    return at;
}

static void map(uint64_t root, uint64_t iova, uint64_t frame, uint64_t leaf)
{
    uint64_t table = root;
    for (int level = 3; level > 0; level--) {
        uint64_t *slot = ram + (table >> 3) + (iova >> (12 + 9 * level) & 511);
        if (!*slot) *slot = take() | 3;
        table = *slot & FRAME;
    }
    ram[(table >> 3) + (iova >> 12 & 511)] = frame | leaf;
}

enum end { OK, FETCH, TRANSLATION, SIZE, ACCESS, PERMISSION };

struct result {
    uint64_t address;
    uint32_t rights;
};

static inline int load(uint64_t at, uint64_t *entry)
{
    if (at + 8 > ram_bytes) return 0;
    *entry = __atomic_load_n(ram + (at >> 3), __ATOMIC_RELAXED);
    return 1;
}

/* One entry: the next table's address, or the leaf's. */
static inline enum end meet(uint64_t entry, int level)
{
    if (!(entry & 1)) return TRANSLATION;
    if (!(entry & 2) && (level == 0 || level > 2)) return TRANSLATION;
    if (entry & 0x0000f00000000000ull) return SIZE;
    if ((level == 0 || !(entry & 2)) && !(entry & 1 << 10)) return ACCESS;
    return OK;
}

static inline int is_leaf(uint64_t entry, int level) { return level == 0 || !(entry & 2); }

static enum end walk_two(uint64_t ipa, struct result *out)
{
    uint64_t table = stage_two, entry;
    for (int level = 3;; level--) {
        if (!load(table + (ipa >> (12 + 9 * level) & 511) * 8, &entry)) return FETCH;
        enum end end = meet(entry, level);
        if (end != OK) return end;
        table = entry & FRAME;
        if (!is_leaf(entry, level)) continue;
        uint64_t mask = (1ull << (12 + 9 * level)) - 1;
        out->address = (table & ~mask) | (ipa & mask);
        out->rights = entry >> 6 & 3;
        return OK;
    }
}

static inline __attribute__((always_inline)) enum end walk_one(uint64_t root, uint64_t va, int nested, struct result *out)
{
    uint64_t table = root, entry;
    uint32_t limits = 3;
    for (int level = 3;; level--) {
        uint64_t at = table + (va >> (12 + 9 * level) & 511) * 8;
        if (nested) {
            struct result where;
            enum end end = walk_two(at, &where);
            if (end != OK) return end;
            if (!(where.rights & READ)) return PERMISSION;
            at = where.address;
        }
        if (!load(at, &entry)) return FETCH;
        enum end end = meet(entry, level);
        if (end != OK) return end;
        table = entry & FRAME;
        if (!is_leaf(entry, level)) {
            if (entry >> 62 & 1) limits &= ~WRITE;
            continue;
        }
        uint64_t mask = (1ull << (12 + 9 * level)) - 1;
        out->address = (table & ~mask) | (va & mask);
        out->rights = (entry >> 7 & 1 ? READ : READ | WRITE) & limits;
        return OK;
    }
}

static inline __attribute__((always_inline)) uint32_t misses(uint32_t rounds, int nested)
{
    uint32_t sum = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < requests; i++) {
            uint32_t tag = who[i], need = i % 3 == 0 ? WRITE : READ;
            uint64_t va = IOVA + ((uint64_t)page[i] << 12) + (i & 0xff8);
            struct flat_leaf *leaf = flat_find(tag, va);
            if (leaf && (leaf->flags & need) == need) {
                flat_hits++;
                sum += (uint32_t)((leaf->frame_lg2 & ~4095ull) + (va & 4095));
                continue;
            }
            flat_misses++;
            struct result one, two;
            if (walk_one(roots[tag], va, nested, &one) != OK || (one.rights & need) != need) abort();
            if (nested) {
                if (walk_two(one.address, &two) != OK || (two.rights & need) != need) abort();
                one.address = two.address;
                one.rights &= two.rights;
            }
            flat_fill(tag, tag, va, 12, one.address & ~4095ull, one.rights);
            sum += (uint32_t)one.address;
        }
    }
    return sum;
}

static uint32_t single(uint32_t rounds) { return misses(rounds, 0); }
static uint32_t nested(uint32_t rounds) { return misses(rounds, 1); }

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    requesters = atoi(argv[1]);
    pages = atoi(argv[2]);
    flat_make(atoi(argv[3]));
    requests = atoi(argv[4]);
    ram_bytes = (1ull << 24) + requesters * (pages / 512 + 4ull) * 4096 * 2;
    ram = flat_alloc(ram_bytes);
    roots = flat_alloc(requesters * sizeof *roots);
    for (uint32_t i = 0; i < requesters; i++) {
        roots[i] = take();
        for (uint32_t p = 0; p < pages; p++) map(roots[i], IOVA + ((uint64_t)p << 12), FRAMES + ((uint64_t)p << 12), 0xf43);
    }
    uint64_t used = ram_next;
    stage_two = take();
    for (uint64_t at = 0; at < used; at += 4096) map(stage_two, at, at, 0x7ff);
    for (uint32_t p = 0; p < pages; p++) {
        map(stage_two, FRAMES + ((uint64_t)p << 12), BEHIND + ((uint64_t)p << 12), 0x7ff);
    }
    who = flat_alloc(requests * 4);
    page = flat_alloc(requests * 4);
    peer_seed(0x2545f491);
    for (uint32_t i = 0; i < requests; i++) {
        who[i] = peer_below(requesters);
        page[i] = peer_below(pages);
    }
    const struct peer_work works[] = {{"single", single}, {"nested", nested}};
    return peer_serve(works, 2);
}
