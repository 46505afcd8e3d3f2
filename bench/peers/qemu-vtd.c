/* flags: -O2 -std=gnu11 */
/*
 * An IOTLB built as QEMU 11 builds VT-d's: one GHashTable, keys and values on the heap, a hash of shifted and folded
 * fields of {page, PASID, source-id, level}, a look-up for each level from the smallest page until one hits, and a look
 * at every entry for each invalidation that is not global. QEMU forgets everything at 1,024 entries; this one keeps
 * what it is given, so that it can be asked for what is resident.
 */
#include <glib.h>
#include "work.h"

#define NO_PASID UINT32_MAX
#define FIRST_STAGE 1

struct key {
    uint64_t page;
    uint32_t pasid;
    uint16_t source;
    uint8_t level;
};

struct entry {
    uint64_t page;
    uint16_t domain;
    uint32_t pasid;
    uint64_t leaf, mask;
    uint8_t rights, type;
};

static GHashTable *table;
static uint64_t hits, misses;

static guint key_hash(gconstpointer v)
{
    const struct key *key = v;
    uint64_t hash = key->page | (uint64_t)key->source << 26 | (uint64_t)(key->level - 1) << 42 | (uint64_t)key->pasid << 44;
    return (guint)(hash >> 32 ^ (hash & 0xffffffff));
}

static gboolean key_equal(gconstpointer one, gconstpointer other)
{
    const struct key *a = one, *b = other;
    return a->source == b->source && a->pasid == b->pasid && a->level == b->level && a->page == b->page;
}

static inline uint64_t level_mask(unsigned level) { return ~(((uint64_t)1 << (12 + (level - 1) * 9)) - 1); }

static struct entry *find(uint16_t source, uint32_t pasid, uint64_t iova)
{
    struct entry *found = NULL;
    struct key key = {.source = source, .pasid = pasid};
    for (unsigned level = 1; level < 4 && !found; level++) {
        key.page = (iova & level_mask(level)) >> 12;
        key.level = (uint8_t)level;
        found = g_hash_table_lookup(table, &key);
    }
    if (found) hits++;
    else misses++;
    return found;
}

static void insert(uint16_t source, uint32_t pasid, uint16_t domain, int type, uint64_t iova, unsigned lg2, uint64_t leaf,
                   uint32_t rights)
{
    struct key *key = g_malloc(sizeof *key);
    struct entry *entry = g_malloc(sizeof *entry);
    unsigned level = 1 + (lg2 - 12) / 9;
    *entry = (struct entry){.page = (iova & level_mask(level)) >> 12, .domain = domain, .pasid = pasid, .leaf = leaf,
                            .mask = level_mask(level), .rights = (uint8_t)rights, .type = (uint8_t)type};
    *key = (struct key){.page = entry->page, .pasid = pasid, .source = source, .level = (uint8_t)level};
    g_hash_table_replace(table, key, entry);
}

struct range {
    uint16_t domain;
    uint32_t pasid;
    uint64_t address, mask;
};

static gboolean is_of_domain(gpointer k, gpointer v, gpointer data)
{
    (void)k;
    return ((const struct entry *)v)->domain == ((const struct range *)data)->domain;
}

static gboolean is_of_pasid(gpointer k, gpointer v, gpointer data)
{
    const struct entry *entry = v;
    const struct range *range = data;
    (void)k;
    return entry->type == FIRST_STAGE && entry->domain == range->domain && entry->pasid == range->pasid;
}

static inline gboolean is_touched(const struct entry *entry, const struct range *range)
{
    uint64_t page = range->address >> 12 & range->mask, of_leaf = (range->address & entry->mask) >> 12;
    return (entry->page & range->mask) == page || entry->page == of_leaf;
}

static gboolean is_in_domain_range(gpointer k, gpointer v, gpointer data)
{
    const struct entry *entry = v;
    const struct range *range = data;
    (void)k;
    if (entry->domain != range->domain) return FALSE;
    return entry->type == FIRST_STAGE || is_touched(entry, range);
}

static gboolean is_in_pasid_range(gpointer k, gpointer v, gpointer data)
{
    return is_of_pasid(k, v, data) && is_touched(v, data);
}

static void drop_domain(uint16_t domain)
{
    struct range range = {.domain = domain};
    g_hash_table_foreach_remove(table, is_of_domain, &range);
}

static void drop_pasid(uint16_t domain, uint32_t pasid)
{
    struct range range = {.domain = domain, .pasid = pasid};
    g_hash_table_foreach_remove(table, is_of_pasid, &range);
}

