#include "thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#define THREAD_NAME_BYTES 16 /* the kernel's limit, NUL counted */

status thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *context)
{
    /* A thread inherits the mask; signals then all go to main, which waits for them. */
    sigset_t all;
    sigset_t before;
    int rc = sigfillset(&all);
    CHECK(rc == 0);
    rc = pthread_sigmask(SIG_SETMASK, &all, &before);
    CHECK(rc == 0);
    pthread_t thread;
    int created = pthread_create(&thread, NULL, run, context);
    rc = pthread_sigmask(SIG_SETMASK, &before, NULL);
    CHECK(rc == 0);
    if (created != 0) {
        errno = created;
        return created == EAGAIN ? STATUS_NO_MEMORY : STATUS_IO;
    }
    char short_name[THREAD_NAME_BYTES];
    (void)snprintf(short_name, sizeof short_name, "%s", name); /* cut is fine */
    (void)pthread_setname_np(thread, short_name);              /* only for people */
    *out = thread;
    return STATUS_OK;
}

void thread_owner_bind(struct thread_owner *owner)
{
    CHECK(!owner->is_bound || pthread_equal(owner->thread, pthread_self()));
    owner->thread = pthread_self();
    owner->is_bound = true;
}

bool thread_owner_is_me(const struct thread_owner *owner)
{
    return owner->is_bound && pthread_equal(owner->thread, pthread_self()) != 0;
}

unsigned thread_core_count(void)
{
    /* The static set holds 1,024 cores; a larger machine answers EINVAL and then gets a larger set.
     */
    for (int cores = CPU_SETSIZE; cores <= 64 * CPU_SETSIZE; cores *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)cores);
        if (set == NULL)
            break;
        size_t bytes = CPU_ALLOC_SIZE((size_t)cores);
        int count = 0;
        int rc = sched_getaffinity(0, bytes, set);
        if (rc == 0)
            count = CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (rc == 0)
            return count > 0 ? (unsigned)count : 1;
        if (errno != EINVAL)
            break;
    }
    return 1;
}
