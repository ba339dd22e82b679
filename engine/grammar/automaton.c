#include "automaton.h"

#include <stdlib.h>

/* Automata as such: building, what set theory does to them, and running one over a text. Making them of
 * expressions is in automaton_expr.c, making them deterministic in automaton_determinize.c. */

/* --- building --- */

bool builder_start_state(struct automaton_builder *b, bool is_final)
{
    struct compile *c = b->c;
    if (b->state_count >= c->limits->states_max)
        return compile_fail(c, STATUS_TOO_LARGE,
                            "the grammar is too large: it takes more than %u states",
                            c->limits->states_max);
    uint32_t capacity = b->state_capacity;
    b->is_final = compile_grow(c, b->is_final, b->state_count, &capacity, sizeof *b->is_final);
    capacity = b->state_capacity;
    b->edge_first =
        compile_grow(c, b->edge_first, b->state_count, &capacity, sizeof *b->edge_first);
    capacity = b->state_capacity;
    b->call_first =
        compile_grow(c, b->call_first, b->state_count, &capacity, sizeof *b->call_first);
    b->state_capacity = capacity;
    if (!compile_go_on(c, 1))
        return false;
    b->is_final[b->state_count] = is_final;
    b->edge_first[b->state_count] = b->edge_count;
    b->call_first[b->state_count] = b->call_count;
    b->state_count++;
    return true;
}

bool builder_add_edge(struct automaton_builder *b, uint8_t low, uint8_t high, uint32_t target)
{
    b->edges = compile_grow(b->c, b->edges, b->edge_count, &b->edge_capacity, sizeof *b->edges);
    if (!compile_go_on(b->c, 1))
        return false;
    b->edges[b->edge_count++] = (struct edge){low, high, target};
    return true;
}

bool builder_add_call(struct automaton_builder *b, uint32_t rule, uint32_t back)
{
    b->calls = compile_grow(b->c, b->calls, b->call_count, &b->call_capacity, sizeof *b->calls);
    if (!compile_go_on(b->c, 1))
        return false;
    b->calls[b->call_count++] = (struct call){rule, back};
    return true;
}

static int compare_edges(const void *a, const void *b)
{
    const struct edge *left = a;
    const struct edge *right = b;
    if (left->low != right->low)
        return left->low < right->low ? -1 : 1;
    return left->target < right->target ? -1 : left->target > right->target;
}

const struct automaton *builder_finish(struct automaton_builder *b)
{
    struct compile *c = b->c;
    struct automaton *a = compile_allocate(c, 1, sizeof *a);
    uint32_t *edge_first = compile_allocate(c, (size_t)b->state_count + 1, sizeof *edge_first);
    uint32_t *call_first = compile_allocate(c, (size_t)b->state_count + 1, sizeof *call_first);
    if (c->failed != STATUS_OK)
        return NULL;
    memcpy(edge_first, b->edge_first, b->state_count * sizeof *edge_first);
    memcpy(call_first, b->call_first, b->state_count * sizeof *call_first);
    edge_first[b->state_count] = b->edge_count;
    call_first[b->state_count] = b->call_count;
    for (uint32_t s = 0; s < b->state_count; s++) {
        uint32_t count = edge_first[s + 1] - edge_first[s];
        if (count > 1)
            qsort(b->edges + edge_first[s], count, sizeof *b->edges, compare_edges);
    }
    *a = (struct automaton){.state_count = b->state_count,
                            .edge_first = edge_first,
                            .edges = b->edges,
                            .call_first = call_first,
                            .calls = b->calls,
                            .is_final = b->is_final};
    return a;
}

bool automaton_is_nullable(const struct automaton *a)
{
    return a->is_final[0];
}

/* --- intersection --- */

/* Pairs of states, numbered as they are met. */
struct pair_table {
    struct compile *c;
    uint64_t *pairs; /* [count]: first << 32 | second */
    uint32_t count, capacity;
    uint32_t *slots; /* pair number + 1; [slot_mask + 1] */
    uint32_t slot_mask;
};

static uint32_t hash_pair(uint64_t pair)
{
    return (uint32_t)((pair * 0x9E3779B97F4A7C15ull) >> 32);
}

