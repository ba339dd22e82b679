/* The table of rows is open addressing over twice as many places as there are rows: a reader hashes the name and walks places until
 * it finds it or an empty one. Places are filled under the lock and published by a release store, and never emptied, so a
 * reader needs none. */
#include "tenant_metrics.h"

#include <string.h>

#include "check.h"
#include "hash.h"
#include "memory.h"
#include "money.h"

#define PLACE_COUNT 2048u
_Static_assert(PLACE_COUNT >= 2 * TENANT_ROWS_MAX && (PLACE_COUNT & (PLACE_COUNT - 1)) == 0,
               "walks are short");

/* A limit as it was found. Whoever holds `is_held` may look or write; who finds it held goes on without. */
struct limit_seen {
    uint64_t limit, remaining, reset_ns, at_ns; /* limit 0: none was found */
};

struct tenant_row {
    char *name; /* owned */
    metrics_series *requests[TENANT_CODE_COUNT];
    metrics_series *tokens[TOKEN_KIND_COUNT];
    metrics_series *cost;
    /* Made when first needed: most organisations are never refused, and each line costs every scrape */
    _Atomic(metrics_series *) refusals[TENANT_REFUSAL_COUNT];
    _Atomic bool is_held;
    struct limit_seen limits[TENANT_LIMIT_COUNT];
    const struct spend_account *account; /* the book's; NULL: no budget */
    int64_t amount;
};

struct limit_families {
    metrics_family *limit, *remaining;
};

struct tenant_metrics {
    metrics_family *requests, *tokens, *refusals, *cost;
    struct limit_families limits[TENANT_LIMIT_COUNT], budget;
    pthread_mutex_t lock; /* of filling places */
    uint32_t row_count;   /* without `other`; lock */
    _Atomic(struct tenant_row *) places[PLACE_COUNT];
    struct tenant_row *other;
};

static const char *const code_names[TENANT_CODE_COUNT] = {
    [TENANT_2XX] = "2xx", [TENANT_4XX] = "4xx", [TENANT_429] = "429",
    [TENANT_499] = "499", [TENANT_5XX] = "5xx",
};

static const char *const refusal_names[TENANT_REFUSAL_COUNT] = {
    [QUOTA_REQUESTS_PER_MINUTE] = "requests_per_minute",
    [QUOTA_TOKENS_PER_MINUTE] = "tokens_per_minute",
    [QUOTA_TOKENS_PER_DAY] = "tokens_per_day",
    [QUOTA_CONCURRENT_REQUESTS] = "concurrent_requests",
    [TENANT_BUDGET] = "budget",
    [TENANT_BUDGET_UNKNOWN] = "budget_unknown",
};

/* --- rows --- */

static void row_destroy(struct tenant_row *row)
{
    if (row == NULL)
        return;
    memory_release(row->name);
    memory_release(row);
}

static struct tenant_row *row_create(struct tenant_metrics *metrics, const char *name)
{
    struct tenant_row *row = memory_allocate_array(1, sizeof(*row));
    size_t bytes = strlen(name) + 1;

    if (row == NULL)
        return NULL;
    row->name = memory_allocate(bytes);
    if (row->name == NULL) {
        row_destroy(row);
        return NULL;
    }
    memcpy(row->name, name, bytes);
    for (size_t i = 0; i < TENANT_CODE_COUNT; i++)
        row->requests[i] =
            metrics_series_get(metrics->requests, (const char *const[]){name, code_names[i]});
    for (size_t i = 0; i < TOKEN_KIND_COUNT; i++)
        row->tokens[i] =
            metrics_series_get(metrics->tokens, (const char *const[]){name, token_kind_names[i]});
    row->cost = metrics_series_get(metrics->cost, &name);
    return row;
}

static uint32_t place_of(const char *name)
{
    /* Unkeyed is fine: the rows are bounded, whoever chose the names. */
    static const struct hash_key key = {0, 0};

    return (uint32_t)hash64(&key, name, strlen(name)) & (PLACE_COUNT - 1);
}

/* The row, or NULL; *place is where it stands or would stand. */
static struct tenant_row *row_find(const struct tenant_metrics *metrics, const char *name,
                                   uint32_t *place)
{
    struct tenant_row *row;

    for (*place = place_of(name);
         (row = atomic_load_explicit(&metrics->places[*place], memory_order_acquire)) != NULL;
         *place = (*place + 1) & (PLACE_COUNT - 1)) {
        if (strcmp(row->name, name) == 0)
            break;
    }
    return row;
}

static struct tenant_row *row_add(struct tenant_metrics *metrics, const char *name)
{
    struct tenant_row *row;
    uint32_t place;

