#include <math.h>
#include <string.h>

#include "jinja_render.h"

/* Arithmetic. */

static struct value bad_operands(struct jinja_state *s, const char *sign, struct value a,
                                 struct value b)
{
    jinja_fail(s, "unsupported operand types for %s: '%s' and '%s'", sign, value_type_name(a),
               value_type_name(b));
    return value_undefined();
}

static struct value too_large(struct jinja_state *s)
{
    jinja_fail_status(s, STATUS_TOO_LARGE, "an integer is too large");
    return value_undefined();
}

static struct value join_lists(struct jinja_state *s, struct value a, struct value b)
{
    if (a.list->count > JINJA_ITEMS_MAX - b.list->count) {
        jinja_fail_status(s, STATUS_TOO_LARGE, "a list is too long");
        return value_undefined();
    }
    struct value v = value_list(s, a.kind, a.list->count + b.list->count);
    if (s->failed != STATUS_OK)
        return value_undefined();
    if (a.list->count > 0)
        memcpy(v.list->items, a.list->items, a.list->count * sizeof(struct value));
    if (b.list->count > 0)
        memcpy(v.list->items + a.list->count, b.list->items, b.list->count * sizeof(struct value));
    return v;
}

/* `safe` text escapes what plain text is added to it, as markupsafe's Markup does. */
static struct value add_texts(struct jinja_state *s, const struct text *a, const struct text *b)
{
    if (!a->is_markup && !b->is_markup)
        return text_concat(s, a, b);
    struct call escape = {.state = s};
    struct value sides[2] = {{.kind = VALUE_STRING, .text = a}, {.kind = VALUE_STRING, .text = b}};
    for (int i = 0; i < 2; i++) {
        escape.subject = sides[i];
        if (!sides[i].text->is_markup)
            sides[i] = filter_find(text_slice_of("escape"))->run(&escape);
    }
    if (s->failed != STATUS_OK)
        return value_undefined();
    struct value joined = text_concat(s, sides[0].text, sides[1].text);
    if (joined.kind == VALUE_STRING)
        ((struct text *)joined.text)->is_markup = true;
    return joined;
}

struct value value_add(struct jinja_state *s, struct value a, struct value b)
{
    if (value_is_integer(a) && value_is_integer(b)) {
        int64_t sum;
        if (__builtin_add_overflow(value_integer(a), value_integer(b), &sum))
            return too_large(s);
        return value_int(sum);
    }
    if (value_is_number(a) && value_is_number(b))
        return value_float(value_real(a) + value_real(b));
    if (value_is_string(a) && value_is_string(b))
        return add_texts(s, a.text, b.text);
    if (a.kind == b.kind && (a.kind == VALUE_LIST || a.kind == VALUE_TUPLE))
        return join_lists(s, a, b);
    return bad_operands(s, "+", a, b);
}

static struct value repeat(struct jinja_state *s, struct value v, int64_t times)
{
    struct text_builder text;
    text_builder_init(&text, s);
    struct list_builder list = {.state = s};
    size_t size = value_is_string(v) ? v.text->bytes : v.list->count;
    for (int64_t i = 0; size > 0 && i < times && jinja_spend(s, 1 + size / 16); i++) {
        if (value_is_string(v))
            text_builder_add_text(&text, v.text);
        for (uint32_t k = 0; !value_is_string(v) && k < v.list->count; k++)
            list_builder_add(&list, v.list->items[k]);
    }
    return value_is_string(v) ? text_builder_value(&text) : list_builder_value(&list, v.kind);
}

static bool is_repeatable(struct value v)
{
    return v.kind == VALUE_STRING || v.kind == VALUE_LIST || v.kind == VALUE_TUPLE;
}

static struct value multiply(struct jinja_state *s, struct value a, struct value b)
{
    if (is_repeatable(a) && value_is_integer(b))
        return repeat(s, a, value_integer(b));
    if (is_repeatable(b) && value_is_integer(a))
        return repeat(s, b, value_integer(a));
    if (value_is_integer(a) && value_is_integer(b)) {
        int64_t product;
        if (__builtin_mul_overflow(value_integer(a), value_integer(b), &product))
            return too_large(s);
        return value_int(product);
    }
    if (value_is_number(a) && value_is_number(b))
        return value_float(value_real(a) * value_real(b));
    return bad_operands(s, "*", a, b);
}

/* Python's // and %: the quotient is rounded down, the remainder has the divisor's sign. */
static struct value divide_integers(struct jinja_state *s, int64_t a, int64_t b, bool remainder)
{
    if (b == -1)
        return remainder ? value_int(0) : a == INT64_MIN ? too_large(s) : value_int(-a);
    int64_t rest = a % b;
    bool is_off = rest != 0 && (rest < 0) != (b < 0);
    if (remainder)
        return value_int(is_off ? rest + b : rest);
    return value_int(a / b - is_off);
}

