#ifndef PENSTOCK_ENGINE_BATCH_BATCHER_H
#define PENSTOCK_ENGINE_BATCH_BATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "block_allocator.h"
#include "hash.h"
#include "host_tier.h"
#include "prefix_marks.h"
#include "queue_gate.h"
#include "sequence.h"
#include "status.h"

/* Decides which rows the next step computes, and owns the blocks they are written to. Pure logic: no clock, no thread, no
 * model. Continuous batching after Yu et al. 2022 (Orca), chunked prefill after Agrawal et al. 2024 (Sarathi-Serve),
 * preemption by recompute after Kwon et al. 2023 (vLLM), drafts after Leviathan et al. 2023 (speculative decoding) with the
 * prompt as the draft model (prompt_lookup.h).
 *
 * A step:  batcher_plan -> (copies, forward) -> batcher_complete -> (sample) -> batcher_append / batcher_end_sequence
 *
 * One step ahead. A device computes steps in the order in which they are queued, so what one has been queued for is as good as
 * computed to those behind it. Then a step is complete once it is queued; a token that it samples is not known yet, but has
 * its place, and the next step is planned with it (batcher_extend). batcher_append tells the token when it is there:
 *
 *      plan 1  complete 1  extend  |  plan 2  complete 2  extend  |  append of 1  |  plan 3 ...
 *
 * Thread: step. Allocates only in batcher_create. */
typedef struct batcher batcher;

#define DRAFT_TOKENS_LIMIT 32u /* of draft_tokens_max */
/* Drafts of one step, of all sequences: each takes a row of logits. Where more would be of use the batch is so large that the
 * rows cost what they bring. */
#define STEP_DRAFTS_MAX 32u
/* Rows of prompts of one step whose logits are wanted (batch_request.scores_prompt): each takes a row of logits too, 600 kB
 * with 150 thousand tokens, and the prompt is read in pieces of so many. */
#define STEP_SCORES_MAX 64u

struct batcher_options {
    uint32_t block_count;        /* of the KV cache */
    uint32_t sequence_count_max; /* slots */
    uint32_t batch_tokens_max;   /* rows of one step; >= sequence_count_max */
    bool prefix_cache;
    uint32_t pinned_blocks_max; /* that requests may pin in it, all together */
    /* Slots of host memory below the cache (host_tier.h), once batcher_open_host has been called; only with the prefix cache. 0:
     * none */
    uint32_t host_slots;
    struct hash_key hash_key; /* random; for the prefix cache */
    /* Told of names of prompts that come into the prefix cache or go; NULL: none are kept */
    prefix_mark_fn *mark_changed;
    void *mark_context;
    /* What prompts may do to running generations: a step with decodes should take no longer than this, nor more than
     * this factor of the step in which all requests at hand generate. 0: no such limit. */
    uint64_t inter_token_target_ns;
    double inter_token_factor;
    uint32_t draft_tokens_max; /* tokens drafted for a sequence in a step; 0: nothing is drafted */
    struct queue_gate *gate;   /* borrowed; counts the waiting */
};

/* STATUS_INVALID: no blocks, no slots, fewer rows than slots, or a tier without the prefix cache; STATUS_NO_MEMORY. */
NODISCARD status batcher_create(const struct batcher_options *options, batcher **out);
/* Every request must have ended. Accepts NULL. */
void batcher_destroy(batcher *b);

/* There is memory behind the slots: from now on blocks that would be forgotten are copied to it (step_plan.save_from), and
 * copied back (load_from), when that is quicker than computing them. block_ns: what copying one takes, in either direction;
 * 0: nothing. Without this call the slots stay empty. */
void batcher_open_host(batcher *b, uint64_t block_ns);

/* The longest sequence (prompt and output) that can run alone in the cache. */
uint32_t batcher_tokens_max(const batcher *b);

/* Takes a request whose queue_gate_enter succeeded, with the fields above "The batcher's" set and those below zero.
 * prompt_count + output_count_max must not exceed batcher_tokens_max. Sequences may have outputs already, fewer than
 * output_count_max: they go on as after a preemption. Cannot fail. */
void batcher_submit(batcher *b, struct batch_request *request);

/* A request that is prompt only is ended between batcher_complete and the next plan of the step that reached its last
 * token (step_entry_reaches_end). */

/* Rows of one sequence in a step: tokens that it has, and after its last one drafts of those to come. */
struct step_entry {
    struct sequence *sequence;
    uint32_t first; /* position of its first row */
    uint32_t count; /* rows, drafts included */
    /* UINT32_MAX: the step does not reach its last token, or nothing is generated after it; else the last token's number
     * among the logit rows; the drafts' follow */
    uint32_t logit_row;
    const int32_t *drafts; /* [draft_count]; valid until the next plan */
    uint32_t draft_count;
    /* The first `score_count` rows score the prompt: their logits are numbered from score_row on, and come before logit_row. */
    uint32_t score_row, score_count;
};

/* The token of an entry's row `row`, until the step is complete; -1 - k: nobody knows it yet, sample k of the step before gives
 * it. */
static inline int32_t step_entry_token(const struct step_entry *entry, uint32_t row)
{
    const struct sequence *s = entry->sequence;
    uint32_t count = entry->count - entry->draft_count;
    if (row >= count)
        return entry->drafts[row - count];
    uint32_t position = entry->first + row;
    return position < sequence_known_count(s) ? sequence_token_at(s, position)
                                              : -1 - (int32_t)s->unknown_sample;
}

