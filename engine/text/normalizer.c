/* Each step reads the text that the step before it wrote, so two buffers are enough, taken in turn.
 * No step makes more than a bounded number of bytes out of one, and none looks at a byte more than
 * a bounded number of times. */
#include "normalizer.h"

#include <string.h>

#include "memory.h"
#include "unicode_class.h"

static char *copy_bytes(struct text_slice text)
{
    char *copy = memory_allocate(text.bytes);
    if (copy != NULL && text.bytes > 0)
        memcpy(copy, text.data, text.bytes);
    return copy;
}

status normalizer_add(struct normalizer *n, const struct normalizer_step *step,
                      struct text_slice from, struct text_slice to)
{
    if (n->step_count == NORMALIZER_STEPS_MAX)
        return STATUS_TOO_LARGE;
    struct normalizer_step *added = &n->steps[n->step_count++];
    *added = *step;
    added->from = copy_bytes(from);
    added->to = copy_bytes(to);
    added->from_bytes = from.bytes;
    added->to_bytes = to.bytes;
    return added->from != NULL && added->to != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void normalizer_deinit(struct normalizer *n)
{
    for (uint32_t i = 0; i < n->step_count; i++) {
        memory_release(n->steps[i].from);
        memory_release(n->steps[i].to);
    }
    *n = (struct normalizer){.step_count = 0};
}

static void drop_flagged(struct text_slice text, uint16_t flag, struct buffer *out)
{
    for (size_t at = 0; at < text.bytes;) {
        struct text_character c = text_character_at(text.data, at, text.bytes);
        if (!(c.flags & flag))
            buffer_append(out, text.data + at, c.bytes);
        at += c.bytes;
    }
}

/* The end of what is left when white space at the end is gone. Walks back over whole characters. */
static size_t end_without_spaces(struct text_slice text, size_t start)
{
    size_t end = start;
    for (size_t at = start; at < text.bytes;) {
        struct text_character c = text_character_at(text.data, at, text.bytes);
        at += c.bytes;
        if (!(c.flags & UNICODE_WHITESPACE))
            end = at;
    }
    return end;
}

static void strip(const struct normalizer_step *step, struct text_slice text, struct buffer *out)
{
    size_t start = 0, end = text.bytes;
    while (step->strips_left && start < text.bytes) {
        struct text_character c = text_character_at(text.data, start, text.bytes);
        if (!(c.flags & UNICODE_WHITESPACE))
            break;
        start += c.bytes;
    }
    if (step->strips_right)
        end = end_without_spaces(text, start);
    buffer_append(out, text.data + start, end - start);
}

static void replace(const struct normalizer_step *step, struct text_slice text, struct buffer *out)
{
    const char *at = text.data, *end = text.data + text.bytes;
    while (step->from_bytes > 0 && at < end) {
        const char *found = memmem(at, (size_t)(end - at), step->from, step->from_bytes);
        if (found == NULL)
            break;
        const char *after = found + step->from_bytes;
        bool is_run = step->kind != NORMALIZER_REPLACE_RUN;
        while (step->kind == NORMALIZER_REPLACE_RUN && (size_t)(end - after) >= step->from_bytes &&
               memcmp(after, step->from, step->from_bytes) == 0) {
            after += step->from_bytes;
            is_run = true;
        }
        buffer_append(out, at, (size_t)(found - at));
        if (is_run)
            buffer_append(out, step->to, step->to_bytes);
        else
            buffer_append(out, found, step->from_bytes);
        at = after;
    }
    buffer_append(out, at, (size_t)(end - at));
}

static bool is_han(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
           (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
           (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/* Cleaning and the spaces around Han characters; accents and case are separate passes. */
static void bert_clean(const struct normalizer_step *step, struct text_slice text,
                       struct buffer *out)
{
    for (size_t at = 0; at < text.bytes;) {
        struct text_character c = text_character_at(text.data, at, text.bytes);
        bool is_padded = step->pads_han && is_han(c.code_point);
        bool is_space = c.flags & UNICODE_WHITESPACE;
        if (step->cleans && (c.flags & UNICODE_BERT_REMOVED)) {
            at += c.bytes;
            continue;
        }
        if (is_padded)
            buffer_append_byte(out, ' ');
        if (step->cleans && is_space)
            buffer_append_byte(out, ' ');
        else
            buffer_append(out, text.data + at, c.bytes);
        if (is_padded)
            buffer_append_byte(out, ' ');
        at += c.bytes;
    }
}

/* One pass of a step; false: the step has no pass of this number. */
static bool run_pass(const struct normalizer_step *step, uint32_t pass, struct text_slice text,
                     struct buffer *out)
{
    if (step->kind == NORMALIZER_BERT) {
        switch (pass) {
        case 0:
            bert_clean(step, text, out);
            return true;
        case 1:
            if (!step->strips_accents)
                return false;
            unicode_normalize(NORMAL_NFD, text, out);
            return true;
        case 2:
            if (!step->strips_accents)
                return false;
            drop_flagged(text, UNICODE_BERT_ACCENT, out);
            return true;
        default:
            if (!step->lowers_case)
                return false;
            unicode_lower(text, out);
            return true;
        }
    }
    if (pass > 0)
        return false;
    switch (step->kind) {
    case NORMALIZER_FORM:
        unicode_normalize(step->form, text, out);
        break;
    case NORMALIZER_LOWER:
        unicode_lower(text, out);
        break;
    case NORMALIZER_STRIP:
        strip(step, text, out);
        break;
    case NORMALIZER_STRIP_ACCENTS:
        drop_flagged(text, UNICODE_ACCENT, out);
        break;
    case NORMALIZER_PREPEND:
        if (text.bytes > 0)
            buffer_append(out, step->to, step->to_bytes);
        buffer_append_slice(out, text);
        break;
    case NORMALIZER_REPLACE:
    case NORMALIZER_REPLACE_RUN:
        replace(step, text, out);
        break;
    case NORMALIZER_BERT:
        break;
    }
    return true;
}

#define PASSES_MAX 4u

static bool is_ascii(struct text_slice text)
{
    unsigned char any = 0;
    for (size_t i = 0; i < text.bytes; i++)
        any |= (unsigned char)text.data[i];
    return any < 0x80;
}

status normalizer_apply(const struct normalizer *n, struct text_slice text,
                        struct buffer buffers[2], struct text_slice *out)
{
    uint32_t turn = 0;
    for (uint32_t i = 0; i < n->step_count; i++) {
        const struct normalizer_step *step = &n->steps[i];
        if (step->kind == NORMALIZER_FORM && is_ascii(text))
            continue; /* every form leaves ASCII as it is */
        for (uint32_t pass = 0; pass < PASSES_MAX; pass++) {
            struct buffer *to = &buffers[turn];
            buffer_clear(to);
            if (!run_pass(step, pass, text, to))
                continue;
            if (to->failed != STATUS_OK)
                return to->failed;
            text = buffer_slice(to);
            turn = 1 - turn;
        }
    }
    *out = text;
    return STATUS_OK;
}
