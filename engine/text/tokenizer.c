/* Encoding in four steps: special tokens cut the text into segments, the pre-tokenizer cuts
 * segments into words, a word's bytes become the ids of single bytes, and merges join them. The
 * bytes are put straight behind the ids of the result and merged there, so a word costs no copy
 * and, once the list has grown, no allocation.
 *
 * A byte whose character the vocabulary lacks is left out, as the `tokenizers` library does without
 * an unknown token. Everything is fixed at creation; the scratch of an encode lives on its caller's
 * stack. */
#include "tokenizer.h"

#include <string.h>

#include "bpe.h"
#include "check.h"
#include "memory.h"
#include "pre_tokenizer.h"
#include "special_trie.h"
#include "vocabulary.h"

struct tokenizer {
    struct vocabulary vocabulary;
    struct special_trie specials;
    struct bpe_table merges;
    const struct pre_tokenizer *pre; /* static */
    int32_t bos, eos;
    bool add_bos, add_eos;
    uint8_t *ends; /* owned, [token_count]: 1 when the token ends generation */
};

/* Control tokens that end a turn or a text in one model family or another, whichever of them the
 * file names as EOS: a chat model often ends with one and its file names the other. List:
 * llama.cpp, src/llama-vocab.cpp, special_eog_ids. */
static const char *const end_texts[] = {"<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<|flush|>",
                                        "<|calls|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "</s>",
                                        "<|eom_id|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "[EOS]",
                                        "<|end_of_text|>",
                                        "<end_of_utterance>",
                                        "<eos>",
                                        "<turn|>",
                                        "[e~[",
                                        "<｜end▁of▁sentence｜>"};

