#include "quota.h"

#include <inttypes.h>
#include <stdio.h>

#include "check.h"
#include "clock.h"
#include "gcra.h"
#include "memory.h"
#include "quota_cells.h"
#include "scope.h"

#define MINUTE_NS (60 * NS_PER_SECOND)
#define DAY_NS    (24 * 60 * MINUTE_NS)
/* When a running request will end is not known; clients come back soon. */
#define RUNNING_RETRY_MS 1000u
#define NAME_BYTES_MAX                                                                             \
    2048u /* eight names of 128 and patterns; longer ones are cut in the hash's input */

struct quota_book {
    struct quota_cells *cells; /* owned */
};

status quota_book_create(struct quota_book **out)
{
    struct quota_book *book = memory_allocate_array(1, sizeof(*book));
    status result = book != NULL ? quota_cells_create(&book->cells) : STATUS_NO_MEMORY;

    if (result != STATUS_OK) {
        memory_release(book);
        return result;
    }
    *out = book;
    return STATUS_OK;
}

void quota_book_destroy(struct quota_book *book)
{
    if (book == NULL)
        return;
    quota_cells_destroy(book->cells);
    memory_release(book);
}

static bool limit_matches(const struct config_limit *limit, const struct quota_request *request)
{
    const struct caller *caller = request->caller;

    return patterns_match(limit->organisation, caller->organisation) &&
           patterns_match(limit->team, caller->team) && patterns_match(limit->key, caller->name) &&
           patterns_match(limit->model, request->model);
}

/* The limit by whom it is for, and the caller as far as that tells callers apart. Not by its numbers: a reload that
 * changes them keeps what is counted. */
static status cell_of(struct quota_book *book, const struct config_limit *limit,
                      const struct caller *caller, struct quota_cell **out)
{
    const char *texts[] = {
        limit->organisation,
        limit->team,
        limit->key,
        limit->model,
        limit->per >= QUOTA_PER_ORGANISATION ? caller->organisation : "",
        limit->per >= QUOTA_PER_TEAM ? caller->team : "",
        limit->per >= QUOTA_PER_KEY ? caller->key_id : "",
    };
    char name[NAME_BYTES_MAX];
    size_t bytes = 0;
    status result;

    name[bytes++] = (char)('0' + limit->per);
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        size_t text_bytes = strnlen(texts[i], sizeof(name) / ARRAY_COUNT(texts) - 2);

        memcpy(name + bytes, texts[i], text_bytes);
        bytes += text_bytes;
        name[bytes++] = '\0';
    }
    result = quota_cells_get(book->cells, name, bytes, out);
    return result == STATUS_FULL ? STATUS_TOO_LARGE : result;
}

/* --- the view --- */

static void left_take(struct quota_left *left, const _Atomic uint64_t *arrival_ns, uint64_t limit,
                      uint64_t now_ns, uint64_t period_ns)
{
    uint64_t reset_ns, remaining;

    if (limit == 0)
        return;
    remaining = gcra_remaining(atomic_load_explicit(arrival_ns, memory_order_relaxed), now_ns,
                               limit, period_ns, &reset_ns);
    if (left->limit == 0 || remaining < left->remaining)
        *left = (struct quota_left){limit, remaining, reset_ns};
}

static void view_take(struct quota_view *view, const struct quota_cell *cell,
                      const struct config_limit *limit, uint64_t now_ns)
{
    left_take(&view->requests, &cell->requests_ns, (uint64_t)limit->requests_per_minute, now_ns,
              MINUTE_NS);
    left_take(&view->tokens, &cell->tokens_ns, (uint64_t)limit->tokens_per_minute, now_ns,
              MINUTE_NS);
    left_take(&view->tokens, &cell->day_tokens_ns, (uint64_t)limit->tokens_per_day, now_ns, DAY_NS);
}

/* --- taking --- */

static const char *subject_of(const struct config_limit *limit, const struct caller *caller)
{
    switch ((enum quota_per)limit->per) {
    case QUOTA_PER_ORGANISATION:
        return caller->organisation;
    case QUOTA_PER_TEAM:
        return caller->team;
    case QUOTA_PER_KEY:
        return caller->name;
    case QUOTA_PER_ALL:
        break;
    }
    return "all callers";
}

/* `unit`: "requests per min (RPM)". `wait_ns` UINT64_MAX: never. */
static status refuse(struct quota_refusal *refusal, const char *type, const char *unit,
                     const char *subject, uint64_t limit, uint64_t asked, uint64_t wait_ns)
{
    refusal->type = type;
    if (wait_ns == UINT64_MAX) {
        refusal->retry_after_ms = 0;
        (void)snprintf(refusal->message, sizeof(refusal->message),
                       "Request too large for '%.128s' on %s: Limit %" PRIu64 ", Requested %" PRIu64
                       ". The input or output must be reduced for it to succeed",
                       subject, unit, limit, asked);
        return STATUS_FULL;
    }
    /* Up: who comes back then must not be early. */
    refusal->retry_after_ms = wait_ns / NS_PER_MS + 1;
    (void)snprintf(refusal->message, sizeof(refusal->message),
                   "Rate limit reached for '%.128s' on %s: Limit %" PRIu64 ", Requested %" PRIu64
                   ". Please try again in %" PRIu64 "ms",
                   subject, unit, limit, asked, refusal->retry_after_ms);
    return STATUS_FULL;
}

