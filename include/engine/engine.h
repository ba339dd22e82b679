#ifndef PENSTOCK_ENGINE_ENGINE_H
#define PENSTOCK_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "chat_template.h"
#include "fim_tokens.h"
#include "grammar.h"
#include "metrics.h"
#include "reasoning_budget.h"
#include "sampling.h"
#include "status.h"
#include "text_slice.h"
#include "token_score.h"
#include "tokenizer.h"

/* One model on one slice: continuous batching over a paged KV cache. The front end never learns what a tensor is, the
 * engine never learns what HTTP is.
 *
 * The same request and seed give the same tokens, alone or in a full batch, preempted or not: kernels compute a row
 * in one order whatever else is in the batch, and a draw is a function of seed, sequence and position.
 *
 * Life: engine_open -> engine_submit/engine_cancel from any thread -> engine_drain -> engine_close.
 * Threads inside: the step thread owns batcher, blocks and model; the publisher thread turns tokens into text and
 * calls on_event; a team of compute threads serves the step thread. */
typedef struct engine engine;

/* A step, as the one that computes it sees it; for flight recorders. */
#define ENGINE_STEP_REQUESTS_MAX 6u
struct engine_step {
    bool
        is_over; /* else it has just been given to the device, or is what the device comes to next */
    uint64_t at_ns;                   /* monotonic: when it was over, or given */
    uint64_t step_ns, device_wait_ns; /* is_over: what it took, and what of it the host waited */
    uint32_t rows, decodes, drafts;   /* the other rows are of prompts */
    uint32_t sequence_count, preempted, admitted;
    uint32_t running, waiting, blocks_free, blocks_cached; /* requests; blocks of the cache */
    uint64_t requests
        [ENGINE_STEP_REQUESTS_MAX]; /* numbers of the first sequences' ones, by arrival from 1; 0: no more */
};

struct engine_options {
    const char *model_path;   /* GGUF file */
    const char *backend;      /* a name of backend_path_find; NULL: "auto" */
    const char *slice_vendor; /* of the slice that it was placed on, as device_place_of takes it */
    const char *weight_cache; /* see model_options; NULL: none */
    uint32_t threads;         /* compute team; 0: cores of the slice */
    uint32_t
        rank_count; /* tensor parallel: ranks of the model, which divide threads or have a device each; 0: 1 */
    uint32_t context_max;        /* longest sequence, tokens; 0: the model's own */
    uint32_t sequence_count_max; /* rows of the running batch (max_num_seqs) */
    uint32_t batch_tokens_max;   /* tokens of one step (max_num_batched_tokens) */
    const char *kv_cache_dtype;  /* "auto", "f16", "int8"; NULL: "auto" */
    /* KV cache size; 0: a share of free memory, or what a device of its own has left; at most what sequences can use */
    uint64_t kv_bytes;
    /* Host memory for blocks that the cache has no room for, where it lies in a device's memory: they are found there and copied back
     * when that is quicker than computing them; only with prefix_cache. Where it cannot be pinned the engine goes on without
     * (engine_info.host_bytes). 0: none */
    uint64_t host_bytes;
    uint32_t memory_share_count; /* engines that share the free memory, this one counted; 0: 1 */
    uint32_t queue_requests_max; /* waiting requests */
    uint64_t queue_tokens_max;   /* their prompt tokens together */
    bool prefix_cache;
    double
        pinned_share; /* 0 .. 1: of the KV cache, what requests may pin, all together (engine_pin) */
    /* LoRA adapters at a time, and the largest rank of one; adapters_max 0: the model takes none */
    uint32_t adapters_max, adapter_rank_max;
    /* Prompts are read in pieces so that a step with decodes takes no longer than the target, nor than the factor times
     * the step in which all requests at hand generate; 0: no such limit */
    uint64_t inter_token_target_ns;
    double inter_token_factor;
    /* Speculation: tokens that are guessed for a sequence from its own text, and checked in one step, at most; 0: none. The
     * output is the same. A guess follows where the last lookup_min .. lookup_max tokens stood before. */
    uint32_t draft_tokens_max, lookup_min, lookup_max;
    bool drafts_predictions_only;         /* only for requests that bring a prediction */
    struct grammar_limits grammar_limits; /* of what engine_compile_grammar compiles */
    uint64_t grammar_cache_bytes;         /* of the compiled ones that are kept */
    /* After the events of a step; publisher thread; must not block. NULL: none */
    void (*on_step_published)(void *context);
    /* After each step, and before the step thread sleeps: engine_get_stats has what is new. Names of beginnings of prompts
     * (engine_request.marks) come into the prefix cache and go. Step thread; must neither block nor allocate. NULL: none */
    void (*on_turn)(void *context, const engine *e);
    void (*on_mark)(void *context, uint64_t hash, bool is_resident);
    /* Each step as it begins and when it is over, before its tokens are told. Step thread; must neither block nor allocate. NULL: none */
    void (*on_step)(void *context, const struct engine_step *step);
    void *context;
    metrics_registry *metrics; /* borrowed; vLLM's families are registered there. NULL: none */
    const char *served_name;   /* label model_name */
};

