#include <stdlib.h>

#include "automaton.h"

/* Subset construction: a state of the new automaton is a set of states of the old one, all that the text so far may have
 * led to. Calls are signs like bytes: one of the same rule leads to all that it may come back to. */

struct subset {
    const uint32_t *states; /* rising */
    uint32_t count;
    uint32_t hash;
};

struct work {
    struct compile *c;
    const struct automaton *a;
    struct automaton_builder b;
    uint32_t states_max;
    bool is_over; /* more than states_max */
    struct subset *subsets;
    uint32_t count, capacity;
    uint32_t *slots; /* subset number + 1; [slot_mask + 1] */
    uint32_t slot_mask;
    uint32_t *targets; /* of the sign at hand */
    uint32_t target_count, target_capacity;
    struct edge *edges; /* of the subset at hand, by low */
    uint32_t edge_count, edge_capacity;
    struct call *calls; /* of the subset at hand, by rule */
    uint32_t call_count, call_capacity;
};

static uint32_t hash_states(const uint32_t *states, uint32_t count)
{
    uint64_t hash = 0xCBF29CE484222325ull;
    for (uint32_t i = 0; i < count; i++)
        hash = (hash ^ states[i]) * 0x9E3779B97F4A7C15ull;
    return (uint32_t)(hash >> 32);
}

