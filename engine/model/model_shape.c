#include "model_shape.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "check.h"
#include "model_shape_parts.h"

/* Four times the largest published decoder in each direction, or more; they keep every product of
 * two of these numbers in 64 bits and every buffer's row in 32. */
#define WIDTH_MAX      (1u << 17)
#define FFN_WIDTH_MAX  (1u << 20)
#define HEADS_MAX      1024u
#define HEAD_WIDTH_MAX 1024u
#define VOCABULARY_MAX (1u << 22)
#define EXPERTS_MAX    1024u
#define SCORE_MAX      1e6

/* Every whole number, with its field. */
struct number_row {
    struct fact_key key;
    size_t offset; /* in struct numbers */
    uint32_t min, max;
    bool is_required;
};

/* 0: absent. */
struct numbers {
    uint32_t n_layers, d, d_ffn, n_heads, n_kv_heads, key_width, value_width, context, d_rope,
        window, original_context, n_experts, n_experts_too, n_used, d_expert;
};

#define NUMBER(gguf, hf, field, min, max, is_required)                                             \
    {                                                                                              \
        {gguf, hf}, offsetof(struct numbers, field), min, max, is_required                         \
    }
static const struct number_row NUMBERS[] = {
    NUMBER("block_count", "num_hidden_layers", n_layers, 1, LAYERS_MAX, true),
    NUMBER("embedding_length", "hidden_size", d, 1, WIDTH_MAX, true),
    NUMBER("feed_forward_length", "intermediate_size", d_ffn, 0, FFN_WIDTH_MAX, false),
    NUMBER("attention.head_count", "num_attention_heads", n_heads, 1, HEADS_MAX, true),
    NUMBER("attention.head_count_kv", "num_key_value_heads", n_kv_heads, 1, HEADS_MAX, false),
    NUMBER("attention.key_length", "head_dim", key_width, 2, HEAD_WIDTH_MAX, false),
    NUMBER("attention.value_length", NULL, value_width, 2, HEAD_WIDTH_MAX, false),
    NUMBER("attention.sliding_window", "sliding_window", window, 0, CONTEXT_MAX, false),
    NUMBER("context_length", "max_position_embeddings", context, 1, CONTEXT_MAX, true),
    NUMBER("rope.dimension_count", NULL, d_rope, 2, HEAD_WIDTH_MAX, false),
    NUMBER("rope.scaling.original_context_length", "original_max_position_embeddings",
           original_context, 1, CONTEXT_MAX, false),
    NUMBER("expert_count", "num_local_experts", n_experts, 0, EXPERTS_MAX, false),
    NUMBER(NULL, "num_experts", n_experts_too, 0, EXPERTS_MAX, false),
    NUMBER("expert_used_count", "num_experts_per_tok", n_used, 0, EXPERTS_USED_MAX, false),
    NUMBER("expert_feed_forward_length", "moe_intermediate_size", d_expert, 1, FFN_WIDTH_MAX,
           false),
};

static status find_family(const model_source *source, const struct model_family **out,
                          struct error_note *note)
{
    struct text_slice name = {NULL, 0};
    bool is_folder = source->file == NULL;
    const char *key = is_folder ? "model_type" : "general.architecture";
    if (is_folder)
        name = text_slice_of(json_string_value(json_object_get(source->config, key)));
    else
        (void)gguf_get_text(source->file, key, &name);
    if (name.data == NULL) {
        error_note_set(note, "the key %s is missing", key);
        return STATUS_INVALID;
    }
    *out = is_folder ? model_family_find_type(name) : model_family_find(name);
    if (*out != NULL)
        return STATUS_OK;
    char known[256];
    model_family_list(is_folder, known, sizeof known);
    error_note_set(note, "the architecture '%.*s' is not supported (these are: %s)",
                   (int)(name.bytes < 64 ? name.bytes : 64), name.data, known);
    return STATUS_UNSUPPORTED;
}

