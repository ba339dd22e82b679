#ifndef PENSTOCK_EDGE_SUSPECTS_H
#define PENSTOCK_EDGE_SUSPECTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "hash.h"
#include "quarantine.h"
#include "text_slice.h"

/* The quarantine (scheduler/quarantine.h) as loops share it. While no replica was lost lately it costs a
 * look at one word. A suspect is on trial on its replica until its first token, its end, or
 * SUSPECTS_TRIAL_NS: no other suspect is sent there meanwhile, so that a loss tells which of them
 * it was. Any thread. */

#define SUSPECTS_TRIAL_NS (1000ull * 1000 * 1000)

struct suspects {
    pthread_mutex_t lock;
    struct quarantine quarantine; /* under the lock */
    struct hash_key key;
    _Atomic uint32_t count;
};

struct suspects *suspects_create(void);           /* NULL: no memory */
void suspects_destroy(struct suspects *suspects); /* accepts NULL */

static inline bool suspects_are_any(const struct suspects *suspects)
{
    return atomic_load_explicit(&suspects->count, memory_order_relaxed) > 0;
}

/* What a request asks: its path, whose it is, and its body. */
uint64_t suspects_hash(const struct suspects *suspects, const char *path, const char *tenant,
                       struct text_slice body);

/* As quarantine_note, quarantine_losses and quarantine_clear. */
uint32_t suspects_note(struct suspects *suspects, uint64_t hash, uint64_t loss, uint64_t time_ns,
                       uint64_t now_ns);
uint32_t suspects_losses(struct suspects *suspects, uint64_t hash, uint64_t now_ns);
void suspects_clear(struct suspects *suspects, uint64_t hash);

/* A replica's trial, kept as when it ends: taken for a suspect, false when another has it. */
bool suspects_trial_begin(_Atomic uint64_t *trial_until_ns, uint64_t now_ns);

#endif
