#ifndef PENSTOCK_EDGE_ATTEMPT_H
#define PENSTOCK_EDGE_ATTEMPT_H

#include "edge.h"
#include "http_client.h"
#include "sse_splitter.h"

/* One exchange of a request with a replica, and what of its answer reaches the client. Loop thread;
 * part of struct proxy. */

struct proxy;

struct attempt {
    http_exchange *exchange; /* NULL: none is under way */
    struct edge_replica *replica;
    uint32_t generation;
    bool is_elsewhere; /* the replica was on another machine */
    uint64_t start_ns;
    uint64_t busy_before_ns; /* what earlier attempts have used of their replicas' time */
    bool is_breaker_trial;   /* replica_guard_begin's */
    bool is_on_trial;        /* it has the replica's trial as a suspect */
    bool has_event;          /* something of its answer has come */
    uint64_t first_event_ns; /* when that was */
    uint64_t events_before;  /* that the client has had of others */
    int status_code;         /* 0: no head yet */
    bool is_event_stream;
    struct http_header *answer_headers;
    size_t answer_header_count;
    const char *content_type;
    struct buffer held;         /* the answer, or its unfinished event */
    struct story_attempt *told; /* of the request's story; NULL: none is under way, or no room */
    struct sse_splitter splitter;
};

void attempt_init(struct attempt *attempt);
void attempt_deinit(struct attempt *attempt);

/* Sends the request to `replica`. What follows, up to the answer's end or the next attempt, happens
 * by itself; the proxy may be dead when this returns. */
void attempt_start(struct proxy *proxy, struct edge_replica *replica);

/* What a start is made of, for a copy of the request too (hedge.h): sends it to `replica`, counts it there. Its exchange calls back
 * as the request's own does. The status is http_exchange_start's; the attempt is open in any case. */
NODISCARD status attempt_send(struct proxy *proxy, struct attempt *attempt,
                              struct edge_replica *replica, const char *number);
/* It is over: what is counted at its replica is counted off, and the breaker hears of it. The exchange is the caller's to end. */
void attempt_close(const struct proxy *proxy, struct attempt *attempt,
                   enum breaker_outcome outcome);
/* The same where the exchange has ended with `result`, which may say something of the request too. */
void attempt_lose(struct proxy *proxy, struct attempt *attempt, status result);

/* By which the quarantine knows what the request asks. */
uint64_t attempt_content_hash(const struct proxy *proxy);

/* The request is over: what a server that is not ours has not told of a stream, as it was cut off or never tells, is
 * estimated. */
void attempt_usage_end(struct proxy *proxy);

/* The client is gone: so is the exchange, if there is one. */
void attempt_cancel(struct proxy *proxy);

#endif
