#include "network.h"

#include "memory.h"

/* Rules -> automata -> one network. First the rules are looked at as a graph: which are used how often, which come back to
 * themselves, which may be empty. Then the automata of the root and of all rules that turn out to be called are made, put
 * behind each other, and freed of what leads to no end. */

/* --- the graph of rules --- */

struct rule_graph {
    struct compile *c;
    uint32_t *uses; /* of the rule at hand */
    uint32_t use_count, use_capacity;
    uint32_t *first, *list; /* what each rule names: list[first[r]] .. */
    uint32_t list_count, list_capacity;
};

/* How often an item of an expression is there at the most. */
static uint32_t copies_of(const struct expr *e)
{
    if (e->kind != EXPR_REPEAT)
        return 1;
    return e->max != EXPR_UNBOUNDED ? e->max : e->min > 1 ? e->min : 1;
}

static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint64_t product = (uint64_t)a * b;
    return product < UINT32_MAX ? (uint32_t)product : UINT32_MAX;
}

/* Counts the rules that an expression names. As deep as the source is nested. */
static bool count_uses(struct rule_graph *g, const struct expr *e, uint32_t copies)
{
    struct compile *c = g->c;
    if (!compile_go_on(c, 1))
        return false;
    if (e->kind == EXPR_RULE) {
        struct rule *rule = &c->rules[e->rule];
        rule->use_count =
            rule->use_count > UINT32_MAX - copies ? UINT32_MAX : rule->use_count + copies;
        g->list = compile_grow(c, g->list, g->list_count, &g->list_capacity, sizeof *g->list);
        if (g->list == NULL)
            return false;
        g->list[g->list_count++] = e->rule;
        return true;
    }
    for (uint32_t i = 0; e->items != NULL && i < e->count; i++) {
        if (e->items[i] != NULL && !count_uses(g, e->items[i], multiply(copies, copies_of(e))))
            return false;
    }
    return true;
}

static bool list_uses(struct rule_graph *g)
{
    struct compile *c = g->c;
    g->first = compile_allocate(c, (size_t)c->rule_count + 1, sizeof *g->first);
    for (uint32_t r = 0; g->first != NULL && r < c->rule_count; r++) {
        g->first[r] = g->list_count;
        if (!count_uses(g, c->rules[r].body, 1))
            return false;
        g->first[r + 1] = g->list_count;
    }
    return g->first != NULL;
}

enum visit { VISIT_NEW, VISIT_OPEN, VISIT_DONE };

/* Marks one rule of every circle at least: those that a walk in depth meets while they are open. */
static bool find_circles(struct rule_graph *g)
{
    struct compile *c = g->c;
    uint8_t *visits = compile_allocate(c, c->rule_count, sizeof *visits);
    uint32_t *stack = compile_allocate(c, c->rule_count, sizeof *stack);
    uint32_t *next = compile_allocate(c, c->rule_count, sizeof *next);
    if (visits == NULL || stack == NULL || next == NULL)
        return false;
    for (uint32_t start = 0; start < c->rule_count; start++) {
        uint32_t depth = 0;
        if (visits[start] == VISIT_NEW) {
            visits[start] = VISIT_OPEN;
            next[start] = g->first[start];
            stack[depth++] = start;
        }
        while (depth > 0) {
            uint32_t rule = stack[depth - 1];
            if (next[rule] == g->first[rule + 1]) {
                visits[rule] = VISIT_DONE;
                depth--;
                continue;
            }
            uint32_t named = g->list[next[rule]++];
            c->rules[named].is_recursive |= visits[named] == VISIT_OPEN;
            if (visits[named] != VISIT_NEW)
                continue;
            visits[named] = VISIT_OPEN;
            next[named] = g->first[named];
            stack[depth++] = named;
        }
    }
    return true;
}

static bool find_nullable(struct compile *c)
{
    bool has_changed = true;
    while (has_changed) {
        has_changed = false;
        for (uint32_t r = c->rule_count; r-- > 0;) {
            struct rule *rule = &c->rules[r];
            if (!compile_go_on(c, rule->is_nullable ? 1 : 8))
                return false;
            if (!rule->is_nullable && expr_is_nullable(c, rule->body))
                has_changed = rule->is_nullable = true;
        }
    }
    return true;
}

