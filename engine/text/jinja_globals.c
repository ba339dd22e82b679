/* Functions that templates find without being given them, and the `loop` variable. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "jinja_render.h"

/* range(stop), range(start, stop[, step]) */
static struct value run_range(struct call *c)
{
    int64_t bounds[3] = {0, 0, 1};
    bool is_bad = c->named != NULL || c->count < 1 || c->count > 3;
    for (uint32_t i = 0; i < c->count && !is_bad; i++) {
        is_bad = !value_is_integer(c->items[i]);
        bounds[c->count == 1 ? 1 : i] = is_bad ? 0 : value_integer(c->items[i]);
    }
    int64_t start = bounds[0], stop = bounds[1], step = bounds[2], span;
    if (is_bad || step == 0 || step == INT64_MIN || __builtin_sub_overflow(stop, start, &span)) {
        jinja_fail(c->state, "range() takes one to three integers");
        return value_undefined();
    }
    int64_t count =
        step > 0 ? (span > 0 ? (span - 1) / step + 1 : 0) : (span < 0 ? (span + 1) / step + 1 : 0);
    if (count > JINJA_RANGE_MAX) {
        jinja_fail(c->state, "Range too big. The sandbox blocks ranges larger than %d.",
                   JINJA_RANGE_MAX);
        return value_undefined();
    }
    char name[80], *copy;
    int bytes = step == 1 ? snprintf(name, sizeof(name), "range(%lld, %lld)", (long long)start,
                                     (long long)stop)
                          : snprintf(name, sizeof(name), "range(%lld, %lld, %lld)",
                                     (long long)start, (long long)stop, (long long)step);
    struct value v = value_list(c->state, VALUE_RANGE, (uint32_t)count);
    copy = c->state->failed == STATUS_OK ? arena_copy_text(c->state->memory, name, (size_t)bytes)
                                         : NULL;
    if (copy == NULL) {
        jinja_fail_status(c->state, STATUS_NO_MEMORY, "out of memory");
        return value_undefined();
    }
    v.list->name = copy;
    for (int64_t i = 0; i < count; i++)
        v.list->items[i] = value_int(start + i * step);
    return v;
}

static void copy_pairs(struct call *c, struct dict *into, struct value from)
{
    if (from.kind == VALUE_DICT) {
        for (uint32_t i = 0; i < from.dict->count && jinja_spend(c->state, 1); i++)
            dict_put(c->state, into, from.dict->keys[i], from.dict->values[i]);
        return;
    }
    struct value items = value_iterate(c->state, from);
    for (uint32_t i = 0; c->state->failed == STATUS_OK && i < items.list->count; i++) {
        struct value pair = items.list->items[i];
        if (!value_is_sequence(pair) || pair.list->count != 2)
            jinja_fail(c->state, "dict() takes pairs");
        else
            dict_put(c->state, into, pair.list->items[0], pair.list->items[1]);
    }
}

static struct value make_dict(struct call *c, enum value_kind kind)
{
    struct value v = value_dict(c->state, kind);
    if (c->count > 1)
        jinja_fail(c->state, "expected at most 1 argument, got %u", c->count);
    if (c->count == 1 && c->state->failed == STATUS_OK)
        copy_pairs(c, v.dict, c->items[0]);
    if (c->named != NULL && c->state->failed == STATUS_OK)
        copy_pairs(c, v.dict, (struct value){.kind = VALUE_DICT, .dict = c->named});
    return v;
}

static struct value run_dict(struct call *c)
{
    return make_dict(c, VALUE_DICT);
}

static struct value run_namespace(struct call *c)
{
    struct value v = make_dict(c, VALUE_NAMESPACE);
    for (uint32_t i = 0; c->state->failed == STATUS_OK && i < v.dict->count; i++) {
        struct value key = v.dict->keys[i];
        if (value_is_string(key) && key.text->bytes > 0 && key.text->data[0] == '_')
            jinja_fail(c->state, "a namespace cannot store names that begin with an underscore");
    }
    return v;
}

static struct value run_raise_exception(struct call *c)
{
    const struct text *text = value_text(c->state, c->arguments[0]);
    if (c->state->failed == STATUS_OK) {
        c->state->failed = STATUS_INVALID;
        error_note_set(c->state->note, "the chat template refuses the messages: %.*s",
                       (int)(text->bytes < 800 ? text->bytes : 800), text->data);
    }
    return value_undefined();
}

