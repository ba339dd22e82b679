#ifndef PENSTOCK_JINJA_VALUE_H
#define PENSTOCK_JINJA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "hash.h"
#include "json.h"
#include "status.h"
#include "text_slice.h"

/* The values of the template language: Python's, as far as templates can see them. All are in the
 * arena of the template or of the render and immutable once made, but for namespaces, cyclers,
 * joiners and what has been taken from an iterator.
 *
 * Every byte of a string carries whether the template wrote it (trusted) or it came from the
 * request: that is what keeps a user's "<|im_end|>" from becoming a control token. A string is
 * trusted as a whole, not at all, or byte by byte. */

enum value_kind {
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_LIST,
    VALUE_TUPLE,
    VALUE_VIEW,     /* dict.keys() and its kin: has a length, no index */
    VALUE_RANGE,    /* a list of integers that prints as range(...) */
    VALUE_ITERATOR, /* a generator: can be walked over once */
    VALUE_DICT,
    VALUE_NAMESPACE,
    VALUE_MACRO,
    VALUE_FUNCTION,
    VALUE_METHOD,
    VALUE_LOOP,
    VALUE_CYCLER,
    VALUE_JOINER,
};

struct text {
    const char *data;
    const uint8_t *trust; /* per byte, 1: trusted; NULL: all as `trusted` says */
    size_t bytes;
    bool trusted;
    bool is_markup;           /* went through `safe` or `escape` */
    struct text_block *block; /* where the bytes are, if an append may go on in place; else NULL */
};

struct value {
    enum value_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        const struct text *text; /* VALUE_STRING; VALUE_UNDEFINED: what is missing, or NULL */
        struct list *list;       /* LIST TUPLE VIEW RANGE ITERATOR CYCLER JOINER */
        struct dict *dict;       /* DICT NAMESPACE */
        const struct macro *macro;
        const struct function *function;
        const struct method *method;
        struct loop *loop;
    };
};

struct list {
    struct value *items;
    uint32_t count;
    uint32_t taken;   /* ITERATOR: items already gone; CYCLER: position; JOINER: used */
    const char *name; /* VIEW and RANGE: how it prints */
};

struct dict {
    struct value *keys, *values; /* insertion order */
    uint32_t count, capacity;
    uint32_t *index; /* of string keys once there are many; [index_mask + 1], 0: free, else position
                        + 1 */
    uint32_t index_mask;
};

/* What every operation needs: memory, budgets, and the first error. After a failure operations go
 * on harmlessly with undefined values; callers look at `failed` where work would otherwise be
 * wasted. */
struct jinja_state {
    arena *memory; /* owned by the render */
    size_t memory_max;
    struct hash_key
        key; /* of this render's dict indices: a request must not choose colliding keys */
    uint64_t steps, steps_max;
    uint32_t depth;
    status failed;
    uint32_t line; /* of the statement that runs */
    struct error_note *note;
};

#define JINJA_DEPTH_MAX 220u       /* nested expressions, statements, macro calls and data */
#define JINJA_RANGE_MAX 100000     /* jinja2.sandbox.MAX_RANGE */
#define JINJA_TEXT_MAX  (1u << 26) /* bytes of one string */
#define JINJA_ITEMS_MAX (1u << 22) /* elements of one list or dict */

/* Errors. Both keep the first. */
void jinja_fail(struct jinja_state *s, const char *format, ...) PRINTF_LIKE(2, 3);
void jinja_fail_status(struct jinja_state *s, status reason, const char *what);
/* Counts work; fails past the budget. Returns false once anything has failed. */
bool jinja_spend(struct jinja_state *s, size_t steps);
/* NULL after failing. */
void *jinja_allocate(struct jinja_state *s, size_t count, size_t bytes);
/* Nesting guard: false (and failed) past JINJA_DEPTH_MAX. Pairs with jinja_leave. */
bool jinja_enter(struct jinja_state *s);
static inline void jinja_leave(struct jinja_state *s)
{
    s->depth--;
}

/* Texts. */
struct text_builder {
    struct jinja_state *state;
    char *data;
    uint8_t *trust;
    size_t bytes, capacity;
};
void text_builder_init(struct text_builder *b, struct jinja_state *s);
void text_builder_add(struct text_builder *b, const char *data, size_t bytes, bool trusted);
void text_builder_add_text(struct text_builder *b, const struct text *text);
void text_builder_add_part(struct text_builder *b, const struct text *text, size_t start,
                           size_t end);
struct value text_builder_value(struct text_builder *b);