/* --- automata behind each other --- */

struct piece {
    const struct automaton *automaton;
    uint32_t rule;  /* UINT32_MAX: the root */
    uint32_t start; /* number of its first state */
};

struct linking {
    struct compile *c;
    struct piece *pieces;
    uint32_t count, capacity;
    uint32_t *piece_of; /* by rule: number + 1; 0: not called */
    uint32_t state_count;
};

static bool add_piece(struct linking *l, const struct expr *e, uint32_t rule)
{
    struct compile *c = l->c;
    const struct automaton *a = automaton_from_expr(c, e);
    if (a == NULL)
        return false;
    /* A call of a rule that may be empty has a way past it; inside, the empty text is none. */
    if (rule != UINT32_MAX)
        a->is_final[0] = false;
    l->pieces = compile_grow(c, l->pieces, l->count, &l->capacity, sizeof *l->pieces);
    if (l->pieces == NULL)
        return false;
    l->pieces[l->count] = (struct piece){a, rule, l->state_count};
    if (rule != UINT32_MAX)
        l->piece_of[rule] = l->count + 1;
    l->count++;
    l->state_count += a->state_count;
    if (l->state_count <= c->limits->states_max)
        return true;
    return compile_fail(c, STATUS_TOO_LARGE,
                        "the grammar is too large: it takes more than %u states",
                        c->limits->states_max);
}

/* The root, then whatever the pieces so far call. */
static bool make_pieces(struct linking *l, const struct expr *root)
{
    struct compile *c = l->c;
    l->piece_of = compile_allocate(c, c->rule_count, sizeof *l->piece_of);
    if (l->piece_of == NULL || !add_piece(l, root, UINT32_MAX))
        return false;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct automaton *a = l->pieces[i].automaton;
        for (uint32_t j = 0; j < a->call_first[a->state_count]; j++) {
            uint32_t rule = a->calls[j].rule;
            if (l->piece_of[rule] == 0 && !add_piece(l, c->rules[rule].body, rule))
                return false;
        }
    }
    return true;
}

/* Marks the states from which their rule's end can be reached, through calls of rules that have one. */
static bool mark_live(struct linking *l, bool *is_live)
{
    bool has_changed = true;
    while (has_changed) {
        has_changed = false;
        if (!compile_go_on(l->c, l->state_count))
            return false;
        for (uint32_t p = l->count; p-- > 0;) {
            const struct piece *piece = &l->pieces[p];
            const struct automaton *a = piece->automaton;
            for (uint32_t s = a->state_count; s-- > 0;) {
                bool now = is_live[piece->start + s] || a->is_final[s];
                for (uint32_t i = a->edge_first[s]; !now && i < a->edge_first[s + 1]; i++)
                    now = is_live[piece->start + a->edges[i].target];
                for (uint32_t i = a->call_first[s]; !now && i < a->call_first[s + 1]; i++)
                    now = is_live[piece->start + a->calls[i].back] &&
                          is_live[l->pieces[l->piece_of[a->calls[i].rule] - 1].start];
                has_changed |= now != is_live[piece->start + s];
                is_live[piece->start + s] = now;
            }
        }
    }
    return true;
}

/* --- the network --- */

struct totals {
    uint32_t states, edges, calls;
};

static void copy_state(grammar *g, const struct linking *l, const struct piece *piece, uint32_t s,
                       const bool *is_live, struct totals *used)
{
    const struct automaton *a = piece->automaton;
    uint32_t state = piece->start + s;
    g->edge_first[state] = used->edges;
    g->call_first[state] = used->calls;
    g->rule_of[state] = (uint32_t)(piece - l->pieces);
    for (uint32_t i = a->edge_first[s]; i < a->edge_first[s + 1]; i++) {
        struct edge edge = a->edges[i];
        edge.target += piece->start;
        if (is_live[edge.target])
            g->edges[used->edges++] = edge;
    }
    for (uint32_t i = a->call_first[s]; i < a->call_first[s + 1]; i++) {
        uint32_t start = l->pieces[l->piece_of[a->calls[i].rule] - 1].start;
        uint32_t back = piece->start + a->calls[i].back;
        if (is_live[start] && is_live[back])
            g->calls[used->calls++] = (struct network_call){start, back};
    }
    bool has_next = used->edges > g->edge_first[state] || used->calls > g->call_first[state];
    bool calls = used->calls > g->call_first[state];
    bool is_clear = true;
    for (uint32_t e = g->edge_first[state] + 1; e < used->edges; e++)
        is_clear &= g->edges[e].low > g->edges[e - 1].high;
    g->flags[state] =
        (uint8_t)((a->is_final[s] ? STATE_FINAL : 0) | (has_next ? STATE_HAS_NEXT : 0) |
                  (calls ? STATE_CALLS : 0) | (is_clear ? STATE_CLEAR : 0));
}

