#ifndef PENSTOCK_ENGINE_PRIVATE_H
#define PENSTOCK_ENGINE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "adapter_table.h"
#include "arena.h"
#include "backend.h"
#include "batcher.h"
#include "device_choice.h"
#include "engine.h"
#include "engine_metrics.h"
#include "gguf.h"
#include "grammar.h"
#include "model.h"
#include "opening.h"
#include "reasoning_budget.h"
#include "ring.h"
#include "sampler.h"
#include "stop_matcher.h"
#include "text_stream.h"
#include "thread.h"

/* What the files of the engine share. Threads and who owns what:
 *
 *   any thread          step thread                       publisher thread
 *   engine_submit  --inbox-->  batcher, model, samplers  --outbox-->  text streams, on_event
 *   engine_cancel  --inbox-->                            <--free----  (messages come back)
 *                                                        <--inbox---  a stop string was found
 *
 * The inbox is a list through the requests themselves, so that sending cannot fail; each request is
 * in it at most once, and says by bits what it is there for. The outbox and its return way are
 * bounded rings of messages that are made once: when the publisher is slow, the step thread waits
 * for a message to come back, and loses nothing. */

_Static_assert(BLOCK_TOKENS == ENGINE_BLOCK_TOKENS, "and so do those who pin some");
_Static_assert(BLOCK_TOKENS == KV_BLOCK_TOKENS,
               "the cache and the kernels speak of the same block");

/* --- one request --- */

enum request_signal { /* bits */
                      SIGNAL_SUBMIT = 1,
                      SIGNAL_CANCEL = 2,
                      SIGNAL_STOP = 4,  /* some stream has matched a stop string */
                      SIGNAL_QUEUED = 8 /* is in the inbox */
};

/* One sequence as the publisher sees it. */
struct stream {
    struct text_stream text;
    uint32_t token_count;     /* that count for the client: up to the end of a stop string */
    uint32_t predicted_count; /* of them, those that the request's prediction foretold */
    uint64_t first_token_ns, last_token_ns;
    int32_t stop;            /* stop string that matched; -1: none yet */
    _Atomic bool is_stopped; /* publisher to step thread, with SIGNAL_STOP: end this sequence */
};

/* The engine's memory of a request. Made by engine_submit, all in one arena; freed by whoever drops
 * the last reference: the publisher (one for the request's life) or the step thread (one while it
 * is in the inbox). */
struct live_request {
    struct batch_request batch;             /* first; the step thread's */
    engine *engine;                         /* borrowed */
    struct engine_request *caller;          /* borrowed until its last event has returned */
    arena *memory;                          /* owned; this struct is in it */
    struct block_pin pins[ENGINE_PINS_MAX]; /* what `batch` points to */
    engine_adapter *adapter;   /* counted until its last sequence has ended; NULL: none */
    stop_matcher *stops;       /* owned; NULL: none */
    prompt_index *prompt_runs; /* in the arena; the prediction's too; NULL: nothing is drafted */
    sampler **samplers;        /* [n]; the step thread's */
    grammar *grammar;          /* counted; NULL: none */
    struct constraint {        /* [n]; the step thread's; NULL: no grammar */
        grammar_matcher *matcher;
        uint32_t *allowed; /* mask of the token to be sampled */
    } * constraints;
    struct reasoning_watch *reasoning;   /* [n]; the step thread's; NULL: no budget */
    struct device_wishes *device_wishes; /* fixed but for its outputs; NULL: the host samples */
    double *hidden; /* [width]; the step thread's; sum of hidden states; NULL: none are wanted */
    uint32_t hidden_count;     /* the prompt's first so many positions have been seen for it */
    struct stream *streams;    /* [n]; the publisher's but for is_stopped */
    uint64_t submitted_ns;     /* fixed */
    uint64_t admitted_ns;      /* step thread; 0: not yet */
    uint64_t busy_ns;          /* step thread; its shares of steps */
    struct engine_trace trace; /* the step thread's; with the last message the publisher's */

    /* The publisher's. */
    uint32_t ended_count;
    uint32_t token_count;
    uint64_t first_token_ns, last_token_ns;
    enum finish_reason worst_finish;

    _Atomic uint32_t references;
    _Atomic uint32_t signals;        /* enum request_signal */
    struct live_request *inbox_next; /* guarded by SIGNAL_QUEUED */
};

/* STATUS_OK or STATUS_NO_MEMORY. `output_count_max`: tokens a sequence may generate. */
NODISCARD status live_request_create(engine *e, struct engine_request *caller,
                                     uint32_t output_count_max, struct live_request **out);
/* Drops one that was never handed over. */
void live_request_discard(struct live_request *r);
void live_request_retain(struct live_request *r);
/* Frees at the last reference. Any thread. */
void live_request_release(struct live_request *r);

