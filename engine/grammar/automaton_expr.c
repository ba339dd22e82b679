#include "automaton.h"

#include "utf8.h"

/* Expression -> automaton: first one with empty edges (Thompson 1968), then the same without. A state stays only if a byte
 * or a call leads to it; it takes over the edges of all states that empty edges lead to from there.
 *
 * Rules whose bodies are small, or which are named once, are put in the place of their names; the others, and those that come
 * back to themselves, are called. */

/* Bodies of up to so many states are repeated at each place that names them. */
#define INLINE_SIZE_MAX 64u
/* Rules inside rules inside rules: at this depth the next is called. */
#define INLINE_DEPTH_MAX 48u

enum link_kind { LINK_EMPTY, LINK_BYTES, LINK_CALL };

struct link {
    enum link_kind kind;
    uint8_t low, high;
    uint32_t rule, target;
    uint32_t next; /* of the same node; UINT32_MAX: none */
};

struct graph {
    struct compile *c;
    uint32_t *first; /* link of each node; [node_count] */
    uint32_t node_count, node_capacity;
    struct link *links;
    uint32_t link_count, link_capacity;
    uint32_t depth; /* of rules in rules */
};

static uint32_t node_add(struct graph *g)
{
    struct compile *c = g->c;
    g->first = compile_grow(c, g->first, g->node_count, &g->node_capacity, sizeof *g->first);
    if (!compile_go_on(c, 1))
        return UINT32_MAX;
    /* An automaton has at most as many states as its graph has nodes, and mostly a third. */
    if (g->node_count / 4 > c->limits->states_max) {
        compile_fail(c, STATUS_TOO_LARGE, "the grammar is too large: it takes more than %u states",
                     c->limits->states_max);
        return UINT32_MAX;
    }
    g->first[g->node_count] = UINT32_MAX;
    return g->node_count++;
}

static bool link_add(struct graph *g, uint32_t from, struct link link)
{
    g->links = compile_grow(g->c, g->links, g->link_count, &g->link_capacity, sizeof *g->links);
    if (!compile_go_on(g->c, 1))
        return false;
    link.next = g->first[from];
    g->links[g->link_count] = link;
    g->first[from] = g->link_count++;
    return true;
}

static bool link_empty(struct graph *g, uint32_t from, uint32_t to)
{
    return link_add(g, from, (struct link){.kind = LINK_EMPTY, .target = to});
}

static bool link_bytes(struct graph *g, uint32_t from, uint8_t low, uint8_t high, uint32_t to)
{
    return link_add(g, from,
                    (struct link){.kind = LINK_BYTES, .low = low, .high = high, .target = to});
}

static bool graph_add(struct graph *g, const struct expr *e, uint32_t from, uint32_t to);

static bool add_text(struct graph *g, struct text_slice text, uint32_t from, uint32_t to)
{
    if (text.bytes == 0)
        return link_empty(g, from, to);
    for (size_t i = 0; i < text.bytes; i++) {
        uint32_t next = i + 1 == text.bytes ? to : node_add(g);
        uint8_t byte = (uint8_t)text.data[i];
        if (next == UINT32_MAX || !link_bytes(g, from, byte, byte, next))
            return false;
        from = next;
    }
    return true;
}

/* --- characters as bytes --- */

/* The nodes from which one, two or three bytes of the form 10xxxxxx lead to `to`, made when first needed. */
struct set_tails {
    uint32_t nodes[4]; /* by bytes that are left; UINT32_MAX: not made */
};

static uint32_t tail_node(struct graph *g, struct set_tails *tails, unsigned left)
{
    if (tails->nodes[left] != UINT32_MAX)
        return tails->nodes[left];
    uint32_t after = tail_node(g, tails, left - 1);
    uint32_t node = node_add(g);
    if (node == UINT32_MAX || after == UINT32_MAX || !link_bytes(g, node, 0x80, 0xBF, after))
        return UINT32_MAX;
    tails->nodes[left] = node;
    return node;
}

