#ifndef PENSTOCK_GATEWAY_SHARED_PAGE_H
#define PENSTOCK_GATEWAY_SHARED_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* What a local replica lets the gateway know without being asked: a file in the run directory that both map. The replica
 * writes how busy it is after each of its steps, and which beginnings of prompts its cache holds; the gateway reads it for each
 * request that it routes. Nothing is sent, nothing is waited for, and what is read is never older than a step.
 *
 * The numbers are behind a sequence lock, the set of beginnings is a table of single words, each good by itself. A replica
 * that dies leaves its last words behind; the gateway looks at the page of a ready replica only, and the next
 * generation begins with an empty one. The reader believes nothing but numbers: it cannot be led out of the
 * mapping, nor be kept in a loop, by what the other side writes. */

struct shared_page_state {
    uint32_t running, waiting; /* requests in the batch, and before it */
    uint64_t waiting_tokens;   /* of the waiting requests' prompts */
    uint32_t blocks_total, blocks_free, blocks_cached;
    uint32_t sleep_level;  /* 0: awake; else how deep it sleeps (engine_sleep) */
    uint64_t steps;        /* heartbeat: rises with each step */
    uint64_t last_step_ns; /* monotonic, when the last one ended */
    uint64_t busy_ns;      /* in steps, since it has begun */
    float step_ms;         /* recent average */
    /* recent average of what a prompt's token takes, alone and beside running answers; 0: not known */
    float prefill_ns_alone, prefill_ns_beside;
    /* Sums since it has begun: means over any time follow from two looks. Rows of prompts in steps, and tokens in the cache
     * for a step's sequences, summed over the steps */
    uint64_t prefill_tokens, kv_tokens;
    /* of requests that have started and ended: of prompts, those found in the cache counted, and of outputs */
    uint64_t requests, prompt_tokens, cached_tokens, output_tokens;
    uint64_t output_squares;                /* of each request's output tokens */
    uint64_t draft_tokens, accepted_tokens; /* of speculation: drafts, and those that were right */
};

/* The moments of a replica's start, in their order. What lies before each is a phase of it. */
enum start_moment {
    START_BEGUN,       /* the process runs */
    START_LISTENING,   /* it has read its config and answers probes */
    START_MAPPED,      /* model and tokenizer are there */
    START_WARMED,      /* a step can run at its usual speed */
    START_READY,       /* it takes requests */
    START_FIRST_TOKEN, /* of its first request */
    START_MOMENTS      /* how many there are */
};

/* --- the replica's side. One writer thread, but for the bytes of a token --- */

typedef struct shared_page_writer shared_page_writer;
typedef struct shared_page shared_page;

/* Maps the file at `path`, which the gateway has made, and empties it. STATUS_OK; STATUS_NOT_FOUND: there is none;
 * STATUS_IO (errno tells), STATUS_INVALID (not of this size), STATUS_NO_MEMORY. */
NODISCARD status shared_page_writer_open(const char *path, shared_page_writer **out);
/* A page in this process's memory alone, for what a replica tells by heartbeats. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status shared_page_writer_create(shared_page_writer **out);
void shared_page_writer_close(shared_page_writer *writer); /* accepts NULL */

/* As though nobody had ever written. */
void shared_page_writer_clear(shared_page_writer *writer);
/* What is written, for readers in the same process, of any thread; as long as the writer. */
const shared_page *shared_page_of(const shared_page_writer *writer);

/* These two neither allocate nor block. */
void shared_page_write(shared_page_writer *writer, const struct shared_page_state *state);
/* A block has got the name `hash`, or no longer has it; it is in the set while it was given more often than taken back. When
 * SHARED_PAGE_NAMES_MAX are in the set another is left out. */
void shared_page_note(shared_page_writer *writer, uint64_t hash, bool is_resident);
#define SHARED_PAGE_NAMES_MAX 24576u

/* A moment of the start was reached, at this monotonic time (not 0). Any thread, each moment once. */
void shared_page_note_moment(shared_page_writer *writer, enum start_moment moment, uint64_t now_ns);

/* So many bytes of routed text were so many tokens. Any thread. */
void shared_page_note_text(shared_page_writer *writer, uint64_t bytes, uint32_t tokens);
/* The average itself, where another process has taken it. */
void shared_page_set_text(shared_page_writer *writer, float bytes_per_token);

/* --- the gateway's side --- */

/* Makes the file, mode 0600, and maps it. STATUS_OK, STATUS_IO (errno tells), STATUS_NO_MEMORY. */
NODISCARD status shared_page_create(const char *path, shared_page **out);
/* Maps one that another gateway has made. STATUS_OK, STATUS_NOT_FOUND, STATUS_IO (errno tells), STATUS_INVALID (not of this
 * size), STATUS_NO_MEMORY. */
NODISCARD status shared_page_open(const char *path, shared_page **out);
void shared_page_close(shared_page *page);                     /* accepts NULL */
void shared_page_destroy(shared_page *page, const char *path); /* and the file; accepts NULL */

/* False: nobody has written yet, or somebody writes all the time. Any thread. */
bool shared_page_read(const shared_page *page, struct shared_page_state *out);
bool shared_page_has(const shared_page *page, uint64_t hash);
/* How many of the beginnings, each longer than the one before, are there: the first `n` of `count`. Reckons that who has the
 * longer has the shorter one too, as caches do. */
uint32_t shared_page_match(const shared_page *page, const uint64_t *hashes, uint32_t count);
/* When the moment was reached, monotonic ns; 0: not yet. Any thread. */
uint64_t shared_page_moment(const shared_page *page, enum start_moment moment);
/* Recent average; 0: not known. */
float shared_page_bytes_per_token(const shared_page *page);

/* All names in the set, at most `count_max`; returns how many. One that is moved meanwhile may be missed or come twice. */
uint32_t shared_page_names(const shared_page *page, uint64_t *out, uint32_t count_max);

#endif
