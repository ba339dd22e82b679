#ifndef PENSTOCK_ENGINE_BATCH_SEQUENCE_H
#define PENSTOCK_ENGINE_BATCH_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "block_table.h"
#include "draft_odds.h"
#include "hash.h"
#include "prefix_marks.h"
#include "prompt_lookup.h"

/* One token timeline, and the request it belongs to, as the batcher sees them: tokens, blocks, order. Texts, sampling
 * and clients are not its business. The memory is the caller's (one piece a request); between batcher_submit and
 * SEQUENCE_ENDED only the step thread touches it. */

enum sequence_state {
    SEQUENCE_PENDING, /* a later sequence of a request whose prompt is not computed yet */
    SEQUENCE_WAITING, /* in the queue: new, or preempted */
    SEQUENCE_RUNNING, /* has a slot and blocks */
    SEQUENCE_ENDED
};

struct batch_request;

struct sequence {
    struct batch_request *request; /* borrowed */
    uint32_t index;                /* 0 .. n-1 */
    int32_t *outputs;              /* [output_count_max] generated tokens; borrowed */
    uint32_t output_count, output_count_max;
    /* Tokens behind the outputs that steps under way give it: they have their places, but nobody knows them yet. */
    uint32_t unknown_count;
    uint32_t unknown_sample;  /* number of the newest of them among its step's samples */
    struct block_table table; /* capacity: sequence_blocks_max */
    struct hash128 *
        output_hashes; /* hashes of the blocks after the prompt's full ones; NULL without prefix cache */
    prompt_lookup *lookup; /* what it may say next; borrowed; NULL: nothing is drafted for it */

    /* The batcher's. */
    uint32_t computed_count; /* positions whose KV is in the table's blocks */
    uint32_t lost_count;     /* positions that were computed when it was preempted; 0: it was not */
    uint32_t hash_count;     /* full blocks whose hash is known; survives preemption */
    enum sequence_state state;
    uint32_t slot; /* running: its number among the slots */
    /* Running: what a device keeps by slot is that of this sequence; the caller's, false at each start */
    bool has_slot_state;
    struct draft_odds odds; /* how good its lookup's guesses were */
    /* Drafts of the completed step that its samples have yet to meet, [draft_count]; borrowed until the next plan. */
    const int32_t *drafts;
    uint32_t draft_count;
    struct sequence *heap_child, *heap_next, *heap_previous; /* links of the queue */
};

/* The first `blocks` blocks of a prompt are to stay in the prefix cache until then. */
struct block_pin {
    uint32_t blocks;
    uint64_t until_ns;
};

struct batch_request {
    const int32_t *prompt; /* [prompt_count]; borrowed */
    uint32_t prompt_count;
    const struct hash128
        *prompt_hashes;           /* [prompt_count / BLOCK_TOKENS]; NULL without prefix cache */
    struct hash128 hash_root;     /* prefix_hash_root of the request's salt */
    const struct block_pin *pins; /* [pin_count]; borrowed */
    uint32_t pin_count;
    const struct prefix_mark
        *marks; /* [mark_count], by rising block: what others call its beginnings */
    uint32_t mark_count;
    int32_t priority;   /* lower runs first */
    uint64_t tenant;    /* whose it is: equal numbers are one tenant */
    bool scores_prompt; /* logits are wanted of the prompt's own positions */
    /* Nothing is generated: the caller ends it once the prompt is computed. It has one sequence */
    bool is_prompt_only;
    bool computes_all;          /* all rows of the prompt, whatever the prefix cache holds */
    uint64_t arrival;           /* unique, rising */
    struct sequence *sequences; /* [sequence_count]; borrowed */
    uint32_t sequence_count;

    /* The batcher's. */
    /* When its prompt starts and is read if each tenant has its share, in tokens; set once, at submission */
    uint64_t virtual_start, virtual_end;
    uint64_t turn;             /* order among equal priorities; set once, at submission */
    uint32_t live_count;       /* not ended */
    uint32_t running_count;    /* hold a slot */
    bool is_waiting;           /* counted in the queue gate */
    bool was_admitted;         /* has run at least once */
    uint32_t cached_tokens;    /* of the prompt, found at first admission */
    uint32_t host_tokens;      /* of them, those that came from the tier below the cache */
    uint32_t written_tokens;   /* of the prompt, in blocks that the cache did not hold */
    uint32_t mark_next;        /* the first of the marks whose block has not been filled yet */
    uint32_t scored_count;     /* scores_prompt: rows of the prompt whose logits a step has given */
    uint32_t preemption_count; /* of all its sequences */
    struct batch_request *next, *previous; /* list of live requests */
};

/* Tokens that are known. */
static inline uint32_t sequence_known_count(const struct sequence *s)
{
    return s->request->prompt_count + s->output_count;
}

/* And those that are not yet. */
static inline uint32_t sequence_token_count(const struct sequence *s)
{
    return sequence_known_count(s) + s->unknown_count;
}

/* Its last token is known, or on its way: nothing more is computed for it. */
static inline bool sequence_is_full(const struct sequence *s)
{
    return s->output_count + s->unknown_count == s->output_count_max;
}

/* Of a known one. */
static inline int32_t sequence_token_at(const struct sequence *s, uint32_t position)
{
    uint32_t prompt_count = s->request->prompt_count;
    return position < prompt_count ? s->request->prompt[position]
                                   : s->outputs[position - prompt_count];
}

/* Blocks that a sequence can come to hold. The last token's KV is never computed, but room for it keeps this simple. */
static inline uint32_t sequence_blocks_max(uint32_t prompt_count, uint32_t output_count_max)
{
    return blocks_for_tokens((uint64_t)prompt_count + output_count_max);
}

/* Does `a` run before `b`? Priority, then turn, then arrival, then index: a total order. */
bool sequence_is_before(const struct sequence *a, const struct sequence *b);

#endif