static bool pair_table_widen(struct pair_table *t)
{
    uint32_t mask = t->slot_mask * 2 + 1;
    uint32_t *slots = compile_allocate(t->c, (size_t)mask + 1, sizeof *slots);
    if (slots == NULL)
        return false;
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t at = hash_pair(t->pairs[i]) & mask;
        while (slots[at] != 0)
            at = (at + 1) & mask;
        slots[at] = i + 1;
    }
    t->slots = slots;
    t->slot_mask = mask;
    return true;
}

/* UINT32_MAX: failed. */
static uint32_t pair_number(struct pair_table *t, uint32_t first, uint32_t second)
{
    if (t->count * 2 >= t->slot_mask && !pair_table_widen(t))
        return UINT32_MAX;
    uint64_t pair = (uint64_t)first << 32 | second;
    uint32_t at = hash_pair(pair) & t->slot_mask;
    for (; t->slots[at] != 0; at = (at + 1) & t->slot_mask) {
        if (t->pairs[t->slots[at] - 1] == pair)
            return t->slots[at] - 1;
    }
    t->pairs = compile_grow(t->c, t->pairs, t->count, &t->capacity, sizeof *t->pairs);
    if (t->pairs == NULL)
        return UINT32_MAX;
    t->pairs[t->count] = pair;
    t->slots[at] = t->count + 1;
    return t->count++;
}

/* The edges that two states have in common. */
static bool add_common_edges(struct automaton_builder *b, struct pair_table *t,
                             const struct automaton *x, uint32_t first, const struct automaton *y,
                             uint32_t second)
{
    for (uint32_t i = x->edge_first[first]; i < x->edge_first[first + 1]; i++) {
        for (uint32_t j = y->edge_first[second]; j < y->edge_first[second + 1]; j++) {
            struct edge m = x->edges[i];
            struct edge n = y->edges[j];
            uint8_t low = m.low > n.low ? m.low : n.low;
            uint8_t high = m.high < n.high ? m.high : n.high;
            if (low > high)
                continue;
            uint32_t target = pair_number(t, m.target, n.target);
            if (target == UINT32_MAX || !builder_add_edge(b, low, high, target))
                return false;
        }
    }
    return true;
}

const struct automaton *automaton_intersect(struct compile *c, const struct automaton *x,
                                            const struct automaton *y)
{
    if (c->failed != STATUS_OK)
        return NULL;
    struct automaton_builder b = {.c = c};
    struct pair_table t = {.c = c};
    if (!pair_table_widen(&t) || pair_number(&t, 0, 0) == UINT32_MAX)
        return NULL;
    for (uint32_t i = 0; i < t.count; i++) {
        uint32_t first = (uint32_t)(t.pairs[i] >> 32);
        uint32_t second = (uint32_t)t.pairs[i];
        if (!builder_start_state(&b, x->is_final[first] && y->is_final[second]) ||
            !add_common_edges(&b, &t, x, first, y, second))
            return NULL;
    }
    return automaton_trim(c, builder_finish(&b));
}

/* --- complement --- */

const struct automaton *automaton_complement(struct compile *c, const struct automaton *a)
{
    if (c->failed != STATUS_OK)
        return NULL;
    const struct automaton *d = automaton_determinize(c, a, c->limits->states_max);
    if (d == NULL) {
        compile_fail(c, STATUS_TOO_LARGE,
                     "the grammar is too large: what a pattern excludes takes more than %u states",
                     c->limits->states_max);
        return NULL;
    }
    struct automaton_builder b = {.c = c};
    uint32_t all = d->state_count; /* from here every text is good */
    for (uint32_t s = 0; s <= d->state_count; s++) {
        bool is_all = s == all;
        if (!builder_start_state(&b, is_all || !d->is_final[s]))
            return NULL;
        unsigned next = 0;
        for (uint32_t i = is_all ? 0 : d->edge_first[s]; !is_all && i < d->edge_first[s + 1]; i++) {
            struct edge edge = d->edges[i];
            if (edge.low > next && !builder_add_edge(&b, (uint8_t)next, edge.low - 1, all))
                return NULL;
            if (!builder_add_edge(&b, edge.low, edge.high, edge.target))
                return NULL;
            next = edge.high + 1u;
        }
        if (next <= UINT8_MAX && !builder_add_edge(&b, (uint8_t)next, UINT8_MAX, all))
            return NULL;
    }
    return automaton_trim(c, builder_finish(&b));
}

