#ifndef PENSTOCK_SCHEDULER_QUARANTINE_H
#define PENSTOCK_SCHEDULER_QUARANTINE_H

#include <stdbool.h>
#include <stdint.h>

/* Requests by whose contents replicas may have died. A request that was under way on a replica when
 * it was lost is a suspect; one that was so on QUARANTINE_LOSS_MAX of them is refused for
 * a time: no third replica is lost to it. Whoever else was there is a suspect too, which is why suspects are
 * sent one at a time to a replica (gateway/edge/suspects.h): the next loss then has one
 * suspect, and the others are cleared by being answered.
 *
 * A table of fixed size, by the hash of what was asked; when it is full the oldest goes. Pure, one owner
 * at a time. */

#define QUARANTINE_LOSS_MAX    2u
#define QUARANTINE_ENTRIES_MAX 1024u

struct quarantine_entry {
    uint64_t hash;
    uint64_t loss;       /* the last loss that was counted */
    uint64_t until_ns;   /* when it is forgotten */
    uint32_t loss_count; /* 0: the entry is free */
};

struct quarantine {
    struct quarantine_entry entries[QUARANTINE_ENTRIES_MAX];
    uint32_t count;
};

/* A request of this content was under way at this loss (a number for each: copies of a request that die
 * with the same replica count once). Returns how many losses it has by now. */
uint32_t quarantine_note(struct quarantine *quarantine, uint64_t hash, uint64_t loss,
                         uint64_t time_ns, uint64_t now_ns);

/* Its losses so far; 0: none that is remembered. */
uint32_t quarantine_losses(const struct quarantine *quarantine, uint64_t hash, uint64_t now_ns);

/* It was answered: a suspect is cleared. Who is refused stays so. */
void quarantine_clear(struct quarantine *quarantine, uint64_t hash);

/* Forgets those whose time is over. */
void quarantine_sweep(struct quarantine *quarantine, uint64_t now_ns);

#endif