static inline bool text_trusted_at(const struct text *text, size_t at)
{
    return text->trust != NULL ? text->trust[at] != 0 : text->trusted;
}
static inline struct text_slice text_slice_from(const struct text *text)
{
    return (struct text_slice){text->data, text->bytes};
}
bool text_is_trusted(const struct text *text); /* every byte */
struct value text_part(struct jinja_state *s, const struct text *text, size_t start, size_t end);
struct value text_concat(struct jinja_state *s, const struct text *a, const struct text *b);
size_t text_length(const struct text *text); /* code points */
size_t text_offset(const struct text *text, size_t code_points);
/* Length of the character at data[at] (bytes are valid UTF-8, or taken one by one). */
size_t text_character(const struct text *text, size_t at, uint32_t *code_point);
/* First occurrence of `part` at or after `from`; SIZE_MAX: none. */
size_t text_find(struct text_slice text, struct text_slice part, size_t from);
bool character_is_space(uint32_t code_point);    /* Python's str.isspace */
bool character_is_line_end(uint32_t code_point); /* Python's str.splitlines */

/* Making values. */
static inline struct value value_undefined(void)
{
    return (struct value){.kind = VALUE_UNDEFINED};
}
static inline struct value value_none(void)
{
    return (struct value){.kind = VALUE_NONE};
}
static inline struct value value_bool(bool b)
{
    return (struct value){.kind = VALUE_BOOL, .boolean = b};
}
static inline struct value value_int(int64_t i)
{
    return (struct value){.kind = VALUE_INT, .integer = i};
}
static inline struct value value_float(double f)
{
    return (struct value){.kind = VALUE_FLOAT, .real = f};
}
struct value value_string(struct jinja_state *s, struct text_slice bytes,
                          bool trusted); /* borrows the bytes */
struct value value_missing(struct jinja_state *s, struct text_slice name);
struct value value_list(struct jinja_state *s, enum value_kind kind,
                        uint32_t count); /* items undefined */
struct value value_pair(struct jinja_state *s, struct value a, struct value b);
struct value value_dict(struct jinja_state *s, enum value_kind kind);
/* `known_roles`: strings under the key "role" that are one of the API's words are trusted. */
struct value value_from_json(struct jinja_state *s, const json_t *json, bool known_roles);

struct list_builder {
    struct jinja_state *state;
    struct value *items;
    uint32_t count, capacity;
};
void list_builder_add(struct list_builder *b, struct value item);
struct value list_builder_value(struct list_builder *b, enum value_kind kind);

/* Asking values. */
static inline bool value_is_sequence(struct value v)
{
    return v.kind >= VALUE_LIST && v.kind <= VALUE_ITERATOR;
}
static inline bool value_is_string(struct value v)
{
    return v.kind == VALUE_STRING;
}
static inline bool value_is_integer(struct value v) /* Python's bool is an int */
{
    return v.kind == VALUE_INT || v.kind == VALUE_BOOL;
}
static inline bool value_is_number(struct value v)
{
    return value_is_integer(v) || v.kind == VALUE_FLOAT;
}
static inline int64_t value_integer(struct value v)
{
    return v.kind == VALUE_BOOL ? (int64_t)v.boolean : v.integer;
}
static inline double value_real(struct value v)
{
    return v.kind == VALUE_FLOAT ? v.real : (double)value_integer(v);
}
bool value_is(struct value v, const char *text);
bool value_truth(struct value v);
bool value_equals(struct jinja_state *s, struct value a, struct value b);
/* -1, 0, 1; fails where Python has no order. */
int value_compare(struct jinja_state *s, struct value a, struct value b);
/* Number of elements; fails for what has no len(). */
size_t value_length(struct jinja_state *s, struct value v);
bool value_contains(struct jinja_state *s, struct value container, struct value item);
/* What a for loop would walk over, as a list; takes an iterator's items. Fails for what cannot be
 * iterated. */
struct value value_iterate(struct jinja_state *s, struct value v);
const char *value_type_name(struct value v); /* Python's */

/* Dicts. */
const struct value *dict_find(struct jinja_state *s, const struct dict *d, struct value key);
const struct value *dict_find_text(struct jinja_state *s, const struct dict *d, const char *key);
void dict_put(struct jinja_state *s, struct dict *d, struct value key, struct value item);

/* Writing values (jinja_format.c). */
const struct text *value_text(struct jinja_state *s, struct value v); /* str(v); never NULL */
void value_write(struct text_builder *b, struct value v);             /* appends str(v) */
void value_write_repr(struct text_builder *b, struct value v);
struct json_style {
    bool ensure_ascii, sort_keys, is_indented;
    struct text_slice indent; /* one level */
    struct text_slice item_separator, key_separator;
};
void value_write_json(struct text_builder *b, struct value v, const struct json_style *style);
size_t format_float(double value, char out[40]); /* Python's repr */

#endif
