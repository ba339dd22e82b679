/* Limits as the loops take from them. Where gateways share limits, each cell also counts what has been taken since the others
 * were told (quota_share.c tells them, many times a second), and no more than one share of the limit is given out untold, or
 * one request where that is more. So a loop asks nobody, and all gateways together give out at most one share each beyond
 * the limit. While they cannot tell each other, each has its part of the limit: one of as many as there were. */
#include "quota.h"

#include <inttypes.h>
#include <stdio.h>

#include "check.h"
#include "clock.h"
#include "gcra.h"
#include "memory.h"
#include "quota_cells.h"
#include "quota_share.h"
#include "scope.h"

#define MINUTE_NS (60 * NS_PER_SECOND)
#define DAY_NS    (24 * 60 * MINUTE_NS)
/* When a running request will end is not known; clients come back soon. */
#define RUNNING_RETRY_MS 1000u
#define NAME_BYTES_MAX                                                                             \
    2048u /* eight names of 128 and patterns; longer ones are cut in the hash's input */

struct quota_book {
    struct quota_cells *cells; /* owned */
    struct quota_share *share; /* owned; NULL: not shared */
};

status quota_book_create(const struct config_state *config, struct quota_book **out,
                         struct error_note *note)
{
    struct quota_book *book = memory_allocate_array(1, sizeof(*book));
    status result = book != NULL ? quota_cells_create(&book->cells) : STATUS_NO_MEMORY;

    if (result == STATUS_OK && config != NULL && config->redis[0] != '\0')
        result = quota_share_create(config, book->cells, &book->share, note);
    if (result != STATUS_OK) {
        quota_book_destroy(book);
        return result;
    }
    *out = book;
    return STATUS_OK;
}

status quota_book_start(struct quota_book *book)
{
    return book->share != NULL ? quota_share_start(book->share) : STATUS_OK;
}

void quota_book_stop(struct quota_book *book)
{
    if (book != NULL && book->share != NULL)
        quota_share_stop(book->share);
}

bool quota_book_is_away(const struct quota_book *book)
{
    return book->share != NULL && quota_share_parts(book->share) > 0;
}

void quota_book_destroy(struct quota_book *book)
{
    if (book == NULL)
        return;
    quota_share_destroy(book->share);
    if (book->cells != NULL)
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
 * changes them keeps what is counted. Returns its length. */
static size_t cell_name(const struct config_limit *limit, const struct caller *caller,
                        char name[NAME_BYTES_MAX])
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
    size_t bytes = 0;

    name[bytes++] = (char)('0' + limit->per);
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        size_t text_bytes = strnlen(texts[i], NAME_BYTES_MAX / ARRAY_COUNT(texts) - 2);

        memcpy(name + bytes, texts[i], text_bytes);
        bytes += text_bytes;
        name[bytes++] = '\0';
    }
    return bytes;
}

