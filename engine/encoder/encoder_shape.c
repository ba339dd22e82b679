/* config.json and sentence-transformers' module files, or GGUF's keys, as a shape. */
#include "encoder_shape.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "json_file.h"

/* As the limits of decoders (engine/model/model_shape.c); a head must fit the kernels. */
#define LAYERS_MAX     1024
#define WIDTH_MAX      8192
#define FFN_WIDTH_MAX  65536
#define HEADS_MAX      1024
#define HEAD_WIDTH_MAX 256u
#define VOCABULARY_MAX (1 << 22)
#define TYPES_MAX      1024
#define CLASSES_MAX    4096u

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static status wrong(struct error_note *note, const char *what)
{
    error_note_set(note, "config.json: %s", what);
    return STATUS_INVALID;
}

static status read_count(const json_t *config, const char *name, uint32_t max, uint32_t *out,
                         struct error_note *note)
{
    const json_t *value = json_object_get(config, name);
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : 0;
    if (number < 1 || number > (json_int_t)max) {
        error_note_set(note, "config.json: %s must be a number within 1 and %u", name, max);
        return STATUS_INVALID;
    }
    *out = (uint32_t)number;
    return STATUS_OK;
}

struct known_model {
    const char *type; /* model_type */
    bool offsets_positions;
};
static const struct known_model models[] = {
    {"bert", false}, {"roberta", true}, {"xlm-roberta", true}, {"camembert", true}};

static status read_kind(const json_t *config, struct encoder_shape *out, struct error_note *note)
{
    const char *type = text_of(config, "model_type");
    for (size_t i = 0; i < ARRAY_COUNT(models); i++) {
        if (strcmp(models[i].type, type) != 0)
            continue;
        const json_t *padding = json_object_get(config, "pad_token_id");
        json_int_t id = json_is_integer(padding) ? json_integer_value(padding) : 1;
        out->architecture = models[i].type;
        out->position_offset = models[i].offsets_positions ? (uint32_t)(id + 1) : 0;
        return id >= 0 && id < VOCABULARY_MAX ? STATUS_OK : wrong(note, "pad_token_id cannot be");
    }
    error_note_set(
        note,
        "config.json: encoders of model_type \"%.40s\" are not supported (bert, roberta, "
        "xlm-roberta and camembert are)",
        type);
    return STATUS_UNSUPPORTED;
}

static status read_activation(const json_t *config, enum gate_kind *out, struct error_note *note)
{
    static const struct {
        const char *name;
        enum gate_kind kind;
    } names[] = {{"gelu", GATE_GELU_ERF},
                 {"gelu_new", GATE_GELU_TANH},
                 {"gelu_pytorch_tanh", GATE_GELU_TANH},
                 {"silu", GATE_SILU},
                 {"swish", GATE_SILU}};
    const char *name = text_of(config, "hidden_act");
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(names[i].name, name) == 0) {
            *out = names[i].kind;
            return STATUS_OK;
        }
    }
    error_note_set(note, "config.json: hidden_act \"%.40s\" is not supported", name);
    return STATUS_UNSUPPORTED;
}