static struct value run_strftime_now(struct call *c)
{
    if (!value_is_string(c->arguments[0]) || c->arguments[0].text->bytes >= 200) {
        jinja_fail(c->state, "strftime_now() takes a short str");
        return value_undefined();
    }
    char format[200] = {0}, out[1024];
    memcpy(format, c->arguments[0].text->data, c->arguments[0].text->bytes);
    time_t seconds = (time_t)(render_wall_ms(c->render) / 1000);
    struct tm local;
    if (localtime_r(&seconds, &local) == NULL) {
        jinja_fail(c->state, "the clock is out of range");
        return value_undefined();
    }
    struct text_builder b;
    text_builder_init(&b, c->state);
    text_builder_add(&b, out, strftime(out, sizeof(out), format, &local),
                     text_is_trusted(c->arguments[0].text));
    return text_builder_value(&b);
}

static struct value run_cycler(struct call *c)
{
    struct value v = value_list(c->state, VALUE_CYCLER, c->count);
    if (c->count == 0)
        jinja_fail(c->state, "at least one item has to be provided");
    for (uint32_t i = 0; c->state->failed == STATUS_OK && i < c->count; i++)
        v.list->items[i] = c->items[i];
    return v;
}

/* items: what it gives, and what it gives the first time (nothing). */
static struct value run_joiner(struct call *c)
{
    struct value v = value_list(c->state, VALUE_JOINER, 2);
    if (c->state->failed != STATUS_OK)
        return value_undefined();
    v.list->items[0] = call_argument(c, 0, value_string(c->state, text_slice_of(", "), true));
    v.list->items[1] = value_string(c->state, text_slice_of(""), true);
    return v;
}

// clang-format off
static const struct function functions[] = {
    {"range", run_range, {{NULL}, 0, true}},
    {"dict", run_dict, {{NULL}, 0, true}},
    {"namespace", run_namespace, {{NULL}, 0, true}},
    {"raise_exception", run_raise_exception, {{"message"}, 1, false}},
    {"strftime_now", run_strftime_now, {{"format"}, 1, false}},
    {"cycler", run_cycler, {{NULL}, 0, true}},
    {"joiner", run_joiner, {{"sep"}, 0, false}},
};
// clang-format on

const struct function *function_find(struct text_slice name)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        if (text_slice_is(name, functions[i].name))
            return &functions[i];
    }
    return NULL;
}

/* loop.cycle(a, b, ...): the one whose turn it is. The subject is the turn. */
static struct value run_loop_cycle(struct call *c)
{
    if (c->count == 0) {
        jinja_fail(c->state, "no items for cycling given");
        return value_undefined();
    }
    return c->items[value_integer(c->subject) % c->count];
}

/* loop.changed(...): whether the arguments differ from those of the last call in this loop. */
static struct value run_loop_changed(struct call *c)
{
    struct loop *loop = c->subject.loop;
    struct value now = value_list(c->state, VALUE_TUPLE, c->count);
    for (uint32_t i = 0; c->state->failed == STATUS_OK && i < c->count; i++)
        now.list->items[i] = c->items[i];
    bool differs = !loop->has_changed || !value_equals(c->state, loop->last_changed, now);
    loop->has_changed = true;
    loop->last_changed = now;
    return value_bool(differs);
}

static struct value loop_method(struct jinja_state *s, struct value subject,
                                const struct method_entry *entry)
{
    struct method *method = jinja_allocate(s, 1, sizeof(*method));
    if (method == NULL)
        return value_undefined();
    *method = (struct method){subject, entry};
    return (struct value){.kind = VALUE_METHOD, .method = method};
}

struct value loop_attribute(struct jinja_state *s, const struct loop *loop, struct text_slice name)
{
    static const struct method_entry cycle = {"cycle", run_loop_cycle, {{NULL}, 0, true}};
    static const struct method_entry changed = {"changed", run_loop_changed, {{NULL}, 0, true}};
    uint32_t at = loop->at, count = loop->items->count;
    const struct {
        const char *name;
        struct value value;
    } rows[] = {{"index", value_int(at + 1)},
                {"index0", value_int(at)},
                {"first", value_bool(at == 0)},
                {"last", value_bool(at + 1 == count)},
                {"length", value_int(count)},
                {"revindex", value_int(count - at)},
                {"revindex0", value_int(count - at - 1)},
                {"depth", value_int(loop->depth)},
                {"depth0", value_int(loop->depth - 1)},
                {"previtem", at > 0 ? loop->items->items[at - 1] : value_undefined()},
                {"nextitem", at + 1 < count ? loop->items->items[at + 1] : value_undefined()}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (text_slice_is(name, rows[i].name))
            return rows[i].value;
    }
    if (text_slice_is(name, "cycle"))
        return loop_method(s, value_int(at), &cycle);
    if (text_slice_is(name, "changed"))
        return loop_method(s, (struct value){.kind = VALUE_LOOP, .loop = (struct loop *)loop},
                           &changed);
    return value_missing(s, name);
}
