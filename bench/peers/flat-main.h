/* The flat C cache as a peer: `program WORK`. */
#include "flat.h"
#include "work.h"

/* A requester's tag, by source-id: found in a small table, as it has to be where no configuration is looked up first. */
static struct {
    uint32_t requester, tag;
} flat_memo[16384];

static inline uint32_t flat_tag_of(uint32_t requester)
{
    uint32_t at = (requester * 0x9e3779b1u) >> 18;
    return flat_memo[at].requester == requester ? flat_memo[at].tag : FLAT_MISS;
}

static void fill_entry(uint32_t i)
{
    const struct work_entry *e = work_entry + i;
    flat_fill(e->context, 0, work_iova(e), e->leaf_lg2, work_address(e), e->rights);
}

static inline __attribute__((always_inline)) uint32_t look_up(uint32_t rounds, int by_requester)
{
    uint32_t sum = 0;
    uint64_t hits = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < work_lookups; i++) {
            const struct work_lookup *l = work_lookup + i;
            uint32_t context = l->context_access & 0xffffff, need = l->context_access >> 24;
            uint64_t iova = (uint64_t)l->hi << 32 | l->lo;
            uint32_t tag = by_requester ? flat_tag_of(context) : context;
            struct flat_leaf *leaf = tag == FLAT_MISS ? NULL : flat_find(tag, iova);
            if (!leaf) {
                flat_misses++;
                uint32_t at = context * 0x9e3779b1u >> 18;
                flat_memo[at].requester = context;
                flat_memo[at].tag = context;
                fill_entry(l->entry);
                leaf = flat_find(context, iova);
            } else hits++;
            if ((leaf->flags & need) != need) continue;
            uint64_t mask = ((uint64_t)1 << (leaf->frame_lg2 & 63)) - 1;
            sum += (uint32_t)((leaf->frame_lg2 & ~(uint64_t)4095) + (iova & mask));
        }
    }
    flat_hits += hits;
    return sum;
}

static uint32_t hit(uint32_t rounds) { return look_up(rounds, 0); }
static uint32_t hit_requester(uint32_t rounds) { return look_up(rounds, 1); }

/* Where the next invalidation goes: through all contexts and their pages. */
static uint32_t at_context, at_page;

static void next_context(void) { at_context = (at_context + 1) % work_contexts; }

/* A thousand contexts forgotten, one after the other, and filled again: a look at the clock costs more than one of them.
   Only the forgetting counts as time; the sum is what had to be filled. */
static uint32_t drop_tags(uint32_t rounds)
{
    uint32_t sum = 0;
    peer_took = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t from = at_context, some = work_contexts < 1024 ? work_contexts : 1024;
        uint64_t began = peer_ns();
        for (uint32_t i = 0; i < 1024; i++) {
            flat_drop_tag(at_context);
            next_context();
        }
        peer_took += peer_ns() - began;
        for (uint32_t i = 0; i < some; i++, from = (from + 1) % work_contexts)
            for (uint32_t e = work_first[from]; e < work_first[from + 1]; e++) {
                if (!flat_find(from, work_iova(work_entry + e))) sum += 1;
                fill_entry(e);
            }
    }
    return sum;
}

/* Pages of a context forgotten, and filled again. */
static uint32_t drop_pages(uint32_t rounds, uint32_t pages)
{
    uint32_t sum = 0;
    peer_took = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t first = work_first[at_context] + at_page;
        uint64_t iova = work_iova(work_entry + first);
        uint64_t began = peer_ns();
        flat_drop_range(at_context, iova, iova + (uint64_t)pages * 4096 - 1);
        peer_took += peer_ns() - began;
        for (uint32_t e = first; e < first + pages; e++) {
            if (!flat_find(at_context, work_iova(work_entry + e))) sum += 1;
            fill_entry(e);
        }
        at_page += pages;
        if (work_first[at_context] + at_page + pages > work_first[at_context + 1]) {
            at_page = 0;
            next_context();
        }
    }
    return sum;
}

static uint32_t drop_page(uint32_t rounds)
{
    uint32_t sum = 0;
    /* Many single ones in one go: a look at the clock costs more than one of them. */
    peer_took = 0;
    for (uint32_t round = 0; round < rounds; round += 1024) {
        uint32_t many = rounds - round < 1024 ? rounds - round : 1024, e = at_page;
        uint64_t began = peer_ns();
        for (uint32_t i = 0; i < many; i++) {
            const struct work_entry *entry = work_entry + work_order[e];
            flat_drop_range(entry->context, work_iova(entry), work_iova(entry) + 4095);
            if (++e == work_entries) e = 0;
        }
        peer_took += peer_ns() - began;
        for (uint32_t i = 0; i < many; i++) {
            const struct work_entry *entry = work_entry + work_order[at_page];
            if (!flat_find(entry->context, work_iova(entry))) sum += 1;
            fill_entry(work_order[at_page]);
            if (++at_page == work_entries) at_page = 0;
        }
    }
    return sum;
}

static uint32_t drop_64(uint32_t rounds) { return drop_pages(rounds, 64); }
static uint32_t drop_4096(uint32_t rounds) { return drop_pages(rounds, 4096); }

/* Everything again, over what is there. */
static uint32_t fill(uint32_t rounds)
{
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < work_entries; i++) fill_entry(work_order[i]);
    return work_entries * rounds;
}

int main(int argc, char **argv)
{
    static const struct peer_work works[] = {
        {"hit", hit},          {"hit-requester", hit_requester}, {"drop-tags", drop_tags}, {"drop-page", drop_page},
        {"drop-64", drop_64}, {"drop-4096", drop_4096},          {"fill", fill},
    };
    if (argc < 2) return 2;
    work_load(argv[1]);
    flat_make(work_capacity);
    for (uint32_t i = 0; i < work_contexts; i++) {
        uint32_t at = i * 0x9e3779b1u >> 18;
        flat_memo[at].requester = i;
        flat_memo[at].tag = i;
    }
    fill(1);
    return peer_serve(works, sizeof works / sizeof *works);
}
