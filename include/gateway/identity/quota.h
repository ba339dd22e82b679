#ifndef PENSTOCK_IDENTITY_QUOTA_H
#define PENSTOCK_IDENTITY_QUOTA_H

#include "caller.h"
#include "config.h"
#include "hash.h"
#include "request_usage.h"

/* What callers may use (tenants.limits): a request takes what it may need before it begins, of every limit that it
 * matches or of none, and gives back what it did not use when it ends. What is taken is counted for the whole process,
 * exactly and without a lock, and stays counted when the config is loaded again. */

#define QUOTA_LIMITS_PER_REQUEST_MAX 16u /* that one request may match */

struct quota_book;

/* `config`: where limits are shared with other gateways, if they are; NULL: they are not. STATUS_OK; STATUS_INVALID, STATUS_IO with
 * a note; STATUS_NO_MEMORY. */
NODISCARD status quota_book_create(const struct config_state *config, struct quota_book **out,
                                   struct error_note *note);
/* The thread that talks to the other gateways, if there are any. STATUS_OK, STATUS_NO_MEMORY. Thread: main. */
NODISCARD status quota_book_start(struct quota_book *book);
/* No request runs any more. Accepts NULL. Thread: main. */
void quota_book_stop(struct quota_book *book);
/* Whether they cannot be talked to now, and each has its part of each limit. Any thread. */
bool quota_book_is_away(const struct quota_book *book);
void quota_book_destroy(struct quota_book *book); /* accepts NULL */

struct quota_request {
    const struct caller *caller;
    const char *model; /* the name that is served */
    uint64_t tokens;   /* that it may use; 0: it makes none */
    uint64_t now_ns;   /* monotonic */
};

/* What a request has taken, until it is settled. Plain data. */
struct quota_hold {
    const struct quota_book *book;
    uint64_t tokens;
    uint32_t count;
    struct quota_taken {
        struct quota_cell *cell;
        uint64_t requests_per_minute, tokens_per_minute, tokens_per_day; /* 0: none taken */
        bool is_running; /* counted among those at once */
    } items[QUOTA_LIMITS_PER_REQUEST_MAX];
};

/* Of the limits that a request matches, the ones with the least left: what OpenAI's x-ratelimit-* headers tell. */
struct quota_view {
    struct quota_left {
        uint64_t limit; /* 0: there is none */
        uint64_t remaining, reset_ns;
    } requests, tokens;
};

/* Which of a limit's numbers a request is over, in the order of RATE_* and then those that run at once. */
enum quota_reason {
    QUOTA_REQUESTS_PER_MINUTE,
    QUOTA_TOKENS_PER_MINUTE,
    QUOTA_TOKENS_PER_DAY,
    QUOTA_CONCURRENT_REQUESTS,
    QUOTA_REASON_COUNT
};

/* Why not. */
struct quota_refusal {
    enum quota_reason reason;
    const char *type;        /* "requests", "tokens" */
    uint64_t retry_after_ms; /* 0: never as it is */
    char message[320];
};

/* Takes what the request may need. STATUS_OK; STATUS_FULL: it is over a limit, `refusal` is filled and nothing is
 * taken; STATUS_TOO_LARGE: more limits match than QUOTA_LIMITS_PER_REQUEST_MAX, or more callers are counted than there
 * is room for; STATUS_NO_MEMORY. `view` is filled but for the last two. Loop. */
NODISCARD status quota_reserve(struct quota_book *book, const struct config_tenants *config,
                               const struct quota_request *request, struct quota_hold *hold,
                               struct quota_view *view, struct quota_refusal *refusal);

/* Ends what quota_reserve has begun, once: tokens that are not known to be used are given back. Loop. */
void quota_settle(const struct quota_hold *hold, const struct request_usage *usage);

/* A limit on the KV cache that a request is held to (tenants.limits[].kv_share). */
struct quota_kv_share {
    struct hash128 id; /* of the limit and whom it counts for itself */
    double share;      /* of the cache of the model's replicas */
};

/* Those that it matches, QUOTA_LIMITS_PER_REQUEST_MAX at most: quota_reserve has refused what matches more. Any thread. */
uint32_t quota_kv_shares(const struct config_tenants *config, const struct caller *caller,
                         const char *model, struct quota_kv_share *out);

#endif