/* Maps, checks and loads the model and starts the threads. The note tells what is wrong with the file, with offsets. */
NODISCARD status engine_open(const struct engine_options *options, engine **out,
                             struct error_note *note);

/* Refuses new requests from now on; running ones go on. */
void engine_drain(engine *e);
/* Sleep: nothing runs for a while, and memory goes to others. Level 1: the KV cache and the buffers of steps go back to the
 * system and the prefix cache is empty; weights stay in the host's memory, or go there from a device's. Level 2: the system may
 * have the weights too where they lie in a weight cache or were a device's, and they are read again when the engine wakes; others
 * stay. Requests are refused until engine_wake. Levels are vLLM's.
 * STATUS_OK: it sleeps, at least so deep; STATUS_AGAIN: it has requests, or another thread's order is under way;
 * STATUS_INVALID: no such level; STATUS_CLOSED: the device has failed. Any thread that may wait for a step and for the
 * system; over before engine_close. */
#define ENGINE_SLEEP_LEVEL_MAX 2u
NODISCARD status engine_sleep(engine *e, uint32_t level);
/* STATUS_OK: it takes requests; STATUS_AGAIN: another thread's order is under way; else the weights cannot be had again,
 * with a note, and it sleeps on. As engine_sleep. */
NODISCARD status engine_wake(engine *e, struct error_note *note);
uint32_t engine_sleep_level(const engine *e); /* 0: awake. Any thread */

/* Cancels what is left (their events come), joins the threads, frees everything. Accepts NULL. */
void engine_close(engine *e);

/* Which hidden states make an embedding: the last token's, or all, the mean of them. */
enum embedding_pooling { EMBEDDING_LAST, EMBEDDING_MEAN };

struct engine_info {
    const char *architecture, *name; /* from the file */
    const char *backend;             /* the path chosen */
    const char *kv_cache_dtype;      /* the type chosen */
    uint64_t parameter_count, weight_bytes, kv_bytes_per_token;
    uint32_t context_max, vocabulary, layers, width, block_count;
    uint64_t host_bytes; /* of memory below the cache that there is */
    uint32_t threads;
    uint32_t adapters_max; /* 0: the model takes none */
    /* Monotonic: when tokenizer and weights were there, and when the first step could begin */
    uint64_t mapped_ns, warmed_ns;
    /* What the model's files tell, else of the last token; and whether they tell one that there is not here */
    enum embedding_pooling pooling;
    bool has_unknown_pooling;
};
const struct engine_info *engine_get_info(const engine *e);
const tokenizer *engine_get_tokenizer(const engine *e);           /* any thread */
const chat_template *engine_get_chat_template(const engine *e);   /* NULL: the file has none */
struct text_slice engine_get_chat_template_text(const engine *e); /* data NULL: none */
const struct fim_tokens *engine_get_fim_tokens(const engine *e);  /* NULL: the model has none */

