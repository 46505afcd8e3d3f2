/*
 * A translation cache in C as flat as it can be made, with exactly what ours has: tags whose epoch forgets them in one
 * store, groups with generations, rights, leaves of 4 KiB to 512 GiB mixed, a capacity and replacement. The including
 * file chooses between the designs, of which a row keeps the faster.
 *
 * FLAT_SECTORS (18 or 21): a line of 16 bytes stands for 256 KiB or 2 MiB of one tag, four ways in one cache line; one
 * leaf is held beside its line, several in a block. Larger leaves have a line each.
 * Without it: four ways of 32 bytes, a look-up for each size that the tag ever had.
 */
#ifndef FLAT_H
#define FLAT_H

#include "peer.h"

#define FLAT_MISS UINT32_MAX
#define FLAT_GROUPS 65536u
#define FLAT_TAGS 65536u

struct flat_leaf {
    uint64_t frame_lg2; /* bytes, page aligned; log2 of the leaf in the low bits */
    uint32_t flags;     /* 0: there is none */
    uint32_t group;     /* number in the low half, its generation above */
};

static uint32_t flat_epoch[FLAT_TAGS]; /* of each tag; never used twice */
static uint32_t flat_sizes[FLAT_TAGS]; /* leaf sizes beyond the small ones that a tag ever had, a bit each */
static uint16_t flat_generation[FLAT_GROUPS];
static uint32_t flat_last_epoch;
static uint32_t flat_capacity, flat_sets, flat_shift;
static uint64_t flat_hits, flat_misses, flat_evictions;

static inline uint32_t flat_group(uint32_t group) { return group | (uint32_t)flat_generation[group] << 16; }

static inline int flat_is_of(const struct flat_leaf *leaf)
{
    return flat_generation[leaf->group & 0xffff] == leaf->group >> 16;
}

static inline uint32_t flat_set(uint32_t epoch, uint64_t number)
{
    return (uint32_t)((number ^ (uint64_t)epoch * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u >> flat_shift);
}

static void *flat_alloc(size_t bytes)
{
    void *data = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!data) abort();
    memset(data, 0, bytes);
    return data;
}

static uint32_t flat_lg2(uint32_t n)
{
    uint32_t lg2 = 0;
    while ((1u << lg2) < n) lg2++;
    return lg2;
}

static void flat_drop_tag(uint32_t tag) { flat_epoch[tag] = ++flat_last_epoch; }
static void flat_drop_group(uint32_t group) { flat_generation[group]++; }

#ifdef FLAT_SECTORS

struct flat_line {
    uint64_t key; /* number of the sector or of the large leaf, its kind above bit 56; 0: free */
    uint32_t epoch;
    uint32_t leaves; /* first of its block, or of a single leaf: which of the sector's */
};

/* Bytes of a sector: 256 KiB, or 2 MiB where FLAT_SECTORS says so. */
#define LEAVES (1u << (FLAT_SECTORS - 12))

#define KIND_BLOCK 1ull
#define KIND_LARGE 2ull /* and above: with the log2 of the leaf's pages */
#define KEY(kind, number) ((uint64_t)(kind) << 56 | (number))

static struct flat_line *flat_lines;
static struct flat_leaf *flat_single; /* beside each line */
static struct flat_leaf *flat_blocks;
static uint32_t *flat_free, flat_free_count, flat_hand;
static uint8_t *flat_turn;
/* A line whose leaves stand beside it has this bit; the rest is the page in its sector. */
#define IS_SINGLE 0x80000000u

static void flat_make(uint32_t entries)
{
    uint32_t lines = 2 * entries, blocks = entries / (LEAVES / 8) ? entries / (LEAVES / 8) : 1;
    flat_capacity = entries;
    flat_sets = lines / 4;
    flat_shift = 64 - flat_lg2(flat_sets);
    flat_lines = flat_alloc((size_t)lines * sizeof *flat_lines);
    flat_single = flat_alloc((size_t)lines * sizeof *flat_single);
    flat_blocks = flat_alloc((size_t)blocks * LEAVES * sizeof *flat_blocks);
    flat_free = flat_alloc(blocks * sizeof *flat_free);
    flat_turn = flat_alloc(flat_sets);
    for (uint32_t i = 0; i < blocks; i++) flat_free[i] = (blocks - 1 - i) * LEAVES;
    flat_free_count = blocks;
    for (uint32_t i = 0; i < FLAT_TAGS; i++) flat_epoch[i] = ++flat_last_epoch;
}

static void flat_drop_all(void)
{
    for (uint32_t i = 0; i < FLAT_TAGS; i++) flat_epoch[i] = ++flat_last_epoch;
}

static inline uint32_t flat_line_of(uint32_t epoch, uint64_t key)
{
    uint32_t at = flat_set(epoch, key) * 4;
    const struct flat_line *line = flat_lines + at;
    if (line[0].key == key && line[0].epoch == epoch) return at;
    if (line[1].key == key && line[1].epoch == epoch) return at + 1;
    if (line[2].key == key && line[2].epoch == epoch) return at + 2;
    if (line[3].key == key && line[3].epoch == epoch) return at + 3;
    return FLAT_MISS;
}

