#include "model_shape.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

/* Four times the largest published decoder in each direction, or more; they keep every product of
 * two of these numbers in 64 bits and every buffer's row in 32. */
#define LAYERS_MAX      1024u
#define WIDTH_MAX       (1u << 17)
#define FFN_WIDTH_MAX   (1u << 20)
#define HEADS_MAX       1024u
#define HEAD_WIDTH_MAX  1024u
#define VOCABULARY_MAX  (1u << 22)
#define CONTEXT_MAX     (1u << 28)
#define ROPE_BASE_MAX   1e12
#define ROPE_FACTOR_MAX 1e6

#define KEY_TEXT_MAX 128

/* clang-format off */
static const struct model_family FAMILIES[] = {
    /* architecture  interleaved  qkv bias  scaled  gate */
    {"llama",        true,        false,    false,  GATE_SILU}, /* Llama 2/3, Mistral, SmolLM */
    {"qwen2",        false,       true,     false,  GATE_SILU},      /* Qwen 2 and 2.5, dense */
    {"gemma",        false,       false,    true,   GATE_GELU_TANH}, /* Gemma 1 */
};
/* clang-format on */

/* Every integer key, with its field. The keys begin with the architecture's name. */
struct number_row {
    const char *suffix;
    size_t offset; /* in struct numbers */
    uint32_t min, max;
    bool is_required;
};

/* 0: absent. */
struct numbers {
    uint32_t n_layers, d, d_ffn, n_heads, n_kv_heads, key_width, value_width, context, d_rope,
        window, original_context;
};

#define NUMBER(suffix, field, min, max, is_required)                                               \
    {                                                                                              \
        suffix, offsetof(struct numbers, field), min, max, is_required                             \
    }
static const struct number_row NUMBERS[] = {
    NUMBER("block_count", n_layers, 1, LAYERS_MAX, true),
    NUMBER("embedding_length", d, 1, WIDTH_MAX, true),
    NUMBER("feed_forward_length", d_ffn, 1, FFN_WIDTH_MAX, true),
    NUMBER("attention.head_count", n_heads, 1, HEADS_MAX, true),
    NUMBER("attention.head_count_kv", n_kv_heads, 1, HEADS_MAX, false),
    NUMBER("attention.key_length", key_width, 2, HEAD_WIDTH_MAX, false),
    NUMBER("attention.value_length", value_width, 2, HEAD_WIDTH_MAX, false),
    NUMBER("attention.sliding_window", window, 0, CONTEXT_MAX, false),
    NUMBER("context_length", context, 1, CONTEXT_MAX, true),
    NUMBER("rope.dimension_count", d_rope, 2, HEAD_WIDTH_MAX, false),
    NUMBER("rope.scaling.original_context_length", original_context, 1, CONTEXT_MAX, false),
};

static const char *key_of(const struct model_family *family, const char *suffix,
                          char key[KEY_TEXT_MAX])
{
    int bytes = snprintf(key, KEY_TEXT_MAX, "%s.%s", family->architecture, suffix);
    CHECK(bytes > 0 && bytes < KEY_TEXT_MAX);
    return key;
}

static status find_family(const gguf *file, const struct model_family **out,
                          struct error_note *note)
{
    struct text_slice name;
    if (!gguf_get_text(file, "general.architecture", &name)) {
        error_note_set(note, "the key general.architecture is missing");
        return STATUS_INVALID;
    }
    char known[256] = "";
    for (size_t i = 0; i < ARRAY_COUNT(FAMILIES); i++) {
        if (text_slice_is(name, FAMILIES[i].architecture)) {
            *out = &FAMILIES[i];
            return STATUS_OK;
        }
        size_t used = strlen(known);
        (void)snprintf(known + used, sizeof known - used, "%s%s", i != 0 ? ", " : "",
                       FAMILIES[i].architecture);
    }
    error_note_set(note, "the architecture '%.*s' is not supported (these are: %s)",
                   (int)(name.bytes < 64 ? name.bytes : 64), name.data, known);
    return STATUS_UNSUPPORTED;
}