/* The grammar of a source, compiled or kept; the caller releases it. Statuses as grammar_compile. Any thread that may take the
 * limits' time. */
NODISCARD status engine_compile_grammar(engine *e, const struct grammar_source *source,
                                        grammar **out, struct error_note *note);

/* --- LoRA adapters --- */

/* An adapter of the model under a name (model_adapter.h says what it is). Requests with different adapters, and without
 * one, are computed in the same steps, each as it would be alone. Counted. */
typedef struct engine_adapter engine_adapter;

/* Loads an adapter from a folder as PEFT writes it; from then on it is found under `name` (copied, not empty). Takes as long as
 * reading it does; steps go on meanwhile. STATUS_OK; STATUS_FULL: adapters_max are there, those counted that have been
 * unloaded and are still in use; STATUS_INVALID also where there is one of that name; else as model_adapter_open. All with
 * a note. Any thread. */
NODISCARD status engine_load_adapter(engine *e, const char *name, const char *folder,
                                     struct error_note *note);
/* From now on it is not found. Requests that have it, running or waiting, end as they would, and the last of them frees
 * its memory. STATUS_OK, STATUS_NOT_FOUND. Any thread. */
NODISCARD status engine_unload_adapter(engine *e, const char *name);
/* The adapter of this name for engine_request.adapter; the caller releases it, before engine_close. NULL: there is none. Any
 * thread. */
engine_adapter *engine_find_adapter(engine *e, const char *name);
void engine_release_adapter(engine_adapter *adapter); /* accepts NULL */
/* A number from 1 that no other adapter of the engine has or will have, of whatever name; 0 for NULL. Any thread that
 * holds the adapter. */
uint64_t engine_adapter_number(const engine_adapter *adapter);

struct engine_adapter_info { /* texts are valid during the visit */
    const char *name, *folder;
    uint64_t bytes;
    uint32_t requests, running; /* that use it, and those of them that have started */
};
typedef void engine_adapter_visit_fn(void *context, const struct engine_adapter_info *info);
/* Visits what can be found, in the order of loading. The visitor is quick and calls nothing of the engine. Any thread. */
void engine_list_adapters(engine *e, engine_adapter_visit_fn *visit, void *context);

struct engine_token {
    int32_t id;
    float logprob; /* NaN when not asked for */
    uint32_t alternative_count;
    const struct token_logprob *alternatives; /* best first; valid during the callback */
};

enum finish_reason {
    FINISH_NONE,
    FINISH_STOP,
    FINISH_LENGTH,
    FINISH_REPETITION, /* it repeats itself, as sampling.repetition forbids */
    FINISH_ABORT,
    FINISH_ERROR
};

struct engine_usage {
    /* of the prompt: found in the prefix cache, and put there */
    uint32_t prompt_tokens, cached_tokens, cache_write_tokens;
    uint32_t completion_tokens;          /* of this index */
    uint32_t accepted_prediction_tokens; /* of this index: those that the prediction foretold */
    uint64_t busy_ns; /* of the request: its shares by rows of the steps so far (time_shares.h) */
};

struct engine_timing { /* monotonic ns; 0 when not reached */
    uint64_t submitted_ns, admitted_ns, first_token_ns, last_token_ns;
    uint32_t preemption_count;
};

/* What steps have done for a request, for those who want to know where its time went. */
#define ENGINE_CHUNKS_MAX 32u
struct engine_trace {
    uint64_t number; /* of the request, by arrival from 1: as engine_step names it */
    struct
        engine_chunk {   /* a step that has computed some of its prompt, or has computed it again */
        uint64_t end_ns; /* monotonic */
        uint64_t step_ns; /* what the step took */
        uint32_t tokens;
        uint32_t other_rows; /* of the step */
    } chunks[ENGINE_CHUNKS_MAX];
    uint32_t chunk_count;  /* also those beyond ENGINE_CHUNKS_MAX, which are not kept */
    uint64_t chunk_tokens; /* of all of them */
    uint32_t
        decode_steps; /* in which a sequence of it was given a token, or several; of each sequence */
    uint32_t draft_tokens, accepted_tokens;
    uint64_t admitted_ns, first_token_ns, last_token_ns; /* of all its sequences; 0: not reached */
    uint32_t preemption_count;
};

