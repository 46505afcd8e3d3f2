/* flags: -O2 -std=gnu11 */
/*
 * An IOTLB built as QEMU 11 builds its SMMUv3's: one GHashTable, keys and values on the heap, Jenkins' hash over
 * {iova, asid, vmid, granule, level}, a look-up for each level from the top until one hits, and a look at every entry
 * for each invalidation that does not name granule and level of a single page. QEMU forgets everything at 256 entries;
 * this one keeps what it is given, so that it can be asked for what is resident.
 */
#include <glib.h>
#include "work.h"

struct key {
    uint64_t iova;
    int asid, vmid;
    uint8_t granule, level;
};

struct entry {
    void *target;
    uint64_t iova, address, mask;
    uint32_t rights, parent_rights;
    uint8_t level, granule_lg2;
};

static GHashTable *table;
static uint64_t hits, misses;

#define ROTATE(x, k) ((x) << (k) | (x) >> (32 - (k)))

/* Bob Jenkins' lookup3, three words. */
static guint key_hash(gconstpointer v)
{
    const struct key *key = v;
    uint32_t a, b, c;
    a = b = c = 0xdeadbeef + sizeof *key;
    a += (uint32_t)(key->asid + key->vmid + key->level + key->granule);
    b += (uint32_t)key->iova;
    c += (uint32_t)(key->iova >> 32);
    a -= c, a ^= ROTATE(c, 4), c += b;
    b -= a, b ^= ROTATE(a, 6), a += c;
    c -= b, c ^= ROTATE(b, 8), b += a;
    a -= c, a ^= ROTATE(c, 16), c += b;
    b -= a, b ^= ROTATE(a, 19), a += c;
    c -= b, c ^= ROTATE(b, 4), b += a;
    c ^= b, c -= ROTATE(b, 14);
    a ^= c, a -= ROTATE(c, 11);
    b ^= a, b -= ROTATE(a, 25);
    c ^= b, c -= ROTATE(b, 16);
    a ^= c, a -= ROTATE(c, 4);
    b ^= a, b -= ROTATE(a, 14);
    c ^= b, c -= ROTATE(b, 24);
    return c;
}

static gboolean key_equal(gconstpointer one, gconstpointer other)
{
    const struct key *a = one, *b = other;
    return a->asid == b->asid && a->iova == b->iova && a->level == b->level && a->granule == b->granule &&
           a->vmid == b->vmid;
}

/* Tables of 48 bits in 4 KiB pages begin at level 0. */
#define INPUT_BITS 48
#define GRANULE_LG2 12
#define GRANULE ((GRANULE_LG2 - 10) / 2)

static inline unsigned level_lg2(unsigned level) { return GRANULE_LG2 + (3 - level) * (GRANULE_LG2 - 3); }

static struct entry *find(int asid, int vmid, uint64_t iova)
{
    unsigned level = 4 - (INPUT_BITS - 4) / (GRANULE_LG2 - 3);
    struct entry *found = NULL;
    for (; level <= 3 && !found; level++) {
        struct key key = {.asid = asid, .vmid = vmid, .granule = GRANULE, .level = (uint8_t)level};
        key.iova = iova & ~(((uint64_t)1 << level_lg2(level)) - 1);
        found = g_hash_table_lookup(table, &key);
    }
    if (found) hits++;
    else misses++;
    return found;
}

static void insert(int asid, int vmid, uint64_t iova, unsigned lg2, uint64_t address, uint32_t rights)
{
    struct key *key = g_new0(struct key, 1);
    struct entry *entry = g_new0(struct entry, 1);
    uint64_t mask = ((uint64_t)1 << lg2) - 1;
    unsigned level = 3 - (lg2 - GRANULE_LG2) / (GRANULE_LG2 - 3);
    *entry = (struct entry){.iova = iova & ~mask, .address = address, .mask = mask, .rights = rights,
                            .parent_rights = rights, .level = (uint8_t)level, .granule_lg2 = GRANULE_LG2};
    *key = (struct key){.iova = entry->iova, .asid = asid, .vmid = vmid, .granule = GRANULE, .level = (uint8_t)level};
    g_hash_table_insert(table, key, entry);
}

struct range {
    int asid, vmid;
    uint64_t iova, mask;
};

static gboolean is_of_asid(gpointer k, gpointer v, gpointer data)
{
    const struct key *key = k;
    const struct range *range = data;
    (void)v;
    return key->asid == range->asid && key->vmid == range->vmid;
}

static gboolean is_of_vmid(gpointer k, gpointer v, gpointer data)
{
    const struct key *key = k;
    (void)v;
    return key->vmid == ((const struct range *)data)->vmid && key->asid >= 0;
}