static status read_sizes(const json_t *config, struct encoder_shape *out, struct error_note *note)
{
    const struct {
        const char *name;
        uint32_t max;
        uint32_t *out;
    } rows[] = {
        {"num_hidden_layers", LAYERS_MAX, &out->n_layers},
        {"hidden_size", WIDTH_MAX, &out->d},
        {"intermediate_size", FFN_WIDTH_MAX, &out->d_ffn},
        {"num_attention_heads", HEADS_MAX, &out->n_heads},
        {"vocab_size", VOCABULARY_MAX, &out->vocabulary},
        {"max_position_embeddings", ATTENTION_FULL_ROWS_MAX, &out->n_positions},
        {"type_vocab_size", TYPES_MAX, &out->n_types},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        status s = read_count(config, rows[i].name, rows[i].max, rows[i].out, note);
        if (s != STATUS_OK)
            return s;
    }
    const json_t *epsilon = json_object_get(config, "layer_norm_eps");
    out->norm_epsilon = json_is_number(epsilon) ? (float)json_number_value(epsilon) : 1e-12f;
    const char *positions = text_of(config, "position_embedding_type");
    if (positions[0] != '\0' && strcmp(positions, "absolute") != 0) {
        error_note_set(note, "config.json: position_embedding_type \"%.40s\" is not supported",
                       positions);
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}

/* What follows from several numbers. */
static status check_shape(struct encoder_shape *out, struct error_note *note)
{
    if (out->d % out->n_heads != 0 || out->d / out->n_heads > HEAD_WIDTH_MAX) {
        error_note_set(note, "%u heads in a width of %u cannot be", out->n_heads, out->d);
        return STATUS_INVALID;
    }
    out->d_head = out->d / out->n_heads;
    if (out->position_offset >= out->n_positions) {
        error_note_set(note, "%u positions, of which the first %u are not used, cannot be",
                       out->n_positions, out->position_offset);
        return STATUS_INVALID;
    }
    out->context_max = out->n_positions - out->position_offset;
    return STATUS_OK;
}

/* *ForSequenceClassification: the head and what is made of its logits. */
static status read_classes(const json_t *config, struct encoder_shape *out, struct error_note *note)
{
    const char *architecture =
        json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    if (architecture == NULL || strstr(architecture, "ForSequenceClassification") == NULL)
        return STATUS_OK;
    size_t count = json_object_size(json_object_get(config, "id2label"));
    const json_t *labels = json_object_get(config, "num_labels");
    if (json_is_integer(labels))
        count = (size_t)json_integer_value(labels);
    count = count == 0 ? 2 : count; /* transformers' default */
    if (count > CLASSES_MAX)
        return wrong(note, "too many labels");
    out->class_count = (uint32_t)count;
    out->head = strcmp(out->architecture, "bert") == 0 ? CLASS_HEAD_POOLER : CLASS_HEAD_ROBERTA;
    const char *function =
        text_of(json_object_get(config, "sentence_transformers"), "activation_fn");
    if (function[0] == '\0')
        function = text_of(config, "sbert_ce_default_activation_function");
    out->applies_sigmoid = count == 1 && strstr(function, "Identity") == NULL;
    return STATUS_OK;
}

/* Without modules.json: the mean of the tokens, as it is, which is what sentence-transformers makes of a bare model. */
static status read_modules(const char *folder, struct encoder_shape *out, struct error_note *note)
{
    struct pooling_facts facts;
    status s = pooling_facts_read_folder(folder, &facts, note);
    out->pooling = facts.are_told ? facts.kind : POOLING_MEAN;
    out->normalizes = facts.normalizes;
    return s;
}

/* sentence_bert_config.json: the length that the model was tuned for. */
static status read_length(const char *folder, struct encoder_shape *out, struct error_note *note)
{
    json_t *config = NULL;
    status s = folder_json_read(folder, "sentence_bert_config.json", &config, note);
    if (s == STATUS_NOT_FOUND)
        return STATUS_OK;
    const json_t *longest = json_object_get(config, "max_seq_length");
    if (json_is_integer(longest) && json_integer_value(longest) > 2 &&
        json_integer_value(longest) < out->context_max)
        out->context_max = (uint32_t)json_integer_value(longest);
    if (s == STATUS_OK && json_is_true(json_object_get(config, "do_lower_case"))) {
        error_note_set(note, "sentence_bert_config.json: do_lower_case is not supported");
        s = STATUS_UNSUPPORTED;
    }
    json_decref(config);
    return s;
}

status encoder_shape_read_folder(const char *folder, struct encoder_shape *out,
                                 struct error_note *note)
{
    json_t *config = NULL;
    *out = (struct encoder_shape){.n_layers = 0};
    status s = folder_json_read(folder, "config.json", &config, note);
    if (s == STATUS_NOT_FOUND)
        error_note_set(note, "%s: there is no config.json", folder);
    if (s == STATUS_OK)
        s = read_kind(config, out, note);
    if (s == STATUS_OK)
        s = read_sizes(config, out, note);
    if (s == STATUS_OK)
        s = read_activation(config, &out->activation, note);
    if (s == STATUS_OK)
        s = check_shape(out, note);
    if (s == STATUS_OK)
        s = read_classes(config, out, note);
    if (s == STATUS_OK)
        s = read_modules(folder, out, note);
    if (s == STATUS_OK)
        s = read_length(folder, out, note);
    json_decref(config);
    return s;
}

/* --- GGUF --- */

static status read_gguf_count(const gguf *file, const char *key, uint32_t max, uint32_t *out,
                              struct error_note *note)
{
    uint64_t value = 0;
    if (gguf_get_u64(file, key, &value) && value >= 1 && value <= max) {
        *out = (uint32_t)value;
        return STATUS_OK;
    }
    error_note_set(note, "the key %s must be a number within 1 and %u", key, max);
    return STATUS_INVALID;
}

static uint32_t rows_of(const gguf *file, const char *name)
{
    const struct gguf_tensor *tensor = gguf_tensor_find(file, name);
    bool is_good = tensor != NULL && tensor->dimensions[1] <= VOCABULARY_MAX;
    return is_good ? (uint32_t)tensor->dimensions[1] : 0;
}

status encoder_shape_read_gguf(const gguf *file, struct encoder_shape *out, struct error_note *note)
{
    double epsilon = 1e-12;
    /* The converter writes what sentence-transformers normalizes without saying so; llama.cpp's
     * server normalizes every embedding. */
    *out = (struct encoder_shape){
        .architecture = "bert", .activation = GATE_GELU_ERF, .normalizes = true};
    const struct {
        const char *key;
        uint32_t max;
        uint32_t *out;
    } rows[] = {
        {"bert.block_count", LAYERS_MAX, &out->n_layers},
        {"bert.embedding_length", WIDTH_MAX, &out->d},
        {"bert.feed_forward_length", FFN_WIDTH_MAX, &out->d_ffn},
        {"bert.attention.head_count", HEADS_MAX, &out->n_heads},
        {"bert.context_length", ATTENTION_FULL_ROWS_MAX, &out->n_positions},
    };
    status s = STATUS_OK;
    for (size_t i = 0; i < ARRAY_COUNT(rows) && s == STATUS_OK; i++)
        s = read_gguf_count(file, rows[i].key, rows[i].max, rows[i].out, note);
    (void)gguf_get_f64(file, "bert.attention.layer_norm_epsilon", &epsilon);
    out->norm_epsilon = (float)epsilon;
    out->vocabulary = rows_of(file, "token_embd.weight");
    out->n_types = rows_of(file, "token_types.weight");
    if (s == STATUS_OK && (out->vocabulary == 0 || out->n_types == 0)) {
        error_note_set(note, "token_embd.weight or token_types.weight is missing");
        s = STATUS_INVALID;
    }
    struct pooling_facts facts;
    if (s == STATUS_OK)
        s = pooling_facts_read_gguf(file, out->architecture, &facts, note);
    if (s != STATUS_OK)
        return s;
    out->pooling = facts.are_told ? facts.kind : POOLING_MEAN;
    return check_shape(out, note);
}
