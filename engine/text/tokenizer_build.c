/* From a plan to a tokenizer: checks, tables, and the list of tokens that end a generation. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "tokenizer_private.h"

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

static bool is_id(const struct tokenizer_plan *plan, int32_t id)
{
    return id >= 0 && (uint32_t)id < plan->vocabulary.token_count;
}

static status check_ids(const struct tokenizer_plan *plan, const int32_t *ids, uint32_t count,
                        bool may_be_none, struct error_note *note)
{
    for (uint32_t i = 0; i < count; i++) {
        if (is_id(plan, ids[i]) || (may_be_none && ids[i] == -1))
            continue;
        error_note_set(note, "special token id %d is outside the %u tokens", ids[i],
                       plan->vocabulary.token_count);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static status check_plan(const struct tokenizer_plan *plan, struct error_note *note)
{
    const int32_t ids[] = {plan->bos, plan->eos, plan->eot, plan->unknown, plan->padding};
    const struct token_frame *frame = &plan->frame;
    status s = check_ids(plan, ids, ARRAY_COUNT(ids), true, note);
    if (s == STATUS_OK)
        s = check_ids(plan, frame->before, frame->before_count, false, note);
    if (s == STATUS_OK)
        s = check_ids(plan, frame->after, frame->after_count, false, note);
    if (s == STATUS_OK)
        s = check_ids(plan, frame->between, frame->between_count, false, note);
    if (s == STATUS_OK)
        s = check_ids(plan, frame->last, frame->last_count, false, note);
    return s;
}

static int32_t find_merged(const struct vocabulary *v, const struct merge_texts *merge)
{
    char text[1024];
    size_t left = merge->left.bytes, right = merge->right.bytes;
    if (left + right > sizeof(text))
        return -1;
    memcpy(text, merge->left.data, left);
    memcpy(text + left, merge->right.data, right);
    return vocabulary_find(v, (struct text_slice){text, left + right});
}

/* A merge that would build a control token is left out: else a user could write one. */
static status load_merges(tokenizer *t, const struct tokenizer_plan *plan, struct error_note *note)
{
    const struct vocabulary *v = &t->vocabulary;
    status result = bpe_table_init(&t->model.merges, plan->merge_count);
    for (uint32_t rank = 0; rank < plan->merge_count && result == STATUS_OK; rank++) {
        const struct merge_texts *merge = &plan->merges[rank];
        int32_t left = vocabulary_find(v, merge->left), right = vocabulary_find(v, merge->right);
        int32_t merged = find_merged(v, merge);
        if (left < 0 || right < 0 || merged < 0) {
            error_note_set(
                note, "merge %u (\"%.*s %.*s\") names a token that the vocabulary lacks", rank,
                (int)(merge->left.bytes < 100 ? merge->left.bytes : 100), merge->left.data,
                (int)(merge->right.bytes < 100 ? merge->right.bytes : 100), merge->right.data);
            result = STATUS_INVALID;
        } else if (!vocabulary_is_control(v, merged)) {
            bpe_table_put(&t->model.merges, left, right, rank, merged);
        }
    }
    return result;
}

/* SentencePiece BPE says no merges but scores: of two neighbours that make a token, the one with the
 * highest score goes first (Kudo and Richardson 2018; bpe_model.cc). Every way to divide a token in
 * two tokens is such a pair. Equal scores have equal ranks, so that the leftmost goes first. */
struct scored_token {
    double score;
    int32_t id;
};

static int compare_scores(const void *left, const void *right)
{
    const struct scored_token *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static bool may_be_part(const struct vocabulary *v, int32_t id)
{
    return id >= 0 && !vocabulary_is_control(v, id) && v->attributes[id] != TOKEN_BYTE;
}

/* Counts (`table` NULL) or adds the pairs of one token. */
static size_t add_pairs(const struct vocabulary *v, int32_t id, uint32_t rank,
                        struct bpe_table *table)
{
    struct text_slice text = vocabulary_text(v, id);
    size_t count = 0;
    if (!may_be_part(v, id))
        return 0;
    for (size_t at = 1; at < text.bytes; at++) {
        if (((unsigned char)text.data[at] & 0xC0) == 0x80)
            continue; /* inside a character */
        if (table == NULL) {
            count++;
            continue;
        }
        int32_t left = vocabulary_find(v, (struct text_slice){text.data, at});
        int32_t right = vocabulary_find(v, (struct text_slice){text.data + at, text.bytes - at});
        if (may_be_part(v, left) && may_be_part(v, right))
            bpe_table_put(table, left, right, rank, id);
    }
    return count;
}

static status load_scores(tokenizer *t, const struct tokenizer_plan *plan, struct error_note *note)
{
    const struct vocabulary *v = &t->vocabulary;
    struct scored_token *order = memory_allocate_array(v->count, sizeof *order);
    size_t pairs = 0;
    if (order == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < v->count; i++) {
        order[i] = (struct scored_token){plan->scores[i], (int32_t)i};
        pairs += add_pairs(v, (int32_t)i, 0, NULL);
    }
    qsort(order, v->count, sizeof *order, compare_scores);
    status s = STATUS_TOO_LARGE;
    if (pairs < UINT32_MAX / 4)
        s = bpe_table_init(&t->model.merges, (uint32_t)pairs);
    else
        error_note_set(note, "the tokens' texts divide in too many ways (%zu)", pairs);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < v->count && s == STATUS_OK; i++) {
        rank += i > 0 && order[i].score != order[i - 1].score;
        (void)add_pairs(v, order[i].id, rank, &t->model.merges);
    }
    memory_release(order);
    return s;
}