static inline struct flat_leaf *flat_find(uint32_t tag, uint64_t iova)
{
    uint32_t epoch = flat_epoch[tag], at = flat_line_of(epoch, KEY(KIND_BLOCK, iova >> FLAT_SECTORS)), in = iova >> 12 & (LEAVES - 1);
    if (at != FLAT_MISS) {
        uint32_t leaves = flat_lines[at].leaves;
        struct flat_leaf *leaf = NULL;
        if (!(leaves & IS_SINGLE)) leaf = flat_blocks + leaves + in;
        else if (((leaves ^ iova >> 12) & (LEAVES - 1)) >> ((flat_single[at].frame_lg2 & 63) - 12) == 0) leaf = flat_single + at;
        if (leaf && leaf->flags && flat_is_of(leaf)) return leaf;
    }
    for (uint32_t sizes = flat_sizes[tag]; sizes; sizes &= sizes - 1) {
        uint32_t lg2 = __builtin_ctz(sizes);
        at = flat_line_of(epoch, KEY(KIND_LARGE + lg2, iova >> (12 + lg2)));
        if (at != FLAT_MISS && flat_single[at].flags && flat_is_of(flat_single + at)) return flat_single + at;
    }
    return NULL;
}

static void flat_free_line(uint32_t at)
{
    if (flat_lines[at].key >> 56 == KIND_BLOCK && !(flat_lines[at].leaves & IS_SINGLE))
        flat_free[flat_free_count++] = flat_lines[at].leaves;
    flat_lines[at].key = 0;
}

static uint32_t flat_victim(uint32_t epoch, uint64_t key)
{
    uint32_t set = flat_set(epoch, key), at = set * 4;
    for (uint32_t way = 0; way < 4; way++) if (!flat_lines[at + way].key) return at + way;
    at += flat_turn[set]++ & 3;
    flat_evictions++;
    flat_free_line(at);
    return at;
}

static uint32_t flat_block(uint32_t but)
{
    while (!flat_free_count) {
        flat_hand = (flat_hand + 1) & (flat_sets * 4 - 1);
        if (flat_hand == but || flat_lines[flat_hand].key >> 56 != KIND_BLOCK) continue;
        if (flat_lines[flat_hand].leaves & IS_SINGLE) continue;
        flat_evictions++;
        flat_free_line(flat_hand);
    }
    uint32_t block = flat_free[--flat_free_count];
    memset(flat_blocks + block, 0, LEAVES * sizeof *flat_blocks);
    return block;
}

static void flat_store(struct flat_leaf *leaf, uint32_t lg2, uint64_t address, uint32_t flags, uint32_t group)
{
    leaf->frame_lg2 = address | lg2;
    leaf->flags = flags;
    leaf->group = flat_group(group);
}

static void flat_put(uint32_t block, uint64_t iova, uint32_t lg2, uint64_t address, uint32_t flags, uint32_t group)
{
    uint32_t count = 1u << (lg2 - 12), first = (iova >> 12 & (LEAVES - 1)) & ~(count - 1);
    for (uint32_t i = 0; i < count; i++) flat_store(flat_blocks + block + first + i, lg2, address, flags, group);
}

static void flat_fill(uint32_t tag, uint32_t group, uint64_t iova, uint32_t lg2, uint64_t address, uint32_t flags)
{
    uint32_t epoch = flat_epoch[tag], pages = lg2 - 12;
    int small = lg2 <= FLAT_SECTORS;
    uint64_t key = small ? KEY(KIND_BLOCK, iova >> FLAT_SECTORS) : KEY(KIND_LARGE + pages, iova >> lg2);
    uint32_t at = flat_line_of(epoch, key), in = iova >> 12 & (LEAVES - 1);
    if (at == FLAT_MISS) {
        at = flat_victim(epoch, key);
        flat_lines[at] = (struct flat_line){.key = key, .epoch = epoch, .leaves = IS_SINGLE | in};
        flat_store(flat_single + at, lg2, address, flags, group);
        if (!small) flat_sizes[tag] |= 1u << pages;
        return;
    }
    if (!small || (flat_lines[at].leaves & IS_SINGLE && (flat_lines[at].leaves & (LEAVES - 1)) == in)) {
        flat_store(flat_single + at, lg2, address, flags, group);
        return;
    }
    if (flat_lines[at].leaves & IS_SINGLE) {
        struct flat_leaf old = flat_single[at];
        uint32_t block = flat_block(at), where = flat_lines[at].leaves & (LEAVES - 1);
        if (old.flags && flat_is_of(&old)) flat_blocks[block + where] = old;
        flat_lines[at].leaves = block;
    }
    flat_put(flat_lines[at].leaves, iova, lg2, address, flags, group);
}