static status check_kind(const struct tokenizer_source *source, const struct pre_tokenizer **pre,
                         struct error_note *note)
{
    if (source->kind == NULL || strcmp(source->kind, "gpt2") != 0) {
        error_note_set(note,
                       "tokenizer kind \"%s\" is not supported (byte-level BPE, \"gpt2\", is)",
                       source->kind != NULL ? source->kind : "");
        return STATUS_UNSUPPORTED;
    }
    *pre = pre_tokenizer_find(source->pre);
    if (*pre == NULL) {
        error_note_set(note, "pre-tokenizer \"%s\" is not known", source->pre);
        return STATUS_UNSUPPORTED;
    }
    const int32_t ids[] = {source->bos, source->eos, source->eot, source->unknown, source->padding};
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        if (ids[i] < -1 || (ids[i] >= 0 && (uint32_t)ids[i] >= source->token_count)) {
            error_note_set(note, "special token id %d is outside the %u tokens", ids[i],
                           source->token_count);
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}

/* One line of the merges: "left right"; a token may itself begin with a space, so the search starts
 * at the second byte. */
static bool split_merge(struct text_slice line, struct text_slice *left, struct text_slice *right)
{
    const char *space = line.bytes > 1 ? memchr(line.data + 1, ' ', line.bytes - 1) : NULL;
    if (space == NULL)
        return false;
    size_t at = (size_t)(space - line.data);
    *left = (struct text_slice){line.data, at};
    *right = (struct text_slice){space + 1, line.bytes - at - 1};
    return right->bytes > 0;
}

static int32_t find_merged(const struct vocabulary *v, struct text_slice left,
                           struct text_slice right)
{
    char text[1024];
    if (left.bytes + right.bytes > sizeof(text))
        return -1;
    memcpy(text, left.data, left.bytes);
    memcpy(text + left.bytes, right.data, right.bytes);
    return vocabulary_find(v, (struct text_slice){text, left.bytes + right.bytes});
}

/* A merge that would build a control token is left out: else a user could write one. */
static status load_merges(tokenizer *t, const struct tokenizer_source *source,
                          struct error_note *note)
{
    const struct vocabulary *v = &t->vocabulary;
    status result = bpe_table_init(&t->merges, source->merge_count);
    if (result != STATUS_OK)
        return result;
    for (uint32_t rank = 0; rank < source->merge_count; rank++) {
        struct text_slice left, right;
        if (!split_merge(source->merges[rank], &left, &right)) {
            error_note_set(note, "merge %u is not two tokens with a space between", rank);
            return STATUS_INVALID;
        }
        int32_t left_id = vocabulary_find(v, left), right_id = vocabulary_find(v, right);
        int32_t merged = find_merged(v, left, right);
        if (left_id < 0 || right_id < 0 || merged < 0) {
            error_note_set(
                note, "merge %u (\"%.*s\") names a token that the vocabulary lacks", rank,
                (int)(source->merges[rank].bytes < 200 ? source->merges[rank].bytes : 200),
                source->merges[rank].data);
            return STATUS_INVALID;
        }
        if (!vocabulary_is_control(v, merged))
            bpe_table_put(&t->merges, left_id, right_id, rank, merged);
    }
    return STATUS_OK;
}

static status mark_ends(tokenizer *t, const struct tokenizer_source *source)
{
    const struct vocabulary *v = &t->vocabulary;
    t->ends = memory_allocate_array(v->count, 1);
    if (t->ends == NULL)
        return STATUS_NO_MEMORY;
    for (size_t i = 0; i < ARRAY_COUNT(end_texts); i++) {
        int32_t id = vocabulary_find(v, text_slice_of(end_texts[i]));
        if (id >= 0 && vocabulary_is_control(v, id))
            t->ends[id] = 1;
    }
    /* Harmony (gpt-oss) ends a message with <|end|> and goes on to the next one. */
    int32_t end = vocabulary_find(v, text_slice_of("<|end|>"));
    bool is_harmony = vocabulary_find(v, text_slice_of("<|return|>")) >= 0 &&
                      vocabulary_find(v, text_slice_of("<|call|>")) >= 0;
    if (is_harmony && end >= 0)
        t->ends[end] = 0;
    if (source->eos >= 0)
        t->ends[source->eos] = 1;
    if (source->eot >= 0)
        t->ends[source->eot] = 1;
    return STATUS_OK;
}

status tokenizer_create(const struct tokenizer_source *source, tokenizer **out,
                        struct error_note *note)
{
    const struct pre_tokenizer *pre = NULL;
    status result = check_kind(source, &pre, note);
    if (result != STATUS_OK)
        return result;
    tokenizer *t = memory_allocate_array(1, sizeof(*t));
    if (t == NULL)
        return STATUS_NO_MEMORY;
    t->pre = pre;
    t->bos = source->bos;
    t->eos = source->eos;
    t->add_bos = source->add_bos && source->bos >= 0;
    t->add_eos = source->add_eos && source->eos >= 0;
    result = vocabulary_init(&t->vocabulary, source, note);
    if (result == STATUS_OK)
        result = special_trie_init(&t->specials, &t->vocabulary);
    if (result == STATUS_OK)
        result = load_merges(t, source, note);
    if (result == STATUS_OK)
        result = mark_ends(t, source);
    if (result != STATUS_OK) {
        tokenizer_destroy(t);
        return result;
    }
    *out = t;
    return STATUS_OK;
}

void tokenizer_destroy(tokenizer *t)
{
    if (t == NULL)
        return;
    vocabulary_deinit(&t->vocabulary);
    special_trie_deinit(&t->specials);
    bpe_table_deinit(&t->merges);
    memory_release(t->ends);
    memory_release(t);
}

/* One encode. */
struct encoding {
    const tokenizer *tokenizer;
    struct text_slice text;
    struct token_list *out;
    struct bpe_scratch scratch;
    bool ignores_merges;
    status failed;
};

static status reserve_ids(struct token_list *list, size_t extra)
{
    size_t wanted = list->count + extra;
    if (wanted <= list->capacity)
        return STATUS_OK;
    size_t capacity = list->capacity * 2 > wanted ? list->capacity * 2 : wanted + 64;
    if (capacity > SIZE_MAX / sizeof(list->ids[0]))
        return STATUS_NO_MEMORY;
    void *grown = memory_resize(list->ids, capacity * sizeof(list->ids[0]));
    if (grown == NULL)
        return STATUS_NO_MEMORY;
    list->ids = grown;
    list->capacity = capacity;
    return STATUS_OK;
}

static status add_id(struct token_list *list, int32_t id)
{
    if (list->count >= list->count_max)
        return STATUS_TOO_LARGE;
    status result = reserve_ids(list, 1);
    if (result == STATUS_OK)
        list->ids[list->count++] = id;
    return result;
}

static status add_word(struct encoding *e, struct text_slice word)
{
    const struct vocabulary *v = &e->tokenizer->vocabulary;
    if (e->ignores_merges) {
        int32_t id = vocabulary_find_word(v, word);
        if (id >= 0)
            return add_id(e->out, id);
    }
    struct token_list *list = e->out;
    status result = reserve_ids(list, word.bytes);
    if (result != STATUS_OK)
        return result;
    int32_t *ids = list->ids + list->count;
    size_t count = 0;
    for (size_t i = 0; i < word.bytes; i++) {
        int32_t id = v->byte_ids[(uint8_t)word.data[i]];
        ids[count] = id;
        count += id >= 0;
    }
    result = bpe_merge(&e->tokenizer->merges, ids, &count, &e->scratch);
    if (result != STATUS_OK)
        return result;
    if (count > list->count_max - list->count)
        return STATUS_TOO_LARGE;
    list->count += count;
    return STATUS_OK;
}

static void on_word(void *context, size_t start, size_t end)
{
    struct encoding *e = context;
    if (e->failed == STATUS_OK)
        e->failed = add_word(e, (struct text_slice){e->text.data + start, end - start});
}

/* Walks over the text once; `trusted` is walked beside it. */
static void encode_segments(struct encoding *e, const struct text_span *trusted,
                            size_t trusted_count)
{
    const tokenizer *t = e->tokenizer;
    size_t segment = 0, at = 0, span = 0;
    while (at < e->text.bytes && e->failed == STATUS_OK) {
        if (t->specials.root_child[(uint8_t)e->text.data[at]] == 0) {
            at++;
            continue;
        }
        while (span < trusted_count && trusted[span].end <= at)
            span++;
        bool is_trusted = span < trusted_count && trusted[span].start <= at;
        size_t stop = at;
        int32_t id = special_trie_match(&t->specials, &t->vocabulary, e->text, at,
                                        is_trusted ? trusted[span].end : 0, &stop);
        if (id < 0) {
            at++;
            continue;
        }
        pre_tokenizer_split(t->pre, e->text.data, segment, at, on_word, e);
        if (e->failed == STATUS_OK)
            e->failed = add_id(e->out, id);
        segment = at = stop;
    }
    if (e->failed == STATUS_OK)
        pre_tokenizer_split(t->pre, e->text.data, segment, e->text.bytes, on_word, e);
}

status tokenizer_encode(const tokenizer *t, struct text_slice text, const struct text_span *trusted,
                        size_t trusted_count, bool add_special, struct token_list *out)
{
    struct encoding e = {.tokenizer = t, .text = text, .out = out};
    e.ignores_merges = pre_tokenizer_ignores_merges(t->pre);
    if (out->count > out->count_max)
        return STATUS_TOO_LARGE;
    if (add_special && t->add_bos)
        e.failed = add_id(out, t->bos);
    encode_segments(&e, trusted, trusted_count);
    if (e.failed == STATUS_OK && add_special && t->add_eos)
        e.failed = add_id(out, t->eos);
    bpe_scratch_deinit(&e.scratch);
    return e.failed;
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
    for (size_t i = 0; i < count; i++)
        buffer_append_slice(out, tokenizer_piece(t, ids[i], with_control));
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