static struct value divide(struct jinja_state *s, enum operation operation, struct value a,
                           struct value b)
{
    if (!value_is_number(a) || !value_is_number(b))
        return bad_operands(s, "/", a, b);
    if (value_real(b) == 0) {
        jinja_fail(s, "division by zero");
        return value_undefined();
    }
    if (operation == OPERATION_DIVIDE)
        return value_float(value_real(a) / value_real(b));
    bool remainder = operation == OPERATION_MODULO;
    if (value_is_integer(a) && value_is_integer(b))
        return divide_integers(s, value_integer(a), value_integer(b), remainder);
    double rest = fmod(value_real(a), value_real(b));
    if (rest != 0 && (rest < 0) != (value_real(b) < 0))
        rest += value_real(b);
    if (remainder)
        return value_float(rest == 0 ? copysign(0, value_real(b)) : rest);
    double quotient = (value_real(a) - rest) / value_real(b);
    double whole = floor(quotient);
    return value_float(quotient - whole > 0.5 ? whole + 1 : whole);
}

static struct value power(struct jinja_state *s, struct value a, struct value b)
{
    if (!value_is_number(a) || !value_is_number(b))
        return bad_operands(s, "**", a, b);
    if (!value_is_integer(a) || !value_is_integer(b) || value_integer(b) < 0) {
        double result = pow(value_real(a), value_real(b));
        if (value_real(a) == 0 && value_real(b) < 0)
            jinja_fail(s, "zero cannot be raised to a negative power");
        else if (isnan(result) || isinf(result))
            jinja_fail(s, "the result of ** is out of range");
        return value_float(result);
    }
    int64_t result = 1, base = value_integer(a);
    if (base == 0 || base == 1)
        return value_int(value_integer(b) == 0 ? 1 : base);
    if (base == -1)
        return value_int(value_integer(b) % 2 == 0 ? 1 : -1);
    for (int64_t i = 0; i < value_integer(b); i++) {
        if (__builtin_mul_overflow(result, base, &result))
            return too_large(s);
    }
    return value_int(result);
}

static struct value subtract(struct jinja_state *s, struct value a, struct value b)
{
    if (value_is_integer(a) && value_is_integer(b)) {
        int64_t difference;
        if (__builtin_sub_overflow(value_integer(a), value_integer(b), &difference))
            return too_large(s);
        return value_int(difference);
    }
    if (value_is_number(a) && value_is_number(b))
        return value_float(value_real(a) - value_real(b));
    return bad_operands(s, "-", a, b);
}

static struct value modulo_text(struct render *r, const struct text *format, struct value b)
{
    struct call call = {.state = &r->state, .render = r};
    if (b.kind == VALUE_TUPLE)
        return text_format_percent(&call, format, b.list->items, b.list->count, true);
    return text_format_percent(&call, format, &b, 1, false);
}

static struct value evaluate_binary(struct render *r, const struct node *node)
{
    struct jinja_state *s = &r->state;
    struct value a = evaluate(r, node->a), b = evaluate(r, node->b);
    if (s->failed != STATUS_OK)
        return value_undefined();
    switch ((enum operation)node->operation) {
    case OPERATION_ADD:
        return value_add(s, a, b);
    case OPERATION_SUBTRACT:
        return subtract(s, a, b);
    case OPERATION_MULTIPLY:
        return multiply(s, a, b);
    case OPERATION_POWER:
        return power(s, a, b);
    case OPERATION_MODULO:
        if (value_is_string(a))
            return modulo_text(r, a.text, b);
        return divide(s, OPERATION_MODULO, a, b);
    default:
        return divide(s, (enum operation)node->operation, a, b);
    }
}

/* Attributes and items. */

static struct value find_method(struct jinja_state *s, struct value of, struct text_slice name)
{
    bool is_refused = false;
    const struct method_entry *entry = method_find(of, name, &is_refused);
    if (entry == NULL)
        return value_missing(s, name);
    struct method *method = jinja_allocate(s, 1, sizeof(*method));
    if (method == NULL)
        return value_undefined();
    *method = (struct method){of, entry};
    return (struct value){.kind = VALUE_METHOD, .method = method};
}

static const struct value *find_key(struct jinja_state *s, const struct dict *d,
                                    struct text_slice name)
{
    struct text text = {.data = name.data, .bytes = name.bytes};
    return dict_find(s, d, (struct value){.kind = VALUE_STRING, .text = &text});
}