/* The byte strings from `low` to `high`, both of `bytes` bytes and equal in no more than their form. */
static bool add_byte_range(struct graph *g, struct set_tails *tails, const uint8_t *low,
                           const uint8_t *high, unsigned bytes, uint32_t from)
{
    if (bytes == 1)
        return link_bytes(g, from, low[0], high[0], tails->nodes[0]);
    bool is_low_full = true;
    bool is_high_full = true;
    for (unsigned i = 1; i < bytes; i++) {
        is_low_full &= low[i] == 0x80;
        is_high_full &= high[i] == 0xBF;
    }
    static const uint8_t least[3] = {0x80, 0x80, 0x80};
    static const uint8_t most[3] = {0xBF, 0xBF, 0xBF};
    uint8_t first = low[0];
    uint8_t last = high[0];
    if (first == last && !(is_low_full && is_high_full)) {
        uint32_t node = node_add(g);
        return node != UINT32_MAX && link_bytes(g, from, first, first, node) &&
               add_byte_range(g, tails, low + 1, high + 1, bytes - 1, node);
    }
    if (!is_low_full) {
        uint32_t node = node_add(g);
        if (node == UINT32_MAX || !link_bytes(g, from, first, first, node) ||
            !add_byte_range(g, tails, low + 1, most, bytes - 1, node))
            return false;
        first++;
    }
    if (!is_high_full) {
        uint32_t node = node_add(g);
        if (node == UINT32_MAX || !link_bytes(g, from, last, last, node) ||
            !add_byte_range(g, tails, least, high + 1, bytes - 1, node))
            return false;
        last--;
    }
    if (first > last)
        return true;
    uint32_t tail = tail_node(g, tails, bytes - 1);
    return tail != UINT32_MAX && link_bytes(g, from, first, last, tail);
}

/* Code points of one UTF-8 length. */
static bool add_code_points(struct graph *g, struct set_tails *tails, uint32_t low, uint32_t high,
                            uint32_t from)
{
    char first[4];
    char last[4];
    size_t bytes = utf8_encode(low, first);
    (void)utf8_encode(high, last);
    return add_byte_range(g, tails, (const uint8_t *)first, (const uint8_t *)last, (unsigned)bytes,
                          from);
}

/* Where the length of a character's UTF-8 form changes, and the gap of the surrogates. */
static const struct char_range utf8_forms[] = {
    {0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x10FFFF}};

static bool add_set(struct graph *g, const struct expr *e, uint32_t from, uint32_t to)
{
    struct set_tails tails = {{to, UINT32_MAX, UINT32_MAX, UINT32_MAX}};
    for (uint32_t i = 0; i < e->count; i++) {
        for (size_t f = 0; f < sizeof utf8_forms / sizeof utf8_forms[0]; f++) {
            uint32_t low = e->ranges[i].low;
            uint32_t high = e->ranges[i].high;
            low = low > utf8_forms[f].low ? low : utf8_forms[f].low;
            high = high < utf8_forms[f].high ? high : utf8_forms[f].high;
            if (low <= high && !add_code_points(g, &tails, low, high, from))
                return false;
        }
    }
    return true;
}

/* --- the other kinds --- */

static bool add_sequence(struct graph *g, const struct expr *e, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < e->count; i++) {
        uint32_t next = i + 1 == e->count ? to : node_add(g);
        if (next == UINT32_MAX || !graph_add(g, e->items[i], from, next))
            return false;
        from = next;
    }
    return e->count > 0 || link_empty(g, from, to);
}

/* One or more, without end: the item stands there once.
 *    from -> start -item-> end -> to;  end -separator-> start */
static bool add_loop(struct graph *g, const struct expr *e, uint32_t from, uint32_t to)
{
    uint32_t start = node_add(g);
    uint32_t end = node_add(g);
    if (end == UINT32_MAX || !link_empty(g, from, start) || !link_empty(g, end, to) ||
        !graph_add(g, e->items[0], start, end))
        return false;
    return e->count == 2 ? graph_add(g, e->items[1], end, start) : link_empty(g, end, start);
}

static bool add_repeat(struct graph *g, const struct expr *e, uint32_t from, uint32_t to)
{
    const struct expr *separator = e->count == 2 ? e->items[1] : NULL;
    bool is_open = e->max == EXPR_UNBOUNDED;
    if (e->min == 0 && !link_empty(g, from, to))
        return false;
    uint32_t copies = !is_open ? e->max : e->min > 1 ? e->min - 1 : 0;
    for (uint32_t i = 1; i <= copies; i++) {
        uint32_t end = node_add(g);
        if (end == UINT32_MAX || !graph_add(g, e->items[0], from, end))
            return false;
        if (!is_open && i >= e->min && !link_empty(g, end, to))
            return false;
        from = end;
        bool is_last = !is_open && i == copies;
        if (separator == NULL || is_last)
            continue;
        from = node_add(g);
        if (from == UINT32_MAX || !graph_add(g, separator, end, from))
            return false;
    }
    return !is_open || add_loop(g, e, from, to);
}

