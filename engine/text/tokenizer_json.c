/* A tokenizer.json as a plan: the vocabulary and merges of its model, the added tokens over it, and
 * the parts around it (tokenizer_json_parts.c). The JSON tree lives until the tokenizer is built:
 * the plan's texts are slices of it. */
#include "tokenizer_json.h"

#include <string.h>

#include "memory.h"
#include "tokenizer_folder.h"
#include "tokenizer_read.h"

/* The largest published vocabularies (262,144 tokens, 580,604 merges as pairs) make about 2.4
 * million values. */
#define JSON_VALUES_MAX (1u << 24)
#define JSON_DEPTH_MAX  32u
#define MERGES_MAX      (1u << 23)

struct json_plan {
    struct tokenizer_plan plan;
    struct text_slice *tokens;  /* owned; [token_count] */
    int32_t *attributes;        /* owned */
    uint8_t *flags;             /* owned */
    double *scores;             /* owned or NULL */
    struct merge_texts *merges; /* owned or NULL */
};

static status wrong(struct error_note *note, const char *what)
{
    error_note_set(note, "%s", what);
    return STATUS_INVALID;
}

/* One past the highest id of an object text -> id; 0: it is not such an object. */
static uint64_t id_range(json_t *vocabulary)
{
    const char *text;
    json_t *value;
    json_int_t highest = -1;
    json_object_foreach(vocabulary, text, value)
    {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= VOCABULARY_TOKENS_MAX)
            return 0;
        highest = id > highest ? id : highest;
    }
    return (uint64_t)(highest + 1);
}

static uint64_t added_range(const json_t *added)
{
    json_int_t highest = -1;
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *id = json_object_get(json_array_get(added, i), "id");
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || value >= VOCABULARY_TOKENS_MAX)
            return 0;
        highest = value > highest ? value : highest;
    }
    return (uint64_t)(highest + 1);
}

static status allocate_tokens(struct json_plan *made, uint64_t count)
{
    made->tokens = memory_allocate_array(count, sizeof *made->tokens);
    made->attributes = memory_allocate_array(count, sizeof *made->attributes);
    made->flags = memory_allocate_array(count, 1);
    if (made->tokens == NULL || made->attributes == NULL || made->flags == NULL)
        return STATUS_NO_MEMORY;
    for (uint64_t i = 0; i < count; i++) {
        made->tokens[i] = (struct text_slice){"", 0};
        made->attributes[i] = TOKEN_UNUSED; /* ids that nothing names */
    }
    made->plan.vocabulary.token_count = (uint32_t)count;
    made->plan.vocabulary.tokens = made->tokens;
    made->plan.vocabulary.attributes = made->attributes;
    made->plan.special_flags = made->flags;
    return STATUS_OK;
}

/* "vocab" as an object (BPE, WordPiece) or as an array of [text, score] (Unigram). */
static status read_vocabulary(struct json_plan *made, json_t *vocabulary, const json_t *added,
                              struct error_note *note)
{
    bool is_scored = json_is_array(vocabulary);
    uint64_t range = is_scored ? json_array_size(vocabulary) : id_range(vocabulary);
    uint64_t more = added_range(added);
    if (range == 0 || range > VOCABULARY_TOKENS_MAX || (json_array_size(added) > 0 && more == 0))
        return wrong(note, "\"vocab\" or \"added_tokens\" is missing, empty, or has ids that "
                           "cannot be");
    range = more > range ? more : range;
    status s = allocate_tokens(made, range);
    if (s != STATUS_OK)
        return s;
    if (is_scored) {
        made->scores = memory_allocate_array(range, sizeof *made->scores);
        if (made->scores == NULL)
            return STATUS_NO_MEMORY;
        made->plan.scores = made->scores;
    }
    for (size_t i = 0; i < json_array_size(vocabulary); i++) {
        const json_t *pair = json_array_get(vocabulary, i);
        const json_t *text = json_array_get(pair, 0), *score = json_array_get(pair, 1);
        if (!json_is_string(text) || !json_is_number(score))
            return wrong(note, "\"vocab\" must hold pairs of a text and a score");
        made->tokens[i] = (struct text_slice){json_string_value(text), json_string_length(text)};
        made->attributes[i] = TOKEN_NORMAL;
        made->scores[i] = json_number_value(score);
    }
    const char *text;
    json_t *id;
    json_object_foreach(is_scored ? NULL : vocabulary, text, id)
    {
        made->tokens[json_integer_value(id)] = text_slice_of(text);
        made->attributes[json_integer_value(id)] = TOKEN_NORMAL;
    }
    return STATUS_OK;
}

