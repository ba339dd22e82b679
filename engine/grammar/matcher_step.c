#include "matcher_private.h"

/* One byte further: the readings after it, and those that follow from them without a byte, by calls and by coming back. */

/* A call at the end of a rule at the end of a rule ..: so far edges are taken over at once. */
#define TAIL_DEPTH_MAX 8u

static bool is_leaf(const grammar *g, uint32_t state)
{
    return (g->flags[state] & (STATE_FINAL | STATE_HAS_NEXT)) == STATE_FINAL;
}

static void reading_add(grammar_matcher *m, struct frame *f, struct reading reading)
{
    struct reading *set = m->readings + f->first;
    for (uint32_t i = 0; i < f->count; i++) {
        if (set[i].state == reading.state && set[i].node == reading.node &&
            ((set[i].flags ^ reading.flags) & READING_LEFT) == 0)
            return;
    }
    if (f->first + f->count == m->reading_max) {
        m->overflow_count++;
        return;
    }
    f->is_inside |= (reading.flags & READING_LEFT) == 0;
    set[f->count++] = reading;
}

static void edge_add(grammar_matcher *m, uint32_t node, uint32_t back, uint32_t parent)
{
    struct stack_space *space = &m->live;
    struct stack_node *n = &space->nodes[node];
    for (uint32_t e = n->first; e != EDGE_NONE; e = space->edges[e].next) {
        if (space->edges[e].back == back && space->edges[e].parent == parent)
            return;
    }
    if (space->edge_count == m->edge_max) {
        m->overflow_count++;
        return;
    }
    space->edges[space->edge_count] = (struct stack_edge){back, parent, n->first};
    n->first = space->edge_count++;
}

/* An edge to `parent`, or where nothing is left to do there those that the parent has. Nodes from `fresh` on may still get
 * edges: they are not looked into. */
static void edge_add_short(grammar_matcher *m, uint32_t node, uint32_t back, uint32_t parent,
                           uint32_t fresh, uint32_t depth)
{
    if (!is_leaf(m->g, back) || parent >= fresh || depth == TAIL_DEPTH_MAX) {
        edge_add(m, node, back, parent);
        return;
    }
    for (uint32_t e = m->live.nodes[parent].first; e != EDGE_NONE; e = m->live.edges[e].next) {
        struct stack_edge edge = m->live.edges[e];
        edge_add_short(m, node, edge.back, edge.parent, fresh, depth + 1);
    }
}

/* The node of a rule called at this place; EDGE_NONE: there is no room. */
static uint32_t node_of(grammar_matcher *m, struct frame *f, uint32_t start, uint32_t flags,
                        uint32_t fresh)
{
    struct stack_space *space = &m->live;
    for (uint32_t n = fresh; n < space->node_count; n++) {
        if (space->nodes[n].start == start && space->nodes[n].flags == flags)
            return n;
    }
    if (space->node_count == m->node_max) {
        m->overflow_count++;
        return EDGE_NONE;
    }
    uint32_t node = space->node_count++;
    space->nodes[node] = (struct stack_node){.start = start, .first = EDGE_NONE, .flags = flags};
    reading_add(m, f, (struct reading){start, node, READING_CALLED | flags});
    return node;
}

static void come_back(grammar_matcher *m, struct frame *f, struct reading from)
{
    const grammar *g = m->g;
    if (from.node == NODE_ROOT) {
        f->is_complete = true;
        return;
    }
    if (from.node == NODE_UNKNOWN) {
        uint32_t rule = g->rule_of[from.state];
        for (uint32_t i = g->site_first[rule]; i < g->site_first[rule + 1]; i++)
            reading_add(m, f, (struct reading){g->sites[i], NODE_UNKNOWN, READING_LEFT});
        return;
    }
    for (uint32_t e = m->live.nodes[from.node].first; e != EDGE_NONE; e = m->live.edges[e].next) {
        struct stack_edge edge = m->live.edges[e];
        reading_add(m, f, (struct reading){edge.back, edge.parent, from.flags & READING_LEFT});
    }
}

