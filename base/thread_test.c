#include "unit_test.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#include "thread.h"

struct seen {
    char name[32];
    bool blocks_signals;
    bool is_owner;
    struct thread_owner owner;
};

static void *look(void *context)
{
    struct seen *seen = context;
    sigset_t mask;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    seen->blocks_signals = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT) == 1;
    seen->is_owner = thread_owner_is_me(&seen->owner);
    return NULL;
}

static void a_thread_starts_with_signals_blocked_and_the_callers_mask_is_kept(void **state)
{
    (void)state;
    struct seen seen = {0};
    pthread_t thread;
    thread_owner_bind(&seen.owner);
    thread_owner_bind(&seen.owner); /* again by the same thread is fine */
    assert_int_equal(thread_start(&thread, "a name far too long for the kernel", look, &seen),
                     STATUS_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(seen.blocks_signals);
    assert_false(seen.is_owner);
    assert_true(thread_owner_is_me(&seen.owner));
    sigset_t mask;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
}

static void an_unbound_owner_is_nobody(void **state)
{
    (void)state;
    struct thread_owner owner = {0};
    assert_false(thread_owner_is_me(&owner));
}

static void the_core_count_follows_the_affinity_mask(void **state)
{
    (void)state;
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(thread_core_count(), CPU_COUNT(&before));
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(thread_core_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void a_quota_is_rounded_down_to_whole_cores(void **state)
{
    (void)state;
    assert_int_equal(thread_quota_cores("200000 100000\n"), 2);
    assert_int_equal(thread_quota_cores("390000 100000"), 3);
    assert_int_equal(thread_quota_cores("50000 100000"), 1);
    assert_true(thread_quota_cores("max 100000\n") == UINT_MAX);
    assert_true(thread_quota_cores("") == UINT_MAX);
    assert_true(thread_quota_cores("100000") == UINT_MAX);
    assert_true(thread_quota_cores("100000 0") == UINT_MAX);
}

static void *ask_short_slice(void *context)
{
    int *nice = context;
    assert_int_equal(setpriority(PRIO_PROCESS, 0, 19),
                     0); /* of this thread alone, as Linux has it */
    thread_ask_short_slice();
    *nice = getpriority(PRIO_PROCESS, 0);
    assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
    return NULL;
}

static void a_thread_with_a_short_slice_is_as_nice_as_before(void **state)
{
    (void)state;
    pthread_t thread;
    int nice = 0;
    assert_int_equal(thread_start(&thread, "short", ask_short_slice, &nice), STATUS_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(nice, 19);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_starts_with_signals_blocked_and_the_callers_mask_is_kept),
        cmocka_unit_test(an_unbound_owner_is_nobody),
        cmocka_unit_test(a_quota_is_rounded_down_to_whole_cores),
        cmocka_unit_test(the_core_count_follows_the_affinity_mask),
        cmocka_unit_test(a_thread_with_a_short_slice_is_as_nice_as_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
