#include "grammar.h"

#include "clock.h"
#include "ebnf.h"
#include "json.h"
#include "matcher_private.h"
#include "memory.h"
#include "regex.h"
#include "schema.h"
#include "triggers.h"

/* From a source to a network: expressions, rules, automata, links. See network.h. */

/* Nesting and values of a schema; a request that carries one has its own, which come first. */
static const struct json_limits schema_limits = {.depth_max = 512, .value_count_max = 1000000};

/* A space, or a line break and what follows it. The bound is the deepest that people indent. */
static const struct expr *default_whitespace(struct compile *c)
{
    static const struct char_range blanks[] = {{'\t', '\t'}, {' ', ' '}};
    const struct expr *blank = expr_set(c, blanks, 2, false);
    if (blank == NULL)
        return NULL;
    const struct expr *line =
        expr_join(c, expr_word(c, "\n"), expr_repeat(c, blank, NULL, 0, 32), NULL, NULL);
    const struct expr *any = expr_either(c, expr_word(c, " "), line);
    return any != NULL ? expr_optional(c, any) : NULL;
}

static bool set_whitespace(struct compile *c, const struct grammar_source *source)
{
    bool is_default = source->whitespace.data == NULL;
    c->whitespace = is_default ? default_whitespace(c)
                               : regex_whole(c, source->whitespace, "the whitespace pattern");
    c->gap = is_default ? expr_repeat(c, expr_word(c, " "), NULL, 0, 1) : c->whitespace;
    return c->failed == STATUS_OK;
}

static const struct expr *any_object(struct compile *c)
{
    struct json_rules rules;
    return json_rules_add(c, &rules) ? expr_rule(c, rules.object) : NULL;
}

static const struct expr *schema_text_expr(struct compile *c, struct text_slice text)
{
    struct error_note note = {""};
    json_t *schema = NULL;
    status s = json_load_limited(text, &schema_limits, &schema, &note);
    if (s != STATUS_OK) {
        compile_fail(c, s, "the schema is no JSON: %s", note.text);
        return NULL;
    }
    const struct expr *e = schema_expr(c, schema);
    json_decref(schema);
    return e;
}

static const struct expr *choices_expr(struct compile *c, const struct grammar_source *source)
{
    struct expr_list list = {0};
    for (uint32_t i = 0; i < source->choice_count; i++) {
        if (!expr_list_add(c, &list, expr_text(c, source->choices[i])))
            return NULL;
    }
    return expr_choice(c, list.items, list.count);
}

static const struct expr *source_expr(struct compile *c, const struct grammar_source *source)
{
    switch (source->kind) {
    case GRAMMAR_JSON_OBJECT:
        return any_object(c);
    case GRAMMAR_JSON_SCHEMA:
        return schema_text_expr(c, source->text);
    case GRAMMAR_REGEX:
        return regex_whole(c, source->text, "the regex");
    case GRAMMAR_CHOICE:
        return choices_expr(c, source);
    case GRAMMAR_EBNF:
        break;
    }
    return ebnf_expr(c, source->text);
}

static grammar *compile_source(struct compile *c, const struct grammar_source *source,
                               const grammar_vocabulary *v)
{
    const struct expr *e = set_whitespace(c, source) ? source_expr(c, source) : NULL;
    if (e != NULL && source->trigger_count > 0)
        e = triggers_expr(c, source->triggers, source->trigger_count, e);
    grammar *g = e != NULL ? network_link(c, e, v) : NULL;
    if (g != NULL)
        g->with_control = source->with_control;
    return g;
}

status grammar_compile(const struct grammar_source *source, const grammar_vocabulary *v,
                       const struct grammar_limits *limits, grammar **out, struct error_note *note)
{
    struct compile c = {.limits = limits, .note = note};
    if (limits->compile_timeout_ns > 0)
        c.deadline_ns = clock_now_ns() + limits->compile_timeout_ns;
    status s = arena_create(limits->memory_bytes_max, &c.memory);
    if (s != STATUS_OK)
        return s;
    grammar *g = compile_source(&c, source, v);
    arena_destroy(c.memory);
    if (g == NULL)
        return c.failed != STATUS_OK ? c.failed : STATUS_INTERNAL;
    if (limits->learn_time_ns > 0)
        s = matcher_learn(g, clock_now_ns() + limits->learn_time_ns);
    if (s != STATUS_OK) {
        grammar_release(g);
        return s;
    }
    *out = g;
    return STATUS_OK;
}

void grammar_retain(grammar *g)
{
    /* Relaxed: the caller holds a reference already. */
    atomic_fetch_add_explicit(&g->references, 1, memory_order_relaxed);
}

void grammar_release(grammar *g)
{
    /* Release: what this thread did with it comes before the free; acquire: on the thread that frees. */
    if (g == NULL || atomic_fetch_sub_explicit(&g->references, 1, memory_order_acq_rel) != 1)
        return;
    memory_release(g->edge_first);
    memory_release(g->edges);
    memory_release(g->call_first);
    memory_release(g->calls);
    memory_release(g->flags);
    memory_release(g->runs);
    memory_release(g->rule_of);
    memory_release(g->site_first);
    memory_release(g->sites);
    memory_release(g->masks);
    memory_release(g->mask_memory);
    memory_release(g);
}

uint64_t grammar_bytes(const grammar *g)
{
    return g->bytes;
}