static status read_number(const model_source *source, const struct model_family *family,
                          const struct number_row *row, uint32_t *out, struct error_note *note)
{
    char name[FACT_NAME_MAX];
    uint64_t value = 0;
    enum fact_outcome outcome = fact_u64(source, family, &row->key, &value);
    fact_name(source, family, &row->key, name);
    enum gguf_type element;
    if (outcome == FACT_WRONG && source->file != NULL &&
        gguf_get_array(source->file, name, &element, &value)) {
        error_note_set(note, "%s differs from layer to layer, which is not supported", name);
        return STATUS_UNSUPPORTED;
    }
    if (outcome == FACT_ABSENT && !row->is_required)
        return STATUS_OK;
    if (outcome != FACT_FOUND) {
        error_note_set(note, "the key %s is missing or not a whole number", name);
        return STATUS_INVALID;
    }
    if (value < row->min || value > row->max) {
        error_note_set(note, "%s is %" PRIu64 "; %" PRIu32 " to %" PRIu32 " are possible", name,
                       value, row->min, row->max);
        return STATUS_INVALID;
    }
    *out = (uint32_t)value;
    return STATUS_OK;
}

static status read_numbers(const model_source *source, const struct model_family *family,
                           struct numbers *out, struct error_note *note)
{
    *out = (struct numbers){0};
    for (size_t i = 0; i < ARRAY_COUNT(NUMBERS); i++) {
        uint32_t *field = (uint32_t *)(void *)((char *)out + NUMBERS[i].offset);
        status s = read_number(source, family, &NUMBERS[i], field, note);
        if (s != STATUS_OK)
            return s;
    }
    if (out->n_experts == 0)
        out->n_experts = out->n_experts_too;
    return STATUS_OK;
}

