#include "replica_guard.h"

#include "check.h"
#include "clock.h"

#define WINDOW_NS       (10 * NS_PER_SECOND)
#define WINDOW_REQUESTS 20u
#define TRIAL_COUNT     3u

void replica_guard_init(struct replica_guard *guard)
{
    CHECK(pthread_mutex_init(&guard->lock, NULL) == 0);
}

void replica_guard_deinit(struct replica_guard *guard)
{
    pthread_mutex_destroy(&guard->lock);
}

struct breaker_policy replica_guard_policy(const struct config *config)
{
    return (struct breaker_policy){
        .failures_max = (uint32_t)config->upstream.breaker_failures,
        .share_max = config->upstream.breaker_share,
        .window_requests = WINDOW_REQUESTS,
        .window_ns = WINDOW_NS,
        .open_ns = config->upstream.breaker_open_ns,
        .open_max_ns = config->upstream.breaker_open_max_ns,
        .trial_count = TRIAL_COUNT,
    };
}

static void lock(struct replica_guard *guard)
{
    CHECK(pthread_mutex_lock(&guard->lock) == 0);
}

/* What others may know without the lock. */
static void unlock(struct replica_guard *guard, bool is_watched)
{
    atomic_store_explicit(&guard->is_watched, is_watched, memory_order_relaxed);
    atomic_store_explicit(&guard->blocked_until_ns, breaker_open_until_ns(&guard->breaker),
                          memory_order_relaxed);
    CHECK(pthread_mutex_unlock(&guard->lock) == 0);
}

void replica_guard_reset(struct replica_guard *guard)
{
    lock(guard);
    guard->breaker = (struct breaker){0};
    atomic_store_explicit(&guard->is_doubted, false, memory_order_relaxed);
    unlock(guard, false);
}

bool replica_guard_begin(struct replica_guard *guard, uint64_t now_ns, bool *is_trial)
{
    bool may;

    *is_trial = false;
    if (!atomic_load_explicit(&guard->is_watched, memory_order_relaxed))
        return true;
    lock(guard);
    may = breaker_begin(&guard->breaker, now_ns, is_trial);
    unlock(guard, true);
    return may;
}

bool replica_guard_end(struct replica_guard *guard, const struct breaker_policy *policy,
                       enum breaker_outcome outcome, bool is_trial, uint64_t now_ns)
{
    enum breaker_state before;
    bool has_changed;

    if (outcome != BREAKER_FAILED &&
        !atomic_load_explicit(&guard->is_watched, memory_order_relaxed))
        return false;
    lock(guard);
    before = guard->breaker.state;
    breaker_end(&guard->breaker, policy, outcome, is_trial, now_ns);
    has_changed = guard->breaker.state != before;
    unlock(guard, !breaker_is_calm(&guard->breaker, now_ns));
    return has_changed;
}

enum breaker_state replica_guard_state(struct replica_guard *guard)
{
    enum breaker_state state;

    lock(guard);
    state = guard->breaker.state;
    CHECK(pthread_mutex_unlock(&guard->lock) == 0);
    return state;
}

const char *replica_guard_state_name(struct replica_guard *guard)
{
    static const char *const names[] = {
        [BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_TRYING] = "trying"};

    return names[replica_guard_state(guard)];
}
