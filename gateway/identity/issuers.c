#include "issuers.h"

#include <stdatomic.h>

#include "check.h"
#include "clock.h"
#include "jwks_source.h"
#include "log.h"
#include "loops_passed.h"
#include "memory.h"
#include "ring.h"
#include "thread.h"

#define ISSUER_BYTES_MAX 512u
/* A token with a key that nobody knows must not make us ask its issuer more often. */
#define SOON_NS (2 * NS_PER_SECOND)
#define TURN_NS (200 * NS_PER_MS)

struct issuers {
    const struct config_issuer *rows; /* in the first config, which is kept */
    uint32_t count;
    http_server *server;
    pthread_t thread;
    struct parking parking;
    bool is_running;
    _Atomic bool is_stopping; /* release by main, acquire by the thread */
    struct issuer {
        struct jwt_rules rules;
        _Atomic(struct jwks *)
            keys;               /* release by the thread, acquire by loops; NULL: not read yet */
        _Atomic bool is_wanted; /* a loop has met a key that is not there */
        _Atomic bool is_asked; /* release by the thread: the keys have been read, or could not be */
        uint64_t next_ns;      /* the thread's */
        bool is_failing;
    } items[];
};

/* --- the thread --- */

static void keys_retire(void *keys)
{
    jwks_destroy(keys);
}

static status keys_refresh(struct issuers *issuers, uint32_t index, struct error_note *note)
{
    struct issuer *issuer = &issuers->items[index];
    loops_passed *passed = NULL;
    struct jwks *fresh = NULL, *old;
    status result =
        jwks_source_read(issuers->rows[index].jwks, &issuers->is_stopping, &fresh, note);

    if (result != STATUS_OK)
        return result;
    result = loops_passed_create(issuers->server, &passed);
    if (result != STATUS_OK) {
        jwks_destroy(fresh);
        return result;
    }
    old = atomic_exchange_explicit(&issuer->keys, fresh, memory_order_acq_rel);
    loops_passed_then(passed, keys_retire, old);
    return STATUS_OK;
}

static void issuer_tick(struct issuers *issuers, uint32_t index, uint64_t now_ns)
{
    struct issuer *issuer = &issuers->items[index];
    struct error_note note = {""};
    uint64_t soon_ns = now_ns + SOON_NS;
    status result;

    if (atomic_exchange_explicit(&issuer->is_wanted, false, memory_order_relaxed) &&
        issuer->next_ns > soon_ns)
        issuer->next_ns = soon_ns;
    if (now_ns < issuer->next_ns)
        return;
    result = keys_refresh(issuers, index, &note);
    if (result == STATUS_CANCELLED)
        return;
    if (result != STATUS_OK && !issuer->is_failing)
        log_error("gateway/identity", "issuer %s: %s; its keys stay as they were",
                  issuer->rules.issuer, note.text[0] != '\0' ? note.text : status_name(result));
    if (result == STATUS_OK && issuer->is_failing)
        log_info("gateway/identity", "issuer %s: its keys have been read again",
                 issuer->rules.issuer);
    issuer->is_failing = result != STATUS_OK;
    atomic_store_explicit(&issuer->is_asked, true, memory_order_release);
    issuer->next_ns = result == STATUS_OK ? now_ns + issuers->rows[index].refresh_ns : soon_ns;
}

static void turn_wait(struct parking *parking, const _Atomic bool *is_stopping)
{
    uint32_t ticket = parking_prepare(parking);

    if (atomic_load_explicit(is_stopping, memory_order_acquire))
        parking_cancel(parking);
    else
        parking_wait(parking, ticket, TURN_NS);
}

static void *issuers_run(void *context)
{
    struct issuers *issuers = context;

    while (!atomic_load_explicit(&issuers->is_stopping, memory_order_acquire)) {
        for (uint32_t i = 0; i < issuers->count; i++)
            issuer_tick(issuers, i, clock_now_ns());
        turn_wait(&issuers->parking, &issuers->is_stopping);
    }
    return NULL;
}

/* --- life --- */