static status fill_heads(const model_source *source, const struct numbers *numbers,
                         struct model_shape *shape, struct error_note *note)
{
    shape->n_heads = numbers->n_heads;
    shape->n_kv_heads = numbers->n_kv_heads != 0 ? numbers->n_kv_heads : numbers->n_heads;
    if (shape->n_heads % shape->n_kv_heads != 0) {
        error_note_set(note, "%" PRIu32 " query heads cannot share %" PRIu32 " key heads evenly",
                       shape->n_heads, shape->n_kv_heads);
        return STATUS_INVALID;
    }
    uint32_t by_width = numbers->d % numbers->n_heads == 0 ? numbers->d / numbers->n_heads : 0;
    if (source->file == NULL && shape->family->d_head != 0)
        by_width = shape->family->d_head;
    shape->d_head = numbers->key_width != 0 ? numbers->key_width : by_width;
    uint32_t value_width = numbers->value_width != 0 ? numbers->value_width
                           : source->file != NULL    ? by_width
                                                     : shape->d_head;
    if (shape->d_head == 0 || shape->d_head % 2 != 0 || shape->d_head > HEAD_WIDTH_MAX) {
        error_note_set(
            note, "a head width of %" PRIu32 " (width %" PRIu32 ", %" PRIu32 " heads) cannot be",
            shape->d_head, numbers->d, shape->n_heads);
        return STATUS_INVALID;
    }
    if (value_width != shape->d_head) {
        error_note_set(note,
                       "values of %" PRIu32 " beside keys of %" PRIu32
                       " features a head are not supported",
                       value_width, shape->d_head);
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}

/* Gemma 2 and 3 scale scores by what query_pre_attn_scalar says, usually the head's width; GGUF files do not say it, but the
 * 27B models, known by their layers, take the width a head (llama.cpp's src/llama-model.cpp). */
static double score_divisor(const model_source *source, const struct model_shape *shape)
{
    if (!family_has(shape->family, FAMILY_POST_NORMS))
        return shape->d_head;
    if (source->file == NULL)
        return 256; /* the class' default */
    bool is_27b = text_slice_is(text_slice_of(shape->family->architecture), "gemma2")
                      ? shape->n_layers == 46
                      : shape->n_layers == 62;
    return is_27b ? (double)shape->d / shape->n_heads : shape->d_head;
}

static status read_scores(const model_source *source, struct model_shape *shape,
                          struct error_note *note)
{
    static const struct fact_key scalar = {NULL, "query_pre_attn_scalar"},
                                 scale = {"attention.scale", NULL},
                                 attention_cap = {"attn_logit_softcapping",
                                                  "attn_logit_softcapping"},
                                 logit_cap = {"final_logit_softcapping", "final_logit_softcapping"};
    const struct model_family *family = shape->family;
    double divisor, cap = 0, factor = 0;
    status s = fact_positive(source, family, &scalar, score_divisor(source, shape), SCORE_MAX,
                             &divisor, note);
    if (s == STATUS_OK)
        s = fact_positive(source, family, &scale, 1 / sqrt(divisor), SCORE_MAX, &factor, note);
    shape->attention_scale = (float)factor;
    /* A folder says null for none. */
    bool is_null = json_is_null(json_object_get(source->config, attention_cap.hf));
    if (s == STATUS_OK)
        s = fact_positive(source, family, &attention_cap,
                          is_null ? 0 : (double)family->attention_cap, SCORE_MAX, &cap, note);
    shape->attention_cap = (float)cap;
    is_null = json_is_null(json_object_get(source->config, logit_cap.hf));
    if (s == STATUS_OK)
        s = fact_positive(source, family, &logit_cap, is_null ? 0 : (double)family->logit_cap,
                          SCORE_MAX, &cap, note);
    shape->logit_cap = (float)cap;
    return s;
}

void model_shape_fill_windows(struct model_shape *shape, uint32_t period)
{
    for (uint32_t i = 0; i < shape->n_layers; i++)
        if (period == 0 || (i + 1) % period != 0)
            shape->windowed[i / 64] |= UINT64_C(1) << (i % 64);
}

static status read_windows(const model_source *source, struct model_shape *shape,
                           struct error_note *note)
{
    if (source->file == NULL)
        return model_shape_read_hf_windows(source, shape, note);
    static const struct fact_key pattern = {"attention.sliding_window_pattern", NULL};
    uint64_t period = shape->family->windows == WINDOW_ALTERNATE     ? 2
                      : shape->family->windows == WINDOW_FIVE_SIXTHS ? 6
                                                                     : 0;
    uint64_t said;
    if (fact_u64(source, shape->family, &pattern, &said) == FACT_FOUND && said <= LAYERS_MAX)
        period = said;
    model_shape_fill_windows(shape, (uint32_t)period);
    return STATUS_OK;
}

static status read_experts(const model_source *source, const struct numbers *numbers,
                           struct model_shape *shape, struct error_note *note)
{
    struct expert_facts *experts = &shape->experts;
    shape->d_ffn = numbers->d_ffn;
    if (numbers->n_experts == 0) {
        if (numbers->d_ffn == 0) {
            error_note_set(note, "the width of the MLP is missing or 0");
            return STATUS_INVALID;
        }
        return STATUS_OK;
    }
    experts->n_experts = numbers->n_experts;
    experts->n_used = numbers->n_used;
    experts->d_hidden = numbers->d_expert != 0 ? numbers->d_expert : numbers->d_ffn;
    experts->router = shape->family->router;
    const json_t *normed = json_object_get(source->config, "norm_topk_prob");
    if (strcmp(shape->family->architecture, "qwen3moe") == 0 && source->file == NULL &&
        !json_is_true(normed))
        experts->router = ROUTER_SHARES;
    if (experts->n_used == 0 || experts->n_used > experts->n_experts || experts->d_hidden == 0) {
        error_note_set(note,
                       "%" PRIu32 " of %" PRIu32 " experts with %" PRIu32 " features cannot be",
                       experts->n_used, experts->n_experts, experts->d_hidden);
        return STATUS_INVALID;
    }
    shape->d_ffn = experts->d_hidden;
    return STATUS_OK;
}

/* The embedding's rows are the truth about the vocabulary: `vocab_size` is absent from many files.
 */
static status read_vocabulary(const model_source *source, struct model_shape *shape,
                              struct error_note *note)
{
    const struct source_tensor *embedding = model_source_tensor_find(source, "token_embd.weight");
    if (embedding == NULL || embedding->dimensions[1] > VOCABULARY_MAX) {
        error_note_set(
            note, embedding == NULL
                      ? "the tensor token_embd.weight is missing"
                      : "token_embd.weight has more rows than a vocabulary may have (4194304)");
        return STATUS_INVALID;
    }
    shape->vocabulary = (uint32_t)embedding->dimensions[1];
    shape->is_head_tied = model_source_tensor_find(source, "output.weight") == NULL;
    enum gguf_type element;
    uint64_t tokens;
    if (source->file != NULL &&
        gguf_get_array(source->file, "tokenizer.ggml.tokens", &element, &tokens) &&
        tokens > shape->vocabulary) {
        error_note_set(
            note, "the tokenizer has %" PRIu64 " tokens, but token_embd.weight %" PRIu32 " rows",
            tokens, shape->vocabulary);
        return STATUS_INVALID;
    }
    const json_t *tied = json_object_get(source->config, "tie_word_embeddings");
    if (json_is_false(tied) && shape->is_head_tied) {
        error_note_set(note, "the tensor lm_head.weight is missing (tie_word_embeddings is false)");
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static status read_norms(const model_source *source, struct model_shape *shape,
                         struct error_note *note)
{
    static const struct fact_key key = {"attention.layer_norm_rms_epsilon", "rms_norm_eps"};
    double epsilon = 0;
    status s = fact_positive(source, shape->family, &key, 0, 1, &epsilon, note);
    if (s == STATUS_OK && epsilon == 0) {
        char name[FACT_NAME_MAX];
        error_note_set(note, "the key %s is missing", fact_name(source, shape->family, &key, name));
        s = STATUS_INVALID;
    }
    shape->rms_epsilon = (float)epsilon;
    bool is_offset = family_has(shape->family, FAMILY_UNIT_NORMS) && source->file == NULL;
    shape->norm_offset = is_offset ? 1.0f : 0.0f;
    shape->embedding_scale =
        family_has(shape->family, FAMILY_SCALED_INPUT) ? sqrtf((float)shape->d) : 1.0f;
    return s;
}

static status read_rope(const model_source *source, const struct numbers *numbers,
                        struct model_shape *shape, struct error_note *note)
{
    uint32_t original = numbers->original_context;
    shape->rope.d_rope = numbers->d_rope != 0 ? numbers->d_rope : shape->d_head;
    shape->rope_is_interleaved = family_has(shape->family, FAMILY_PERMUTED) && source->file != NULL;
    status s = source->file != NULL ? model_shape_read_gguf_rope(source, original, shape, note)
                                    : model_shape_read_hf_rope(source, original, shape, note);
    const struct rope_shape *rope = &shape->rope;
    if (s == STATUS_OK &&
        (rope->d_rope % 2 != 0 || rope->d_rope < 2 || rope->d_rope > shape->d_head)) {
        error_note_set(note, "%" PRIu32 " rotated features in heads of %" PRIu32 " cannot be",
                       rope->d_rope, shape->d_head);
        s = STATUS_INVALID;
    }
    return s;
}

status model_shape_read(const model_source *source, struct model_shape *out,
                        struct error_note *note)
{
    struct model_shape shape = {0};
    struct numbers numbers;
    status s = find_family(source, &shape.family, note);
    if (s == STATUS_OK)
        s = read_numbers(source, shape.family, &numbers, note);
    if (s != STATUS_OK)
        return s;
    shape.n_layers = numbers.n_layers;
    shape.d = numbers.d;
    shape.context_trained = numbers.context;
    shape.window = numbers.window;
    if (source->file == NULL)
        s = model_shape_check_hf(source, &shape, note);
    if (s == STATUS_OK)
        s = read_experts(source, &numbers, &shape, note);
    if (s == STATUS_OK)
        s = fill_heads(source, &numbers, &shape, note);
    if (s == STATUS_OK)
        s = read_rope(source, &numbers, &shape, note);
    if (s == STATUS_OK)
        s = read_windows(source, &shape, note);
    if (s == STATUS_OK)
        s = read_scores(source, &shape, note);
    if (s == STATUS_OK)
        s = read_norms(source, &shape, note);
    if (s == STATUS_OK)
        s = read_vocabulary(source, &shape, note);
    if (s == STATUS_OK)
        *out = shape;
    return s;
}
