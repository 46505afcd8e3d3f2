/*
 * What a dirty read is measured against: a loop over all leaf entries of a table, as a kernel's walk reads them but without
 * the tables above. A dirty leaf is made clean and told as a run of pages; pages that follow each other are one run.
 *
 * dirty LEAVES PAGES_OF_LEAF DIRTY: LEAVES entries, each of so many pages; DIRTY of them are dirty each time.
 */
#include "peer.h"

#define DIRTY_BIT ((uint64_t)1 << 9)

static uint64_t *entries;
static uint64_t leaves, pages_of_leaf;
static uint32_t dirty;

struct run { uint64_t first, last; };
static struct run *runs;

static uint32_t scan(uint32_t rounds)
{
    uint32_t sums = 0;
    uint64_t took = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        peer_seed(0x2545f491);
        for (uint32_t i = 0; i < dirty; i++) entries[peer_next() % leaves] |= DIRTY_BIT;
        uint64_t began = peer_ns();
        uint32_t count = 0;
        for (uint64_t i = 0; i < leaves; i++) {
            if (!(entries[i] & DIRTY_BIT)) continue;
            entries[i] &= ~DIRTY_BIT;
            uint64_t first = i * pages_of_leaf, last = first + pages_of_leaf - 1;
            if (count && runs[count - 1].last + 1 == first) runs[count - 1].last = last;
            else runs[count++] = (struct run){first, last};
        }
        took += peer_ns() - began;
        uint32_t sum = count;
        for (uint32_t i = 0; i < count; i++) sum = (sum * 31 + (uint32_t)runs[i].first) * 31 + (uint32_t)runs[i].last;
        sums += sum;
    }
    peer_took = took;
    return sums;
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    leaves = strtoull(argv[1], NULL, 10);
    pages_of_leaf = strtoull(argv[2], NULL, 10);
    dirty = (uint32_t)strtoul(argv[3], NULL, 10);
    entries = malloc(leaves * 8);
    runs = malloc(dirty * sizeof *runs);
    if (!entries || !runs) return 2;
    for (uint64_t i = 0; i < leaves; i++) entries[i] = ((i * pages_of_leaf) << 12) | 3;
    const struct peer_work works[] = {{"scan", scan}};
    return peer_serve(works, 1);
}
