#ifndef PENSTOCK_JINJA_FUNCTIONS_H
#define PENSTOCK_JINJA_FUNCTIONS_H

#include "jinja_value.h"

/* What templates can call: filters, tests, methods of strings and dicts, global functions. Each is
 * a row of a table with its parameters' names, so that arguments are bound as Python binds them. */

#define CALL_PARAMETERS_MAX 6u

/* Evaluated arguments of a call. */
struct call {
    struct jinja_state *state;
    struct render *render;
    struct value subject; /* what a filter, test or method is applied to */
    struct value *items;  /* positional */
    uint32_t count;
    struct dict *named; /* NULL: none */
    /* After call_bind: by parameter; `given` tells which were there. */
    struct value arguments[CALL_PARAMETERS_MAX];
    bool given[CALL_PARAMETERS_MAX];
};

typedef struct value call_fn(struct call *c);

/* `parameters`: names, those from `required` on may be left out; names[0] == NULL with `is_free`:
 * binds itself. */
struct signature {
    const char *parameters[CALL_PARAMETERS_MAX];
    uint8_t required;
    bool is_free;
};

struct filter_entry {
    const char *name;
    call_fn *run;
    struct signature signature;
};

struct test_entry {
    const char *name;
    call_fn *run; /* gives a bool */
    struct signature signature;
};

struct method_entry {
    const char *name;
    call_fn *run;
    struct signature signature;
};

struct function {
    const char *name;
    call_fn *run;
    struct signature signature;
};

struct method {
    struct value subject;
    const struct method_entry *entry;
};

const struct filter_entry *filter_find(struct text_slice name);
const struct test_entry *test_find(struct text_slice name);
/* NULL when values of this kind have no such method. *is_refused: they have, but it would change
 * the value. */
const struct method_entry *method_find(struct value subject, struct text_slice name,
                                       bool *is_refused);
const struct function *function_find(struct text_slice name);

/* Places positional and named arguments; false (and failed) when they do not fit. */
bool call_bind(struct call *c, const char *name, const struct signature *signature);

static inline struct value call_argument(const struct call *c, uint32_t at, struct value otherwise)
{
    return at < CALL_PARAMETERS_MAX && c->given[at] ? c->arguments[at] : otherwise;
}

/* Runs a filter or test by name on `subject` with the arguments c->items[from..] (map, select and
 * their kin). */
struct value call_filter_by_name(struct call *c, struct value name, struct value subject,
                                 uint32_t from);
bool call_test_by_name(struct call *c, struct value name, struct value subject, uint32_t from);

/* Evaluator services (jinja_expression.c). */
struct value value_attribute(struct jinja_state *s, struct value of, struct text_slice name);
struct value value_item(struct jinja_state *s, struct value of, struct value key);
struct value value_path(struct jinja_state *s, struct value of, struct value path,
                        struct value otherwise);
struct value value_slice(struct jinja_state *s, struct value of, struct value start,
                         struct value stop, struct value step);
struct value value_add(struct jinja_state *s, struct value a, struct value b);
/* `is_tuple`: the items were one, and all must be used. */
struct value text_format_percent(struct call *c, const struct text *format,
                                 const struct value *items, uint32_t count, bool is_tuple);
struct value text_format_braces(struct call *c); /* str.format */
enum text_case { CASE_UPPER, CASE_LOWER, CASE_CAPITALIZE, CASE_TITLE, CASE_SWAP, CASE_TITLE_WORDS };
struct value text_change_case(struct jinja_state *s, const struct text *text, enum text_case kind);
struct value text_strip(struct jinja_state *s, const struct text *text, const struct text *set,
                        bool left, bool right);
struct value text_replace(struct jinja_state *s, const struct text *text, const struct text *old,
                          const struct text *new_text, int64_t count);
struct value text_join(struct jinja_state *s, const struct text *separator,
                       const struct list *items);
struct value list_sorted(struct jinja_state *s, struct value *items, const struct value *keys,
                         uint32_t count, bool reverse);
uint64_t render_wall_ms(const struct render *r);

#endif