/* --- trimming --- */

/* Marks the states from which an end can be reached: passes against the direction of most edges, until one changes
 * nothing. */
static bool mark_live(struct compile *c, const struct automaton *a, bool *is_live)
{
    bool has_changed = true;
    while (has_changed) {
        has_changed = false;
        if (!compile_go_on(c, a->state_count))
            return false;
        for (uint32_t s = a->state_count; s-- > 0;) {
            bool now = is_live[s] || a->is_final[s];
            for (uint32_t i = a->edge_first[s]; !now && i < a->edge_first[s + 1]; i++)
                now = is_live[a->edges[i].target];
            for (uint32_t i = a->call_first[s]; !now && i < a->call_first[s + 1]; i++)
                now = is_live[a->calls[i].back];
            has_changed |= now != is_live[s];
            is_live[s] = now;
        }
    }
    return true;
}

static bool copy_live_state(struct automaton_builder *b, const struct automaton *a, uint32_t s,
                            const bool *is_live, const uint32_t *numbers)
{
    if (!builder_start_state(b, a->is_final[s]))
        return false;
    for (uint32_t i = a->edge_first[s]; i < a->edge_first[s + 1]; i++) {
        struct edge edge = a->edges[i];
        if (is_live[edge.target] && !builder_add_edge(b, edge.low, edge.high, numbers[edge.target]))
            return false;
    }
    for (uint32_t i = a->call_first[s]; i < a->call_first[s + 1]; i++) {
        struct call call = a->calls[i];
        if (is_live[call.back] && !builder_add_call(b, call.rule, numbers[call.back]))
            return false;
    }
    return true;
}

const struct automaton *automaton_trim(struct compile *c, const struct automaton *a)
{
    if (a == NULL)
        return NULL;
    bool *is_live = compile_allocate(c, a->state_count, sizeof *is_live);
    uint32_t *numbers = compile_allocate(c, a->state_count, sizeof *numbers);
    if (is_live == NULL || numbers == NULL || !mark_live(c, a, is_live))
        return NULL;
    uint32_t count = 0;
    for (uint32_t s = 0; s < a->state_count; s++) {
        if (is_live[s] || s == 0)
            numbers[s] = count++;
    }
    struct automaton_builder b = {.c = c};
    for (uint32_t s = 0; s < a->state_count; s++) {
        if ((is_live[s] || s == 0) && !copy_live_state(&b, a, s, is_live, numbers))
            return NULL;
    }
    return builder_finish(&b);
}

/* --- running --- */

/* Follows `byte` from all states that are marked in `from`. */
static bool follow(const struct automaton *a, const bool *from, bool *to, uint8_t byte)
{
    bool is_alive = false;
    memset(to, 0, a->state_count * sizeof *to);
    for (uint32_t s = 0; s < a->state_count; s++) {
        for (uint32_t i = a->edge_first[s]; from[s] && i < a->edge_first[s + 1]; i++) {
            if (a->edges[i].low <= byte && byte <= a->edges[i].high)
                is_alive = to[a->edges[i].target] = true;
        }
    }
    return is_alive;
}

bool automaton_accepts(struct compile *c, const struct automaton *a, struct text_slice text)
{
    bool *now = compile_allocate(c, a->state_count, sizeof *now);
    bool *next = compile_allocate(c, a->state_count, sizeof *next);
    if (now == NULL || next == NULL)
        return false;
    now[0] = true;
    for (size_t i = 0; i < text.bytes; i++) {
        if (!follow(a, now, next, (uint8_t)text.data[i]) || !compile_go_on(c, a->state_count))
            return false;
        bool *swap = now;
        now = next;
        next = swap;
    }
    for (uint32_t s = 0; s < a->state_count; s++) {
        if (now[s] && a->is_final[s])
            return true;
    }
    return false;
}