static status read_added(struct json_plan *made, const json_t *added, struct error_note *note)
{
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        json_int_t id = json_integer_value(json_object_get(token, "id"));
        struct text_slice text = json_text(token, "content");
        if (text.bytes == 0)
            return wrong(note, "a token of \"added_tokens\" has no \"content\"");
        made->tokens[id] = text;
        made->attributes[id] =
            json_flag(token, "special", false) ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
        made->flags[id] =
            (uint8_t)((json_flag(token, "lstrip", false) ? SPECIAL_TAKES_LEFT : 0) |
                      (json_flag(token, "rstrip", false) ? SPECIAL_TAKES_RIGHT : 0) |
                      (json_flag(token, "single_word", false) ? SPECIAL_WHOLE_WORD : 0) |
                      (json_flag(token, "normalized", true) ? SPECIAL_NORMALIZED : 0));
    }
    return STATUS_OK;
}

/* A merge: "left right", or a pair. */
static bool read_merge(const json_t *value, struct merge_texts *out)
{
    if (json_is_array(value) && json_array_size(value) == 2) {
        const json_t *left = json_array_get(value, 0), *right = json_array_get(value, 1);
        if (!json_is_string(left) || !json_is_string(right))
            return false;
        out->left = (struct text_slice){json_string_value(left), json_string_length(left)};
        out->right = (struct text_slice){json_string_value(right), json_string_length(right)};
        return out->left.bytes > 0 && out->right.bytes > 0;
    }
    const char *text = json_string_value(value);
    size_t bytes = json_string_length(value);
    const char *space = text != NULL && bytes > 1 ? memchr(text + 1, ' ', bytes - 1) : NULL;
    if (space == NULL)
        return false;
    out->left = (struct text_slice){text, (size_t)(space - text)};
    out->right = (struct text_slice){space + 1, bytes - out->left.bytes - 1};
    return out->right.bytes > 0;
}

static status read_merges(struct json_plan *made, const json_t *merges, struct error_note *note)
{
    size_t count = json_array_size(merges);
    if (count > MERGES_MAX)
        return wrong(note, "\"merges\" has too many entries");
    made->merges = memory_allocate_array(count, sizeof *made->merges);
    if (made->merges == NULL)
        return STATUS_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        if (!read_merge(json_array_get(merges, i), &made->merges[i])) {
            error_note_set(note, "merge %zu is not two tokens", i);
            return STATUS_INVALID;
        }
    }
    made->plan.merges = made->merges;
    made->plan.merge_count = (uint32_t)count;
    return STATUS_OK;
}

static int32_t find_token(const struct json_plan *made, struct text_slice text)
{
    for (uint32_t i = 0; text.bytes > 0 && i < made->plan.vocabulary.token_count; i++)
        if (text_slice_equals(made->tokens[i], text))
            return (int32_t)i;
    return -1;
}

static status refuse_option(const json_t *model, const char *name, struct error_note *note)
{
    if (json_text(model, name).bytes == 0)
        return STATUS_OK;
    error_note_set(note, "a BPE model with \"%s\" is not supported", name);
    return STATUS_UNSUPPORTED;
}

static status read_pairs(struct json_plan *made, const json_t *model, struct error_note *note)
{
    struct tokenizer_plan *plan = &made->plan;
    plan->model = plan->vocabulary.pieces == PIECE_ALPHABET ? WORD_MODEL_BYTE_PAIRS
                                                            : WORD_MODEL_CHARACTER_PAIRS;
    plan->falls_back_to_bytes = json_flag(model, "byte_fallback", false);
    plan->fuses_unknown = json_flag(model, "fuse_unk", false);
    plan->ignores_merges = json_flag(model, "ignore_merges", false);
    plan->unknown = find_token(made, json_text(model, "unk_token"));
    status s = refuse_option(model, "continuing_subword_prefix", note);
    if (s == STATUS_OK)
        s = refuse_option(model, "end_of_word_suffix", note);
    return s == STATUS_OK ? read_merges(made, json_object_get(model, "merges"), note) : s;
}

static status read_word_piece(struct json_plan *made, const json_t *model, struct error_note *note)
{
    const json_t *longest = json_object_get(model, "max_input_chars_per_word");
    struct tokenizer_plan *plan = &made->plan;
    json_int_t count =
        json_is_integer(longest) ? json_integer_value(longest) : WORDPIECE_CHARACTERS_DEFAULT;
    plan->model = WORD_MODEL_WORDPIECE;
    plan->unknown = find_token(made, json_text(model, "unk_token"));
    if (!text_slice_is(json_text(model, "continuing_subword_prefix"), "##")) {
        error_note_set(note, "a WordPiece model with another continuing_subword_prefix than \"##\" "
                             "is not supported");
        return STATUS_UNSUPPORTED;
    }
    if (count < 1 || count > 1000)
        return wrong(note, "max_input_chars_per_word must be within 1 and 1000");
    plan->characters_max = (uint32_t)count;
    return STATUS_OK;
}