static gboolean is_in_range(gpointer k, gpointer v, gpointer data)
{
    const struct key *key = k;
    const struct entry *entry = v;
    const struct range *range = data;
    if (range->asid >= 0 && range->asid != key->asid) return FALSE;
    if (range->vmid >= 0 && range->vmid != key->vmid) return FALSE;
    return (range->iova & ~entry->mask) == entry->iova || (entry->iova & ~range->mask) == range->iova;
}

static void drop_pages(int asid, int vmid, uint64_t iova, uint64_t pages)
{
    struct range range = {.asid = asid, .vmid = vmid, .iova = iova, .mask = (pages << 12) - 1};
    g_hash_table_foreach_remove(table, is_in_range, &range);
}

static void drop_asid(int asid, int vmid)
{
    struct range range = {.asid = asid, .vmid = vmid};
    g_hash_table_foreach_remove(table, is_of_asid, &range);
}

static void drop_vmid(int vmid)
{
    struct range range = {.vmid = vmid};
    g_hash_table_foreach_remove(table, is_of_vmid, &range);
}

static void drop_all(void) { g_hash_table_remove_all(table); }

static int drop_keyed(int asid, int vmid, uint64_t iova)
{
    struct key key = {.iova = iova, .asid = asid, .vmid = vmid, .granule = GRANULE, .level = 3};
    return g_hash_table_remove(table, &key);
}

static void make(void) { table = g_hash_table_new_full(key_hash, key_equal, g_free, g_free); }

static int find_entry(uint32_t context, uint64_t iova) { return find((int)context, 0, iova) != NULL; }

static void fill_entry(const struct work_entry *e)
{
    insert((int)e->context, 0, work_iova(e), e->leaf_lg2, work_address(e), e->rights);
}

static inline uint32_t translate(uint32_t context, uint64_t iova, uint32_t need)
{
    struct entry *entry = find((int)context, 0, iova);
    if (!entry || (entry->rights & need) != need) return 0;
    return (uint32_t)(entry->address + (iova & entry->mask));
}

static void drop_context(uint32_t context) { drop_asid((int)context, 0); }
static void drop_group(void) { drop_vmid(0); }
static void drop_context_pages(uint32_t context, uint64_t iova, uint32_t pages) { drop_pages((int)context, 0, iova, pages); }
static int drop_context_page(uint32_t context, uint64_t iova) { return drop_keyed((int)context, 0, iova); }

#include "trace.h"

static uint32_t trace_dma(const struct trace_row *row, uint64_t iova)
{
    struct entry *entry = find((int)row->who, 0, iova);
    uint32_t need = row->rights & RIGHT_READ ? RIGHT_READ : RIGHT_WRITE;
    if (!entry) {
        uint64_t address = (uint64_t)row->address_hi << 32 | row->address_lo;
        insert((int)row->who, 0, iova, row->leaf_lg2, address & ~(((uint64_t)1 << row->leaf_lg2) - 1), row->rights);
        return (uint32_t)address;
    }
    if ((entry->rights & need) != need) return 0;
    return (uint32_t)(entry->address + (iova & entry->mask));
}

/* A range in pieces of powers of two, each aligned to its size; a single page of known level goes by its key. */
static void drop_range(int asid, uint64_t iova, unsigned granule, uint64_t pages, unsigned level)
{
    while (pages) {
        uint64_t most = iova ? iova & -iova : UINT64_MAX / 2 + 1, piece = (uint64_t)1 << (63 - __builtin_clzll(pages));
        if (piece << granule > most) piece = most >> granule;
        if (piece == 1 && level == 3 && drop_keyed(asid, 0, iova)) piece = 1;
        else drop_pages(asid, 0, iova, piece << (granule - 12));
        iova += piece << granule;
        pages -= piece;
    }
}

static void trace_command(uint64_t first, uint64_t second)
{
    int asid = (int)(first >> 48);
    uint64_t address = second & ~(uint64_t)0xfff;
    unsigned granule = second >> 10 & 3, level = second >> 8 & 3;
    uint64_t pages = granule ? ((first >> 12 & 31) + 1) << (first >> 20 & 31) : 1;
    switch (first & 0xff) {
    case 0x10: drop_vmid((int)(first >> 32 & 0xffff)); break;
    case 0x11: drop_asid(asid, 0); break;
    case 0x12: drop_range(asid, address, granule ? granule * 2 + 10 : 12, pages, level); break;
    case 0x13: drop_range(-1, address, granule ? granule * 2 + 10 : 12, pages, level); break;
    case 0x20:
    case 0x28:
    case 0x30: drop_all(); break;
    }
}

#include "qemu-main.h"
