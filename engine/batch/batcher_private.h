#ifndef PENSTOCK_ENGINE_BATCH_BATCHER_PRIVATE_H
#define PENSTOCK_ENGINE_BATCH_BATCHER_PRIVATE_H

#include "batcher.h"
#include "cost_model.h"
#include "prefix_cache.h"
#include "sequence_queue.h"

/* The tier below the cache (batch_host.c), and the copies that go before the next step. They stay in the lists until a plan that
 * names them is complete. Arrays of block_count. */
struct batch_host {
    host_tier *tier;               /* owned; NULL: none */
    uint32_t *save_from, *save_to; /* owned; a block, its slot */
    uint32_t *load_from, *load_to; /* owned; a slot, held; its block */
    uint32_t save_count, load_count;
    uint32_t copies_left; /* of the plan in hand */
    bool is_open;
    uint64_t block_ns;                /* what a copy takes */
    struct batcher_host_stats totals; /* but for slots and used */
};

/* The batcher's state, shared by batcher.c (requests come, change and go), batch_plan.c (which rows next), batch_drafts.c
 * (guesses beside them), batch_host.c (the tier below) and batch_complete.c (what the step has brought). */
struct batcher {
    struct batcher_options options;
    block_allocator *blocks; /* owned */
    prefix_cache *prefixes;  /* owned; NULL: off */
    prefix_marks *marks;     /* owned; NULL: none are kept */
    struct batch_host host;
    struct cost_model cost;
    struct draft_odds draft_odds; /* of all sequences */

    struct sequence_queue waiting;
    struct sequence **running; /* owned; [sequence_count_max], by sequence_is_before */
    uint32_t *free_slots;      /* owned; a stack of sequence_count_max - running_count slots */
    uint32_t running_count, running_tenant_count;
    struct batch_request *requests; /* live ones */
    uint32_t live_request_count, running_request_count;

    /* The plan in hand; arrays of sequence_count_max. */
    struct step_plan plan;
    struct step_entry *entries;    /* owned */
    uint32_t *copy_from, *copy_to; /* owned */
    struct step_sample *samples;   /* owned */
    int32_t drafts[STEP_DRAFTS_MAX];
    double plan_decodes_ns; /* predicted of its decodes alone; 0: too little is known yet */
    /* How long the step should take at most, and with a newcomer's prompt in it; 0: no limit */
    double plan_limit_ns, plan_newcomer_limit_ns;
    bool has_plan; /* between plan and complete */

    /* What the head of the queue lacked when it was last refused: it is not tried again until one of these is better. */
    const struct sequence *refused;
    uint32_t refused_available, refused_running;

    uint32_t unknown_count; /* tokens of running sequences that nobody knows yet */

    uint64_t virtual_now; /* virtual start of the prompt that was last given a slot */
    uint64_t preemptions, prefix_query_tokens, prefix_hit_tokens, recomputed_tokens, lost_tokens;
};

/* The plan in hand as the cost model sees it. */
static inline struct step_shape plan_shape(const batcher *b)
{
    return (struct step_shape){b->plan.row_count, b->plan.logit_row_count, b->plan.context};
}

/* Hash of full block `index` of `s`; index < s->hash_count. */
struct hash128 sequence_block_hash(const struct sequence *s, uint32_t index);

/* Puts a waiting sequence, whose table is ready, into a slot; one must be free. */
void batcher_start_sequence(batcher *b, struct sequence *s);
/* Takes a running sequence's slot and blocks. */
void batcher_stop_sequence(batcher *b, struct sequence *s);
/* Puts a sequence that has neither into the queue. */
void batcher_queue_sequence(batcher *b, struct sequence *s);
/* Makes blocks of `s` from number `first` on findable, as far as they are computed and their tokens known. */
void batcher_publish_blocks(batcher *b, struct sequence *s, uint32_t first);
/* The blocks of `s` hold `count` positions more. */
void batcher_count_computed(batcher *b, struct sequence *s, uint32_t count);
/* Block `index` of `s`, a full and findable one of its prompt, is kept as long as the request's pins say. */
void batcher_pin_block(batcher *b, const struct sequence *s, uint32_t index);
/* How many blocks of `s` may be other people's, from its first on: not the one with its last token, whose row gives the logits,
 * and none with rows that have yet to score the prompt. */
uint32_t batcher_shareable_blocks(const struct sequence *s);
/* Adds drafts to the decodes of the plan in hand where they are worth their time. */
void batcher_plan_drafts(batcher *b);
/* Keeps `is_waiting` and the gate true after a change of running_count or live_count. */
void batcher_update_waiting(batcher *b, struct batch_request *request);

/* --- batch_host.c --- */
NODISCARD status batch_host_create(batcher *b);
void batch_host_destroy(batcher *b);
/* A plan begins. is_generating: somebody waits for the step's tokens. */
void batch_host_begin(batcher *b, bool is_generating);
/* Brings up the blocks behind those that `s` has computed, as far as the host has them and the step has time for it; they count
 * as computed. True: more are to come, so that nothing of it is computed in this step. */
bool batch_host_load(batcher *b, struct sequence *s);
/* The copies of the plan that is handed out: they will be made before its step. */
void batch_host_tell(const batcher *b, struct step_plan *plan);
/* They have been; nothing is held any more. */
void batch_host_done(batcher *b);
void batch_host_forget(batcher *b);
void batch_host_get_stats(const batcher *b, struct batcher_host_stats *out);

#endif