/* Adds what follows from the frame's readings without a byte. */
static void close_frame(grammar_matcher *m, struct frame *f, bool comes_back)
{
    const grammar *g = m->g;
    uint32_t fresh = m->live.node_count;
    for (uint32_t i = 0; i < f->count; i++) {
        struct reading reading = m->readings[f->first + i];
        if (comes_back && (g->flags[reading.state] & STATE_FINAL) != 0)
            come_back(m, f, reading);
        for (uint32_t j = g->call_first[reading.state]; j < g->call_first[reading.state + 1]; j++) {
            struct network_call call = g->calls[j];
            uint32_t node = node_of(m, f, call.start, reading.flags & READING_LEFT, fresh);
            if (node != EDGE_NONE)
                edge_add_short(m, node, call.back, reading.node, fresh, 0);
        }
    }
    f->node_count = m->live.node_count;
    f->edge_count = m->live.edge_count;
}

void matcher_start_holding(grammar_matcher *m)
{
    m->overflow_count = 0;
    m->frames[0] = (struct frame){.first = 0,
                                  .count = m->holding_count,
                                  .node_count = m->live.node_count,
                                  .edge_count = m->live.edge_count,
                                  .is_complete = m->is_complete,
                                  .is_inside = true};
}

void matcher_start_root(grammar_matcher *m)
{
    m->frames[0] = (struct frame){.first = 0};
    reading_add(m, &m->frames[0], (struct reading){m->g->root, NODE_ROOT, 0});
    close_frame(m, &m->frames[0], true);
}

void matcher_start_reading(grammar_matcher *m, struct reading reading)
{
    m->overflow_count = 0;
    m->frames[0] = (struct frame){.first = m->holding_count};
    reading_add(m, &m->frames[0], reading);
    close_frame(m, &m->frames[0], false);
}

/* The common case, one reading of a rule without calls: its target at once. False: it is not that case. */
static bool step_clear(grammar_matcher *m, const struct frame *from, struct frame *to, uint8_t byte)
{
    const grammar *g = m->g;
    struct reading *reading = &m->readings[from->first];
    uint32_t first = from->first + 1;
    bool is_clear = (g->flags[reading->state] & (STATE_CLEAR | STATE_CALLS)) == STATE_CLEAR;
    if (from->count != 1 || !is_clear || first == m->reading_max)
        return false;
    const struct edge *edge = &g->edges[g->edge_first[reading->state]];
    const struct edge *end = &g->edges[g->edge_first[reading->state + 1]];
    while (edge < end && edge->high < byte)
        edge++;
    *to = (struct frame){.first = first,
                         .node_count = from->node_count,
                         .edge_count = from->edge_count,
                         .is_inside = from->is_inside};
    if (edge == end || edge->low > byte)
        return true;
    if ((g->flags[edge->target] & (STATE_FINAL | STATE_CALLS)) != 0)
        return false;
    reading[1] = (struct reading){edge->target, reading->node, reading->flags & READING_LEFT};
    to->count = 1;
    return true;
}

bool matcher_step(grammar_matcher *m, uint32_t depth, uint8_t byte)
{
    const grammar *g = m->g;
    const struct frame *from = &m->frames[depth];
    struct frame *to = &m->frames[depth + 1];
    if (step_clear(m, from, to, byte))
        return to->count > 0;
    m->live.node_count = from->node_count;
    m->live.edge_count = from->edge_count;
    *to = (struct frame){.first = from->first + from->count};
    uint32_t overflows = m->overflow_count;
    for (uint32_t i = 0; i < from->count; i++) {
        struct reading reading = m->readings[from->first + i];
        uint32_t end = g->edge_first[reading.state + 1];
        for (uint32_t e = g->edge_first[reading.state]; e < end && g->edges[e].low <= byte; e++) {
            if (g->edges[e].high < byte)
                continue;
            uint32_t left = reading.flags & READING_LEFT;
            reading_add(m, to, (struct reading){g->edges[e].target, reading.node, left});
        }
    }
    close_frame(m, to, true);
    /* Without some of its edges a reading might never come back: where there is no room, nobody goes. */
    if (m->overflow_count != overflows)
        to->count = 0;
    return to->count > 0;
}
