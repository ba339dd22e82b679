#ifndef PENSTOCK_EDGE_EDGE_H
#define PENSTOCK_EDGE_EDGE_H

#include <pthread.h>
#include <stdatomic.h>

#include "admission.h"
#include "answer_source.h"
#include "caller.h"
#include "config_snapshot.h"
#include "edge_metrics.h"
#include "flow_metrics.h"
#include "history.h"
#include "http_client.h"
#include "http_server.h"
#include "identity.h"
#include "model_versions.h"
#include "quantile_tracker.h"
#include "queue_metrics.h"
#include "records.h"
#include "replica.h"
#include "replica_guard.h"
#include "request_record.h"
#include "request_story.h"
#include "request_usage.h"
#include "retry_budget.h"
#include "rollout_metrics.h"
#include "runtime_adapters.h"
#include "scaling_metrics.h"
#include "shared_page.h"
#include "stream_metrics.h"
#include "tenant_metrics.h"
#include "trace_context.h"

/* What the gateway role's threads share, and who may touch it. Models and replicas are made at
 * start and live as long as the process (a reload that changes them is refused), so pointers to
 * them need no count. */

#define EDGE_ADDRESS_BYTES   128u
#define EDGE_PAGE_PATH_BYTES (EDGE_ADDRESS_BYTES + 8)

/* The control thread writes state, generation and what follows; loops read them, and count what
 * they send. Each is read alone (relaxed): a router that sees an old state sends a request to a
 * replica that is gone, which the retry mends. */
struct edge_replica {
    uint32_t id;    /* in the replica manager */
    uint32_t index; /* in its model */
    struct edge_model *model;
    /* "unix:/...", where it listens if it is on this machine; or the URL of a server that is not ours (cut) */
    char address[EDGE_ADDRESS_BYTES];
    struct edge_upstream *upstream; /* owned; a server that is not ours; NULL: a child of ours */
    _Atomic uint32_t state;         /* enum replica_state */
    _Atomic uint32_t generation;
    _Atomic uint32_t member; /* of the pool, that the slot's replica is on or was last */
    _Atomic uint64_t link;   /* to it, where it is on another machine (join.h); 0: its socket */
    _Atomic uint32_t outstanding; /* requests sent and not ended; loops */
    struct replica_guard guard;
    _Atomic uint64_t trial_until_ns; /* of a suspect (suspects.h); 0: none */
    shared_page *page;               /* owned; what it says of itself; NULL: it is not ours */
    bool is_borrowed;                /* another gateway removes its files; main */
    _Atomic uint32_t kv_blocks;      /* of its cache, as the page last said; 0: not known */
    /* When it should have read the prompts that were sent to it; loops (replica_choice.c) */
    _Atomic uint64_t read_until_ns;
    _Atomic int32_t pid;      /* on this machine; 0: none */
    _Atomic uint64_t uid;     /* of the replica in this slot (control.h); 0: none */
    _Atomic uint32_t version; /* of its model's settings that it was started with, or will be */
    _Atomic uint32_t sequences_max; /* that it runs at once */
    _Atomic uint64_t restart_count;
    _Atomic uint64_t state_since_ns;
    _Atomic uint64_t expected_ns; /* when it should be ready; UINT64_MAX: it is not wanted */
};

struct edge_model {
    uint32_t index;                /* in the config, whatever version */
    const char *name;              /* in the first config's memory, which is kept */
    struct edge_replica *replicas; /* owned; none where the name stands for a choice among others */
    uint32_t replica_count;
    struct model_versions versions;
    struct admission *admission; /* owned */
    struct retry_budget retries;
    struct quantile_tracker
        first_token; /* models[].hedge.quantile of its streams' first tokens; ns */
    /* What its replicas say of it; control thread; 0: none has been ready yet */
    _Atomic uint32_t context_max, capabilities;
    _Atomic uint32_t turn;     /* of equal replicas; loops */
    bool scales_from_zero;     /* there may be no replica; a request has one started */
    _Atomic uint64_t arrivals; /* requests that came for it; loops */
    _Atomic uint32_t wanted;   /* replicas that there should be; control thread */
    _Atomic bool is_asked_for; /* a loop waits for the scaling; the control thread takes it back */
};

