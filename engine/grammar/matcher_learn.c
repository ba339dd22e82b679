#include "clock.h"
#include "matcher_private.h"

/* Masks of the states that a text can come to, nearest first, learnt where no step waits for them.
 *
 * Half of the memory for masks is left to those that are met later: a grammar of many states would else spend all of it near
 * its beginning. */

/* What a matcher takes at most for a token of TRIE_TEXT_BYTES_MAX, a vocabulary of 2^23 and no nesting; a level of nesting; what is
 * noted of a state, beside the arena's own. */
#define MATCHER_BYTES ((uint64_t)8 << 20)
#define DEPTH_BYTES   256ull
#define STATE_BYTES   16ull

struct frontier {
    uint32_t *states; /* [state_count], in the order of their distance from the root */
    uint8_t *marks;   /* [state_count], enum mark */
    uint32_t count;
};

enum mark {
    MARK_FOUND = 1,
    MARK_STANDS =
        2 /* a text may stand there; the first state of a called rule stands for its callers */
};

static void find(struct frontier *f, uint32_t state, uint8_t mark)
{
    if ((f->marks[state] & MARK_FOUND) == 0)
        f->states[f->count++] = state;
    f->marks[state] |= MARK_FOUND | mark;
}

static void find_next(const grammar *g, struct frontier *f, uint32_t state)
{
    for (uint32_t i = g->edge_first[state]; i < g->edge_first[state + 1]; i++)
        find(f, g->edges[i].target, MARK_STANDS);
    for (uint32_t i = g->call_first[state]; i < g->call_first[state + 1]; i++) {
        find(f, g->calls[i].start, 0);
        find(f, g->calls[i].back, MARK_STANDS);
    }
}

static bool has_room(const grammar *g)
{
    return atomic_load_explicit(&g->mask_bytes, memory_order_relaxed) < g->mask_bytes_max / 2;
}

status matcher_learn(grammar *g, uint64_t deadline_ns)
{
    arena *memory;
    grammar_matcher *m;
    struct frontier f = {.count = 0};
    status s = arena_create(
        MATCHER_BYTES + g->depth_max * DEPTH_BYTES + g->state_count * STATE_BYTES, &memory);
    if (s != STATUS_OK)
        return s;
    f.states = arena_allocate_array(memory, g->state_count, sizeof *f.states);
    f.marks = arena_allocate_array(memory, g->state_count, sizeof *f.marks);
    s = f.states == NULL || f.marks == NULL ? STATUS_NO_MEMORY
                                            : grammar_matcher_create(g, memory, &m);
    if (s == STATUS_OK)
        find(&f, g->root, MARK_STANDS);
    /* What is found is at first only looked at: which states stand is known when all that lead to them were. */
    for (uint32_t i = 0; s == STATUS_OK && i < f.count; i++)
        find_next(g, &f, f.states[i]);
    for (uint32_t i = 0; s == STATUS_OK && i < f.count; i++) {
        uint32_t state = f.states[i];
        if ((f.marks[state] & MARK_STANDS) == 0 || (g->flags[state] & STATE_HAS_NEXT) == 0)
            continue;
        if (clock_now_ns() >= deadline_ns || !has_room(g))
            break;
        (void)matcher_entry(m, state);
    }
    arena_destroy(memory);
    return s;
}