struct engine_event {
    uint32_t index;         /* which of the request's n sequences */
    struct text_slice text; /* whole UTF-8 characters that may be sent; may be empty */
    const struct engine_token
        *tokens; /* tokens since the last event of this index, also those whose text is held back */
    uint32_t token_count;
    enum finish_reason finish;   /* not NONE: the last event of this index */
    struct text_slice stop_text; /* the stop string that matched; empty else */
    int32_t stop_token;          /* the token that ended it; -1 else */
    bool is_last; /* the request's last event: the engine has forgotten it once the call returns */
    struct engine_usage usage;
    struct engine_timing timing;
    const struct engine_trace *trace; /* with is_last, until the call returns; else NULL */
    status error;                     /* with FINISH_ERROR */
};

/* A wish that the first `tokens` tokens of a prompt stay in the prefix cache for so long from now on. */
struct engine_pin {
    uint32_t tokens; /* the blocks that are wholly among them are pinned */
    uint64_t ttl_ns;
};
#define ENGINE_PINS_MAX     8u
#define ENGINE_BLOCK_TOKENS 16u /* what the prefix cache keeps is a multiple of this */

struct engine_request;
struct prefix_mark;
typedef void engine_event_fn(struct engine_request *request, const struct engine_event *event);

/* Owned by the caller, at one address from engine_submit until the event with is_last has returned; everything it points
 * to is borrowed as long. */
struct engine_request {
    const int32_t *prompt;
    uint32_t prompt_count; /* 1 .. context_max - 1 */
    uint32_t n;            /* sequences, 1..128; they share the prompt's blocks */
    uint32_t max_tokens;   /* per sequence; cut to what the context leaves */
    struct sampling_params sampling;
    const struct text_slice
        *stops; /* stop strings; not part of the text that is sent unless include_stop */
    uint32_t stop_count;
    bool include_stop;
    grammar *
        grammar; /* what the output keeps; ends it with FINISH_STOP where nothing can follow. NULL: none */
    const struct reasoning_budget *reasoning; /* how long it may reason; NULL: as it likes */
    const int32_t *
        prediction; /* [prediction_count] what the output may well be; drafts are taken from it. NULL: nothing */
    uint32_t prediction_count; /* 0 .. context_max */
    engine_adapter *adapter; /* held by the engine as long as it needs it; NULL: the model alone */
    bool shows_special;      /* control tokens are part of the text; those that end it never are */
    const int32_t *shown_tokens; /* these control tokens are part of it in any case */
    uint32_t shown_token_count;
    int32_t priority;       /* lower runs first */
    uint64_t tenant;        /* whose it is: equal numbers are one tenant (batcher.c, Newcomers) */
    uint64_t cache_salt[2]; /* prefix cache is shared only among equal salts (tenant) */
    struct engine_pin pins[ENGINE_PINS_MAX];
    uint32_t pin_count;
    const struct prefix_mark *
        marks; /* [mark_count], by rising block: names for beginnings of the prompt (prefix_marks.h) */
    uint32_t mark_count;
    engine_event_fn *on_event; /* publisher thread; must not block */
    void *context;

    /* What each of the n sequences has said before, with another engine: the request goes on behind it as the one there would
     * have, to the token. on_past is told of each of these tokens in turn, by engine_submit on its own thread, as on_event would
     * have been, but for log probabilities (NaN) and times; usage counts them. None of them may end its sequence. NULL: nothing.
     * Not with mirostat, whose state is more than tokens, nor with scores of the prompt or embeddings. */
    const struct engine_past {
        const int32_t *tokens; /* [count] */
        uint32_t count;        /* below what the sequence may have in all */
    } * past;                  /* [n] */
    engine_event_fn *on_past;