static struct value refuse_undefined(struct jinja_state *s, struct value of)
{
    struct text_slice name = of.text != NULL ? text_slice_from(of.text) : text_slice_of("value");
    jinja_fail(s, "'%.*s' is undefined", (int)(name.bytes < 80 ? name.bytes : 80), name.data);
    return value_undefined();
}

/* a.name: methods first, then keys, as in jinja2's sandbox. */
struct value value_attribute(struct jinja_state *s, struct value of, struct text_slice name)
{
    if (of.kind == VALUE_UNDEFINED)
        return refuse_undefined(s, of);
    if (of.kind == VALUE_LOOP)
        return loop_attribute(s, of.loop, name);
    if (of.kind == VALUE_TUPLE && of.list->count == 2 && of.list->name[0] == 'g') {
        if (text_slice_is(name, "grouper"))
            return of.list->items[0];
        if (text_slice_is(name, "list"))
            return of.list->items[1];
    }
    if (of.kind != VALUE_NAMESPACE) {
        bool is_refused = false;
        if (method_find(of, name, &is_refused) != NULL || is_refused)
            return find_method(s, of, name);
    }
    if (of.kind == VALUE_DICT || of.kind == VALUE_NAMESPACE) {
        const struct value *found = find_key(s, of.dict, name);
        if (found != NULL)
            return *found;
    }
    return value_missing(s, name);
}

/* Position of index `i` in `count` elements; false when outside. */
static bool normalize_index(int64_t i, size_t count, size_t *out)
{
    if (i < 0)
        i += (int64_t)count;
    *out = (size_t)i;
    return i >= 0 && (uint64_t)i < count;
}

/* a[key]: keys first, then methods. */
struct value value_item(struct jinja_state *s, struct value of, struct value key)
{
    size_t at = 0;
    if (of.kind == VALUE_UNDEFINED)
        return refuse_undefined(s, of);
    if (of.kind == VALUE_DICT || of.kind == VALUE_NAMESPACE) {
        const struct value *found =
            key.kind == VALUE_LIST || key.kind == VALUE_DICT ? NULL : dict_find(s, of.dict, key);
        if (found != NULL)
            return *found;
    } else if (value_is_integer(key) && value_is_string(of)) {
        jinja_spend(s, of.text->bytes / 64);
        if (!normalize_index(value_integer(key), text_length(of.text), &at))
            return value_undefined();
        size_t start = text_offset(of.text, at);
        uint32_t character;
        return text_part(s, of.text, start, start + text_character(of.text, start, &character));
    } else if (value_is_integer(key) &&
               (of.kind == VALUE_LIST || of.kind == VALUE_TUPLE || of.kind == VALUE_RANGE)) {
        return normalize_index(value_integer(key), of.list->count, &at) ? of.list->items[at]
                                                                        : value_undefined();
    }
    if (!value_is_string(key))
        return value_undefined();
    if (of.kind == VALUE_LOOP || of.kind == VALUE_TUPLE)
        return value_attribute(s, of, text_slice_from(key.text));
    bool is_refused = false;
    if (of.kind != VALUE_NAMESPACE &&
        method_find(of, text_slice_from(key.text), &is_refused) != NULL)
        return find_method(s, of, text_slice_from(key.text));
    return value_missing(s, text_slice_from(key.text));
}

/* "a.b.0" from filters' attribute=. A missing part gives `otherwise`, if that is given. */
struct value value_path(struct jinja_state *s, struct value of, struct value path,
                        struct value otherwise)
{
    if (!value_is_string(path)) {
        of = value_item(s, of, path);
        return of.kind == VALUE_UNDEFINED ? otherwise.kind != VALUE_UNDEFINED ? otherwise : of : of;
    }
    struct text_slice rest = text_slice_from(path.text);
    for (;;) {
        size_t dot = text_find(rest, (struct text_slice){".", 1}, 0);
        struct text_slice part = {rest.data, dot == SIZE_MAX ? rest.bytes : dot};
        int64_t number = 0;
        bool is_number = part.bytes > 0 && part.bytes < 10;
        for (size_t i = 0; i < part.bytes && is_number; i++) {
            is_number = part.data[i] >= '0' && part.data[i] <= '9';
            number = number * 10 + (part.data[i] - '0');
        }
        of = value_item(s, of, is_number ? value_int(number) : value_string(s, part, true));
        if (of.kind == VALUE_UNDEFINED && otherwise.kind != VALUE_UNDEFINED)
            of = otherwise;
        if (dot == SIZE_MAX || s->failed != STATUS_OK)
            return of;
        rest = (struct text_slice){rest.data + dot + 1, rest.bytes - dot - 1};
    }
}