static uint32_t algorithms_of(const struct config_issuer *row)
{
    const char *const *names = row->algorithms.items;
    uint32_t algorithms = 0;

    for (uint32_t i = 0; i < row->algorithms.count; i++) {
        enum jwt_algorithm algorithm = JWT_RS256;

        CHECK(jwt_algorithm_read(names[i], &algorithm) == STATUS_OK); /* has been checked */
        algorithms |= 1u << algorithm;
    }
    return algorithms;
}

static status issuer_open(struct issuer *issuer, const struct config_issuer *row,
                          struct error_note *note)
{
    struct jwks *keys = NULL;
    status result = STATUS_OK;

    issuer->rules = (struct jwt_rules){.issuer = row->issuer,
                                       .audience = row->audience,
                                       .algorithms = algorithms_of(row),
                                       .leeway_s = row->leeway_ns / NS_PER_SECOND};
    if (!jwks_source_is_url(row->jwks))
        result = jwks_source_read(row->jwks, NULL, &keys, note);
    if (result == STATUS_OK && keys != NULL)
        issuer->next_ns = clock_now_ns() + row->refresh_ns;
    atomic_init(&issuer->keys, keys);
    return result;
}

status issuers_open(const struct config *config, struct issuers **out, struct error_note *note)
{
    uint32_t count = config->auth.jwt.count;
    struct issuers *issuers =
        memory_allocate_array(1, sizeof(*issuers) + count * sizeof(issuers->items[0]));
    status result = STATUS_OK;

    if (issuers == NULL)
        return STATUS_NO_MEMORY;
    issuers->rows = config->auth.jwt.items;
    for (; result == STATUS_OK && issuers->count < count; issuers->count++)
        result = issuer_open(&issuers->items[issuers->count], &issuers->rows[issuers->count], note);
    if (result == STATUS_OK)
        *out = issuers;
    else
        issuers_close(issuers);
    return result;
}

status issuers_start(struct issuers *issuers, http_server *server)
{
    status result;

    issuers->server = server;
    if (issuers->count == 0)
        return STATUS_OK;
    result = thread_start(&issuers->thread, "issuers", issuers_run, issuers);
    issuers->is_running = result == STATUS_OK;
    return result;
}

bool issuers_are_asked(const struct issuers *issuers)
{
    for (uint32_t i = 0; i < issuers->count; i++) {
        if (!atomic_load_explicit(&issuers->items[i].is_asked, memory_order_acquire))
            return false;
    }
    return true;
}

void issuers_stop(struct issuers *issuers)
{
    if (issuers == NULL || !issuers->is_running)
        return;
    atomic_store_explicit(&issuers->is_stopping, true, memory_order_release);
    parking_signal(&issuers->parking);
    (void)pthread_join(issuers->thread, NULL);
    issuers->is_running = false;
}

void issuers_close(struct issuers *issuers)
{
    if (issuers == NULL)
        return;
    for (uint32_t i = 0; i < issuers->count; i++)
        jwks_destroy(atomic_load_explicit(&issuers->items[i].keys, memory_order_relaxed));
    memory_release(issuers);
}

status issuers_verify(struct issuers *issuers, struct text_slice token, uint64_t now_s,
                      const struct config_issuer **issuer, json_t **claims, const char **why)
{
    char name[ISSUER_BYTES_MAX];

    *why = "it names no issuer";
    if (jwt_issuer(token, name, sizeof(name)) != STATUS_OK)
        return STATUS_DENIED;
    for (uint32_t i = 0; i < issuers->count; i++) {
        struct issuer *found = &issuers->items[i];
        const struct jwks *keys = atomic_load_explicit(&found->keys, memory_order_acquire);
        status result;

        if (strcmp(name, found->rules.issuer) != 0)
            continue;
        if (keys == NULL)
            return STATUS_AGAIN;
        result = jwt_verify(token, &found->rules, keys, now_s, claims, why);
        if (result == STATUS_NOT_FOUND) {
            atomic_store_explicit(&found->is_wanted, true, memory_order_relaxed);
            *why = "it is signed with a key that the issuer does not have";
            return STATUS_DENIED;
        }
        *issuer = &issuers->rows[i];
        return result;
    }
    *why = "it is of another issuer";
    return STATUS_DENIED;
}