/* `start` is where member i, or a later one, begins:
 *    start_i -item-> end_i -separator-> start_i+1;  start_i -> start_i+1 where it may be left out;
 *    end_i -> to where all later ones may. */
static bool add_members(struct graph *g, const struct expr *e, uint32_t from, uint32_t to)
{
    uint32_t count = e->count - 2;
    const struct expr *separator = e->items[count];
    const struct expr *tail = e->items[count + 1];
    uint32_t may_end_from = count; /* all members from here on may be left out */
    while (may_end_from > 0 && !e->is_required[may_end_from - 1])
        may_end_from--;
    uint32_t start = node_add(g);
    if (start == UINT32_MAX || !link_empty(g, from, start))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t end = node_add(g);
        uint32_t next = node_add(g);
        bool is_last = i + 1 == count && tail == NULL;
        if (next == UINT32_MAX || !graph_add(g, e->items[i], start, end) ||
            (i + 1 >= may_end_from && !link_empty(g, end, to)) ||
            (!e->is_required[i] && !link_empty(g, start, next)) ||
            (!is_last && !graph_add(g, separator, end, next)))
            return false;
        start = next;
    }
    if (tail == NULL)
        return true;
    uint32_t end = node_add(g);
    return end != UINT32_MAX && graph_add(g, tail, start, end) && link_empty(g, end, to) &&
           graph_add(g, separator, end, start);
}

/* Each state is what has been used: `start` before an item, `end` after one. Of `used` items in order, the last was `at - 1`; in any
 * order, it is a set of bits.
 *    start -item-> end of more;  end -separator-> start;  end -> to where there are enough */
struct distinct_state {
    uint32_t start, end;
};

static bool distinct_step(struct graph *g, const struct expr *e, struct distinct_state *states,
                          uint32_t from, uint32_t item, uint32_t after, uint32_t to, uint32_t used)
{
    struct distinct_state *next = &states[after];
    if (next->end == 0) {
        next->start = node_add(g);
        next->end = node_add(g);
        if (next->end == UINT32_MAX || (used >= e->min && !link_empty(g, next->end, to)) ||
            (used < e->max && !graph_add(g, e->items[e->count - 1], next->end, next->start)))
            return false;
    }
    return graph_add(g, e->items[item], states[from].start, next->end);
}

static bool add_distinct(struct graph *g, const struct expr *e, uint32_t from, uint32_t to)
{
    uint32_t count = e->count - 1;
    struct distinct_state *states = compile_allocate(g->c, (size_t)1 << count, sizeof *states);
    if (states == NULL)
        return false;
    states[0].start = node_add(g);
    if (states[0].start == UINT32_MAX || !link_empty(g, from, states[0].start))
        return false;
    for (uint32_t set = 0; set < 1u << count; set++) {
        uint32_t used = (uint32_t)__builtin_popcount(set);
        if ((set > 0 && states[set].end == 0) || used == e->max)
            continue;
        for (uint32_t i = 0; i < count; i++) {
            if ((set >> i & 1) == 0 &&
                !distinct_step(g, e, states, set, i, set | 1u << i, to, used + 1))
                return false;
        }
    }
    return true;
}

/* Rows of how many there are, columns of the item that may come next: from each to the next column without the item, or to the
 * next row and column with it. */