static bool is_bound(struct value v)
{
    return v.kind == VALUE_NONE || value_is_integer(v);
}

/* One bound of a slice in [low, high]. */
static int64_t slice_bound(struct value v, int64_t otherwise, int64_t count, int64_t low,
                           int64_t high)
{
    if (v.kind == VALUE_NONE)
        return otherwise;
    int64_t at = value_integer(v);
    if (at < 0)
        at = at < -count ? low : at + count;
    return at < low ? low : at > high ? high : at;
}

struct value value_slice(struct jinja_state *s, struct value of, struct value start,
                         struct value stop, struct value step)
{
    if (of.kind == VALUE_UNDEFINED)
        return refuse_undefined(s, of);
    bool is_sliceable = of.kind == VALUE_STRING || of.kind == VALUE_LIST ||
                        of.kind == VALUE_TUPLE || of.kind == VALUE_RANGE;
    if (!is_sliceable || !is_bound(start) || !is_bound(stop) || !is_bound(step)) {
        jinja_fail(s, "'%s' cannot be sliced so", value_type_name(of));
        return value_undefined();
    }
    int64_t count = (int64_t)value_length(s, of), by = 1;
    if (step.kind != VALUE_NONE) {
        by = value_integer(step);
        if (by == 0 || by == INT64_MIN)
            jinja_fail(s, "slice step must be an integer other than zero");
    }
    int64_t low = by < 0 ? -1 : 0, high = by < 0 ? count - 1 : count;
    int64_t from = slice_bound(start, by < 0 ? high : low, count, low, high);
    int64_t to = slice_bound(stop, by < 0 ? low : high, count, low, high);
    if (s->failed != STATUS_OK)
        return value_undefined();
    if (value_is_string(of) && by == 1) {
        size_t first = text_offset(of.text, (size_t)from);
        size_t last = to > from ? text_offset(of.text, (size_t)to) : first;
        return text_part(s, of.text, first, last);
    }
    struct value items = value_iterate(s, of);
    struct list_builder list = {.state = s};
    for (int64_t i = from; s->failed == STATUS_OK && (by > 0 ? i < to : i > to);) {
        list_builder_add(&list, items.list->items[i]);
        if (by > 0 ? by > to - i : by < to - i)
            break;
        i += by;
    }
    struct value made = list_builder_value(
        &list, value_is_string(of) || of.kind == VALUE_RANGE ? VALUE_LIST : of.kind);
    static const struct text nothing = {.data = "", .trusted = true};
    return value_is_string(of) && s->failed == STATUS_OK ? text_join(s, &nothing, made.list) : made;
}

/* Comparisons, logic, literals. */

static bool compare_once(struct jinja_state *s, enum operation operation, struct value a,
                         struct value b)
{
    switch (operation) {
    case OPERATION_EQUAL:
        return value_equals(s, a, b);
    case OPERATION_NOT_EQUAL:
        return !value_equals(s, a, b);
    case OPERATION_LESS:
        return value_compare(s, a, b) < 0;
    case OPERATION_LESS_EQUAL:
        return value_compare(s, a, b) <= 0;
    case OPERATION_GREATER:
        return value_compare(s, a, b) > 0;
    case OPERATION_GREATER_EQUAL:
        return value_compare(s, a, b) >= 0;
    case OPERATION_IN:
        return value_contains(s, b, a);
    default:
        return !value_contains(s, b, a);
    }
}

static struct value evaluate_compare(struct render *r, const struct node *node)
{
    struct value left = evaluate(r, node->a);
    for (const struct node *operand = node->items; operand != NULL; operand = operand->next) {
        struct value right = evaluate(r, operand->a);
        if (r->state.failed != STATUS_OK ||
            !compare_once(&r->state, (enum operation)operand->operation, left, right))
            return value_bool(false);
        left = right;
    }
    return value_bool(true);
}

static struct value evaluate_items(struct render *r, const struct node *node, enum value_kind kind)
{
    struct value v = value_list(&r->state, kind, node->item_count);
    uint32_t i = 0;
    for (const struct node *item = node->items; item != NULL && r->state.failed == STATUS_OK;
         item = item->next)
        v.list->items[i++] = evaluate(r, item);
    return v;
}