    CHECK(pthread_mutex_lock(&metrics->lock) == 0);
    row = row_find(metrics, name, &place); /* somebody may have been first */
    if (row == NULL && metrics->row_count < TENANT_ROWS_MAX)
        row = row_create(metrics, name);
    if (row != NULL &&
        atomic_load_explicit(&metrics->places[place], memory_order_relaxed) == NULL) {
        metrics->row_count++;
        atomic_store_explicit(&metrics->places[place], row, memory_order_release);
    }
    CHECK(pthread_mutex_unlock(&metrics->lock) == 0);
    return row != NULL ? row : metrics->other;
}

struct tenant_row *tenant_metrics_row(struct tenant_metrics *metrics, const char *organisation)
{
    uint32_t place;
    struct tenant_row *row = row_find(metrics, organisation, &place);

    return row != NULL ? row : row_add(metrics, organisation);
}

/* --- what happens --- */

static enum tenant_code code_of(int status_code)
{
    if (status_code == 429)
        return TENANT_429;
    if (status_code == 499)
        return TENANT_499;
    if (status_code < 400)
        return TENANT_2XX;
    return status_code < 500 ? TENANT_4XX : TENANT_5XX;
}

void tenant_row_request(struct tenant_row *row, int status_code, const struct request_usage *usage)
{
    metrics_add(row->requests[code_of(status_code)], 1);
    flow_metrics_count_tokens(row->tokens, usage);
    if (usage->cost_nano > 0)
        metrics_add(row->cost, (double)usage->cost_nano / MONEY_NANO);
}

void tenant_row_refused(struct tenant_metrics *metrics, struct tenant_row *row,
                        enum tenant_refusal reason)
{
    metrics_series *series = atomic_load_explicit(&row->refusals[reason], memory_order_acquire);

    /* Two threads that both find none get the same series. */
    if (series == NULL) {
        series = metrics_series_get(metrics->refusals,
                                    (const char *const[]){row->name, refusal_names[reason]});
        atomic_store_explicit(&row->refusals[reason], series, memory_order_release);
    }
    metrics_add(series, 1);
}

static bool row_take(struct tenant_row *row)
{
    return !atomic_exchange_explicit(&row->is_held, true, memory_order_acquire);
}

static void row_leave(struct tenant_row *row)
{
    atomic_store_explicit(&row->is_held, false, memory_order_release);
}

void tenant_row_limits(struct tenant_row *row, const struct quota_view *view, uint64_t now_ns)
{
    const struct quota_left *left[TENANT_LIMIT_COUNT] = {
        [TENANT_REQUESTS] = &view->requests, [TENANT_TOKENS] = &view->tokens};

    if (!row_take(row))
        return;
    for (size_t i = 0; i < TENANT_LIMIT_COUNT; i++) {
        if (left[i]->limit > 0)
            row->limits[i] =
                (struct limit_seen){left[i]->limit, left[i]->remaining, left[i]->reset_ns, now_ns};
    }
    row_leave(row);
}

void tenant_row_budgets(struct tenant_row *row, const struct budget_hold *hold)
{
    int64_t least = INT64_MAX;

    if (hold->count == 0 || !row_take(row))
        return;
    for (uint32_t i = 0; i < hold->count; i++) {
        int64_t left = hold->amounts[i] - spend_spent(hold->accounts[i]);

        if (left >= least)
            continue;
        least = left;
        row->account = hold->accounts[i];
        row->amount = hold->amounts[i];
    }
    row_leave(row);
}

/* --- a scrape --- */

static void pair_set(const struct limit_families *families, const char *name, double limit,
                     double remaining)
{
    metrics_set(metrics_series_get(families->limit, &name), limit);
    metrics_set(metrics_series_get(families->remaining, &name), remaining);
}

/* A limit fills up evenly, and is whole again after reset_ns (identity/gcra.h). */
static double remaining_at(const struct limit_seen *seen, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns > seen->at_ns ? now_ns - seen->at_ns : 0;

    if (passed_ns >= seen->reset_ns)
        return (double)seen->limit;
    return (double)seen->remaining +
           (double)(seen->limit - seen->remaining) * (double)passed_ns / (double)seen->reset_ns;
}

static void row_collect(struct tenant_metrics *metrics, struct tenant_row *row, uint64_t now_ns)
{
    struct limit_seen limits[TENANT_LIMIT_COUNT];
    const struct spend_account *account;
    int64_t amount;

    if (!row_take(row))
        return;
    memcpy(limits, row->limits, sizeof(limits));
    account = row->account;
    amount = row->amount;
    row_leave(row);
    for (size_t i = 0; i < TENANT_LIMIT_COUNT; i++)
        if (limits[i].limit > 0)
            pair_set(&metrics->limits[i], row->name, (double)limits[i].limit,
                     remaining_at(&limits[i], now_ns));
    if (account != NULL)
        pair_set(&metrics->budget, row->name, (double)amount / MONEY_NANO,
                 (double)(amount - spend_spent(account)) / MONEY_NANO);
}