/* Does the step compute the sequence's last token? Of a completed step: until something is appended. */
static inline bool step_entry_reaches_end(const struct step_entry *entry)
{
    return entry->first + entry->count - entry->draft_count ==
           sequence_token_count(entry->sequence);
}

/* The next step. Valid until the next call of batcher_plan. */
struct step_plan {
    const struct step_entry *entries; /* decodes first, then prefill chunks */
    uint32_t entry_count;
    uint32_t row_count;
    uint32_t decode_count; /* entries that are decodes */
    uint32_t draft_count;  /* rows that hold drafts */
    uint32_t score_count;  /* rows that score prompts */
    uint32_t logit_row_count;
    /* Before the step, each in its order: blocks to copy to slots of the host, then slots to copy to blocks, then blocks to
     * copy to blocks. */
    const uint32_t *save_from, *save_to;
    uint32_t save_count;
    const uint32_t *load_from, *load_to;
    uint32_t load_count;
    const uint32_t *copy_from, *copy_to;
    uint32_t copy_count;
    uint32_t preempted_count; /* sequences that lost their blocks for this step */
    uint32_t admitted_count;  /* sequences that got a slot for this step */
    double context;           /* positions that its rows attend to, in all */
    double predicted_ns;      /* how long the step should take; 0: too little is known yet */
    /* Drafts are likely to pay, but for tokens that are not known yet. */
    bool awaits_drafts;
};

/* Who is told how blocks live (block_allocator_set_watch); before the first step. */
void batcher_watch_blocks(batcher *b, block_watch_fn *watch, void *context);

/* The time that pins are compared with (block_pin); it never goes back. */
void batcher_set_now(batcher *b, uint64_t now_ns);

/* NULL: nothing can run, or not before tokens are known that steps under way give (else nothing is live but what the caller
 * has yet to end). While there are such tokens nobody is preempted: they may end sequences that have blocks. */
const struct step_plan *batcher_plan(batcher *b);

/* Length of the run of copies from `start` in which no block is both written and read: one call of the backend. */
uint32_t step_plan_copy_run(const struct step_plan *plan, uint32_t start);

/* Tokens that are to be sampled: for `sequence` at the position sequence_token_count, from logit row `logit_row`; and while
 * the sampled token is the draft, the one after it from the next logit row: up to draft_count + 1 tokens. Each has the
 * logits that it would have without drafts. */
struct step_sample {
    struct sequence *sequence;
    uint32_t logit_row;
    const int32_t *drafts; /* [draft_count]; valid until the next plan */
    uint32_t draft_count;
};

/* The planned step has been computed, or has been queued to a device (above). Makes its full blocks findable and starts the pending sequences of requests whose
 * prompt is done: they share its blocks and sample from the same row. Returns the samples, in rising order of logit row;
 * valid until the next plan. */
const struct step_sample *batcher_complete(batcher *b, uint32_t *sample_count);

/* The step of this plan took `elapsed_ns` in all, from its plan (or the end of the step before it) to its last token: what
 * the size of later chunks is reckoned from. Once a step. */
void batcher_note_time(batcher *b, const struct step_plan *plan, uint64_t elapsed_ns);

/* Sample number `sample` of the completed step gives the sequence a token that is not known yet: the next plan is made as if it
 * were. At most two of a sequence are unknown at a time, and between steps that are planned only one. */
void batcher_extend(batcher *b, struct sequence *s, uint32_t sample);

/* The sampled token: the first of those that were not known, or a further one; the sequence must not be at
 * output_count_max. A token that was drafted makes its row count as
 * computed; the first that was not makes the rest of the drafts void, and the next step writes over them. */
void batcher_append(batcher *b, struct sequence *s, int32_t token);

/* Ends one sequence that has been sampled at least once, or whose request has no other: its blocks are free at once. Not
 * between plan and complete, unless the step is given up by batcher_abandon. */
void batcher_end_sequence(batcher *b, struct sequence *s);
/* Ends all sequences of the request that have not ended. */
void batcher_end_request(batcher *b, struct batch_request *request);

/* The planned step failed: nothing of it counts. Afterwards every live request must be ended. */
void batcher_abandon(batcher *b);

/* Any live request, or NULL; for shutting down. */
struct batch_request *batcher_any_request(const batcher *b);

/* Empties the prefix cache, of which every block is told as gone, and the host's slots. No request may be live. */
void batcher_forget(batcher *b);

struct batcher_stats {
    uint32_t running_sequences;
    uint32_t running_requests; /* have at least one running sequence */
    uint32_t waiting_requests; /* live, but none of their sequences runs */
    struct block_counts blocks;
    uint64_t preemptions;
    uint64_t prefix_query_tokens; /* prompt tokens of first admissions, with the prefix cache on */
    uint64_t prefix_hit_tokens;
    /* cached prompt tokens computed all the same, because some row must give logits */
    uint64_t recomputed_tokens;
    uint64_t lost_tokens; /* that preempted sequences have to compute again */
    struct batcher_host_stats {
        uint32_t slots, used;
        uint64_t saved_blocks, loaded_blocks;
    } host;
};
void batcher_get_stats(const batcher *b, struct batcher_stats *out);

/* Walks everything: counts, order, tables against reference counts. For tests and debug builds; allocates. */
bool batcher_is_consistent(const batcher *b);

#endif