struct model_activity;
struct model_cost;
struct replica_metrics;
struct scrape;
struct scraper;
struct adapter_change;
struct control;
struct quota_book;
struct suspects;
struct quota_hold;
struct budget_hold;
struct proxy;
struct wire_format;
struct story_book;
struct tracing;

/* Changes of adapters on their way from the loops to main (adapter_changes.c). */
struct adapter_queue {
    pthread_mutex_t lock; /* of what follows but `main` */
    struct adapter_change *head, **tail;
    bool is_open;
    pthread_t main;
};

struct edge {
    http_server *server;        /* owned */
    metrics_registry *registry; /* owned */
    struct edge_metrics metrics;
    struct queue_metrics queue_metrics;
    struct stream_metrics stream_metrics;
    struct flow_metrics flow_metrics;
    struct tenant_metrics *tenant_metrics;   /* owned */
    struct replica_metrics *replica_metrics; /* owned */
    struct scraper *scraper;                 /* owned */
    struct scaling_metrics scaling_metrics;
    struct rollout_metrics rollout_metrics;
    struct answer_source answers;
    struct edge_model *models;         /* owned */
    struct model_cost *costs;          /* [model_count], owned */
    struct model_activity *activities; /* [model_count], owned */
    history *history;                  /* owned */
    uint32_t model_count, replica_count;
    struct config_store configs;
    struct runtime_adapters adapters;
    struct adapter_queue adapter_queue;
    struct control *control; /* owned; loops: see edge_control */
    _Atomic bool
        has_control;   /* release by main, acquire by the loops, which turn before it is there */
    struct join *join; /* owned; NULL: no replicas on other machines */
    struct quota_book *quotas;      /* owned */
    struct identity *identity;      /* owned */
    struct records *records;        /* owned */
    struct story_sinks story_sinks; /* who is told of requests that have ended */
    struct tracing *tracing;        /* owned; NULL: nothing is sent */
    _Atomic bool is_draining;
    _Atomic uint32_t queue_ahead; /* admission.queue_ahead */
    _Atomic double slot_reserve;  /* admission.reserve */
    struct suspects *suspects;    /* owned */
    uint64_t start_wall_ms;
    const char *version;
    char run_directory[96];
    bool run_directory_is_ours;
    struct takeover *takeover; /* owned; NULL: it was started afresh */
    uint32_t epoch;            /* gateways before it that have handed over to each other */
    int32_t keeper;            /* the process that the first of them has become; 0: none */
    bool has_place;      /* the run directory is its own: not another one's still, or by now */
    bool is_handed_over; /* the next one has the place */
};

/* Per loop, in slot EDGE_LOOP_SLOT. Only its loop touches it, but for the wake-up flag. */
#define EDGE_LOOP_SLOT 0u
struct edge_loop {
    struct edge *edge;
    http_loop *loop;
    struct loop_targets *targets; /* owned (targets.h) */
    struct http_message close;    /* at the end: the targets go */
    bool is_closed;               /* nothing is sent to replicas any more */
    struct proxy *waiting;        /* requests without a slot or a ready replica, oldest first */
    struct proxy **waiting_tail;
    uint32_t waiting_count;
    uint32_t shadow_count;      /* copies of requests under way (shadow.c) */
    struct story_book *stories; /* owned; of its requests */
    struct http_message wake;   /* slots were given, or a replica's state has changed */
    _Atomic bool wake_is_sent, replicas_have_changed;
};

/* The trace that a request is a part of (tracing.h). */
struct request_trace {
    struct trace_context context; /* is_own: the gateway's span; else as the client sent it */
    struct text_slice state;      /* the client's tracestate; bytes 0: none that is passed on */
    bool is_set, is_own;
    bool has_parent; /* the client has sent a context */
};