static status cell_of(struct quota_book *book, const struct config_limit *limit,
                      const struct caller *caller, struct quota_cell **out)
{
    char name[NAME_BYTES_MAX];
    status result = quota_cells_get(book->cells, name, cell_name(limit, caller, name), out);

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
    left_take(&view->requests, &cell->rates_ns[RATE_REQUESTS], (uint64_t)limit->requests_per_minute,
              now_ns, MINUTE_NS);
    left_take(&view->tokens, &cell->rates_ns[RATE_TOKENS], (uint64_t)limit->tokens_per_minute,
              now_ns, MINUTE_NS);
    left_take(&view->tokens, &cell->rates_ns[RATE_DAY_TOKENS], (uint64_t)limit->tokens_per_day,
              now_ns, DAY_NS);
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
static status refuse(struct quota_refusal *refusal, const char *unit, const char *subject,
                     uint64_t limit, uint64_t asked, uint64_t wait_ns)
{
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

/* Requests at once. */
static bool running_take(const struct quota_book *book, struct quota_cell *cell, uint64_t limit)
{
    int64_t running = atomic_fetch_add_explicit(&cell->running, 1, memory_order_relaxed) + 1;

    if (book->share == NULL ? running <= (int64_t)limit
                            : quota_share_may_run(book->share, cell, running, limit))
        return true;
    (void)atomic_fetch_sub_explicit(&cell->running, 1, memory_order_relaxed);
    return false;
}

struct rate {
    unsigned kind;
    uint64_t amount, limit, period_ns;
    const char *type, *unit; /* "requests per min (RPM)" */
};
_Static_assert((int)QUOTA_REQUESTS_PER_MINUTE == (int)RATE_REQUESTS &&
                   (int)QUOTA_TOKENS_PER_MINUTE == (int)RATE_TOKENS &&
                   (int)QUOTA_TOKENS_PER_DAY == (int)RATE_DAY_TOKENS,
               "a rate's kind is the reason of its refusals");

/* What of the limit is this gateway's. */
static uint64_t part_of(const struct quota_book *book, uint64_t limit)
{
    uint64_t parts = book->share != NULL ? quota_share_parts(book->share) : 0;

    return parts > 1 && limit / parts > 0 ? limit / parts : parts > 1 ? 1 : limit;
}

static uint64_t *taken_limit(struct quota_taken *taken, unsigned kind)
{
    return kind == RATE_REQUESTS ? &taken->requests_per_minute
           : kind == RATE_TOKENS ? &taken->tokens_per_minute
                                 : &taken->tokens_per_day;
}

static void give_back_rate(const struct quota_book *book, struct quota_cell *cell,
                           const struct rate *rate, uint64_t used)
{
    gcra_settle(&cell->rates_ns[rate->kind], rate->amount, used, rate->limit, rate->period_ns);
    if (book->share != NULL)
        quota_share_used(book->share, cell, rate->kind,
                         (int64_t)gcra_cost_ns(used, rate->limit, rate->period_ns) -
                             (int64_t)gcra_cost_ns(rate->amount, rate->limit, rate->period_ns));
}

static status rate_take(const struct quota_book *book, struct quota_taken *taken, struct rate *rate,
                        const char *subject, uint64_t now_ns, struct quota_refusal *refusal)
{
    uint64_t whole = rate->limit, wait_ns;

    if (rate->limit == 0 || rate->amount == 0)
        return STATUS_OK;
    refusal->reason = (enum quota_reason)rate->kind;
    refusal->type = rate->type;
    rate->limit = part_of(book, rate->limit);
    if (!gcra_take(&taken->cell->rates_ns[rate->kind], now_ns, rate->amount, rate->limit,
                   rate->period_ns, &wait_ns))
        return refuse(refusal, rate->unit, subject, whole, rate->amount, wait_ns);
    *taken_limit(taken, rate->kind) = rate->limit;
    if (book->share == NULL ||
        quota_share_may_take(book->share, taken->cell, rate->kind,
                             gcra_cost_ns(rate->amount, rate->limit, rate->period_ns),
                             rate->period_ns))
        return STATUS_OK;
    return refuse(refusal, rate->unit, subject, whole, rate->amount, QUOTA_SHARE_ASK_NS);
}

static void give_back(const struct quota_book *book, const struct quota_taken *taken,
                      uint64_t tokens, uint64_t used_tokens, uint64_t used_requests)
{
    struct quota_cell *cell = taken->cell;
    const struct rate requests = {RATE_REQUESTS, 1, taken->requests_per_minute, MINUTE_NS, "", ""};
    const struct rate minute = {RATE_TOKENS, tokens, taken->tokens_per_minute, MINUTE_NS, "", ""};
    const struct rate day = {RATE_DAY_TOKENS, tokens, taken->tokens_per_day, DAY_NS, "", ""};

    if (taken->is_running)
        (void)atomic_fetch_sub_explicit(&cell->running, 1, memory_order_relaxed);
    if (requests.limit > 0 && used_requests == 0)
        give_back_rate(book, cell, &requests, 0);
    if (minute.limit > 0)
        give_back_rate(book, cell, &minute, used_tokens);
    if (day.limit > 0)
        give_back_rate(book, cell, &day, used_tokens);
}

/* One limit, in parts; what could be taken is in `taken`, also on failure. */
static status take(const struct quota_book *book, struct quota_taken *taken,
                   const struct config_limit *limit, const struct quota_request *request,
                   struct quota_refusal *refusal)
{
    const char *subject = subject_of(limit, request->caller);
    uint64_t at_once = (uint64_t)limit->concurrent_requests;
    struct rate rates[] = {{RATE_REQUESTS, 1, (uint64_t)limit->requests_per_minute, MINUTE_NS,
                            "requests", "requests per min (RPM)"},
                           {RATE_TOKENS, request->tokens, (uint64_t)limit->tokens_per_minute,
                            MINUTE_NS, "tokens", "tokens per min (TPM)"},
                           {RATE_DAY_TOKENS, request->tokens, (uint64_t)limit->tokens_per_day,
                            DAY_NS, "tokens", "tokens per day (TPD)"}};
    status result = STATUS_OK;

    if (at_once > 0) {
        refusal->reason = QUOTA_CONCURRENT_REQUESTS;
        refusal->type = "requests";
        if (!running_take(book, taken->cell, part_of(book, at_once)))
            return refuse(refusal, "concurrent requests", subject, at_once, 1,
                          RUNNING_RETRY_MS * NS_PER_MS);
        taken->is_running = true;
    }
    for (unsigned i = 0; result == STATUS_OK && i < RATE_COUNT; i++)
        result = rate_take(book, taken, &rates[i], subject, request->now_ns, refusal);
    return result;
}

status quota_reserve(struct quota_book *book, const struct config_tenants *config,
                     const struct quota_request *request, struct quota_hold *hold,
                     struct quota_view *view, struct quota_refusal *refusal)
{
    const struct config_limit *limits = config->limits.items;
    const struct config_limit *matched[QUOTA_LIMITS_PER_REQUEST_MAX];
    status result = STATUS_OK;

    *hold = (struct quota_hold){.book = book, .tokens = request->tokens};
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
        if (book->share != NULL)
            quota_share_look(book->share, taken->cell, request->now_ns);
        matched[hold->count++] = &limits[i];
        result = take(book, taken, &limits[i], request, refusal);
    }
    for (uint32_t i = 0; result != STATUS_OK && i < hold->count; i++)
        give_back(book, &hold->items[i], hold->tokens, 0, 0);
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
        give_back(hold->book, &hold->items[i], hold->tokens, used, 1);
}

uint32_t quota_kv_shares(const struct config_tenants *config, const struct caller *caller,
                         const char *model, struct quota_kv_share *out)
{
    static const struct hash_key key = {0x6b76207368617265ull, 0x6f6620612063616cull};
    const struct quota_request request = {.caller = caller, .model = model};
    const struct config_limit *limits = config->limits.items;
    char name[NAME_BYTES_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; i < config->limits.count && count < QUOTA_LIMITS_PER_REQUEST_MAX; i++) {
        if (limits[i].kv_share <= 0 || !limit_matches(&limits[i], &request))
            continue;
        out[count++] = (struct quota_kv_share){
            hash128(&key, name, cell_name(&limits[i], caller, name)), limits[i].kv_share};
    }
    return count;
}