static void drop_domain_pages(uint16_t domain, uint64_t iova, unsigned order)
{
    struct range range = {.domain = domain, .address = iova, .mask = ~(((uint64_t)1 << order) - 1)};
    g_hash_table_foreach_remove(table, is_in_domain_range, &range);
}

static void drop_pasid_pages(uint16_t domain, uint32_t pasid, uint64_t iova, unsigned order)
{
    struct range range = {.domain = domain, .pasid = pasid, .address = iova, .mask = ~(((uint64_t)1 << order) - 1)};
    g_hash_table_foreach_remove(table, is_in_pasid_range, &range);
}

static void drop_all(void) { g_hash_table_remove_all(table); }

static void make(void) { table = g_hash_table_new_full(key_hash, key_equal, g_free, g_free); }

/*
 * A context of the work is a source-id without PASID; contexts of one domain share it. Where each has a PASID of its
 * own instead (`program WORK pasids`), they are one source-id's.
 */
static int has_pasids;

static int find_entry(uint32_t context, uint64_t iova)
{
    return (has_pasids ? find(8, context + 1, iova) : find((uint16_t)context, NO_PASID, iova)) != NULL;
}

static void fill_entry(const struct work_entry *e)
{
    if (has_pasids) insert(8, e->context + 1, 1, FIRST_STAGE, work_iova(e), e->leaf_lg2, work_address(e), e->rights);
    else insert((uint16_t)e->context, NO_PASID, 1, 2, work_iova(e), e->leaf_lg2, work_address(e), e->rights);
}

static inline uint32_t translate(uint32_t context, uint64_t iova, uint32_t need)
{
    struct entry *entry = has_pasids ? find(8, context + 1, iova) : find((uint16_t)context, NO_PASID, iova);
    if (!entry || (entry->rights & need) != need) return 0;
    return (uint32_t)((entry->leaf & entry->mask) + (iova & ~entry->mask));
}

static void drop_context(uint32_t context) { drop_pasid(1, context + 1); }
static void drop_group(void) { drop_domain(1); }

static void drop_context_pages(uint32_t context, uint64_t iova, uint32_t pages)
{
    unsigned order = (unsigned)__builtin_ctz(pages);
    if (has_pasids) drop_pasid_pages(1, context + 1, iova, order);
    else drop_domain_pages(1, iova, order);
}

/* There is no keyed removal in QEMU's; this is what it would cost. */
static int drop_context_page(uint32_t context, uint64_t iova)
{
    struct key key = {.page = iova >> 12, .pasid = has_pasids ? context + 1 : NO_PASID,
                      .source = has_pasids ? 8 : (uint16_t)context, .level = 1};
    return g_hash_table_remove(table, &key);
}

#include "trace.h"

/* Requests without PASID use the one that the context entry names, which Linux leaves 0. */
static uint32_t trace_dma(const struct trace_row *row, uint64_t iova)
{
    uint16_t source = (uint16_t)row->who;
    struct entry *entry = find(source, 0, iova);
    uint32_t need = row->rights & RIGHT_READ ? RIGHT_READ : RIGHT_WRITE;
    if (!entry) {
        uint64_t address = (uint64_t)row->address_hi << 32 | row->address_lo;
        uint64_t mask = ((uint64_t)1 << row->leaf_lg2) - 1;
        insert(source, 0, (uint16_t)(row->who >> 16), FIRST_STAGE, iova, row->leaf_lg2, address & ~mask, row->rights);
        return (uint32_t)address;
    }
    if ((entry->rights & need) != need) return 0;
    return (uint32_t)((entry->leaf & entry->mask) + (iova & ~entry->mask));
}

static void trace_command(uint64_t first, uint64_t second)
{
    unsigned type = first & 0xf, granularity = first >> 4 & 3;
    uint16_t domain = (uint16_t)(first >> 16);
    uint32_t pasid = first >> 32 & 0xfffff;
    if (type == 2 && granularity == 1) drop_all();
    else if (type == 2 && granularity == 2) drop_domain(domain);
    else if (type == 2) drop_domain_pages(domain, second & ~(uint64_t)0xfff, second & 0x3f);
    else if (type == 6 && granularity == 2) drop_pasid(domain, pasid);
    else if (type == 6) drop_pasid_pages(domain, pasid, second & ~(uint64_t)0xfff, second & 0x3f);
}

#define HAS_PASIDS
#include "qemu-main.h"