/* What a request is and what it tells when it ends; one in the memory of every request. */
struct edge_record {
    struct edge *edge;
    http_request *request;
    enum edge_route route;
    const struct caller *caller; /* anonymous until it is known */
    struct request_usage usage;
    struct budget_hold *budget;     /* what it may still spend; NULL: nothing */
    struct quota_hold *hold;        /* what it has taken of its caller's limits; NULL: nothing */
    const struct edge_model *model; /* NULL: none, or not known yet */
    int status_code;                /* of the answer; 499 when the client went first */
    uint64_t start_ns;
    /* What the gateway itself has worked on it, and since when it does so now; 0: it waits for others */
    uint64_t own_ns, own_since_ns;
    struct proxy *proxy;              /* NULL: answered by the gateway itself */
    const struct wire_format *format; /* how errors are written */
    struct request_record *kept;      /* room that is kept for what it leaves; NULL: none */
    struct request_story *story; /* borrowed until its end; NULL: it is not passed on to a model */
    struct request_trace trace;
    char trace_id[TRACE_ID_HEX_BYTES]; /* "": none */
    struct scrape *scrape;             /* owned; the page that it is answered with; NULL: none */
    uint32_t retries;
    char error_code[RECORD_CODE_BYTES]; /* of the error that the client got; "": none */
    bool is_over_budget;
    bool is_for_model; /* its path is one that replicas answer */
    bool is_admin;     /* it is on the admin API, or of an operator */
};

/* Resolves %XX in a part of a path or query: names with slashes come so from the official client. The text
 * lives as long as the request, with a NUL behind it. */
struct text_slice edge_percent_decode(http_request *request, struct text_slice text);

/* What the records will say of the answer; cut where it is too long. */
void edge_note_error(struct edge_record *record, const char *code);

/* Answers from the gateway itself. The record, and all that lives in the request's memory, is dead
 * afterwards. */
void edge_reply(struct edge_record *record, int status_code, const char *content_type,
                struct text_slice body);
struct api_error;
void edge_reply_error(struct edge_record *record, const struct api_error *error);
/* An error that says no more than these: of the caller below 500, else of the server. */
void edge_refuse(struct edge_record *record, int http_status, const char *code, const char *text);
/* A finished JSON buffer (deinited here); 500 when it has failed. */
void edge_reply_json(struct edge_record *record, int status_code, struct buffer *json);

/* The gateway takes the request in hand, and leaves it to others: what lies between is its own share of the request's time. */
static inline void edge_work_begin(struct edge_record *record, uint64_t now_ns)
{
    if (record->own_since_ns == 0)
        record->own_since_ns = now_ns;
}

static inline void edge_work_end(struct edge_record *record, uint64_t now_ns)
{
    if (record->own_since_ns != 0 && now_ns > record->own_since_ns)
        record->own_ns += now_ns - record->own_since_ns;
    record->own_since_ns = 0;
}

/* Who is known by now. */
static inline struct tenant_row *edge_tenant(const struct edge_record *record)
{
    return tenant_metrics_row(record->edge->tenant_metrics, record->caller->organisation);
}

static inline enum replica_state edge_replica_state(const struct edge_replica *replica)
{
    return (enum replica_state)atomic_load_explicit(&replica->state, memory_order_relaxed);
}

/* The file of the slot's page: beside its socket. */
void edge_page_path(const struct edge_replica *replica, char out[EDGE_PAGE_PATH_BYTES]);

/* The loops' way to it. NULL: for a moment at the start, when they turn already. */
static inline struct control *edge_control(const struct edge *edge)
{
    return atomic_load_explicit(&edge->has_control, memory_order_acquire) ? edge->control : NULL;
}

static inline struct edge_replica *edge_replica_at(const struct edge *edge, uint32_t id)
{
    for (uint32_t i = 0; i < edge->model_count; i++) {
        const struct edge_model *model = &edge->models[i];

        if (model->replica_count > 0 && id - model->replicas[0].id < model->replica_count)
            return &model->replicas[id - model->replicas[0].id];
    }
    return NULL;
}

/* The config that the settings of the replica's version are from (model_versions_config). */
const struct config *edge_version_config(const struct edge *edge,
                                         const struct edge_replica *replica);
/* Replicas of a model that take requests. */
uint32_t edge_ready_count(const struct edge_model *model);
/* Whether each model has one, and nothing drains. */
bool edge_is_ready(const struct edge *edge);

#endif