static bool add_ordered(struct graph *g, const struct expr *e, uint32_t from, uint32_t to)
{
    uint32_t count = e->count - 1;
    uint32_t *row = compile_allocate(g->c, count + 1, sizeof *row);
    uint32_t *below = compile_allocate(g->c, count + 1, sizeof *below);
    if (row == NULL || below == NULL)
        return false;
    for (uint32_t i = 0; i <= count; i++) {
        row[i] = node_add(g);
        if (row[i] == UINT32_MAX || (i == 0 && !link_empty(g, from, row[i])))
            return false;
    }
    for (uint32_t used = 1; used <= e->max; used++) {
        for (uint32_t i = 0; i <= count; i++)
            below[i] = node_add(g);
        if (g->c->failed != STATUS_OK)
            return false;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t end = node_add(g);
            if (end == UINT32_MAX || !link_empty(g, row[i], row[i + 1]) ||
                !graph_add(g, e->items[i], row[i], end) ||
                (used >= e->min && !link_empty(g, end, to)) ||
                (used < e->max && !graph_add(g, e->items[count], end, below[i + 1])))
                return false;
        }
        uint32_t *swap = row;
        row = below;
        below = swap;
    }
    return true;
}

static bool add_automaton(struct graph *g, const struct automaton *a, uint32_t from, uint32_t to)
{
    uint32_t base = g->node_count;
    for (uint32_t s = 0; s < a->state_count; s++) {
        if (node_add(g) == UINT32_MAX)
            return false;
    }
    for (uint32_t s = 0; s < a->state_count; s++) {
        for (uint32_t i = a->edge_first[s]; i < a->edge_first[s + 1]; i++) {
            struct edge edge = a->edges[i];
            if (!link_bytes(g, base + s, edge.low, edge.high, base + edge.target))
                return false;
        }
        for (uint32_t i = a->call_first[s]; i < a->call_first[s + 1]; i++) {
            struct link link = {
                .kind = LINK_CALL, .rule = a->calls[i].rule, .target = base + a->calls[i].back};
            g->c->rules[link.rule].is_called = true;
            if (!link_add(g, base + s, link) ||
                (g->c->rules[link.rule].is_nullable && !link_empty(g, base + s, link.target)))
                return false;
        }
        if (a->is_final[s] && !link_empty(g, base + s, to))
            return false;
    }
    return link_empty(g, from, base);
}

static bool add_rule(struct graph *g, uint32_t number, uint32_t from, uint32_t to)
{
    struct rule *rule = &g->c->rules[number];
    bool is_small = rule->use_count <= 1 || rule->body->size <= INLINE_SIZE_MAX;
    if (!rule->is_called && !rule->is_recursive && is_small && g->depth < INLINE_DEPTH_MAX) {
        g->depth++;
        bool is_done = graph_add(g, rule->body, from, to);
        g->depth--;
        return is_done;
    }
    rule->is_called = true;
    /* A call never brings the empty text: that way leads past it. */
    if (rule->is_nullable && !link_empty(g, from, to))
        return false;
    return link_add(g, from, (struct link){.kind = LINK_CALL, .rule = number, .target = to});
}

/* Adds ways from `from` to `to` that spell the texts of `e`. No way leads back to `from`. */
static bool graph_add(struct graph *g, const struct expr *e, uint32_t from, uint32_t to)
{
    switch (e->kind) {
    case EXPR_NONE:
        return true;
    case EXPR_TEXT:
        return add_text(g, e->text, from, to);
    case EXPR_SET:
        return add_set(g, e, from, to);
    case EXPR_SEQUENCE:
        return add_sequence(g, e, from, to);
    case EXPR_CHOICE:
        for (uint32_t i = 0; i < e->count; i++) {
            if (!graph_add(g, e->items[i], from, to))
                return false;
        }
        return true;
    case EXPR_REPEAT:
        return add_repeat(g, e, from, to);
    case EXPR_MEMBERS:
        return add_members(g, e, from, to);
    case EXPR_DISTINCT:
        return e->is_ordered ? add_ordered(g, e, from, to) : add_distinct(g, e, from, to);
    case EXPR_RULE:
        return add_rule(g, e->rule, from, to);
    case EXPR_AUTOMATON:
        break;
    }
    return add_automaton(g, e->automaton, from, to);
}

/* --- without empty edges --- */

struct closing {
    struct graph *g;
    struct automaton_builder b;
    uint32_t end;              /* the node that is the expression's end */
    uint32_t *number;          /* state + 1 of a node; 0: none */
    uint32_t *node;            /* of each state */
    uint32_t state_count;      /* states that have a number */
    uint32_t *seen;            /* by node: the last state whose closure it is in, + 1 */
    uint32_t *stack, *members; /* nodes of a closure */
};

static uint32_t state_of(struct closing *k, uint32_t node)
{
    if (k->number[node] == 0) {
        k->node[k->state_count] = node;
        k->number[node] = ++k->state_count;
    }
    return k->number[node] - 1;
}

