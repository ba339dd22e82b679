#include "suspects.h"

#include <string.h>

#include "check.h"
#include "memory.h"

struct suspects *suspects_create(void)
{
    struct suspects *suspects = memory_allocate_array(1, sizeof(*suspects));

    if (suspects == NULL)
        return NULL;
    CHECK(pthread_mutex_init(&suspects->lock, NULL) == 0);
    random_bytes(&suspects->key, sizeof(suspects->key));
    return suspects;
}

void suspects_destroy(struct suspects *suspects)
{
    if (suspects == NULL)
        return;
    pthread_mutex_destroy(&suspects->lock);
    memory_release(suspects);
}

uint64_t suspects_hash(const struct suspects *suspects, const char *path, const char *tenant,
                       struct text_slice body)
{
    /* Each part's hash keys the next, so that no text can pass from one into another. */
    struct hash_key key = suspects->key;

    key.k1 ^= hash64(&key, path, strlen(path));
    if (tenant != NULL)
        key.k1 ^= hash64(&key, tenant, strlen(tenant));
    return hash64(&key, body.data, body.bytes);
}

static void lock(struct suspects *suspects)
{
    CHECK(pthread_mutex_lock(&suspects->lock) == 0);
}

static void unlock(struct suspects *suspects)
{
    atomic_store_explicit(&suspects->count, suspects->quarantine.count, memory_order_relaxed);
    CHECK(pthread_mutex_unlock(&suspects->lock) == 0);
}

uint32_t suspects_note(struct suspects *suspects, uint64_t hash, uint64_t loss, uint64_t time_ns,
                       uint64_t now_ns)
{
    uint32_t losses;

    lock(suspects);
    losses = quarantine_note(&suspects->quarantine, hash, loss, time_ns, now_ns);
    unlock(suspects);
    return losses;
}

uint32_t suspects_losses(struct suspects *suspects, uint64_t hash, uint64_t now_ns)
{
    uint32_t losses;

    lock(suspects);
    losses = quarantine_losses(&suspects->quarantine, hash, now_ns);
    unlock(suspects);
    return losses;
}

void suspects_clear(struct suspects *suspects, uint64_t hash)
{
    lock(suspects);
    quarantine_clear(&suspects->quarantine, hash);
    unlock(suspects);
}

bool suspects_trial_begin(_Atomic uint64_t *trial_until_ns, uint64_t now_ns)
{
    uint64_t until_ns = atomic_load_explicit(trial_until_ns, memory_order_relaxed);

    return until_ns <= now_ns && atomic_compare_exchange_strong_explicit(
                                     trial_until_ns, &until_ns, now_ns + SUSPECTS_TRIAL_NS,
                                     memory_order_relaxed, memory_order_relaxed);
}
