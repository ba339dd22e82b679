/* Encoding in four steps: special tokens cut the text into segments, a segment is normalized and
 * cut into words, and the word model turns words into ids (word_models.c). What a user wrote and
 * what a template wrote is known of the text as it came, so control tokens are looked for there,
 * before anything is normalized.
 *
 * Everything is fixed at creation; the scratch of an encode lives on its caller's stack. */
#include "tokenizer.h"

#include <string.h>

#include "memory.h"
#include "tokenizer_private.h"
#include "unicode_class.h"

void tokenizer_destroy(tokenizer *t)
{
    if (t == NULL)
        return;
    vocabulary_deinit(&t->vocabulary);
    special_trie_deinit(&t->specials);
    special_trie_deinit(&t->normalized_specials);
    normalizer_deinit(&t->normalizer);
    word_model_deinit(&t->model);
    memory_release(t->special_flags);
    memory_release(t->ends);
    memory_release(t);
}

static status add_ids(struct token_list *list, const int32_t *ids, uint32_t count)
{
    status s = STATUS_OK;
    for (uint32_t i = 0; i < count && s == STATUS_OK; i++)
        s = token_list_append(list, ids[i]);
    return s;
}

/* One encode. */
struct encoding {
    const tokenizer *tokenizer;
    struct text_slice text;
    struct token_list *out;
    struct word_scratch words;
    struct pre_scratch pieces;
    struct buffer normalized[2];
    status failed;
};

static void encoding_init(struct encoding *e, const tokenizer *t, struct token_list *out)
{
    *e = (struct encoding){.tokenizer = t, .out = out};
}

static void encoding_begin_text(struct encoding *e, struct text_slice text)
{
    size_t bytes_max = text.bytes * NORMALIZED_GROWTH_MAX + 1024;
    e->text = text;
    pre_scratch_init(&e->pieces, bytes_max);
    buffer_init(&e->normalized[0], bytes_max);
    buffer_init(&e->normalized[1], bytes_max);
}

static void encoding_end_text(struct encoding *e)
{
    pre_scratch_deinit(&e->pieces);
    buffer_deinit(&e->normalized[0]);
    buffer_deinit(&e->normalized[1]);
}

static void on_word(void *context, struct text_slice word)
{
    struct encoding *e = context;
    const tokenizer *t = e->tokenizer;
    if (e->failed == STATUS_OK)
        e->failed = word_model_encode(&t->model, &t->vocabulary, word, &e->words, e->out);
}

static uint8_t flags_of(const tokenizer *t, int32_t id)
{
    return t->special_flags != NULL ? t->special_flags[id] : 0;
}

/* The first character of white space in text[from, at) after which there is nothing else. */
static size_t spaces_before(struct text_slice text, size_t from, size_t at)
{
    size_t start = at;
    while (start > from) {
        size_t back = start - 1;
        while (back > from && ((unsigned char)text.data[back] & 0xC0) == 0x80 && start - back < 4)
            back--;
        struct text_character c = text_character_at(text.data, back, start);
        if (back + c.bytes != start || !(c.flags & UNICODE_SPACE))
            break;
        start = back;
    }
    return start;
}

static size_t spaces_after(struct text_slice text, size_t at)
{
    while (at < text.bytes) {
        struct text_character c = text_character_at(text.data, at, text.bytes);
        if (!(c.flags & UNICODE_SPACE))
            break;
        at += c.bytes;
    }
    return at;
}

static bool touches_word(struct text_slice text, size_t start, size_t stop)
{
    if (stop < text.bytes && (text_character_at(text.data, stop, text.bytes).flags & UNICODE_WORD))
        return true;
    size_t back = start;
    while (back > 0 && start - back < 4) {
        back--;
        struct text_character c = text_character_at(text.data, back, start);
        if (back + c.bytes == start && c.code_point != UINT32_MAX)
            return c.flags & UNICODE_WORD;
    }
    return false;
}

typedef void segment_fn(struct encoding *e, struct text_slice segment, bool is_text_start);