/* Sets bits and puts the request into the inbox if it is not there. The caller holds a reference.
 * Any thread. */
void live_request_signal(struct live_request *r, uint32_t signals);

/* --- step thread to publisher --- */

struct token_message {
    struct live_request *request; /* holds the request's own reference with the last message */
    uint32_t index;
    bool has_token;
    struct sample sample;      /* with has_token */
    uint32_t predicted_count;  /* with has_token: tokens so far that the prediction foretold */
    enum finish_reason finish; /* not NONE: the index's last message */
    int32_t stop_token;        /* -1: none */
    status error;
    uint64_t time_ns; /* when the token was sampled */
    uint64_t admitted_ns, busy_ns;
    uint32_t cached_tokens, cache_write_tokens, preemption_count;
};

/* A token of a request's past becomes text, and its event is told (publisher.c). Thread: engine_submit's, before the request is
 * handed over. STATUS_INVALID: a stop string ends there. */
NODISCARD status publisher_take_past(engine *e, const struct token_message *m);
/* Brings a new request to where its past ends (past_tokens.c). The same thread. STATUS_OK; STATUS_INVALID: it cannot have said
 * that, or would have ended there; STATUS_TOO_LARGE as grammar_matcher_accept. */
NODISCARD status past_tokens_take(engine *e, struct live_request *r);

/* --- the engine --- */

/* Arrays that a step fills, made once for the largest one. */
struct step_buffers {
    int32_t *tokens;                /* [batch_tokens_max] */
    uint32_t *row_position;         /* [batch_tokens_max] */
    uint32_t *row_sequence;         /* [batch_tokens_max] */
    uint32_t *row_start;            /* [sequence_count_max + 1] */
    uint32_t *block_tables;         /* [sequence_count_max, blocks of the longest sequence] */
    const model_adapter **adapters; /* [sequence_count_max] */
    uint32_t *logit_rows;           /* [logit_rows_max] */
    uint32_t *hidden_rows;          /* [batch_tokens_max] */
    double **hidden_sums;           /* [batch_tokens_max] */
    uint32_t *task_first;           /* [sequence_count_max + 1]: samples of each logit row */
    struct sample *results;         /* [logit_rows_max] */
    /* What each sample has given, [sequence_count_max] */
    struct sample_result {
        uint32_t first; /* of its results */
        uint32_t count; /* tokens that are to be taken */
        /* what the last of them ends the sequence with: the grammar is complete and cannot go on, or it repeats itself */
        enum finish_reason finish;
        status status; /* of the row after them */
    } * sample_results;
    struct score_task { /* the token at `position` of the prompt is scored by this row */
        struct live_request *request;
        uint32_t position, logit_row;
        status status;
    } score_tasks[STEP_SCORES_MAX];
    struct live_request *broken[STEP_SCORES_MAX]; /* held; their prompts have a broken row */
    uint32_t broken_count;
    /* Only where a device samples: */
    struct device_sample *device_samples; /* [sequence_count_max] */
    uint32_t *masks;                      /* [sequence_count_max, words of the vocabulary] */
    uint32_t *host_rows;                  /* [logit_rows_max] */
    bool *is_host_row;                    /* [logit_rows_max] */
};

/* A step from its launch to its tokens. */
struct step_flight {
    struct step_plan plan; /* its entries are those below; copies and drafts are the batcher's */
    struct step_entry *entries; /* owned; [sequence_count_max]; sequence NULL: it has ended since */
    struct step_sample *samples; /* owned; [sequence_count_max]; likewise */
    uint32_t *device_numbers;    /* owned; [sequence_count_max]; DEVICE_SAMPLE_NONE: the host's */
    uint32_t sample_count;
    engine_adapter **adapters; /* owned; [sequence_count_max]; each is held */
    uint32_t adapter_count;
    uint64_t ticket, start_ns;
    uint64_t device_wait_ns; /* that the host has waited for it, once it is collected */
    bool may_wait;           /* the next step can be planned before its tokens are known */
};

struct step_flights {
    struct step_flight items[MODEL_STEPS_MAX];
    uint32_t oldest, count;
};

struct engine {
    struct engine_options options; /* texts are not kept */
    struct engine_info info;
    struct model_info file_info;
    model_source *source;    /* owned */
    tokenizer *tokens;       /* owned */
    chat_template *chat;     /* owned; NULL: the file has none */
    struct buffer chat_text; /* owned; the template's source */
    struct fim_tokens fim;
    bool has_fim;
    int32_t *end_tokens; /* owned */
    uint32_t end_token_count;
    size_t piece_bytes_max;                 /* longest text of a token */
    grammar_vocabulary *grammar_vocabulary; /* owned */
    grammar_cache *grammars;                /* owned */
    struct hash_key hash_key;               /* of the prefix cache */
    enum backend_path path;                 /* as asked for; then as opened */
    enum device_place place;
    enum kv_type kv_type;
    bool device_samples;             /* tokens are sampled by the device, where it knows how */
    bool has_device_memory;          /* of its own, not the host's */
    uint32_t host_slots;             /* blocks that options.host_bytes hold */
    uint64_t device_available_bytes; /* of it, when it was opened */

