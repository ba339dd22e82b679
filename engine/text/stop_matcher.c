/* Aho-Corasick over the stop strings of one request.
 *
 * The invariant that makes the rest simple: after each byte, `node` is the longest suffix of the
 * text that is a prefix of some stop string, and its depth is exactly the number of bytes that must
 * be held back. No copy of held bytes is needed: they are the path from the root to the node, and
 * the caller still has them.
 *
 * A stop string ends at a node or at one of the nodes on its chain of failure links. Since the node
 * is the longest such suffix, the first terminal node on the chain is the longest stop string that
 * ends here; `terminal` of each node is filled with it at compile time, so a step looks at one
 * field.
 *
 * Children are sibling lists: fan-out is at most the number of stop strings, and the root, where
 * nearly all text bytes end, has a table of 256. A row of 256 per node would cost 1 KiB per byte of
 * stop string for no measurable gain.
 *
 * One allocation: header, nodes, string table, string bytes. */
#include "stop_matcher.h"

#include <string.h>

#include "check.h"
#include "memory.h"

#define NODE_NONE 0u /* the root is nobody's child */

struct node {
    uint32_t first_child, next_sibling; /* NODE_NONE ends the list */
    uint32_t failure;                   /* longest proper suffix that is a node */
    uint32_t depth;                     /* bytes from the root */
    int32_t terminal;                   /* longest stop string that ends here; -1: none */
    uint8_t byte;                       /* the edge into this node */
};

struct stop_matcher {
    uint32_t stop_count, node_count;
    bool include_stop;
    uint32_t root_child[256];
    struct node *nodes;       /* owned (same allocation); [0] is the root */
    struct text_slice *stops; /* owned (same allocation) */
};

static uint32_t child_of(const stop_matcher *m, uint32_t node, uint8_t byte)
{
    if (node == 0)
        return m->root_child[byte];
    uint32_t child = m->nodes[node].first_child;
    while (child != NODE_NONE && m->nodes[child].byte != byte)
        child = m->nodes[child].next_sibling;
    return child;
}

static void insert_stop(stop_matcher *m, uint32_t index)
{
    struct text_slice stop = m->stops[index];
    uint32_t at = 0;
    for (size_t i = 0; i < stop.bytes; i++) {
        uint8_t byte = (uint8_t)stop.data[i];
        uint32_t child = child_of(m, at, byte);
        if (child == NODE_NONE) {
            child = m->node_count++;
            m->nodes[child] = (struct node){.next_sibling = m->nodes[at].first_child,
                                            .depth = m->nodes[at].depth + 1,
                                            .terminal = -1,
                                            .byte = byte};
            m->nodes[at].first_child = child;
            if (at == 0)
                m->root_child[byte] = child;
        }
        at = child;
    }
    if (m->nodes[at].terminal < 0)
        m->nodes[at].terminal = (int32_t)index;
}

static uint32_t step(const stop_matcher *m, uint32_t node, uint8_t byte)
{
    for (;;) {
        uint32_t child = child_of(m, node, byte);
        if (child != NODE_NONE || node == 0)
            return child;
        node = m->nodes[node].failure;
    }
}

/* Breadth first, so that shorter suffixes are finished before they are asked for. `queue`:
 * [node_count]. */
static void link_failures(stop_matcher *m, uint32_t *queue)
{
    uint32_t head = 0, tail = 0;
    queue[tail++] = 0;
    while (head < tail) {
        uint32_t parent = queue[head++];
        uint32_t child = m->nodes[parent].first_child;
        for (; child != NODE_NONE; child = m->nodes[child].next_sibling) {
            struct node *node = &m->nodes[child];
            node->failure = parent == 0 ? 0 : step(m, m->nodes[parent].failure, node->byte);
            if (node->terminal < 0)
                node->terminal = m->nodes[node->failure].terminal;
            queue[tail++] = child;
        }
    }
}

static status check_stops(const struct text_slice *stops, uint32_t stop_count, size_t *total)
{
    *total = 0;
    if (stop_count == 0 || stop_count > UINT16_MAX)
        return STATUS_INVALID;
    for (uint32_t i = 0; i < stop_count; i++) {
        if (stops[i].bytes == 0)
            return STATUS_INVALID;
        if (stops[i].bytes > UINT32_MAX / 2 - *total)
            return STATUS_TOO_LARGE;
        *total += stops[i].bytes;
    }
    return STATUS_OK;
}

status stop_matcher_create(const struct text_slice *stops, uint32_t stop_count, bool include_stop,
                           stop_matcher **out)
{
    size_t total = 0;
    status result = check_stops(stops, stop_count, &total);
    if (result != STATUS_OK)
        return result;
    size_t bytes = sizeof(stop_matcher) + stop_count * sizeof(struct text_slice) +
                   (total + 1) * sizeof(struct node) + total;
    stop_matcher *m = memory_allocate_array(1, bytes);
    uint32_t *queue = memory_allocate_array(total + 1, sizeof(*queue));
    if (m == NULL || queue == NULL) {
        memory_release(m);
        memory_release(queue);
        return STATUS_NO_MEMORY;
    }
    m->stop_count = stop_count;
    m->include_stop = include_stop;
    m->stops = (struct text_slice *)(m + 1);
    m->nodes = (struct node *)(m->stops + stop_count);
    m->nodes[0].terminal = -1;
    m->node_count = 1;
    char *copy = (char *)(m->nodes + total + 1);
    for (uint32_t i = 0; i < stop_count; i++) {
        memcpy(copy, stops[i].data, stops[i].bytes);
        m->stops[i] = (struct text_slice){copy, stops[i].bytes};
        copy += stops[i].bytes;
        insert_stop(m, i);
    }
    link_failures(m, queue);
    memory_release(queue);
    *out = m;
    return STATUS_OK;
}

void stop_matcher_destroy(stop_matcher *matcher)
{
    memory_release(matcher);
}

struct stop_match stop_matcher_feed(const stop_matcher *matcher, struct stop_state *state,
                                    struct text_slice piece)
{
    DCHECK(state->node < matcher->node_count);
    size_t held_before = state->held_bytes;
    uint32_t node = state->node;
    for (size_t i = 0; i < piece.bytes; i++) {
        node = step(matcher, node, (uint8_t)piece.data[i]);
        int32_t stop = matcher->nodes[node].terminal;
        if (stop < 0)
            continue;
        size_t end = held_before + i + 1;
        size_t cut = matcher->include_stop ? 0 : matcher->stops[stop].bytes;
        *state = (struct stop_state){0};
        return (struct stop_match){.send_bytes = end - cut, .stop = stop};
    }
    state->node = node;
    state->held_bytes = matcher->nodes[node].depth;
    return (struct stop_match){.send_bytes = held_before + piece.bytes - state->held_bytes,
                               .stop = -1};
}

struct text_slice stop_matcher_text(const stop_matcher *matcher, int32_t stop)
{
    CHECK(stop >= 0 && (uint32_t)stop < matcher->stop_count);
    return matcher->stops[stop];
}
