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
    uint64_t steps;        /* heartbeat: rises with each step */
    uint64_t last_step_ns; /* monotonic, when the last one ended */
    uint64_t busy_ns;      /* in steps, since it has begun */
    float step_ms;         /* recent average */
    /* recent average of what a prompt's token takes, alone and beside running answers; 0: not known */
    float prefill_ns_alone, prefill_ns_beside;
};

/* --- the replica's side. One writer thread, but for the bytes of a token --- */

typedef struct shared_page_writer shared_page_writer;

/* Maps the file at `path`, which the gateway has made, and empties it. STATUS_OK; STATUS_NOT_FOUND: there is none;
 * STATUS_IO (errno tells), STATUS_INVALID (not of this size), STATUS_NO_MEMORY. */
NODISCARD status shared_page_writer_open(const char *path, shared_page_writer **out);
void shared_page_writer_close(shared_page_writer *writer); /* accepts NULL */

/* These two neither allocate nor block. */
void shared_page_write(shared_page_writer *writer, const struct shared_page_state *state);
/* A block has got the name `hash`, or no longer has it; it is in the set while it was given more often than taken back. When
 * SHARED_PAGE_NAMES_MAX are in the set another is left out. */
void shared_page_note(shared_page_writer *writer, uint64_t hash, bool is_resident);
#define SHARED_PAGE_NAMES_MAX 24576u

/* So many bytes of routed text were so many tokens. Any thread. */
void shared_page_note_text(shared_page_writer *writer, uint64_t bytes, uint32_t tokens);

/* --- the gateway's side --- */

typedef struct shared_page shared_page;

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
/* Recent average; 0: not known. */
float shared_page_bytes_per_token(const shared_page *page);

/* All names in the set, at most `count_max`; returns how many. For tests. */
uint32_t shared_page_names(const shared_page *page, uint64_t *out, uint32_t count_max);

#endif
