#ifndef PENSTOCK_BASE_THREAD_H
#define PENSTOCK_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

#include "check.h"
#include "status.h"

/* Starts a thread with all signals blocked and a name of at most 15 bytes (shown by top -H). */
NODISCARD status thread_start(pthread_t *out, const char *name, void *(*run)(void *),
                              void *context);

/* The calling thread works in short bursts that somebody waits for: it asks the kernel for a slice so short that, woken, it
 * goes before threads that compute all the time. For loops and what passes work on to them; a kernel that knows no such
 * slices (before Linux 6.12) goes on as ever. */
void thread_ask_short_slice(void);

/* Owner mark of single-threaded state: bind once on the owning thread, then assert at each entry (debug builds). */
struct thread_owner {
    pthread_t thread;
    bool is_bound;
};

void thread_owner_bind(struct thread_owner *owner);
bool thread_owner_is_me(const struct thread_owner *owner);
#define ASSERT_ON_THREAD(owner) DCHECK(thread_owner_is_me(owner))

/* Cores this process may use: its affinity mask, and the time that its control groups give it (cpu.max), rounded down: a
 * team of threads that spin must not be larger than what runs at once. At least 1. */
unsigned thread_core_count(void);

/* Cores of one line of cpu.max, "max 100000" or "250000 100000", rounded down, at least 1; UINT_MAX for no limit or
 * a line of another form. Pure. */
unsigned thread_quota_cores(const char *line);

#endif
