#ifndef PENSTOCK_GRAMMAR_NETWORK_H
#define PENSTOCK_GRAMMAR_NETWORK_H

#include <stdatomic.h>

#include "automaton.h"
#include "trie.h"

/* A compiled grammar: all automata in one numbering of states. Calls name the first state of the rule that is called.
 *
 * A state from which no end can be reached is not there, and a call never brings the empty text. So a text that has any
 * reading left can be completed, and whatever comes back from a call has read a byte. */

struct network_call {
    uint32_t start, back;
};

enum state_flag {
    STATE_FINAL = 1,    /* its rule may end here */
    STATE_HAS_NEXT = 2, /* it has edges or calls */
    STATE_CALLS = 4,    /* it has calls */
    STATE_CLEAR = 8     /* no byte has two edges */
};

/* What is known of a state, whatever called its rule: the tokens that lead from it without leaving the rule, and those that leave
 * it and that some caller may take. */
struct mask_entry {
    bool is_dense;
    uint32_t accept_count;  /* sparse: ids that follow; dense: the mask's words */
    uint32_t checked_count; /* ids after them, by text */
    uint32_t data[];
};

struct grammar {
    _Atomic uint32_t references;
    const grammar_vocabulary *vocabulary; /* borrowed */
    bool with_control;
    uint32_t depth_max;

    uint32_t state_count, rule_count;
    uint32_t root;              /* its first state */
    uint32_t *edge_first;       /* owned; [state_count + 1] */
    struct edge *edges;         /* owned; of a state: by low */
    uint32_t *call_first;       /* owned; [state_count + 1] */
    struct network_call *calls; /* owned */
    uint8_t *flags;             /* owned; [state_count], enum state_flag */
    /* Owned; [state_count]. How many bytes of each class, whichever they are, lead on inside the rule, through states that are not
     * final and do not call. */
    struct state_runs {
        uint8_t bytes[TRIE_CLASSES];
    } * runs;
    uint32_t *rule_of;    /* owned; [state_count]; rule 0 is the root */
    uint32_t *site_first; /* owned; [rule_count + 1] */
    uint32_t *sites;      /* owned; states to which calls of a rule come back */

    /* Learnt as the states are met. */
    _Atomic(struct mask_entry *) *masks; /* owned array; [state_count]; entries in `mask_memory` */
    char *mask_memory;                   /* owned; [mask_bytes_max] */
    uint64_t mask_bytes_max;
    _Atomic uint64_t mask_bytes;
    uint64_t bytes; /* of all, masks included */
};

/* Links the rules' automata, from the root's expression on. NULL: failed. */
grammar *network_link(struct compile *c, const struct expr *root, const grammar_vocabulary *v);

/* A place for an entry of so many numbers; NULL: the grammar keeps no more. Any thread. */
struct mask_entry *network_mask_allocate(grammar *g, size_t number_count);

#endif