    /* The step thread's. */
    backend *device;          /* owned */
    model *model;             /* owned */
    batcher *batch;           /* owned */
    struct step_buffers step; /* owned arrays */
    uint32_t kv_touched;      /* blocks from the first whose memory is there */
    /* Already in the metrics */
    uint64_t lost_seen, preemptions_seen, recomputed_seen, saved_seen, loaded_seen;
    struct step_flights flights; /* owned arrays */
    uint64_t busy_until_ns;      /* up to then steps' time is shared; 0: it has slept since */
    uint64_t step_end_ns;        /* of the step that was collected last */
    status failure;              /* not OK: the device failed, nothing runs any more */

    struct engine_metrics *metrics;          /* owned; NULL: none */
    struct adapter_metrics *adapter_metrics; /* owned; NULL: none */
    struct adapter_table adapters;

    /* Between threads. */
    struct queue_gate gate;
    _Atomic(struct live_request *) inbox; /* newest first */
    struct parking step_parking;
    ring *outbox, *free_messages;   /* owned */
    struct token_message *messages; /* owned; [message_count] */
    struct parking publisher_parking;
    /* The step thread opens the device, waits for the plan of its memory, and opens the model. */
    struct opening device_opening, planning, opening;
    _Atomic uint64_t arrivals;
    _Atomic bool is_draining, is_closing, is_failed, publisher_may_end;
    const char *model_path, *weight_cache; /* the caller's; valid until the opening is over */

    /* Signs of life: monotonic ns since when the thread has been busy with one thing; 0: idle. */
    _Atomic uint64_t step_busy_since_ns, publisher_busy_since_ns;

    /* Written by the step thread (generated_tokens: publisher), read by anybody; relaxed. */
    struct {
        _Atomic uint32_t running, blocks_free, blocks_kept, blocks_pinned;
        _Atomic uint64_t steps, last_step_ns, prompt_tokens, generated_tokens, preemptions,
            prefix_query_tokens, prefix_hit_tokens, host_saved_blocks, host_loaded_blocks,
            draft_tokens, accepted_tokens, busy_ns, device_wait_ns, device_busy_ns;
        _Atomic float step_ms, prefill_ns_alone, prefill_ns_beside;
    } stats;
    struct { /* load_totals.h; written by the step thread, read by anybody; relaxed */
        _Atomic uint64_t prefill_tokens, kv_tokens;
        _Atomic uint64_t requests, prompt_tokens, cached_tokens, output_tokens, output_squares;
        _Atomic uint64_t first_submitted_ns, first_token_ns;
    } totals;

    struct {                     /* sleep.c */
        _Atomic uint32_t level;  /* written by the step thread; 0: awake */
        _Atomic bool is_taken;   /* somebody gives an order */
        _Atomic bool is_ordered; /* it is there, and nobody has carried it out */
        uint32_t wanted;         /* the order: a level; 0: to wake */
        status result;           /* the step thread's */
        struct opening done;
    } sleep;

    struct {                     /* adapter_upload.c */
        pthread_mutex_t lock;    /* one order at a time; held until it is carried out */
        _Atomic bool is_ordered; /* it is there, and not all of it has been carried out */
        model_adapter *adapter;  /* the order */
        struct opening done;
    } upload;

    pthread_t step_thread, publisher_thread;
    bool has_step_thread, has_publisher_thread;
};

/* Rows of logits that a step may ask for: one a sequence, one a draft, and those of prompts that are scored. */
static inline uint32_t engine_logit_rows_max(const engine *e)
{
    uint32_t drafts = e->options.draft_tokens_max > 0 ? STEP_DRAFTS_MAX : 0;
    return e->options.sequence_count_max + drafts + STEP_SCORES_MAX;
}

/* How long a sequence may get, and how many blocks there are for them: after the device is open. STATUS_OK; STATUS_INVALID,
 * STATUS_TOO_LARGE with a note. */
NODISCARD status engine_plan_memory(engine *e, struct error_note *note);

/* Whether the model and its cache have room in so many bytes of each rank's device. `engine`: struct engine, its file open.
 * STATUS_OK; STATUS_INVALID, STATUS_TOO_LARGE with a note. */
NODISCARD status engine_device_fits(void *engine, uint64_t available_bytes,
                                    struct error_note *note);

/* Thread bodies; context is the engine. */
void *step_thread_run(void *context);
void *publisher_thread_run(void *context);

#endif