void tenant_metrics_collect(struct tenant_metrics *metrics, uint64_t now_ns)
{
    for (uint32_t i = 0; i < PLACE_COUNT; i++) {
        struct tenant_row *row = atomic_load_explicit(&metrics->places[i], memory_order_acquire);

        if (row != NULL)
            row_collect(metrics, row, now_ns);
    }
}

/* --- life --- */

static status families_create(struct tenant_metrics *metrics, metrics_registry *registry)
{
    static const char *const tenant[] = {"tenant", NULL}, *const code[] = {"tenant", "code", NULL},
                             *const kind[] = {"tenant", "kind", NULL},
                             *const reason[] = {"tenant", "reason", NULL};
    const uint32_t rows_max = TENANT_ROWS_MAX + 1; /* with the one called "other" */
    struct limit_families *requests = &metrics->limits[TENANT_REQUESTS],
                          *tokens = &metrics->limits[TENANT_TOKENS], *budget = &metrics->budget;
    const struct metrics_family_row rows[] = {
        {&metrics->requests,
         {METRICS_COUNTER, "penstock_tenant_requests_total",
          "Requests of an organisation to models that have ended, by answer.", code, NULL, 0,
          rows_max * TENANT_CODE_COUNT}},
        {&metrics->tokens,
         {METRICS_COUNTER, "penstock_tenant_tokens_total",
          "Tokens that an organisation has used: of prompts, read anew or found in a cache, and of "
          "answers.",
          kind, NULL, 0, rows_max * TOKEN_KIND_COUNT}},
        {&metrics->cost,
         {METRICS_COUNTER, "penstock_tenant_cost_total",
          "What an organisation's requests have cost, in the unit of the prices.", tenant, NULL, 0,
          rows_max}},
        {&metrics->refusals,
         {METRICS_COUNTER, "penstock_limit_refusals_total",
          "Requests of an organisation that were over a limit or a budget, by which.", reason, NULL,
          0, rows_max * TENANT_REFUSAL_COUNT}},
        {&requests->limit,
         {METRICS_GAUGE, "penstock_limit_requests",
          "Requests a minute that the tightest limit of an organisation's last request allows.",
          tenant, NULL, 0, rows_max}},
        {&requests->remaining,
         {METRICS_GAUGE, "penstock_limit_requests_remaining", "What is left of them now.", tenant,
          NULL, 0, rows_max}},
        {&tokens->limit,
         {METRICS_GAUGE, "penstock_limit_tokens",
          "Tokens that the tightest limit of an organisation's last request allows.", tenant, NULL,
          0, rows_max}},
        {&tokens->remaining,
         {METRICS_GAUGE, "penstock_limit_tokens_remaining", "What is left of them now.", tenant,
          NULL, 0, rows_max}},
        {&budget->limit,
         {METRICS_GAUGE, "penstock_budget",
          "The tightest budget of an organisation's last request, in the unit of the prices.",
          tenant, NULL, 0, rows_max}},
        {&budget->remaining,
         {METRICS_GAUGE, "penstock_budget_remaining", "What is left of it in its period.", tenant,
          NULL, 0, rows_max}},
    };

    return metrics_families_create(registry, rows, sizeof(rows) / sizeof(rows[0]));
}

status tenant_metrics_create(metrics_registry *registry, struct tenant_metrics **out)
{
    struct tenant_metrics *metrics = memory_allocate_array(1, sizeof(*metrics));
    status result;

    if (metrics == NULL)
        return STATUS_NO_MEMORY;
    CHECK(pthread_mutex_init(&metrics->lock, NULL) == 0);
    result = families_create(metrics, registry);
    if (result == STATUS_OK) {
        metrics->other = row_create(metrics, "other");
        result = metrics->other != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    if (result != STATUS_OK) {
        tenant_metrics_destroy(metrics);
        return result;
    }
    *out = metrics;
    return STATUS_OK;
}

void tenant_metrics_destroy(struct tenant_metrics *metrics)
{
    if (metrics == NULL)
        return;
    for (uint32_t i = 0; i < PLACE_COUNT; i++)
        row_destroy(atomic_load_explicit(&metrics->places[i], memory_order_relaxed));
    row_destroy(metrics->other);
    pthread_mutex_destroy(&metrics->lock);
    memory_release(metrics);
}