/* All nodes that empty links lead to from the state's node. */
static uint32_t close_state(struct closing *k, uint32_t state)
{
    uint32_t waiting = 1;
    uint32_t count = 0;
    k->stack[0] = k->node[state];
    k->seen[k->node[state]] = state + 1;
    while (waiting > 0) {
        uint32_t node = k->stack[--waiting];
        k->members[count++] = node;
        for (uint32_t i = k->g->first[node]; i != UINT32_MAX; i = k->g->links[i].next) {
            const struct link *link = &k->g->links[i];
            if (link->kind != LINK_EMPTY || k->seen[link->target] == state + 1)
                continue;
            k->seen[link->target] = state + 1;
            k->stack[waiting++] = link->target;
        }
    }
    return count;
}

static bool emit_state(struct closing *k, uint32_t state)
{
    uint32_t count = close_state(k, state);
    bool is_final = k->seen[k->end] == state + 1;
    if (!builder_start_state(&k->b, is_final) || !compile_go_on(k->g->c, count))
        return false;
    for (uint32_t m = 0; m < count; m++) {
        for (uint32_t i = k->g->first[k->members[m]]; i != UINT32_MAX; i = k->g->links[i].next) {
            struct link link = k->g->links[i];
            if (link.kind == LINK_BYTES &&
                !builder_add_edge(&k->b, link.low, link.high, state_of(k, link.target)))
                return false;
            if (link.kind == LINK_CALL &&
                !builder_add_call(&k->b, link.rule, state_of(k, link.target)))
                return false;
        }
    }
    return true;
}

/* The automaton of the ways from node 0 to node 1. */
static const struct automaton *close_graph(struct graph *g)
{
    struct compile *c = g->c;
    struct closing k = {.g = g, .b = {.c = c}, .end = 1};
    k.number = compile_allocate(c, g->node_count, sizeof *k.number);
    k.node = compile_allocate(c, g->node_count, sizeof *k.node);
    k.seen = compile_allocate(c, g->node_count, sizeof *k.seen);
    k.stack = compile_allocate(c, g->node_count, sizeof *k.stack);
    k.members = compile_allocate(c, g->node_count, sizeof *k.members);
    if (c->failed != STATUS_OK)
        return NULL;
    (void)state_of(&k, 0);
    for (uint32_t state = 0; state < k.state_count; state++) {
        if (!emit_state(&k, state))
            return NULL;
    }
    return builder_finish(&k.b);
}

/* A deterministic automaton may have so many times the states of the other, and some more. */
#define DETERMINISTIC_GROWTH 4u
#define DETERMINISTIC_EXTRA  1024u

static const struct automaton *finish(struct compile *c, const struct automaton *a)
{
    const struct automaton *trimmed = automaton_trim(c, a);
    if (trimmed == NULL)
        return NULL;
    uint64_t most = (uint64_t)trimmed->state_count * DETERMINISTIC_GROWTH + DETERMINISTIC_EXTRA;
    most = most < c->limits->states_max ? most : c->limits->states_max;
    const struct automaton *d = automaton_determinize(c, trimmed, (uint32_t)most);
    if (c->failed != STATUS_OK)
        return NULL;
    return d != NULL ? d : trimmed;
}

const struct automaton *automaton_from_expr(struct compile *c, const struct expr *e)
{
    struct graph g = {.c = c};
    if (c->failed != STATUS_OK)
        return NULL;
    if (node_add(&g) == UINT32_MAX || node_add(&g) == UINT32_MAX || !graph_add(&g, e, 0, 1))
        return NULL;
    return finish(c, close_graph(&g));
}

const struct automaton *automaton_drop_marks(struct compile *c, const struct automaton *a,
                                             uint8_t low)
{
    struct graph g = {.c = c};
    if (c->failed != STATUS_OK || node_add(&g) == UINT32_MAX || node_add(&g) == UINT32_MAX ||
        !add_automaton(&g, a, 0, 1))
        return NULL;
    for (uint32_t i = 0; i < g.link_count; i++) {
        if (g.links[i].kind == LINK_BYTES && g.links[i].low >= low)
            g.links[i].kind = LINK_EMPTY;
    }
    return finish(c, close_graph(&g));
}
