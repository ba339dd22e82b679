#include "triggers.h"

#include "automaton.h"

/* The automaton of Aho and Corasick (1975): a state is the longest start of a trigger that the text ends in. Where one
 * is whole no byte leads on, only the call of what must follow; that comes back to the state of an empty text.
 *
 * Bytes, not characters: free text may be broken UTF-8, as any output may. */

#define STATES_MAX 4096u /* bytes of all triggers together */

struct machine {
    struct compile *c;
    uint32_t (*next)[256]; /* [capacity] */
    uint32_t *fail;        /* the state of the longest proper end */
    bool *is_whole;
    uint32_t count;
};

static bool add_trigger(struct machine *m, struct text_slice text)
{
    uint32_t state = 0;
    if (text.bytes == 0)
        return compile_fail(m->c, STATUS_INVALID, "a trigger is empty");
    for (size_t i = 0; i < text.bytes; i++) {
        uint32_t *next = &m->next[state][(uint8_t)text.data[i]];
        if (*next == 0)
            *next = m->count++;
        state = *next;
    }
    m->is_whole[state] = true;
    return true;
}

/* By depth: the fail state of a parent is done before its children. */
static bool complete(struct machine *m)
{
    uint32_t *queue = compile_allocate(m->c, m->count, sizeof *queue);
    uint32_t queued = 0;
    if (queue == NULL)
        return false;
    for (unsigned byte = 0; byte < 256; byte++) {
        if (m->next[0][byte] != 0)
            queue[queued++] = m->next[0][byte];
    }
    for (uint32_t at = 0; at < queued; at++) {
        uint32_t state = queue[at];
        m->is_whole[state] |= m->is_whole[m->fail[state]];
        for (unsigned byte = 0; byte < 256; byte++) {
            uint32_t child = m->next[state][byte];
            uint32_t other = m->next[m->fail[state]][byte];
            if (child == 0) {
                m->next[state][byte] = other;
                continue;
            }
            m->fail[child] = other;
            queue[queued++] = child;
        }
    }
    return true;
}

static bool emit_state(struct automaton_builder *b, const struct machine *m, uint32_t state,
                       uint32_t rule)
{
    if (!builder_start_state(b, !m->is_whole[state]))
        return false;
    if (m->is_whole[state])
        return builder_add_call(b, rule, 0);
    for (unsigned low = 0; low < 256;) {
        unsigned high = low;
        while (high < 255 && m->next[state][high + 1] == m->next[state][low])
            high++;
        if (!builder_add_edge(b, (uint8_t)low, (uint8_t)high, m->next[state][low]))
            return false;
        low = high + 1;
    }
    return true;
}

const struct expr *triggers_expr(struct compile *c, const struct text_slice *triggers,
                                 uint32_t count, const struct expr *inside)
{
    size_t states = 1;
    for (uint32_t i = 0; i < count; i++)
        states += triggers[i].bytes < STATES_MAX ? triggers[i].bytes : STATES_MAX;
    if (states > STATES_MAX) {
        compile_fail(c, STATUS_TOO_LARGE, "the triggers have more than %u bytes", STATES_MAX);
        return NULL;
    }
    struct machine m = {.c = c, .count = 1};
    m.next = compile_allocate(c, states, sizeof *m.next);
    m.fail = compile_allocate(c, states, sizeof *m.fail);
    m.is_whole = compile_allocate(c, states, sizeof *m.is_whole);
    uint32_t rule = compile_add_rule(c, (struct text_slice){NULL, 0});
    for (uint32_t i = 0; i < count && c->failed == STATUS_OK; i++)
        (void)add_trigger(&m, triggers[i]);
    if (c->failed != STATUS_OK || !complete(&m))
        return NULL;
    c->rules[rule].body = inside;
    struct automaton_builder b = {.c = c};
    for (uint32_t state = 0; state < m.count; state++) {
        if (!emit_state(&b, &m, state, rule))
            return NULL;
    }
    return expr_automaton(c, builder_finish(&b));
}