static bool running_take(struct quota_cell *cell, int64_t limit)
{
    if (atomic_fetch_add_explicit(&cell->running, 1, memory_order_relaxed) < limit)
        return true;
    (void)atomic_fetch_sub_explicit(&cell->running, 1, memory_order_relaxed);
    return false;
}

static void give_back(const struct quota_taken *taken, uint64_t tokens, uint64_t used_tokens,
                      uint64_t used_requests)
{
    struct quota_cell *cell = taken->cell;

    if (taken->is_running)
        (void)atomic_fetch_sub_explicit(&cell->running, 1, memory_order_relaxed);
    if (taken->requests_per_minute > 0 && used_requests == 0)
        gcra_settle(&cell->requests_ns, 1, 0, taken->requests_per_minute, MINUTE_NS);
    if (taken->tokens_per_minute > 0)
        gcra_settle(&cell->tokens_ns, tokens, used_tokens, taken->tokens_per_minute, MINUTE_NS);
    if (taken->tokens_per_day > 0)
        gcra_settle(&cell->day_tokens_ns, tokens, used_tokens, taken->tokens_per_day, DAY_NS);
}

/* One limit, in parts; what could be taken is in `taken`, also on failure. */
static status take(struct quota_taken *taken, const struct config_limit *limit,
                   const struct quota_request *request, struct quota_refusal *refusal)
{
    const char *subject = subject_of(limit, request->caller);
    uint64_t requests = (uint64_t)limit->requests_per_minute;
    uint64_t minute = request->tokens > 0 ? (uint64_t)limit->tokens_per_minute : 0;
    uint64_t day = request->tokens > 0 ? (uint64_t)limit->tokens_per_day : 0, wait_ns;

    if (limit->concurrent_requests > 0) {
        if (!running_take(taken->cell, limit->concurrent_requests))
            return refuse(refusal, "requests", "concurrent requests", subject,
                          (uint64_t)limit->concurrent_requests, 1, RUNNING_RETRY_MS * NS_PER_MS);
        taken->is_running = true;
    }
    if (requests > 0) {
        if (!gcra_take(&taken->cell->requests_ns, request->now_ns, 1, requests, MINUTE_NS,
                       &wait_ns))
            return refuse(refusal, "requests", "requests per min (RPM)", subject, requests, 1,
                          wait_ns);
        taken->requests_per_minute = requests;
    }
    if (minute > 0) {
        if (!gcra_take(&taken->cell->tokens_ns, request->now_ns, request->tokens, minute, MINUTE_NS,
                       &wait_ns))
            return refuse(refusal, "tokens", "tokens per min (TPM)", subject, minute,
                          request->tokens, wait_ns);
        taken->tokens_per_minute = minute;
    }
    if (day > 0) {
        if (!gcra_take(&taken->cell->day_tokens_ns, request->now_ns, request->tokens, day, DAY_NS,
                       &wait_ns))
            return refuse(refusal, "tokens", "tokens per day (TPD)", subject, day, request->tokens,
                          wait_ns);
        taken->tokens_per_day = day;
    }
    return STATUS_OK;
}

status quota_reserve(struct quota_book *book, const struct config_tenants *config,
                     const struct quota_request *request, struct quota_hold *hold,
                     struct quota_view *view, struct quota_refusal *refusal)
{
    const struct config_limit *limits = config->limits.items;
    const struct config_limit *matched[QUOTA_LIMITS_PER_REQUEST_MAX];
    status result = STATUS_OK;

    *hold = (struct quota_hold){.tokens = request->tokens};
    *view = (struct quota_view){0};
    for (uint32_t i = 0; result == STATUS_OK && i < config->limits.count; i++) {
        struct quota_taken *taken = &hold->items[hold->count];

        if (!limit_matches(&limits[i], request))
            continue;
        if (hold->count == QUOTA_LIMITS_PER_REQUEST_MAX) {
            result = STATUS_TOO_LARGE;
            break;
        }
        *taken = (struct quota_taken){0};
        result = cell_of(book, &limits[i], request->caller, &taken->cell);
        if (result != STATUS_OK)
            break;
        matched[hold->count++] = &limits[i];
        result = take(taken, &limits[i], request, refusal);
    }
    for (uint32_t i = 0; result != STATUS_OK && i < hold->count; i++)
        give_back(&hold->items[i], hold->tokens, 0, 0);
    for (uint32_t i = 0; i < hold->count; i++)
        view_take(view, hold->items[i].cell, matched[i], request->now_ns);
    if (result != STATUS_OK)
        hold->count = 0;
    return result;
}

void quota_settle(const struct quota_hold *hold, const struct request_usage *usage)
{
    uint64_t used = (uint64_t)usage->prompt_tokens + usage->completion_tokens;

    for (uint32_t i = 0; i < hold->count; i++)
        give_back(&hold->items[i], hold->tokens, used, 1);
}