/* --- runs --- */

/* Of each class, in the order of their bits. */
static const struct edge class_ranges[TRIE_CLASSES][3] = {
    {{' ', '!', 0}, {'#', '[', 0}, {']', '~', 0}},
    {{'0', '9', 0}, {'A', 'Z', 0}, {'a', 'z', 0}},
    {{'A', 'Z', 0}, {'a', 'z', 0}, {'a', 'z', 0}},
};

/* So many bytes of the range lead on; those that lead back to the state itself always do. */
static unsigned range_run(const grammar *g, uint32_t state, unsigned class, struct edge range)
{
    unsigned next = range.low; /* all before it lead on */
    unsigned run = UINT8_MAX;
    for (uint32_t e = g->edge_first[state]; e < g->edge_first[state + 1]; e++) {
        struct edge edge = g->edges[e];
        if (edge.high < next)
            continue;
        if (edge.low > next || (g->flags[edge.target] & (STATE_FINAL | STATE_CALLS)) != 0)
            return 0;
        unsigned own = edge.target == state ? UINT8_MAX : g->runs[edge.target].bytes[class] + 1u;
        run = own < run ? own : run;
        next = edge.high + 1u;
        if (next > range.high)
            return run;
    }
    return 0;
}

static unsigned class_run(const grammar *g, uint32_t state, unsigned class)
{
    unsigned run = UINT8_MAX;
    if ((g->flags[state] & (STATE_CLEAR | STATE_CALLS)) != STATE_CLEAR)
        return 0;
    for (unsigned r = 0; r < 3 && run > 0; r++) {
        unsigned own = range_run(g, state, class, class_ranges[class][r]);
        run = own < run ? own : run;
    }
    return run;
}

/* Against the numbering, which mostly is that of the text. A run that one pass finds too short is made longer by the next; short
 * ones cost time only. */
static void measure_runs(grammar *g)
{
    for (uint32_t pass = 0; pass < 4; pass++) {
        for (uint32_t s = g->state_count; s-- > 0;) {
            for (unsigned class = 0; class < TRIE_CLASSES; class ++)
                g->runs[s].bytes[class] = (uint8_t)class_run(g, s, class);
        }
    }
}

/* Where the calls of each rule come back to: by counting. */
static void list_sites(grammar *g)
{
    uint32_t count = g->call_first[g->state_count];
    for (uint32_t i = 0; i < count; i++)
        g->site_first[g->rule_of[g->calls[i].start] + 1]++;
    for (uint32_t r = 0; r < g->rule_count; r++)
        g->site_first[r + 1] += g->site_first[r];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rule = g->rule_of[g->calls[i].start];
        g->sites[g->site_first[rule]++] = g->calls[i].back;
    }
    for (uint32_t r = g->rule_count; r > 0; r--)
        g->site_first[r] = g->site_first[r - 1];
    g->site_first[0] = 0;
}

