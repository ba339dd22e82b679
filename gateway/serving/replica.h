#ifndef PENSTOCK_GATEWAY_SERVING_REPLICA_H
#define PENSTOCK_GATEWAY_SERVING_REPLICA_H

#include <pthread.h>

#include "config.h"
#include "encoder.h"
#include "engine.h"
#include "flight_recorder.h"
#include "gateway_link.h"
#include "hash.h"
#include "http_server.h"
#include "metrics.h"
#include "openai.h"
#include "openai_response.h"
#include "output_parser.h"
#include "replica_story.h"
#include "replica_tracing.h"
#include "response_store.h"
#include "ring.h"
#include "shared_page.h"
#include "start_moments.h"

/* The replica role as one object: what all its threads share. Everything but the atomics is
 * written by the main thread before `phase` becomes READY (release) and only read afterwards. */

enum replica_phase {
    REPLICA_LOADING, /* the engine is not there yet */
    REPLICA_READY,
    REPLICA_DRAINING, /* no new completions; probes and running ones go on */
    REPLICA_CLOSING   /* nothing may touch the engine but jobs that it still knows */
};

#define PREPARE_WORKERS_MAX       2u
#define REPLICA_FINGERPRINT_BYTES 24u
#define REPLICA_TOKEN_TEXT_BYTES  128u

struct replica {
    const struct config *config;      /* borrowed */
    const struct config_model *model; /* borrowed */
    http_server *http;                /* owned */
    metrics_registry *metrics;        /* owned */
    /* owned; from READY on, one of the two */
    engine *engine;
    encoder *encoder;
    struct api_limits limits;
    gateway_link *link; /* borrowed; to the gateway on another machine that it serves; NULL: none */
    bool is_trusted;    /* a Unix socket, or a link: x-penstock-* headers count */
    uint64_t created_s;
    char fingerprint[REPLICA_FINGERPRINT_BYTES];
    char bos_text[REPLICA_TOKEN_TEXT_BYTES], eos_text[REPLICA_TOKEN_TEXT_BYTES];
    enum tool_form tool_form; /* how the model writes calls and reasoning */
    enum reasoning_form reasoning_form;
    int32_t *shown_tokens; /* owned; control tokens that parsers must see; [shown_token_count] */
    uint32_t shown_token_count;
    struct token_list reasoning_end; /* owned; what ends reasoning before its time; empty: none */
    const char *runtime_adapters;    /* borrowed: see serving_options */
    enum embedding_pooling pooling;  /* of the engine's embeddings */
    struct hash_key salt_key;        /* random for each process */
    response_store *responses;       /* owned */
    replica_stories *stories;        /* owned; of the last requests */
    struct replica_tracing *tracing; /* owned; NULL: nothing is sent from here */
    flight_recorder *flight;         /* owned; the last steps, by the step thread; NULL: none */
    shared_page_writer *page;        /* owned; where the gateway looks; NULL: nobody does */
    struct start_moments start;
    metrics_series *prepare_seconds;

    /* jobs on their way to the prepare workers; any loop pushes, workers pop */
    ring *prepare_queue; /* owned */
    struct parking prepare_parking;
    pthread_t workers[PREPARE_WORKERS_MAX];
    uint32_t worker_count;
    _Atomic bool is_stopping; /* workers: finish the queue with refusals and return */

    _Atomic int phase;          /* enum replica_phase; release by main, acquire by all */
    _Atomic uint32_t job_count; /* jobs with an open request; relaxed, for draining */
    _Atomic uint64_t finished_count, finished_tokens; /* choices; relaxed, for Retry-After */

    struct job_part *departed;         /* publisher: see job.h */
    struct pooling_work *pooling_done; /* publisher: see pooling_prompts.c */
    uint32_t sleeping_loops; /* publisher: bit by index; have a message and are to be woken */
};

enum replica_phase replica_phase(const struct replica *replica);

/* Its loops turn, and its model goes on, as far as it is there. Any thread. */
bool replica_is_alive(const struct replica *replica);
/* What its model can do: bits of API_CAN_*. From READY on; any thread. */
uint32_t replica_capabilities(const struct replica *replica);
/* It has been put to sleep (sleep.c). Any thread. */
bool replica_is_asleep(const struct replica *replica);

/* The handler of the listener (routes.c). Loop. */
void replica_handle(http_request *request, void *context);

/* Handlers of the small routes (probe.c). Loop. */
typedef void route_fn(struct replica *replica, http_request *request);
route_fn probe_live, probe_ready, probe_health, probe_version, probe_metrics, probe_models,
    probe_model, probe_openapi, probe_tokenizer_info, probe_sleeping;

/* Handlers that make a job (job.c). Loop. */
route_fn job_start_chat, job_start_text, job_start_responses, job_start_responses_count,
    job_start_messages, job_start_messages_count, job_start_tokenize, job_start_detokenize,
    job_start_pooling, job_start_load_adapter, job_start_unload_adapter, job_start_sleep,
    job_start_wake;

/* What has happened to a request (story.c). Loop. */
route_fn stories_get;
/* The last steps (flight.c). Loop. */
route_fn flight_get;

/* Handlers of stored responses (responses.c). Loop. */
route_fn responses_get, responses_delete, responses_cancel;

/* Whom a request is for, as the gateway says; zero: it does not, or we do not believe it. Loop. */
struct hash128 replica_request_tenant(const struct replica *replica, const http_request *request);

/* Answers with an error as the format writes it; Retry-After where the error has one. Loop; the
 * request is dead afterwards. */
void reply_error(http_request *request, const struct wire_format *format,
                 const struct api_error *error);
void reply_json(http_request *request, int http_status, const struct buffer *body);
/* The header that a format gives every answer beside x-request-id; false: it has none. The value is
 * borrowed from the request. */
bool reply_id_header(const http_request *request, const struct wire_format *format,
                     struct http_header *out);

/* When a client that finds the queue full should come again: the time until half of what waits has
 * started, from the speed of steps and the mean length of answers so far. Any thread. */
uint64_t replica_retry_after_ms(const struct replica *replica);

/* Of the model, whichever kind it is. From READY on; any thread. */
const tokenizer *replica_tokenizer(const struct replica *replica);
uint32_t replica_context_max(const struct replica *replica);
const char *replica_backend(const struct replica *replica);

/* Finds the forms of the model that has been loaded (tools.c). Loading thread; STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status replica_find_forms(struct replica *replica);

/* True if `name` is the served name or an alias: the model without an adapter. */
bool replica_is_model(const struct replica *replica, const char *name);

#endif