static bool widen(struct work *w)
{
    uint32_t mask = w->slot_mask * 2 + 1;
    uint32_t *slots = compile_allocate(w->c, (size_t)mask + 1, sizeof *slots);
    if (slots == NULL)
        return false;
    for (uint32_t i = 0; i < w->count; i++) {
        uint32_t at = w->subsets[i].hash & mask;
        while (slots[at] != 0)
            at = (at + 1) & mask;
        slots[at] = i + 1;
    }
    w->slots = slots;
    w->slot_mask = mask;
    return true;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static void sort_targets(struct work *w)
{
    if (w->target_count < 2)
        return;
    qsort(w->targets, w->target_count, sizeof *w->targets, compare_numbers);
    uint32_t used = 1;
    for (uint32_t i = 1; i < w->target_count; i++) {
        if (w->targets[i] != w->targets[used - 1])
            w->targets[used++] = w->targets[i];
    }
    w->target_count = used;
}

/* The number of the subset `targets`; UINT32_MAX: failed, or over. */
static uint32_t subset_number(struct work *w)
{
    sort_targets(w);
    if (w->count * 2 >= w->slot_mask && !widen(w))
        return UINT32_MAX;
    uint32_t hash = hash_states(w->targets, w->target_count);
    uint32_t at = hash & w->slot_mask;
    for (; w->slots[at] != 0; at = (at + 1) & w->slot_mask) {
        const struct subset *s = &w->subsets[w->slots[at] - 1];
        if (s->hash == hash && s->count == w->target_count &&
            memcmp(s->states, w->targets, s->count * sizeof *s->states) == 0)
            return w->slots[at] - 1;
    }
    if (w->count == w->states_max) {
        w->is_over = true;
        return UINT32_MAX;
    }
    w->subsets = compile_grow(w->c, w->subsets, w->count, &w->capacity, sizeof *w->subsets);
    uint32_t *states = compile_allocate(w->c, w->target_count, sizeof *states);
    if (w->subsets == NULL || states == NULL)
        return UINT32_MAX;
    memcpy(states, w->targets, w->target_count * sizeof *states);
    w->subsets[w->count] = (struct subset){states, w->target_count, hash};
    w->slots[at] = w->count + 1;
    return w->count++;
}

static bool target_add(struct work *w, uint32_t state)
{
    w->targets =
        compile_grow(w->c, w->targets, w->target_count, &w->target_capacity, sizeof *w->targets);
    if (w->targets == NULL)
        return false;
    w->targets[w->target_count++] = state;
    return true;
}

static int compare_edges(const void *a, const void *b)
{
    return (int)((const struct edge *)a)->low - (int)((const struct edge *)b)->low;
}

static int compare_calls(const void *a, const void *b)
{
    return compare_numbers(&((const struct call *)a)->rule, &((const struct call *)b)->rule);
}

/* Edges and calls of all states of a subset. */
static bool gather(struct work *w, const struct subset *s)
{
    const struct automaton *a = w->a;
    w->edge_count = w->call_count = 0;
    for (uint32_t m = 0; m < s->count; m++) {
        uint32_t state = s->states[m];
        for (uint32_t i = a->edge_first[state]; i < a->edge_first[state + 1]; i++) {
            w->edges =
                compile_grow(w->c, w->edges, w->edge_count, &w->edge_capacity, sizeof *w->edges);
            if (w->edges == NULL)
                return false;
            w->edges[w->edge_count++] = a->edges[i];
        }
        for (uint32_t i = a->call_first[state]; i < a->call_first[state + 1]; i++) {
            w->calls =
                compile_grow(w->c, w->calls, w->call_count, &w->call_capacity, sizeof *w->calls);
            if (w->calls == NULL)
                return false;
            w->calls[w->call_count++] = a->calls[i];
        }
    }
    if (w->edge_count > 1)
        qsort(w->edges, w->edge_count, sizeof *w->edges, compare_edges);
    if (w->call_count > 1)
        qsort(w->calls, w->call_count, sizeof *w->calls, compare_calls);
    return compile_go_on(w->c, s->count + w->edge_count);
}

/* Where the set of edges that hold the byte changes next, after `byte`. */
static unsigned next_border(const struct work *w, unsigned byte)
{
    unsigned border = UINT8_MAX + 1;
    for (uint32_t i = 0; i < w->edge_count; i++) {
        unsigned low = w->edges[i].low;
        unsigned after = w->edges[i].high + 1u;
        if (low > byte)
            return low < border ? low : border;
        if (after > byte && after < border)
            border = after;
    }
    return border;
}

static bool emit_edges(struct work *w)
{
    struct edge last = {0, 0, UINT32_MAX};
    for (unsigned byte = 0; byte <= UINT8_MAX;) {
        unsigned border = next_border(w, byte);
        w->target_count = 0;
        for (uint32_t i = 0; i < w->edge_count && w->edges[i].low <= byte; i++) {
            if (w->edges[i].high >= byte && !target_add(w, w->edges[i].target))
                return false;
        }
        if (w->target_count > 0) {
            uint32_t target = subset_number(w);
            if (target == UINT32_MAX)
                return false;
            if (target == last.target && last.high + 1u == byte) {
                w->b.edges[w->b.edge_count - 1].high = (uint8_t)(border - 1);
            } else if (!builder_add_edge(&w->b, (uint8_t)byte, (uint8_t)(border - 1), target)) {
                return false;
            }
            last = (struct edge){(uint8_t)byte, (uint8_t)(border - 1), target};
        }
        if (!compile_go_on(w->c, w->edge_count))
            return false;
        byte = border;
    }
    return true;
}

static bool emit_calls(struct work *w)
{
    for (uint32_t i = 0; i < w->call_count;) {
        uint32_t rule = w->calls[i].rule;
        w->target_count = 0;
        for (; i < w->call_count && w->calls[i].rule == rule; i++) {
            if (!target_add(w, w->calls[i].back))
                return false;
        }
        uint32_t back = subset_number(w);
        if (back == UINT32_MAX || !builder_add_call(&w->b, rule, back))
            return false;
    }
    return true;
}

static bool emit_subset(struct work *w, uint32_t number)
{
    struct subset s = w->subsets[number];
    bool is_final = false;
    for (uint32_t m = 0; m < s.count; m++)
        is_final |= w->a->is_final[s.states[m]];
    return builder_start_state(&w->b, is_final) && gather(w, &s) && emit_edges(w) && emit_calls(w);
}

static bool is_deterministic(const struct automaton *a)
{
    for (uint32_t s = 0; s < a->state_count; s++) {
        for (uint32_t i = a->edge_first[s] + 1; i < a->edge_first[s + 1]; i++) {
            if (a->edges[i].low <= a->edges[i - 1].high)
                return false;
        }
        for (uint32_t i = a->call_first[s]; i < a->call_first[s + 1]; i++) {
            for (uint32_t j = i + 1; j < a->call_first[s + 1]; j++) {
                if (a->calls[i].rule == a->calls[j].rule)
                    return false;
            }
        }
    }
    return true;
}

const struct automaton *automaton_determinize(struct compile *c, const struct automaton *a,
                                              uint32_t states_max)
{
    if (c->failed != STATUS_OK)
        return NULL;
    if (is_deterministic(a))
        return a;
    struct work w = {.c = c, .a = a, .b = {.c = c}, .states_max = states_max};
    if (!target_add(&w, 0) || subset_number(&w) == UINT32_MAX)
        return NULL;
    for (uint32_t number = 0; number < w.count; number++) {
        if (!emit_subset(&w, number))
            return NULL;
    }
    return builder_finish(&w.b);
}
