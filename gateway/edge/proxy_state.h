#ifndef PENSTOCK_EDGE_PROXY_STATE_H
#define PENSTOCK_EDGE_PROXY_STATE_H

#include "attempt.h"
#include "hedge.h"
#include "model_activity.h"
#include "proxy.h"
#include "replica_choice.h"
#include "resumption.h"
#include "route_plan.h"
#include "shadow.h"
#include "stored_replica.h"
#include "upstream_headers.h"
#include "waiting.h"

/* A request on its way through the gateway, for the files that share it: proxy.c (its life),
 * waiting.c (before it has a replica) and attempt.c (one exchange with a replica). Loop thread; in
 * the request's memory, and dead once http_reply or http_stream_end has been called, so each of
 * these is the last thing a function does. */
struct proxy {
    struct edge_record *record;
    struct edge_loop *loop;
    struct route_target target;   /* what its body says; into the body as it came */
    struct route_plan plan;       /* the models that it may go to */
    struct replica_choice choice; /* of its model's replicas */
    const char *method, *path;
    struct text_slice body;
    struct http_header headers[UPSTREAM_HEADER_COUNT_MAX]; /* for the replica */
    size_t header_count, number_header;                    /* of them `number` */
    char number[STORED_REPLICA_BYTES]; /* of the replica that is asked, for its ids */
    char priority[8];                  /* its band, for the replica */
    uint64_t connect_timeout_ns, first_byte_timeout_ns,
        idle_timeout_ns; /* copied: a reload may come */
    uint32_t retries_left;
    uint32_t attempt_number; /* of those to the model that it is with */
    uint32_t losses;         /* replicas that were lost while they had a request of this content */

    struct waiting waiting;
    struct attempt attempt;
    struct hedge hedge;
    struct resumption resumption; /* what another replica would need to go on with it */
    struct shadow *shadow;        /* a copy of it that another model got; NULL: none */

    bool takes_usage_out; /* of its stream: the client has not asked for it, we have */
    bool wants_stream;    /* the answer, if it is a good one, is an event stream */
    bool is_streaming;    /* the client has the head */
    uint64_t last_event_ns;
};

/* Finds a replica and sends the request to it, or lets it wait for one. */
void proxy_dispatch(struct proxy *proxy);

/* The end with an error of the gateway: an answer, or the last event of a stream. The proxy is dead
 * afterwards. */
void proxy_fail(struct proxy *proxy, int http_status, const char *code, const char *message,
                uint64_t retry_after_ms);

/* The end of a stream, whose head the client has, with an event that tells the error. The proxy is dead afterwards. */
void proxy_end_stream(struct proxy *proxy, const struct api_error *error);

/* The same of a request that is in quarantine. */
void proxy_fail_quarantined(struct proxy *proxy);
/* The same when the gateway is about to end. */
void proxy_fail_closed(struct proxy *proxy);

/* Goes on to the next model of the plan, if there is one for a failure of this kind (http_status and body as
 * route_plan_cause takes them) and the client has had nothing yet. True: the request is on its way, and the proxy may be dead. */
bool proxy_fall_back(struct proxy *proxy, int http_status, struct text_slice body);

static inline struct edge_model_metrics *proxy_metrics(const struct proxy *proxy)
{
    return &proxy->record->edge->metrics.models[proxy->choice.model->index];
}

static inline struct model_activity *proxy_activity(const struct proxy *proxy)
{
    return &proxy->record->edge->activities[proxy->choice.model->index];
}

static inline struct flow_model_metrics *proxy_flow(const struct proxy *proxy)
{
    return &proxy->record->edge->flow_metrics.models[proxy->choice.model->index];
}

#endif