static bool allocate(grammar *g, struct totals most)
{
    g->edge_first = memory_allocate_array((size_t)most.states + 1, sizeof *g->edge_first);
    g->call_first = memory_allocate_array((size_t)most.states + 1, sizeof *g->call_first);
    g->edges = memory_allocate_array(most.edges, sizeof *g->edges);
    g->calls = memory_allocate_array(most.calls, sizeof *g->calls);
    g->flags = memory_allocate_array(most.states, sizeof *g->flags);
    g->runs = memory_allocate_array(most.states, sizeof *g->runs);
    g->rule_of = memory_allocate_array(most.states, sizeof *g->rule_of);
    g->site_first = memory_allocate_array((size_t)g->rule_count + 1, sizeof *g->site_first);
    g->sites = memory_allocate_array(most.calls, sizeof *g->sites);
    g->masks = memory_allocate_array(most.states, sizeof *g->masks);
    g->mask_memory = memory_allocate_array(g->mask_bytes_max, 1);
    g->bytes =
        sizeof *g + g->mask_bytes_max + (uint64_t)most.edges * sizeof *g->edges +
        (uint64_t)most.calls * (sizeof *g->calls + sizeof *g->sites) +
        (uint64_t)most.states * (3 * sizeof(uint32_t) + 1 + sizeof *g->runs + sizeof *g->masks);
    return g->edge_first != NULL && g->call_first != NULL && g->edges != NULL && g->calls != NULL &&
           g->flags != NULL && g->runs != NULL && g->rule_of != NULL && g->site_first != NULL &&
           g->sites != NULL && g->masks != NULL && g->mask_memory != NULL;
}

/* Masks take at most this much a state: a small grammar reserves little. */
static uint64_t mask_bytes_useful(const struct linking *l, const grammar_vocabulary *v)
{
    uint64_t entry = sizeof(struct mask_entry) + (uint64_t)v->mask_words * sizeof(uint32_t) * 2;
    uint64_t useful = entry * l->state_count;
    return useful < l->c->limits->mask_bytes_max ? useful : l->c->limits->mask_bytes_max;
}

static grammar *make_network(struct linking *l, const grammar_vocabulary *v, const bool *is_live)
{
    grammar *g = memory_allocate_array(1, sizeof *g);
    struct totals most = {.states = l->state_count};
    for (uint32_t p = 0; p < l->count; p++) {
        const struct automaton *a = l->pieces[p].automaton;
        most.edges += a->edge_first[a->state_count];
        most.calls += a->call_first[a->state_count];
    }
    if (g != NULL) {
        atomic_init(&g->references, 1);
        g->vocabulary = v;
        g->depth_max = l->c->limits->depth_max;
        g->state_count = l->state_count;
        g->rule_count = l->count;
        g->mask_bytes_max = mask_bytes_useful(l, v);
    }
    if (g == NULL || !allocate(g, most)) {
        grammar_release(g);
        compile_fail(l->c, STATUS_NO_MEMORY, "no memory for the grammar");
        return NULL;
    }
    struct totals used = {0};
    for (uint32_t p = 0; p < l->count; p++) {
        for (uint32_t s = 0; s < l->pieces[p].automaton->state_count; s++)
            copy_state(g, l, &l->pieces[p], s, is_live, &used);
    }
    g->edge_first[g->state_count] = used.edges;
    g->call_first[g->state_count] = used.calls;
    list_sites(g);
    measure_runs(g);
    return g;
}

grammar *network_link(struct compile *c, const struct expr *root, const grammar_vocabulary *v)
{
    struct rule_graph graph = {.c = c};
    struct linking l = {.c = c};
    if (!list_uses(&graph) || !count_uses(&graph, root, 1) || !find_circles(&graph) ||
        !find_nullable(c) || !make_pieces(&l, root))
        return NULL;
    bool *is_live = compile_allocate(c, l.state_count, sizeof *is_live);
    if (is_live == NULL || !mark_live(&l, is_live))
        return NULL;
    if (!is_live[0] && c->left_out != NULL) {
        compile_fail(
            c, STATUS_UNSUPPORTED,
            "the schema at '%.400s': '%s' cannot be kept here: no text that can be written "
            "is sure to match",
            c->left_out_path[0] != '\0' ? c->left_out_path : "/", c->left_out);
        return NULL;
    }
    if (!is_live[0]) {
        compile_fail(c, STATUS_INVALID, "no text can match the grammar");
        return NULL;
    }
    return make_network(&l, v, is_live);
}

struct mask_entry *network_mask_allocate(grammar *g, size_t number_count)
{
    uint64_t bytes = sizeof(struct mask_entry) + number_count * sizeof(uint32_t);
    bytes = (bytes + 15) & ~15ull;
    uint64_t at = atomic_load_explicit(&g->mask_bytes, memory_order_relaxed);
    do {
        if (bytes > g->mask_bytes_max - at)
            return NULL;
    } while (!atomic_compare_exchange_weak_explicit(&g->mask_bytes, &at, at + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return (struct mask_entry *)(void *)(g->mask_memory + at);
}