/* Where control tokens may be found: spans of the text, walked beside it. */
struct trust {
    const struct text_span *spans;
    size_t count, at;
};

static size_t trusted_until(struct trust *trust, size_t at)
{
    while (trust->at < trust->count && trust->spans[trust->at].end <= at)
        trust->at++;
    bool is_inside = trust->at < trust->count && trust->spans[trust->at].start <= at;
    return is_inside ? trust->spans[trust->at].end : 0;
}

/* Walks over the text once: special tokens become ids, what lies between goes to `on_segment`. */
static void walk_specials(struct encoding *e, const struct special_trie *trie,
                          struct text_slice text, struct trust *trust, bool is_text_start,
                          segment_fn *on_segment)
{
    const tokenizer *t = e->tokenizer;
    size_t segment = 0, at = 0;
    while (at < text.bytes && e->failed == STATUS_OK) {
        size_t stop = at;
        int32_t id = -1;
        if (trie->root_child[(uint8_t)text.data[at]] != 0)
            id =
                special_trie_match(trie, &t->vocabulary, text, at, trusted_until(trust, at), &stop);
        uint8_t flags = id >= 0 ? flags_of(t, id) : 0;
        if (id < 0 || ((flags & SPECIAL_WHOLE_WORD) && touches_word(text, at, stop))) {
            at = id < 0 ? at + 1 : stop;
            continue;
        }
        size_t start = flags & SPECIAL_TAKES_LEFT ? spaces_before(text, segment, at) : at;
        if (flags & SPECIAL_TAKES_RIGHT)
            stop = spaces_after(text, stop);
        on_segment(e, (struct text_slice){text.data + segment, start - segment},
                   is_text_start && segment == 0);
        if (e->failed == STATUS_OK)
            e->failed = token_list_append(e->out, id);
        segment = at = stop;
    }
    if (e->failed == STATUS_OK)
        on_segment(e, (struct text_slice){text.data + segment, text.bytes - segment},
                   is_text_start && segment == 0);
}

static void encode_words(struct encoding *e, struct text_slice segment, bool is_text_start)
{
    status s =
        pre_tokenizer_split(&e->tokenizer->pre, segment, is_text_start, &e->pieces, on_word, e);
    if (e->failed == STATUS_OK)
        e->failed = s;
}

static void encode_segment(struct encoding *e, struct text_slice segment, bool is_text_start)
{
    const tokenizer *t = e->tokenizer;
    struct trust nothing = {NULL, 0, 0};
    if (segment.bytes == 0)
        return;
    e->failed = normalizer_apply(&t->normalizer, segment, e->normalized, &segment);
    if (e->failed == STATUS_OK)
        walk_specials(e, &t->normalized_specials, segment, &nothing, is_text_start, encode_words);
}

static void encode_text(struct encoding *e, struct text_slice text, const struct text_span *trusted,
                        size_t trusted_count)
{
    struct trust trust = {trusted, trusted_count, 0};
    if (e->failed != STATUS_OK)
        return;
    encoding_begin_text(e, text);
    walk_specials(e, &e->tokenizer->specials, text, &trust, true, encode_segment);
    encoding_end_text(e);
}

status tokenizer_encode(const tokenizer *t, struct text_slice text, const struct text_span *trusted,
                        size_t trusted_count, bool add_special, struct token_list *out)
{
    struct encoding e;
    if (out->count > out->count_max)
        return STATUS_TOO_LARGE;
    encoding_init(&e, t, out);
    if (add_special)
        e.failed = add_ids(out, t->frame.before, t->frame.before_count);
    encode_text(&e, text, trusted, trusted_count);
    if (e.failed == STATUS_OK && add_special)
        e.failed = add_ids(out, t->frame.after, t->frame.after_count);
    word_scratch_deinit(&e.words);
    return e.failed;
}

