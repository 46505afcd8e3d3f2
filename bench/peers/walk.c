/*
 * A whole miss in C: `program REQUESTERS PAGES ENTRIES REQUESTS`. From RID and PASID to what is known of them; a look
 * that misses, of its own tag and of the global one; a walk of four levels (nested: 24 loads), permission, fill with
 * eviction. Tables and requests are those of bench/pipeline, so that checksums agree; the cache is the flat one. Tables
 * stand in a mapped file, which is one of several regions of memory. Entries are in VMSAv8-64 format, and checked as
 * hardware must check them: valid, kind, output size, access flag, what the tables above took away. Each is loaded
 * once, whole, and only where there is memory.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "flat.h"

#define IOVA 0x1234000000ull
#define FRAMES (1ull << 33)
#define BEHIND (1ull << 34)
#define FRAME 0x0000fffffffff000ull
#define READ 1u
#define WRITE 2u

static uint64_t *ram, ram_bytes, ram_next = 4096;
static uint32_t requesters, pages, requests, *who, *page;

/* What is known of a requester, and how long: as ours, one line of the processor's cache. */
struct path {
    uint32_t rid, pasid, generation, tag, global_tag, high_limit, needs_user, enabled;
    uint64_t root, stage_two, ias_lg2, unused;
};
static struct path *paths;
static uint32_t generation = 1;

/* Regions of memory by address; the one that was read last is tried first. */
struct region {
    uint64_t base, bytes;
    uint64_t *words;
};
static struct region regions[4], *last_region = regions;

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

static int enter(uint64_t at)
{
    for (uint32_t i = 0; i < sizeof regions / sizeof *regions; i++) {
        if (at - regions[i].base >= regions[i].bytes) continue;
        last_region = regions + i;
        return 1;
    }
    return 0;
}

static inline int load(uint64_t at, uint64_t *entry)
{
    if (at - last_region->base >= last_region->bytes && !enter(at)) return 0;
    *entry = __atomic_load_n(last_region->words + ((at - last_region->base) >> 3), __ATOMIC_RELAXED);
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

static enum end walk_two(uint64_t stage_two, uint64_t ias_lg2, uint64_t ipa, struct result *out)
{
    uint64_t table = stage_two, entry;
    if (ipa >> ias_lg2) return TRANSLATION;
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

static inline __attribute__((always_inline)) enum end walk_one(const struct path *path, uint64_t va, int nested,
                                                              struct result *out)
{
    uint64_t table = path->root, entry;
    uint32_t limits = 3;
    for (int level = 3;; level--) {
        uint64_t at = table + (va >> (12 + 9 * level) & 511) * 8;
        if (nested) {
            struct result where;
            enum end end = walk_two(path->stage_two, path->ias_lg2, at, &where);
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
            uint32_t rid = who[i], need = i % 3 == 0 ? WRITE : READ;
            uint64_t va = IOVA + ((uint64_t)page[i] << 12) + (i & 0xff8);
            const struct path *path = paths + (rid & 255);
            if (path->rid != rid || path->pasid != UINT32_MAX || path->generation != generation) abort();
            if (!path->enabled || va >> 32 >= path->high_limit || path->needs_user) abort();
            uint32_t tag = path->tag;
            struct flat_leaf *leaf = flat_find(tag, va);
            if (!leaf) leaf = flat_find(path->global_tag, va);
            if (leaf && (leaf->flags & need) == need) {
                flat_hits++;
                sum += (uint32_t)((leaf->frame_lg2 & ~4095ull) + (va & 4095));
                continue;
            }
            flat_misses++;
            struct result one, two;
            if (walk_one(path, va, nested, &one) != OK || (one.rights & need) != need) abort();
            if (nested) {
                enum end end = walk_two(path->stage_two, path->ias_lg2, one.address, &two);
                if (end != OK || (two.rights & need) != need) abort();
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

/* A file without a name, as the tables of ours stand in one. */
static uint64_t *map_file(uint64_t bytes)
{
    FILE *file = tmpfile();
    if (!file || ftruncate(fileno(file), (off_t)bytes)) abort();
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    if (data == MAP_FAILED) abort();
    return data;
}

int main(int argc, char **argv)
{
    if (argc != 5 || atoi(argv[1]) > 256) return 2;
    requesters = atoi(argv[1]);
    pages = atoi(argv[2]);
    flat_make(atoi(argv[3]));
    requests = atoi(argv[4]);
    ram_bytes = (1ull << 24) + requesters * (pages / 512 + 4ull) * 4096 * 2;
    ram = map_file(ram_bytes);
    regions[0] = (struct region){.base = 1ull << 40, .bytes = 1 << 16, .words = ram};
    regions[1] = (struct region){.base = 0, .bytes = ram_bytes, .words = ram};
    last_region = regions + 1;
    paths = flat_alloc(256 * sizeof *paths);
    for (uint32_t i = 0; i < requesters; i++) {
        struct path path = {.rid = i, .pasid = UINT32_MAX, .generation = generation, .tag = i, .enabled = 1};
        path.global_tag = requesters + i;
        path.high_limit = 1 << 16;
        path.root = take();
        path.ias_lg2 = 48;
        paths[i] = path;
        for (uint64_t p = 0; p < pages; p++) map(path.root, IOVA + (p << 12), FRAMES + (p << 12), 0xf43);
    }
    uint64_t used = ram_next, stage_two = take();
    for (uint32_t i = 0; i < requesters; i++) paths[i].stage_two = stage_two;
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
