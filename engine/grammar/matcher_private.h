#ifndef PENSTOCK_GRAMMAR_MATCHER_PRIVATE_H
#define PENSTOCK_GRAMMAR_MATCHER_PRIVATE_H

#include "network.h"

/* A matcher is a set of readings: a state, and the stack of calls that it is inside of. Stacks share what they have in
 * common. A stack is a node, made when a rule is called at some place of the text: all who call the rule there share it, and
 * are its edges, each with the state to come back to and the caller's own stack.
 *
 *      readings            nodes                       root: the stack of nobody
 *      (state, node) ----> [string] --back, parent--> [object] --back, parent--> root
 *      (state, node) ----> [number] ------------------^
 *
 * A node gets all its edges at the place where it is made, before anything comes back through it, because no call brings the
 * empty text. So left recursion is an edge of a node to itself, and costs nothing. A call at the very end of a rule makes
 * no edge to the caller but takes over the caller's own: right recursion does not pile up.
 *
 * The memory is that of the creation. Readings and nodes of a trial lie behind those that hold, and vanish with it; after a
 * token has been accepted, what still can be reached is copied to a second space (Cheney 1970). */

#define NODE_ROOT UINT32_MAX
/* Whoever may have called, in the walk that learns a state's mask. */
#define NODE_UNKNOWN (UINT32_MAX - 1)
#define EDGE_NONE    UINT32_MAX

enum reading_flag {
    /* It stands at the start of a rule that another reading of the set has called: it adds nothing of its own to that
     * one's mask. */
    READING_CALLED = 1,
    /* It left the rule in which the walk began, to one of all its callers. */
    READING_LEFT = 2
};

struct reading {
    uint32_t state, node;
    uint32_t flags; /* enum reading_flag */
};

struct stack_node {
    uint32_t start; /* the rule's first state */
    uint32_t first; /* stack_edge; EDGE_NONE at the end */
    uint32_t moved; /* while copying: its new number + 1 */
    uint32_t flags; /* READING_LEFT: of readings that left */
};

struct stack_edge {
    uint32_t back, parent;
    uint32_t next;
};

struct stack_space {
    struct stack_node *nodes; /* [node_max] */
    struct stack_edge *edges; /* [edge_max] */
    uint32_t node_count, edge_count;
};

/* The readings after some bytes of a trial. */
struct frame {
    uint32_t first, count;           /* readings */
    uint32_t node_count, edge_count; /* of the space, with this frame's */
    bool is_complete;                /* the text may end here */
    bool is_inside;                  /* some reading has not left the rule of the walk */
};

struct grammar_matcher {
    grammar *g; /* borrowed */
    struct stack_space live, spare;
    uint32_t node_max, edge_max, reading_max;
    struct reading *readings; /* [reading_max]; those that hold first */
    uint32_t holding_count;
    bool is_complete;
    uint32_t overflow_count; /* what found no room since the trial began */
    struct frame *frames;    /* [depth of the trie + 2] */
    uint32_t *learnt;        /* [mask_words]; the mask of a state that is being learnt */
    int32_t *checked;        /* [checked_max] */
    uint32_t checked_max;
};

/* Frame 0: the readings before any text. */
void matcher_start_root(grammar_matcher *m);
/* Frame 0: the readings that hold. */
void matcher_start_holding(grammar_matcher *m);
/* Frame 0: one reading, with what it calls, but not with what it comes back to at once. */
void matcher_start_reading(grammar_matcher *m, struct reading reading);
/* Frame `depth` + 1: frame `depth` after `byte`. False: no reading is left, or there is no room for them. */
bool matcher_step(grammar_matcher *m, uint32_t depth, uint8_t byte);

/* The state's mask, learnt now if need be; NULL: it cannot be kept. */
const struct mask_entry *matcher_entry(grammar_matcher *m, uint32_t state);

/* Learns the masks of all states that a text can come to, nearest first, until the time has come, or half of their memory is
 * taken. STATUS_NO_MEMORY. */
NODISCARD status matcher_learn(grammar *g, uint64_t deadline_ns);

static inline bool mask_has(const uint32_t *mask, uint32_t token)
{
    return (mask[token / 32] >> (token % 32) & 1) != 0;
}

static inline void mask_set(uint32_t *mask, uint32_t token)
{
    mask[token / 32] |= 1u << (token % 32);
}

#endif