    /* How likely the model found the prompt's own tokens, written before the first event with a token; the first token's
     * is not touched. The prompt is computed anew for it, whatever the prefix cache holds. NULL: not wanted. */
    struct token_score *prompt_scores; /* [prompt_count] */
    /* The likeliest ones at each of these places, best first; as row_score_token leaves them */
    struct token_logprob *prompt_alternatives; /* [prompt_count, prompt_alternative_count] */
    uint32_t prompt_alternative_count;         /* 0 .. LOGPROBS_MAX */

    /* An embedding of the prompt instead of an answer: its last hidden states (engine_info.width numbers each), pooled and made
     * to length 1, written before the one event that comes, which has no token. n and max_tokens are 1, and neither a grammar,
     * a budget nor scores go with it. NULL: an answer is wanted. */
    float *embedding; /* [width] */
    enum embedding_pooling pooling;

    void *internal; /* the engine's; NULL at submit */
};

/* Hands the request over. STATUS_OK; STATUS_FULL: the queue is at its limit of requests or tokens; STATUS_TOO_LARGE: it
 * can never fit (prompt + 1 over context_max, or over the whole cache); STATUS_INVALID: a field out of range, or a past that the
 * request cannot have had (some of on_past may have been called);
 * STATUS_CLOSED: draining; STATUS_AGAIN: asleep. Any thread; never blocks. On anything but OK no event comes. */
NODISCARD status engine_submit(engine *e, struct engine_request *request);

/* Asks for an early end: before its next step the step thread drops the request and frees its blocks; the last events
 * come with FINISH_ABORT. Idempotent, any thread, only before the last event has returned. */
void engine_cancel(engine *e, struct engine_request *request);

/* Sums since the engine was opened: means over any time follow from two looks. */
struct engine_totals {
    uint64_t prefill_tokens; /* rows of prompts in steps; also those computed again */
    uint64_t kv_tokens;      /* in the cache for a step's sequences, summed over the steps */
    /* Of requests that have started and ended. A prompt's tokens are counted with those that the prefix cache had; outputs
     * are of all a request's sequences, without what it has brought along (engine_past). */
    uint64_t requests, prompt_tokens, cached_tokens, output_tokens;
    uint64_t output_squares; /* of each request's output tokens */
};

struct engine_stats {
    uint32_t running, waiting;
    uint64_t waiting_tokens;
    uint32_t blocks_total, blocks_free,
        blocks_cached;            /* cached: not in use by a sequence, but found again by prefix */
    uint32_t blocks_pinned;       /* of those in use and cached */
    uint64_t steps, last_step_ns; /* monotonic time the last step ended */
    uint64_t prompt_tokens, generated_tokens, preemptions, prefix_query_tokens, prefix_hit_tokens;
    uint64_t host_saved_blocks,
        host_loaded_blocks;                 /* to the host's memory below the cache, and back */
    uint64_t draft_tokens, accepted_tokens; /* drafts computed, and those that were right */
    uint64_t busy_ns;                       /* in steps; the sum of what all requests are told */
    /* Of busy_ns, what the step thread waited for a device: the rest is the host's work. And the time that the device was at
     * steps. 0: the host computes. */
    uint64_t device_wait_ns, device_busy_ns;
    float step_ms; /* moving average */
    /* What a token of a prompt takes in a step, alone and beside sequences that generate: recent average; 0: not known */
    float prefill_ns_alone, prefill_ns_beside;
    struct engine_totals totals;
    /* Monotonic: when the first token of all was sampled, and when its request had been submitted; 0: not yet */
    uint64_t first_submitted_ns, first_token_ns;
};
/* A consistent enough snapshot for metrics and routing. Any thread. */
void engine_get_stats(const engine *e, struct engine_stats *out);

/* Age of the step thread's last sign of life; an idle engine counts as alive. Any thread; for liveness. */
bool engine_is_alive(const engine *e, uint64_t now_ns, uint64_t limit_ns);

#endif