static status load_model(tokenizer *t, const struct tokenizer_plan *plan, struct error_note *note)
{
    t->model.kind = plan->model;
    t->model.unknown = plan->unknown;
    t->model.falls_back_to_bytes = plan->falls_back_to_bytes;
    t->model.fuses_unknown = plan->fuses_unknown;
    t->model.ignores_merges = plan->ignores_merges;
    t->model.characters_max = plan->characters_max;
    switch (plan->model) {
    case WORD_MODEL_BYTE_PAIRS:
        return load_merges(t, plan, note);
    case WORD_MODEL_CHARACTER_PAIRS:
        return plan->scores != NULL ? load_scores(t, plan, note) : load_merges(t, plan, note);
    case WORD_MODEL_WORDPIECE:
        return STATUS_OK;
    case WORD_MODEL_UNIGRAM:
        break;
    }
    return unigram_init(&t->model, &t->vocabulary, plan->scores);
}

/* A token that is looked for in normalized text is looked for as normalization leaves it. */
static status insert_normalized(tokenizer *t, int32_t id)
{
    struct text_slice text = vocabulary_text(&t->vocabulary, id);
    struct buffer buffers[2];
    buffer_init(&buffers[0], text.bytes * NORMALIZED_GROWTH_MAX + 64);
    buffer_init(&buffers[1], text.bytes * NORMALIZED_GROWTH_MAX + 64);
    status s = normalizer_apply(&t->normalizer, text, buffers, &text);
    if (s == STATUS_OK && text.bytes > 0)
        s = special_trie_insert(&t->normalized_specials, text, id);
    buffer_deinit(&buffers[0]);
    buffer_deinit(&buffers[1]);
    return s;
}

/* Control tokens are always looked for in the text as it comes, where it is known whose it is. */
static status load_specials(tokenizer *t, const struct tokenizer_plan *plan)
{
    const struct vocabulary *v = &t->vocabulary;
    status s = special_trie_init(&t->specials);
    if (s == STATUS_OK)
        s = special_trie_init(&t->normalized_specials);
    if (s == STATUS_OK && plan->special_flags != NULL) {
        t->special_flags = memory_allocate_array(v->count, 1);
        if (t->special_flags == NULL)
            return STATUS_NO_MEMORY;
        memcpy(t->special_flags, plan->special_flags, v->count);
    }
    for (uint32_t i = 0; i < v->count && s == STATUS_OK; i++) {
        int32_t id = (int32_t)i;
        bool is_control = vocabulary_is_control(v, id);
        uint8_t flags = t->special_flags != NULL ? t->special_flags[i] : 0;
        if (vocabulary_text(v, id).bytes == 0 ||
            (!is_control && v->attributes[i] != TOKEN_USER_DEFINED))
            continue;
        if (!is_control && (flags & SPECIAL_NORMALIZED) && t->normalizer.step_count > 0)
            s = insert_normalized(t, id);
        else
            s = special_trie_insert(&t->specials, vocabulary_text(v, id), id);
    }
    return s;
}

static status mark_ends(tokenizer *t, const struct tokenizer_plan *plan)
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
    if (plan->eos >= 0)
        t->ends[plan->eos] = 1;
    if (plan->eot >= 0)
        t->ends[plan->eot] = 1;
    for (uint32_t i = 0; i < plan->end_count; i++)
        if (is_id(plan, plan->ends[i]))
            t->ends[plan->ends[i]] = 1;
    return STATUS_OK;
}

status tokenizer_build(struct tokenizer_plan *plan, tokenizer **out, struct error_note *note)
{
    status s = check_plan(plan, note);
    if (s != STATUS_OK)
        return s;
    tokenizer *t = memory_allocate_array(1, sizeof(*t));
    if (t == NULL)
        return STATUS_NO_MEMORY;
    t->bos = plan->bos;
    t->eos = plan->eos;
    t->frame = plan->frame;
    t->pre = plan->pre;
    t->strips_first_space = plan->strips_first_space;
    t->normalizer = plan->normalizer;
    s = vocabulary_init(&t->vocabulary, &plan->vocabulary, note);
    if (s == STATUS_OK)
        s = load_specials(t, plan);
    if (s == STATUS_OK)
        s = load_model(t, plan, note);
    if (s == STATUS_OK)
        s = mark_ends(t, plan);
    if (s != STATUS_OK) {
        t->normalizer = (struct normalizer){.step_count = 0}; /* still the plan's */
        tokenizer_destroy(t);
        return s;
    }
    plan->normalizer = (struct normalizer){.step_count = 0};
    *out = t;
    return STATUS_OK;
}

static void put_id(int32_t *ids, uint32_t *count, int32_t id)
{
    if (id >= 0)
        ids[(*count)++] = id;
}

void token_frame_simple(struct token_frame *frame, int32_t before, int32_t after)
{
    *frame = (struct token_frame){.has_pair = true, .tells_texts_apart = true};
    put_id(frame->before, &frame->before_count, before);
    put_id(frame->after, &frame->after_count, after);
    put_id(frame->between, &frame->between_count, after);
    frame->between_first_count = frame->between_count;
    put_id(frame->between, &frame->between_count, before);
    put_id(frame->last, &frame->last_count, after);
}
