/* Text is taken apart into a run at a time: a character of combining class 0 and the marks behind
 * it. The run's decompositions are collected, its marks sorted by class (by counting, so that a
 * megabyte of marks costs what a megabyte of letters costs), then composed again where the form
 * asks for it, and written. */
#include "unicode_normal.h"

#include <string.h>

#include "memory.h"
#include "normal_tables.h"
#include "utf8.h"

#define HANGUL_FIRST 0xAC00u
#define HANGUL_COUNT 11172u
#define LEAD_FIRST   0x1100u
#define LEAD_COUNT   19u
#define VOWEL_FIRST  0x1161u
#define VOWEL_COUNT  21u
#define TAIL_FIRST   0x11A7u /* one before the first, as the standard counts them */
#define TAIL_COUNT   28u
#define CLASS_COUNT  256u
#define NO_CHARACTER UINT32_MAX
#define RUN_INLINE   32u

struct run_character {
    uint32_t code_point;
    uint32_t combining_class;
};

/* The characters from one starter to the next. */
struct run {
    enum normal_form form;
    struct buffer *out;
    struct run_character few[RUN_INLINE];
    struct run_character *characters; /* `few`, or owned */
    size_t count, capacity;
};

static const struct normal_mapping *mapping_find(const struct normal_mapping *rows, uint32_t count,
                                                 uint32_t code_point)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (rows[middle].code_point < code_point)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && rows[low].code_point == code_point ? &rows[low] : NULL;
}

static uint32_t class_of(uint32_t code_point)
{
    uint32_t low = 0, high = normal_order_count;
    if (code_point < normal_orders[0].code_point)
        return 0;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (normal_orders[middle].code_point < code_point)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_there = low < normal_order_count && normal_orders[low].code_point == code_point;
    return is_there ? normal_orders[low].combining_class : 0;
}

static uint32_t compose_pair(uint32_t first, uint32_t second)
{
    if (first - LEAD_FIRST < LEAD_COUNT && second - VOWEL_FIRST < VOWEL_COUNT)
        return HANGUL_FIRST +
               ((first - LEAD_FIRST) * VOWEL_COUNT + second - VOWEL_FIRST) * TAIL_COUNT;
    if (first - HANGUL_FIRST < HANGUL_COUNT && (first - HANGUL_FIRST) % TAIL_COUNT == 0 &&
        second - TAIL_FIRST - 1 < TAIL_COUNT - 1)
        return first + second - TAIL_FIRST;
    uint32_t low = 0, high = normal_pair_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct normal_pair *pair = &normal_pairs[middle];
        if (pair->first < first || (pair->first == first && pair->second < second))
            low = middle + 1;
        else
            high = middle;
    }
    const struct normal_pair *pair = &normal_pairs[low];
    bool is_there = low < normal_pair_count && pair->first == first && pair->second == second;
    return is_there ? pair->composed : NO_CHARACTER;
}

static void write_character(struct buffer *out, uint32_t code_point)
{
    char text[4];
    size_t bytes = utf8_encode(code_point, text);
    buffer_append(out, text, bytes);
}

/* Marks of one class keep their order. */
static void sort_marks(struct run *run, size_t first)
{
    size_t count = run->count - first, starts[CLASS_COUNT] = {0};
    bool is_sorted = true;
    for (size_t i = first; i < run->count; i++) {
        is_sorted = is_sorted && (i == first || run->characters[i - 1].combining_class <=
                                                    run->characters[i].combining_class);
        starts[run->characters[i].combining_class]++;
    }
    if (is_sorted)
        return;
    struct run_character *copy = memory_allocate_array(count, sizeof *copy);
    if (copy == NULL) {
        run->out->failed = STATUS_NO_MEMORY;
        return;
    }
    memcpy(copy, run->characters + first, count * sizeof *copy);
    size_t at = first;
    for (uint32_t i = 0; i < CLASS_COUNT; i++) {
        size_t here = starts[i];
        starts[i] = at;
        at += here;
    }
    for (size_t i = 0; i < count; i++)
        run->characters[starts[copy[i].combining_class]++] = copy[i];
    memory_release(copy);
}

/* UAX 15, D117: a mark joins the starter unless one of its own class or a starter stands between. */
static void compose_run(struct run *run)
{
    size_t kept = 1;
    uint32_t last_class = 0;
    for (size_t i = 1; i < run->count; i++) {
        struct run_character c = run->characters[i];
        bool is_blocked = kept > 1 && last_class >= c.combining_class;
        uint32_t composed =
            is_blocked ? NO_CHARACTER : compose_pair(run->characters[0].code_point, c.code_point);
        if (composed != NO_CHARACTER) {
            run->characters[0].code_point = composed;
            continue;
        }
        last_class = c.combining_class;
        run->characters[kept++] = c;
    }
    run->count = kept;
}