/* Every leaf of a tag in [first, last], bytes. */
static void flat_drop_range(uint32_t tag, uint64_t first, uint64_t last)
{
    uint32_t epoch = flat_epoch[tag];
    for (uint64_t sector = first >> FLAT_SECTORS; sector <= last >> FLAT_SECTORS; sector++) {
        uint64_t start = sector << FLAT_SECTORS, end = start + (((uint64_t)1 << FLAT_SECTORS) - 1);
        uint32_t at = flat_line_of(epoch, KEY(KIND_BLOCK, sector));
        if (at == FLAT_MISS) continue;
        if (flat_lines[at].leaves & IS_SINGLE || (first <= start && last >= end)) {
            uint64_t page = start | (uint64_t)(flat_lines[at].leaves & (LEAVES - 1)) << 12;
            if (!(flat_lines[at].leaves & IS_SINGLE) || (first <= page + (((uint64_t)1 << (flat_single[at].frame_lg2 & 63)) - 1) && page <= last)) flat_free_line(at);
            continue;
        }
        uint32_t from = first > start ? first >> 12 & (LEAVES - 1) : 0, to = last < end ? last >> 12 & (LEAVES - 1) : LEAVES - 1;
        for (uint32_t in = from; in <= to; in++) flat_blocks[flat_lines[at].leaves + in].flags = 0;
    }
    for (uint32_t sizes = flat_sizes[tag]; sizes; sizes &= sizes - 1) {
        uint32_t lg2 = __builtin_ctz(sizes) + 12;
        for (uint64_t number = first >> lg2; number <= last >> lg2; number++) {
            uint32_t at = flat_line_of(epoch, KEY(KIND_LARGE + lg2 - 12, number));
            if (at != FLAT_MISS) flat_lines[at].key = 0;
        }
    }
}

#else

struct flat_way {
    uint64_t key; /* page number at its size, the size above bit 56; 0: free */
    uint32_t epoch;
    uint32_t tag;
    struct flat_leaf leaf;
};

static struct flat_way *flat_ways;
static uint8_t *flat_turn;

static void flat_make(uint32_t entries)
{
    flat_capacity = entries;
    flat_sets = entries / 4;
    flat_shift = 64 - flat_lg2(flat_sets);
    flat_ways = flat_alloc((size_t)entries * sizeof *flat_ways);
    flat_turn = flat_alloc(flat_sets);
    for (uint32_t i = 0; i < FLAT_TAGS; i++) flat_epoch[i] = ++flat_last_epoch;
}

static void flat_drop_all(void)
{
    for (uint32_t i = 0; i < FLAT_TAGS; i++) flat_epoch[i] = ++flat_last_epoch;
}

#define KEY(lg2, iova) ((uint64_t)(lg2) << 56 | (iova) >> (lg2))

static inline struct flat_way *flat_way_of(uint32_t epoch, uint64_t key)
{
    struct flat_way *way = flat_ways + (size_t)flat_set(epoch, key) * 4;
    if (way[0].key == key && way[0].epoch == epoch) return way;
    if (way[1].key == key && way[1].epoch == epoch) return way + 1;
    if (way[2].key == key && way[2].epoch == epoch) return way + 2;
    if (way[3].key == key && way[3].epoch == epoch) return way + 3;
    return NULL;
}

static inline struct flat_leaf *flat_find(uint32_t tag, uint64_t iova)
{
    uint32_t epoch = flat_epoch[tag];
    for (uint32_t sizes = flat_sizes[tag]; sizes; sizes &= sizes - 1) {
        uint32_t lg2 = __builtin_ctz(sizes) + 12;
        struct flat_way *way = flat_way_of(epoch, KEY(lg2, iova));
        if (way && flat_is_of(&way->leaf)) return &way->leaf;
    }
    return NULL;
}

static int flat_is_live(const struct flat_way *way)
{
    return way->key && way->epoch == flat_epoch[way->tag] && flat_is_of(&way->leaf);
}

static void flat_fill(uint32_t tag, uint32_t group, uint64_t iova, uint32_t lg2, uint64_t address, uint32_t flags)
{
    uint32_t epoch = flat_epoch[tag];
    uint64_t key = KEY(lg2, iova);
    struct flat_way *way = flat_way_of(epoch, key);
    if (!way) {
        uint32_t set = flat_set(epoch, key), i = 0;
        struct flat_way *ways = flat_ways + (size_t)set * 4;
        while (i < 4 && flat_is_live(ways + i)) i++;
        if (i == 4) {
            i = flat_turn[set]++ & 3;
            flat_evictions++;
        }
        way = ways + i;
    }
    *way = (struct flat_way){.key = key, .epoch = epoch, .tag = tag};
    way->leaf = (struct flat_leaf){.frame_lg2 = address | lg2, .flags = flags, .group = flat_group(group)};
    flat_sizes[tag] |= 1u << (lg2 - 12);
}

static void flat_drop_range(uint32_t tag, uint64_t first, uint64_t last)
{
    uint32_t epoch = flat_epoch[tag];
    for (uint32_t sizes = flat_sizes[tag]; sizes; sizes &= sizes - 1) {
        uint32_t lg2 = __builtin_ctz(sizes) + 12;
        for (uint64_t number = first >> lg2; number <= last >> lg2; number++) {
            struct flat_way *way = flat_way_of(epoch, (uint64_t)lg2 << 56 | number);
            if (way) way->key = 0;
        }
    }
}

#endif
#endif