static status read_number(const gguf *file, const struct model_family *family,
                          const struct number_row *row, uint32_t *out, struct error_note *note)
{
    char key[KEY_TEXT_MAX];
    enum gguf_type element;
    uint64_t value;
    key_of(family, row->suffix, key);
    if (gguf_get_array(file, key, &element, &value)) {
        error_note_set(note, "%s differs from layer to layer, which is not supported", key);
        return STATUS_UNSUPPORTED;
    }
    if (!gguf_get_u64(file, key, &value)) {
        if (!row->is_required)
            return STATUS_OK;
        error_note_set(note, "the key %s is missing or not a whole number", key);
        return STATUS_INVALID;
    }
    if (value < row->min || value > row->max) {
        error_note_set(note, "%s is %" PRIu64 "; %" PRIu32 " to %" PRIu32 " are possible", key,
                       value, row->min, row->max);
        return STATUS_INVALID;
    }
    *out = (uint32_t)value;
    return STATUS_OK;
}

static status read_numbers(const gguf *file, const struct model_family *family, struct numbers *out,
                           struct error_note *note)
{
    *out = (struct numbers){0};
    for (size_t i = 0; i < ARRAY_COUNT(NUMBERS); i++) {
        uint32_t *field = (uint32_t *)(void *)((char *)out + NUMBERS[i].offset);
        status s = read_number(file, family, &NUMBERS[i], field, note);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* A positive real in (0, max], or `fallback` where the key is absent. */
static status read_real(const gguf *file, const struct model_family *family, const char *suffix,
                        double fallback, double max, double *out, struct error_note *note)
{
    char key[KEY_TEXT_MAX];
    *out = fallback;
    if (!gguf_get_f64(file, key_of(family, suffix, key), out))
        return STATUS_OK;
    if (*out > 0 && *out <= max)
        return STATUS_OK;
    error_note_set(note, "%s is %g; more than 0 and at most %g is possible", key, *out, max);
    return STATUS_INVALID;
}

static status refuse_experts(const gguf *file, const struct model_family *family,
                             struct error_note *note)
{
    char key[KEY_TEXT_MAX];
    uint64_t experts;
    if (!gguf_get_u64(file, key_of(family, "expert_count", key), &experts) || experts == 0)
        return STATUS_OK;
    error_note_set(note, "a mixture of %" PRIu64 " experts (%s) is not supported", experts, key);
    return STATUS_UNSUPPORTED;
}

static status fill_heads(const struct numbers *numbers, struct model_shape *shape,
                         struct error_note *note)
{
    shape->n_heads = numbers->n_heads;
    shape->n_kv_heads = numbers->n_kv_heads != 0 ? numbers->n_kv_heads : numbers->n_heads;
    if (shape->n_heads % shape->n_kv_heads != 0) {
        error_note_set(note, "%" PRIu32 " query heads cannot share %" PRIu32 " key heads evenly",
                       shape->n_heads, shape->n_kv_heads);
        return STATUS_INVALID;
    }
    uint32_t by_width = numbers->d % numbers->n_heads == 0 ? numbers->d / numbers->n_heads : 0;
    shape->d_head = numbers->key_width != 0 ? numbers->key_width : by_width;
    uint32_t value_width = numbers->value_width != 0 ? numbers->value_width : by_width;
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

static status read_scaling_kind(const gguf *file, const struct model_family *family,
                                struct rope_shape *rope, struct error_note *note)
{
    char key[KEY_TEXT_MAX];
    struct text_slice kind;
    rope->scaling = ROPE_SCALING_LINEAR; /* without a factor it changes nothing */
    if (!gguf_get_text(file, key_of(family, "rope.scaling.type", key), &kind) ||
        text_slice_is(kind, "linear"))
        return STATUS_OK;
    if (text_slice_is(kind, "none")) {
        rope->scaling = ROPE_SCALING_NONE;
        return STATUS_OK;
    }
    if (text_slice_is(kind, "yarn")) {
        rope->scaling = ROPE_SCALING_YARN;
        return STATUS_OK;
    }
    error_note_set(note, "%s '%.*s' is not supported (none, linear and yarn are)", key,
                   (int)(kind.bytes < 32 ? kind.bytes : 32), kind.data);
    return STATUS_UNSUPPORTED;
}

/* The keys, defaults and the older name of the factor are llama.cpp's (src/llama-model.cpp). */
static status read_rope(const gguf *file, const struct model_family *family,
                        const struct numbers *numbers, struct model_shape *shape,
                        struct error_note *note)
{
    struct rope_shape *rope = &shape->rope;
    rope->d_rope = numbers->d_rope != 0 ? numbers->d_rope : shape->d_head;
    rope->context_original =
        numbers->original_context != 0 ? numbers->original_context : numbers->context;
    if (rope->d_rope % 2 != 0 || rope->d_rope > shape->d_head) {
        error_note_set(note, "%" PRIu32 " rotated features in heads of %" PRIu32 " cannot be",
                       rope->d_rope, shape->d_head);
        return STATUS_INVALID;
    }
    status s = read_scaling_kind(file, family, rope, note);
    if (s == STATUS_OK)
        s = read_real(file, family, "rope.freq_base", 10000.0, ROPE_BASE_MAX, &rope->base, note);
    double old_factor = 1.0;
    if (s == STATUS_OK)
        s = read_real(file, family, "rope.scale_linear", 1.0, ROPE_FACTOR_MAX, &old_factor, note);
    if (s == STATUS_OK)
        s = read_real(file, family, "rope.scaling.factor", old_factor, ROPE_FACTOR_MAX,
                      &rope->factor, note);
    if (s == STATUS_OK)
        s = read_real(file, family, "rope.scaling.attn_factor", 1.0, ROPE_FACTOR_MAX,
                      &rope->attention_factor, note);
    if (s == STATUS_OK)
        s = read_real(file, family, "rope.scaling.yarn_beta_fast", 32.0, ROPE_FACTOR_MAX,
                      &rope->beta_fast, note);
    if (s == STATUS_OK)
        s = read_real(file, family, "rope.scaling.yarn_beta_slow", 1.0, ROPE_FACTOR_MAX,
                      &rope->beta_slow, note);
    return s;
}

/* The embedding's rows are the truth about the vocabulary: `vocab_size` is absent from many files.
 */
static status read_vocabulary(const gguf *file, struct model_shape *shape, struct error_note *note)
{
    const struct gguf_tensor *embedding = gguf_tensor_find(file, "token_embd.weight");
    if (embedding == NULL || embedding->dimensions[1] > VOCABULARY_MAX) {
        error_note_set(
            note, embedding == NULL
                      ? "the tensor token_embd.weight is missing"
                      : "token_embd.weight has more rows than a vocabulary may have (4194304)");
        return STATUS_INVALID;
    }
    shape->vocabulary = (uint32_t)embedding->dimensions[1];
    enum gguf_type element;
    uint64_t tokens;
    if (gguf_get_array(file, "tokenizer.ggml.tokens", &element, &tokens) &&
        tokens > shape->vocabulary) {
        error_note_set(
            note, "the tokenizer has %" PRIu64 " tokens, but token_embd.weight %" PRIu32 " rows",
            tokens, shape->vocabulary);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

status model_shape_read(const gguf *file, struct model_shape *out, struct error_note *note)
{
    struct model_shape shape = {0};
    struct numbers numbers;
    status s = find_family(file, &shape.family, note);
    if (s == STATUS_OK)
        s = refuse_experts(file, shape.family, note);
    if (s == STATUS_OK)
        s = read_numbers(file, shape.family, &numbers, note);
    if (s != STATUS_OK)
        return s;
    shape.n_layers = numbers.n_layers;
    shape.d = numbers.d;
    shape.d_ffn = numbers.d_ffn;
    shape.context_trained = numbers.context;
    shape.window = numbers.window;
    s = fill_heads(&numbers, &shape, note);
    if (s == STATUS_OK)
        s = read_rope(file, shape.family, &numbers, &shape, note);
    double epsilon = 0;
    if (s == STATUS_OK)
        s = read_real(file, shape.family, "attention.layer_norm_rms_epsilon", 0, 1, &epsilon, note);
    if (s == STATUS_OK && epsilon == 0) {
        error_note_set(note, "the key %s.attention.layer_norm_rms_epsilon is missing",
                       shape.family->architecture);
        s = STATUS_INVALID;
    }
    shape.rms_epsilon = (float)epsilon;
    if (s == STATUS_OK)
        s = read_vocabulary(file, &shape, note);
    if (s == STATUS_OK)
        *out = shape;
    return s;
}