static bool composes(const struct run *run)
{
    return run->form == NORMAL_NFC || run->form == NORMAL_NFKC;
}

static void run_flush(struct run *run)
{
    if (run->count == 0)
        return;
    bool has_starter = run->characters[0].combining_class == 0;
    sort_marks(run, has_starter ? 1 : 0);
    if (composes(run) && has_starter && run->count > 1)
        compose_run(run);
    for (size_t i = 0; i < run->count; i++)
        write_character(run->out, run->characters[i].code_point);
    run->count = 0;
}

static void run_push(struct run *run, uint32_t code_point, uint32_t combining_class)
{
    if (run->count == run->capacity) {
        size_t capacity = run->capacity * 2;
        bool is_inline = run->characters == run->few;
        void *grown =
            memory_resize(is_inline ? NULL : run->characters, capacity * sizeof run->characters[0]);
        if (grown == NULL) {
            run->out->failed = STATUS_NO_MEMORY;
            return;
        }
        if (is_inline)
            memcpy(grown, run->few, sizeof run->few);
        run->characters = grown;
        run->capacity = capacity;
    }
    run->characters[run->count++] = (struct run_character){code_point, combining_class};
}

/* A starter ends the run before it, unless the two become one (vowels and tails of Hangul, and the
 * few pairs of starters that compose). */
static void run_add(struct run *run, uint32_t code_point)
{
    uint32_t combining_class = class_of(code_point);
    if (combining_class != 0) {
        run_push(run, code_point, combining_class);
        return;
    }
    if (composes(run) && run->count > 0 && run->characters[0].combining_class == 0) {
        sort_marks(run, 1);
        compose_run(run);
        uint32_t composed = run->count == 1
                                ? compose_pair(run->characters[0].code_point, code_point)
                                : NO_CHARACTER;
        if (composed != NO_CHARACTER) {
            run->characters[0].code_point = composed;
            return;
        }
    }
    run_flush(run);
    run_push(run, code_point, 0);
}

static void add_hangul(struct run *run, uint32_t code_point)
{
    uint32_t index = code_point - HANGUL_FIRST;
    run_add(run, LEAD_FIRST + index / (VOWEL_COUNT * TAIL_COUNT));
    run_add(run, VOWEL_FIRST + index % (VOWEL_COUNT * TAIL_COUNT) / TAIL_COUNT);
    if (index % TAIL_COUNT != 0)
        run_add(run, TAIL_FIRST + index % TAIL_COUNT);
}

static void add_decomposed(struct run *run, uint32_t code_point)
{
    const struct normal_mapping *found = NULL;
    if (code_point - HANGUL_FIRST < HANGUL_COUNT) {
        add_hangul(run, code_point);
        return;
    }
    if (run->form == NORMAL_NFKD || run->form == NORMAL_NFKC)
        found = mapping_find(normal_compatible, normal_compatible_count, code_point);
    if (found == NULL)
        found = mapping_find(normal_canonical, normal_canonical_count, code_point);
    if (found == NULL) {
        run_add(run, code_point);
        return;
    }
    for (uint32_t i = 0; i < found->count; i++)
        run_add(run, normal_characters[found->start + i]);
}

void unicode_normalize(enum normal_form form, struct text_slice text, struct buffer *out)
{
    struct run run = {.form = form, .out = out, .capacity = RUN_INLINE};
    run.characters = run.few;
    for (size_t at = 0; at < text.bytes && out->failed == STATUS_OK;) {
        uint32_t code_point = 0;
        size_t bytes = utf8_decode(text.data + at, text.bytes - at, &code_point);
        if (bytes == 0) {
            run_flush(&run);
            buffer_append_byte(out, text.data[at++]);
            continue;
        }
        add_decomposed(&run, code_point);
        at += bytes;
    }
    run_flush(&run);
    if (run.characters != run.few)
        memory_release(run.characters);
}

void unicode_lower(struct text_slice text, struct buffer *out)
{
    for (size_t at = 0; at < text.bytes;) {
        unsigned char c = (unsigned char)text.data[at];
        uint32_t code_point = 0;
        if (c < 0x80) {
            buffer_append_byte(out, c >= 'A' && c <= 'Z' ? (char)(c + 32) : (char)c);
            at++;
            continue;
        }
        size_t bytes = utf8_decode(text.data + at, text.bytes - at, &code_point);
        const struct normal_mapping *found =
            bytes == 0 ? NULL : mapping_find(normal_lower, normal_lower_count, code_point);
        bytes = bytes == 0 ? 1 : bytes;
        if (found == NULL)
            buffer_append(out, text.data + at, bytes);
        for (uint32_t i = 0; found != NULL && i < found->count; i++)
            write_character(out, normal_characters[found->start + i]);
        at += bytes;
    }
}
