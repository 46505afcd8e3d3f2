/* What every peer in C or C++ has in common: random numbers, a clock, and turns on request. Values match bench/random.ts. */
#ifndef PEER_H
#define PEER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t peer_state = 1;

static inline void peer_seed(uint32_t seed) { peer_state = seed; }

/* Marsaglia's xorshift with 32 bits of state. */
static inline uint32_t peer_next(void)
{
    uint32_t x = peer_state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return peer_state = x;
}

static inline uint32_t peer_below(uint32_t limit) { return peer_next() % limit; }

/* CPU time of this thread: the machine may have other work. */
static inline uint64_t peer_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Work that a turn can ask for: does it so many times over, and answers a checksum. A work whose time is not that of the
   whole call sets peer_took. */
struct peer_work {
    const char *name;
    uint32_t (*run)(uint32_t rounds);
};

static uint64_t peer_took;

/* Answers turns until nobody asks any more. The first work is the one that a turn without a name means. */
static int peer_serve(const struct peer_work *works, size_t count)
{
    char line[128], name[64];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        unsigned rounds = 0;
        size_t i = 0;
        name[0] = 0;
        if (sscanf(line, "run %u %63s", &rounds, name) < 1) return 2;
        while (name[0] && i < count && strcmp(works[i].name, name)) i++;
        if (i == count) {
            fprintf(stderr, "no work %s\n", name);
            return 2;
        }
        peer_took = UINT64_MAX;
        uint64_t began = peer_ns();
        uint32_t sum = works[i].run(rounds);
        uint64_t took = peer_took == UINT64_MAX ? peer_ns() - began : peer_took;
        printf("%llu %u\n", (unsigned long long)took, sum);
        fflush(stdout);
    }
    return 0;
}

#endif