/* Takes tokens off the end of the longer text until both fit. */
static void cut_pair(size_t *first, size_t *second, size_t room)
{
    size_t half = room / 2;
    if (*first + *second <= room)
        return;
    if (*first <= half)
        *second = room - *first;
    else if (*second <= room - half)
        *first = room - *second;
    else
        *first = half, *second = room - half;
}

static status put_pair(const struct token_frame *frame, const int32_t *ids, size_t first,
                       size_t first_all, size_t second, struct token_list *out,
                       size_t *second_start)
{
    status s = add_ids(out, frame->before, frame->before_count);
    if (s == STATUS_OK)
        s = add_ids(out, ids, (uint32_t)first);
    if (s == STATUS_OK)
        s = add_ids(out, frame->between, frame->between_count);
    *second_start = out->count - frame->between_count + frame->between_first_count;
    if (s == STATUS_OK)
        s = add_ids(out, ids + first_all, (uint32_t)second);
    if (s == STATUS_OK)
        s = add_ids(out, frame->last, frame->last_count);
    if (!frame->tells_texts_apart)
        *second_start = out->count;
    return s;
}

status tokenizer_encode_pair(const tokenizer *t, struct text_slice first, struct text_slice second,
                             size_t pair_max, struct token_list *out, size_t *second_start)
{
    const struct token_frame *frame = &t->frame;
    struct token_list both;
    struct encoding e;
    size_t around = frame->before_count + frame->between_count + frame->last_count;
    if (!frame->has_pair)
        return STATUS_UNSUPPORTED;
    token_list_init(&both, out->count_max);
    encoding_init(&e, t, &both);
    encode_text(&e, first, NULL, 0);
    size_t first_all = both.count;
    encode_text(&e, second, NULL, 0);
    size_t first_count = first_all, second_count = both.count - first_all;
    if (e.failed == STATUS_OK && pair_max > 0) {
        cut_pair(&first_count, &second_count, pair_max > around ? pair_max - around : 0);
    }
    if (e.failed == STATUS_OK)
        e.failed =
            put_pair(frame, both.ids, first_count, first_all, second_count, out, second_start);
    word_scratch_deinit(&e.words);
    token_list_deinit(&both);
    return e.failed;
}

void tokenizer_truncate(const tokenizer *t, struct token_list *list, size_t count_max)
{
    size_t after = t->frame.after_count;
    if (list->count <= count_max)
        return;
    after = after < count_max ? after : count_max;
    memmove(list->ids + count_max - after, list->ids + list->count - after,
            after * sizeof list->ids[0]);
    list->count = count_max;
}

static bool has_id(const tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocabulary.count;
}

struct text_slice tokenizer_piece(const tokenizer *t, int32_t id, bool with_control)
{
    if (!has_id(t, id) || (!with_control && vocabulary_is_control(&t->vocabulary, id)))
        return (struct text_slice){NULL, 0};
    return vocabulary_piece(&t->vocabulary, id);
}

void tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t count, bool with_control,
                      struct buffer *out)
{
    bool may_strip = t->strips_first_space;
    for (size_t i = 0; i < count; i++) {
        struct text_slice piece = tokenizer_piece(t, ids[i], with_control);
        if (may_strip && piece.bytes > 0 && !tokenizer_is_control(t, ids[i])) {
            may_strip = false;
            if (piece.data[0] == ' ')
                piece = (struct text_slice){piece.data + 1, piece.bytes - 1};
        }
        buffer_append_slice(out, piece);
    }
}

uint32_t tokenizer_token_count(const tokenizer *t)
{
    return t->vocabulary.count;
}

int32_t tokenizer_bos(const tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const tokenizer *t)
{
    return t->eos;
}

bool tokenizer_is_end(const tokenizer *t, int32_t id)
{
    return has_id(t, id) && t->ends[id] != 0;
}

bool tokenizer_is_control(const tokenizer *t, int32_t id)
{
    return has_id(t, id) && vocabulary_is_control(&t->vocabulary, id);
}

int32_t tokenizer_find(const tokenizer *t, struct text_slice text)
{
    return vocabulary_find(&t->vocabulary, text);
}
