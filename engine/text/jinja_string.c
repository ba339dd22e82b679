/* What Python does with strings, keeping each byte's trust. Case mapping is the C library's
 * one-to-one mapping, and German sharp s; Python's other one-to-many mappings (ligatures, Greek
 * with iota) keep their character. */
#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <wctype.h>

#include "jinja_functions.h"
#include "utf8.h"

static locale_t unicode_locale; /* written once, never freed: as long-lived as the program */
static pthread_once_t unicode_locale_once = PTHREAD_ONCE_INIT;

static void unicode_locale_create(void)
{
    unicode_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static uint32_t map_case(uint32_t c, bool upper)
{
    if (c < 0x80) {
        bool changes = upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z';
        return changes ? c ^ 0x20 : c;
    }
    pthread_once(&unicode_locale_once, unicode_locale_create);
    if (unicode_locale == (locale_t)0)
        return c;
    return (uint32_t)(upper ? towupper_l((wint_t)c, unicode_locale)
                            : towlower_l((wint_t)c, unicode_locale));
}

static bool is_cased(uint32_t c)
{
    return map_case(c, true) != c || map_case(c, false) != c;
}

static void add_mapped(struct text_builder *b, uint32_t c, bool upper, bool is_title, bool trusted)
{
    char bytes[4];
    if (upper && c == 0xDF)
        text_builder_add(b, is_title ? "Ss" : "SS", 2, trusted);
    else
        text_builder_add(b, bytes, utf8_encode(map_case(c, upper), bytes), trusted);
}

struct value text_change_case(struct jinja_state *s, const struct text *text, enum text_case kind)
{
    struct text_builder b;
    text_builder_init(&b, s);
    bool at_start = true; /* of the text or of a word */
    uint32_t c;
    for (size_t at = 0; at < text->bytes && s->failed == STATUS_OK;) {
        size_t bytes = text_character(text, at, &c);
        bool upper = kind == CASE_UPPER || (kind == CASE_SWAP && map_case(c, true) != c) ||
                     ((kind >= CASE_CAPITALIZE && kind != CASE_SWAP) && at_start);
        add_mapped(&b, c, upper, kind == CASE_TITLE || kind == CASE_CAPITALIZE,
                   text_trusted_at(text, at));
        if (kind == CASE_TITLE)
            at_start = !is_cased(c);
        else if (kind == CASE_TITLE_WORDS)
            at_start =
                character_is_space(c) || (c < 0x80 && c != 0 && strchr("-({[<", (int)c) != NULL);
        else
            at_start = false;
        at += bytes;
    }
    return text_builder_value(&b);
}

static bool set_has(const struct text *set, const char *bytes, size_t count, uint32_t c)
{
    if (set == NULL)
        return character_is_space(c);
    struct text_slice part = {bytes, count};
    return text_find(text_slice_from(set), part, 0) != SIZE_MAX;
}

struct value text_strip(struct jinja_state *s, const struct text *text, const struct text *set,
                        bool left, bool right)
{
    size_t start = 0, end = text->bytes;
    uint32_t c;
    while (left && start < end) {
        size_t bytes = text_character(text, start, &c);
        if (!set_has(set, text->data + start, bytes, c))
            break;
        start += bytes;
    }
    while (right && end > start) {
        size_t at = end - 1;
        while (at > start && ((uint8_t)text->data[at] & 0xC0) == 0x80)
            at--;
        size_t bytes = text_character(text, at, &c);
        if (!set_has(set, text->data + at, bytes, c))
            break;
        end = at;
    }
    jinja_spend(s, (text->bytes - (end - start)) / 16);
    return text_part(s, text, start, end);
}

struct value text_replace(struct jinja_state *s, const struct text *text, const struct text *old,
                          const struct text *new_text, int64_t count)
{
    struct text_builder b;
    text_builder_init(&b, s);
    size_t at = 0;
    uint32_t c;
    for (int64_t done = 0; (count < 0 || done < count) && jinja_spend(s, 1); done++) {
        size_t found = text_find(text_slice_from(text), text_slice_from(old), at);
        if (found == SIZE_MAX)
            break;
        text_builder_add_part(&b, text, at, found);
        text_builder_add_text(&b, new_text);
        at = found + old->bytes;
        if (old->bytes == 0) { /* between all characters */
            if (at >= text->bytes) {
                at = text->bytes;
                break;
            }
            size_t bytes = text_character(text, at, &c);
            text_builder_add_part(&b, text, at, at + bytes);
            at += bytes;
        }
    }
    text_builder_add_part(&b, text, at, text->bytes);
    return text_builder_value(&b);
}

struct value text_join(struct jinja_state *s, const struct text *separator,
                       const struct list *items)
{
    struct text_builder b;
    text_builder_init(&b, s);
    for (uint32_t i = 0; i < items->count && jinja_spend(s, 1); i++) {
        if (i > 0)
            text_builder_add_text(&b, separator);
        value_write(&b, items->items[i]);
    }
    return text_builder_value(&b);
}

/* Merge sort, stable, by `keys` (rearranged in the same way). */
struct value list_sorted(struct jinja_state *s, struct value *items, const struct value *keys,
                         uint32_t count, bool reverse)
{
    uint32_t *order = jinja_allocate(s, 2 * (size_t)count, sizeof(*order));
    if (order == NULL)
        return value_undefined();
    uint32_t *scratch = order + count;
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    for (uint32_t width = 1; width < count && s->failed == STATUS_OK; width *= 2) {
        for (uint32_t start = 0; start < count && jinja_spend(s, width / 4 + 1);
             start += 2 * width) {
            uint32_t middle = start + width < count ? start + width : count;
            uint32_t end = middle + width < count ? middle + width : count;
            uint32_t left = start, right = middle;
            for (uint32_t i = start; i < end; i++) {
                bool take_right = left == middle;
                if (!take_right && right < end) {
                    int order_of = value_compare(s, keys[order[right]], keys[order[left]]);
                    take_right = reverse ? order_of > 0 : order_of < 0;
                }
                scratch[i] = take_right ? order[right++] : order[left++];
            }
        }
        memcpy(order, scratch, count * sizeof(order[0]));
    }
    struct value v = value_list(s, VALUE_LIST, count);
    for (uint32_t i = 0; i < count && s->failed == STATUS_OK; i++)
        v.list->items[i] = items[order[i]];
    return v;
}
