#ifndef PENSTOCK_BASE_THREAD_H
#define PENSTOCK_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

#include "check.h"
#include "status.h"

/* Starts a thread with all signals blocked and a name of at most 15 bytes (shown by top -H). */
NODISCARD status thread_start(pthread_t *out, const char *name, void *(*run)(void *),
                              void *context);

/* Owner mark of single-threaded state: bind once on the owning thread, then assert at each entry (debug builds). */
struct thread_owner {
    pthread_t thread;
    bool is_bound;
};

void thread_owner_bind(struct thread_owner *owner);
bool thread_owner_is_me(const struct thread_owner *owner);
#define ASSERT_ON_THREAD(owner) DCHECK(thread_owner_is_me(owner))

/* Cores this process may run on (its affinity mask). At least 1. */
unsigned thread_core_count(void);

#endif
