#include "thread.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREAD_NAME_BYTES 16 /* the kernel's limit, NUL counted */
#define PATH_BYTES        4096u

status thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *context)
{
    /* A thread inherits the mask; signals then all go to main, which waits for them. */
    sigset_t all;
    sigset_t before;
    int rc = sigfillset(&all);
    /* But not those that say what the thread itself did: blocked, they would end the process past any handler. */
    static const int own_faults[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP};
    for (size_t i = 0; i < sizeof own_faults / sizeof own_faults[0]; i++)
        sigdelset(&all, own_faults[i]);
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

/* The least that the kernel takes. Slices order threads by their deadlines (Stoica and Abdel-Wahab 1995, EEVDF), and one with
 * a shorter slice need not wait for another's to end: a loop then waits for a computing thread by 0.1 ms and not by the
 * 2.8 ms that are usual on two cores, at each hop of a token's way (bench/NOTES.md). */
#define SLICE_NS 100000u

void thread_ask_short_slice(void)
{
    /* struct sched_attr of sched_setattr(2), which has no wrapper in glibc before 2.41. */
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {.size = sizeof attributes, .policy = SCHED_OTHER, .runtime = SLICE_NS};
    errno = 0;
    attributes.nice = getpriority(PRIO_PROCESS, 0); /* of this thread; it stays */
    if (errno == 0 && sched_getscheduler(0) == SCHED_OTHER)
        (void)syscall(SYS_sched_setattr, 0, &attributes, 0); /* without it, it is only later */
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

unsigned thread_quota_cores(const char *line)
{
    char *end;
    unsigned long quota_us = strtoul(line, &end, 10);
    if (end == line)
        return UINT_MAX;
    unsigned long period_us = strtoul(end, NULL, 10);
    if (quota_us == 0 || period_us == 0)
        return UINT_MAX;
    unsigned long cores = quota_us / period_us;
    if (cores >= UINT_MAX)
        return UINT_MAX;
    return cores > 0 ? (unsigned)cores : 1;
}

static unsigned read_quota_cores(const char *folder)
{
    char path[PATH_BYTES + sizeof "/cpu.max"];
    char line[64];
    (void)snprintf(path, sizeof path, "%s/cpu.max", folder);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return UINT_MAX;
    unsigned cores = fgets(line, sizeof line, file) != NULL ? thread_quota_cores(line) : UINT_MAX;
    (void)fclose(file); /* only read from */
    return cores;
}

/* The least that the process's control group and those above it give. In a container its own group is the root of
 * what it sees. */
static unsigned quota_cores(void)
{
    static const char root[] = "/sys/fs/cgroup";
    char folder[PATH_BYTES] = "";
    char line[PATH_BYTES];
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "0::", 3) == 0) { /* version 2, the only one that has cpu.max */
            line[strcspn(line, "\n")] = '\0';
            int bytes = snprintf(folder, sizeof folder, "%s%s", root, line + 3);
            if (bytes < 0 || (size_t)bytes >= sizeof folder)
                folder[0] = '\0';
        }
    }
    if (file != NULL)
        (void)fclose(file); /* only read from */
    unsigned least = read_quota_cores(root);
    for (char *slash; strlen(folder) > sizeof root - 1; *slash = '\0') {
        unsigned cores = read_quota_cores(folder);
        least = cores < least ? cores : least;
        slash = strrchr(folder, '/');
    }
    return least;
}

static unsigned mask_cores(void)
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

unsigned thread_core_count(void)
{
    unsigned mask = mask_cores();
    unsigned quota = quota_cores();
    return mask < quota ? mask : quota;
}
