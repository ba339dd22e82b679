#include "matcher_private.h"

/* A matcher's life: made, moved on by tokens, asked. See matcher_private.h. */

/* Readings that a trial may have, with those of all bytes of a token. */
#define READINGS_MAX 8192u
/* A walk pushes at most a few nodes a byte beyond the nesting. */
#define NODES_EXTRA 1024u
/* Tokens of one state that leave its rule; with more the state's mask is not kept. */
#define CHECKED_MAX 16384u

static bool space_init(struct stack_space *space, uint32_t node_max, uint32_t edge_max,
                       arena *memory)
{
    space->nodes = arena_allocate_array(memory, node_max, sizeof *space->nodes);
    space->edges = arena_allocate_array(memory, edge_max, sizeof *space->edges);
    return space->nodes != NULL && space->edges != NULL;
}

status grammar_matcher_create(grammar *g, arena *memory, grammar_matcher **out)
{
    grammar_matcher *m = arena_allocate(memory, sizeof *m);
    if (m == NULL)
        return STATUS_NO_MEMORY;
    const grammar_vocabulary *v = g->vocabulary;
    m->g = g;
    m->node_max = g->depth_max + NODES_EXTRA;
    m->edge_max = 2 * m->node_max;
    m->reading_max = READINGS_MAX;
    m->checked_max = v->token_count < CHECKED_MAX ? v->token_count : CHECKED_MAX;
    m->readings = arena_allocate_array(memory, m->reading_max, sizeof *m->readings);
    m->frames = arena_allocate_array(memory, (size_t)v->depth_max + 2, sizeof *m->frames);
    m->learnt = arena_allocate_array(memory, v->mask_words, sizeof *m->learnt);
    m->checked = arena_allocate_array(memory, m->checked_max, sizeof *m->checked);
    if (m->readings == NULL || m->frames == NULL || m->learnt == NULL || m->checked == NULL ||
        !space_init(&m->live, m->node_max, m->edge_max, memory) ||
        !space_init(&m->spare, m->node_max, m->edge_max, memory))
        return STATUS_NO_MEMORY;
    matcher_start_root(m);
    m->holding_count = m->frames[0].count;
    m->is_complete = m->frames[0].is_complete;
    *out = m;
    return STATUS_OK;
}

/* --- going on --- */

/* The number of a node in the spare space, copied there without its edges if it is new. */
static uint32_t node_move(grammar_matcher *m, uint32_t node)
{
    if (node == NODE_ROOT)
        return node;
    struct stack_node *old = &m->live.nodes[node];
    if (old->moved == 0) {
        m->spare.nodes[m->spare.node_count] =
            *old; /* `first` still names edges of the live space */
        old->moved = ++m->spare.node_count;
    }
    return old->moved - 1;
}

static void edges_move(grammar_matcher *m, struct stack_node *node)
{
    uint32_t edge = node->first;
    node->first = EDGE_NONE;
    while (edge != EDGE_NONE) {
        struct stack_edge old = m->live.edges[edge];
        uint32_t parent = node_move(m, old.parent);
        m->spare.edges[m->spare.edge_count] = (struct stack_edge){old.back, parent, node->first};
        node->first = m->spare.edge_count++;
        edge = old.next;
    }
}

/* Keeps the readings of a frame, and of the nodes those that they lead to. */
static void hold(grammar_matcher *m, const struct frame *f)
{
    m->spare.node_count = m->spare.edge_count = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        struct reading reading = m->readings[f->first + i];
        reading.node = node_move(m, reading.node);
        m->readings[i] = reading;
    }
    for (uint32_t n = 0; n < m->spare.node_count; n++)
        edges_move(m, &m->spare.nodes[n]);
    struct stack_space swap = m->live;
    m->live = m->spare;
    m->spare = swap;
    m->holding_count = f->count;
    m->is_complete = f->is_complete;
}

static status accept_piece(grammar_matcher *m, struct text_slice text)
{
    uint32_t nodes = m->live.node_count;
    uint32_t edges = m->live.edge_count;
    bool is_alive = true;
    matcher_start_holding(m);
    for (uint32_t i = 0; is_alive && i < text.bytes; i++)
        is_alive = matcher_step(m, i, (uint8_t)text.data[i]);
    if (is_alive) {
        hold(m, &m->frames[text.bytes]);
        return STATUS_OK;
    }
    m->live.node_count = nodes;
    m->live.edge_count = edges;
    return m->overflow_count > 0 ? STATUS_TOO_LARGE : STATUS_INVALID;
}

status grammar_matcher_accept(grammar_matcher *m, int32_t token)
{
    struct text_slice text = grammar_token_text(m->g->vocabulary, token, m->g->with_control);
    return text.bytes > 0 ? accept_piece(m, text) : STATUS_INVALID;
}

bool grammar_matcher_is_complete(const grammar_matcher *m)
{
    return m->is_complete;
}

bool grammar_matcher_is_finished(const grammar_matcher *m)
{
    for (uint32_t i = 0; i < m->holding_count; i++) {
        if ((m->g->flags[m->readings[i].state] & STATE_HAS_NEXT) != 0)
            return false;
    }
    return m->is_complete;
}