static struct value evaluate_dict(struct render *r, const struct node *node)
{
    struct value v = value_dict(&r->state, VALUE_DICT);
    for (const struct node *pair = node->items; pair != NULL && r->state.failed == STATUS_OK;
         pair = pair->next) {
        struct value key = evaluate(r, pair->a);
        if (key.kind == VALUE_LIST || key.kind == VALUE_DICT)
            jinja_fail(&r->state, "unhashable type: '%s'", value_type_name(key));
        dict_put(&r->state, v.dict, key, evaluate(r, pair->b));
    }
    return v;
}

static struct value evaluate_concat(struct render *r, const struct node *node)
{
    struct value joined = value_undefined();
    for (const struct node *item = node->items; item != NULL && r->state.failed == STATUS_OK;
         item = item->next) {
        struct value v = evaluate(r, item);
        const struct text *text = value_text(&r->state, v);
        if (item == node->items)
            joined = (struct value){.kind = VALUE_STRING, .text = text};
        else
            joined = text_concat(&r->state, joined.text, text);
    }
    return joined;
}

static struct value evaluate_sign(struct render *r, const struct node *node)
{
    struct value v = evaluate(r, node->a);
    if (v.kind == VALUE_FLOAT)
        return node->kind == NODE_NEGATE ? value_float(-v.real) : v;
    if (value_is_integer(v)) {
        int64_t i = value_integer(v);
        return node->kind == NODE_NEGATE ? i == INT64_MIN ? too_large(&r->state) : value_int(-i)
                                         : value_int(i);
    }
    jinja_fail(&r->state, "bad operand type for a sign: '%s'", value_type_name(v));
    return value_undefined();
}

static struct value evaluate_name(struct render *r, const struct node *node)
{
    const struct value *found = scope_find(r, node->name);
    if (found != NULL)
        return *found;
    const struct function *function = function_find(node->name);
    if (function != NULL)
        return (struct value){.kind = VALUE_FUNCTION, .function = function};
    return value_missing(&r->state, node->name);
}

static struct value evaluate_slice(struct render *r, const struct node *node)
{
    const struct node *start = node->items, *stop = start->next, *step = stop->next;
    struct value of = evaluate(r, node->a), a = evaluate(r, start), b = evaluate(r, stop),
                 c = evaluate(r, step);
    return r->state.failed == STATUS_OK ? value_slice(&r->state, of, a, b, c) : value_undefined();
}

static struct value evaluate_condition(struct render *r, const struct node *node)
{
    if (value_truth(evaluate(r, node->a)))
        return evaluate(r, node->b);
    return node->c != NULL ? evaluate(r, node->c) : value_undefined();
}

static struct value evaluate_logic(struct render *r, const struct node *node)
{
    struct value left = evaluate(r, node->a);
    if (node->kind == NODE_NOT)
        return value_bool(!value_truth(left));
    return value_truth(left) == (node->kind == NODE_AND) ? evaluate(r, node->b) : left;
}

static struct value evaluate_inside(struct render *r, const struct node *node)
{
    switch (node->kind) {
    case NODE_CONSTANT:
        return node->constant;
    case NODE_NAME:
        return evaluate_name(r, node);
    case NODE_LIST:
        return evaluate_items(r, node, VALUE_LIST);
    case NODE_TUPLE:
        return evaluate_items(r, node, VALUE_TUPLE);
    case NODE_DICT:
        return evaluate_dict(r, node);
    case NODE_NEGATE:
    case NODE_PLUS:
        return evaluate_sign(r, node);
    case NODE_NOT:
    case NODE_AND:
    case NODE_OR:
        return evaluate_logic(r, node);
    case NODE_BINARY:
        return evaluate_binary(r, node);
    case NODE_CONCAT:
        return evaluate_concat(r, node);
    case NODE_COMPARE:
        return evaluate_compare(r, node);
    case NODE_CONDITION:
        return evaluate_condition(r, node);
    case NODE_ATTRIBUTE:
        return value_attribute(&r->state, evaluate(r, node->a), node->name);
    case NODE_SLICE:
        return evaluate_slice(r, node);
    case NODE_CALL:
        return evaluate_call(r, node, value_undefined());
    case NODE_FILTER:
        return evaluate_filter(r, node, evaluate(r, node->a));
    case NODE_TEST:
        return evaluate_test(r, node);
    default: {
        struct value of = evaluate(r, node->a), key = evaluate(r, node->b); /* NODE_ITEM */
        return r->state.failed == STATUS_OK ? value_item(&r->state, of, key) : value_undefined();
    }
    }
}

struct value evaluate(struct render *r, const struct node *node)
{
    struct value v = value_undefined();
    if (jinja_enter(&r->state) && jinja_spend(&r->state, 1))
        v = evaluate_inside(r, node);
    jinja_leave(&r->state);
    return r->state.failed == STATUS_OK ? v : value_undefined();
}