static status read_unigram(struct json_plan *made, const json_t *model, struct error_note *note)
{
    const json_t *unknown = json_object_get(model, "unk_id");
    struct tokenizer_plan *plan = &made->plan;
    plan->model = WORD_MODEL_UNIGRAM;
    plan->falls_back_to_bytes = json_flag(model, "byte_fallback", false);
    plan->fuses_unknown = true;
    plan->unknown = -1;
    if (made->scores == NULL)
        return wrong(note, "a Unigram model needs \"vocab\" as pairs of a text and a score");
    if (!json_is_integer(unknown))
        return STATUS_OK;
    if (json_integer_value(unknown) < 0 ||
        json_integer_value(unknown) >= plan->vocabulary.token_count)
        return wrong(note, "\"unk_id\" is outside the vocabulary");
    plan->unknown = (int32_t)json_integer_value(unknown);
    return STATUS_OK;
}

/* Older files leave out the model's type. */
static status read_model(struct json_plan *made, const json_t *model, struct error_note *note)
{
    struct text_slice type = json_text(model, "type");
    if (type.bytes == 0)
        type = text_slice_of(made->scores != NULL                       ? "Unigram"
                             : json_object_get(model, "merges") != NULL ? "BPE"
                                                                        : "WordPiece");
    if (text_slice_is(type, "BPE"))
        return read_pairs(made, model, note);
    if (text_slice_is(type, "WordPiece"))
        return read_word_piece(made, model, note);
    if (text_slice_is(type, "Unigram"))
        return read_unigram(made, model, note);
    error_note_set(note, "the model \"%.*s\" is not supported (BPE, WordPiece and Unigram are)",
                   (int)(type.bytes < 80 ? type.bytes : 80), type.data);
    return STATUS_UNSUPPORTED;
}

static void read_names(struct json_plan *made, const struct tokenizer_names *names)
{
    struct tokenizer_plan *plan = &made->plan;
    plan->bos = find_token(made, names->bos);
    plan->eos = find_token(made, names->eos);
    plan->padding = find_token(made, names->padding);
    plan->eot = -1;
    plan->ends = names->ends;
    plan->end_count = names->end_count;
    if (plan->eos < 0 && names->end_count > 0 &&
        (uint32_t)names->ends[0] < plan->vocabulary.token_count)
        plan->eos = names->ends[0];
}

static status read_root(struct json_plan *made, const json_t *root,
                        const struct tokenizer_names *names, struct error_note *note)
{
    const json_t *model = json_object_get(root, "model");
    const json_t *added = json_object_get(root, "added_tokens");
    const json_t *pre = json_object_get(root, "pre_tokenizer");
    struct tokenizer_plan *plan = &made->plan;
    status s = json_is_object(model) ? STATUS_OK : wrong(note, "\"model\" is missing");
    if (s == STATUS_OK)
        s = json_read_normalizer(json_object_get(root, "normalizer"), &plan->normalizer, note);
    if (s == STATUS_OK)
        s = json_read_pre_tokenizer(pre, &plan->pre, note);
    if (s == STATUS_OK)
        s = json_read_frame(json_object_get(root, "post_processor"), &plan->frame, note);
    if (s == STATUS_OK)
        s = json_read_decoder(json_object_get(root, "decoder"), pre, plan, note);
    if (s == STATUS_OK)
        s = read_vocabulary(made, json_object_get(model, "vocab"), added, note);
    if (s == STATUS_OK)
        s = read_added(made, added, note);
    if (s == STATUS_OK)
        s = read_model(made, model, note);
    if (s == STATUS_OK)
        read_names(made, names);
    return s;
}

status tokenizer_read_json(struct text_slice json, const struct tokenizer_names *names,
                           tokenizer **out, struct error_note *note)
{
    static const struct json_limits limits = {JSON_DEPTH_MAX, JSON_VALUES_MAX};
    struct json_plan made = {.tokens = NULL};
    json_t *root = NULL;
    status s = json_load_limited(json, &limits, &root, note);
    if (s == STATUS_OK)
        s = read_root(&made, root, names, note);
    if (s == STATUS_OK)
        s = tokenizer_build(&made.plan, out, note);
    if (s == STATUS_NO_MEMORY)
        error_note_set(note, "no memory for the vocabulary");
    normalizer_deinit(&made.plan.normalizer);
    memory_release(made.tokens);
    memory_release(made.attributes);
    memory_release(made.flags);
    memory_release(made.scores);
    memory_release(made.merges);
    json_decref(root);
    return s;
}

status tokenizer_create_json(struct text_slice json, struct text_slice bos, struct text_slice eos,
                             tokenizer **out, struct error_note *note)
{
    struct tokenizer_names names = {.bos = bos, .eos = eos};
    return tokenizer_read_json(json, &names, out, note);
}
