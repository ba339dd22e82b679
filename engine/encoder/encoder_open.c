/* From a path to an encoder that takes requests. */

#include <string.h>

#include "check.h"
#include "encoder_private.h"
#include "json_file.h"
#include "memory.h"
#include "model.h"
#include "tokenizer_folder.h"

#define TEXTS_LIMIT    4096u
#define ROWS_LIMIT     (1u << 20)
#define REQUESTS_LIMIT (1u << 20)

/* --- what kind of model --- */

static bool gguf_is_encoder(const gguf *file)
{
    struct text_slice name;
    return file != NULL && gguf_get_text(file, "general.architecture", &name) &&
           text_slice_is(name, "bert");
}

/* Models of these types decode when their architecture says so (BertLMHeadModel and its kin). */
static bool config_is_encoder(const json_t *config)
{
    static const char *const types[] = {"bert", "roberta", "xlm-roberta", "camembert"};
    const char *type = json_string_value(json_object_get(config, "model_type"));
    for (size_t i = 0; type != NULL && i < ARRAY_COUNT(types); i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

bool encoder_can_open(const char *path)
{
    struct error_note note;
    json_t *config = NULL;
    gguf *file = NULL;
    if (folder_json_read(path, "config.json", &config, &note) == STATUS_OK) {
        bool is_encoder = config_is_encoder(config);
        json_decref(config);
        return is_encoder;
    }
    if (gguf_open(path, &file, &note) != STATUS_OK)
        return false;
    bool is_encoder = gguf_is_encoder(file);
    gguf_close(file);
    return is_encoder;
}

/* --- open --- */

static status find_backend(encoder *e, struct error_note *note)
{
    if (backend_path_find(e->options.backend, &e->path))
        return STATUS_OK;
    error_note_set(note, "there is no backend \"%s\"", e->options.backend);
    return STATUS_INVALID;
}

/* An encoder has no use for a chat template. */
static void take_tokenizer(encoder *e, struct tokenizer_folder *text)
{
    e->tokens = text->tokenizer;
    text->tokenizer = NULL;
    tokenizer_folder_deinit(text);
}

static status open_folder(encoder *e, const char *path, struct error_note *note)
{
    struct tokenizer_folder text;
    status s = encoder_shape_read_folder(path, &e->shape, note);
    if (s == STATUS_OK)
        s = safetensors_open(path, &e->folder, note);
    if (s == STATUS_OK)
        s = tokenizer_folder_open(path, &text, note);
    if (s == STATUS_OK)
        take_tokenizer(e, &text);
    return s;
}

static status open_files(encoder *e, const char *path, struct error_note *note)
{
    json_t *config = NULL;
    struct error_note ignored;
    struct tokenizer_folder text;
    if (folder_json_read(path, "config.json", &config, &ignored) == STATUS_OK) {
        json_decref(config);
        return open_folder(e, path, note);
    }
    status s = model_source_open(path, &e->source, note);
    if (s == STATUS_OK && model_source_gguf(e->source) == NULL) {
        error_note_set(note, "%s: a folder without config.json", path);
        s = STATUS_NOT_FOUND;
    }
    if (s == STATUS_OK)
        s = encoder_shape_read_gguf(model_source_gguf(e->source), &e->shape, note);
    if (s == STATUS_OK)
        s = model_file_text(e->source, &text, note);
    if (s == STATUS_OK)
        take_tokenizer(e, &text);
    return s;
}

static status check_sizes(encoder *e, struct error_note *note)
{
    const struct encoder_options *options = &e->options;
    uint32_t longest = e->shape.context_max;
    uint32_t context = options->context_max != 0 ? options->context_max : longest;
    if (context < 3 || context > longest) {
        error_note_set(note, "context_max must be within 3 and %u (the model's own), not %u",
                       longest, context);
        return STATUS_INVALID;
    }
    if (tokenizer_token_count(e->tokens) > e->shape.vocabulary) {
        error_note_set(note, "the tokenizer has %u tokens, the model %u",
                       tokenizer_token_count(e->tokens), e->shape.vocabulary);
        return STATUS_INVALID;
    }
    if (options->sequence_count_max < 1 || options->sequence_count_max > TEXTS_LIMIT ||
        options->batch_tokens_max < 1 || options->batch_tokens_max > ROWS_LIMIT ||
        options->queue_requests_max < 1 || options->queue_requests_max > REQUESTS_LIMIT) {
        error_note_set(note,
                       "sequence_count_max must be within 1 and %u, batch_tokens_max within 1 "
                       "and %u, queue_requests_max within 1 and %u",
                       TEXTS_LIMIT, ROWS_LIMIT, REQUESTS_LIMIT);
        return STATUS_INVALID;
    }
    e->texts_max = options->sequence_count_max;
    e->rows_max = options->batch_tokens_max > context ? options->batch_tokens_max : context;
    e->info.context_max = context;
    return STATUS_OK;
}

static void fill_info(encoder *e)
{
    e->info.architecture = e->shape.architecture;
    e->info.width = e->shape.d;
    e->info.class_count = e->shape.class_count;
    e->info.layers = e->shape.n_layers;
    e->info.vocabulary = e->shape.vocabulary;
    e->info.is_normalized = e->shape.normalizes;
    e->info.threads = e->options.threads != 0 ? e->options.threads : thread_core_count();
}

static status make_state(encoder *e)
{
    e->newest = &e->oldest;
    e->ids = memory_allocate_array(e->rows_max, sizeof *e->ids);
    e->positions = memory_allocate_array(e->rows_max, sizeof *e->positions);
    e->types = memory_allocate_array(e->rows_max, sizeof *e->types);
    e->row_start = memory_allocate_array((size_t)e->texts_max + 1, sizeof *e->row_start);
    e->outputs = memory_allocate_array(e->texts_max, sizeof *e->outputs);
    if (e->ids == NULL || e->positions == NULL || e->types == NULL || e->row_start == NULL ||
        e->outputs == NULL)
        return STATUS_NO_MEMORY;
    status s = encoder_metrics_init(&e->metrics, e->options.metrics, e->options.served_name);
    return s == STATUS_OK ? ring_create(e->options.queue_requests_max, &e->inbox) : s;
}

static void count_weights(encoder *e)
{
    const gguf *file = e->source != NULL ? model_source_gguf(e->source) : NULL;
    for (uint64_t i = 0; e->folder != NULL && i < safetensors_tensor_count(e->folder); i++) {
        const struct safetensors_tensor *t = safetensors_tensor_at(e->folder, i);
        e->info.weight_bytes += t->bytes;
        e->info.parameter_count += t->bytes / safetensors_type_bytes(t->type);
    }
    for (uint64_t i = 0; file != NULL && i < gguf_tensor_count(file); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(file, i);
        e->info.weight_bytes += t->bytes;
        e->info.parameter_count += t->dimensions[0] * t->dimensions[1];
    }
}

status encoder_file_info(const char *path, struct encoder_info *out, struct error_note *note)
{
    encoder *e = memory_allocate_array(1, sizeof *e);
    if (e == NULL)
        return STATUS_NO_MEMORY;
    status s = open_files(e, path, note);
    if (s == STATUS_OK) {
        fill_info(e);
        count_weights(e);
        e->info.context_max = e->shape.context_max;
        *out = e->info;
    }
    encoder_close(e);
    return s;
}

static status start_thread(encoder *e, struct error_note *note)
{
    status s = thread_start(&e->thread, "encoder", encoder_thread_run, e);
    if (s != STATUS_OK)
        return s;
    e->has_thread = true;
    return opening_wait(&e->opening, note);
}

status encoder_open(const struct encoder_options *options, encoder **out, struct error_note *note)
{
    encoder *e = memory_allocate_array(1, sizeof *e);
    if (e == NULL)
        return STATUS_NO_MEMORY;
    e->options = *options;
    status s = find_backend(e, note);
    if (s == STATUS_OK)
        s = open_files(e, options->model_path, note);
    if (s == STATUS_OK)
        s = check_sizes(e, note);
    if (s == STATUS_OK) {
        fill_info(e);
        count_weights(e);
        s = make_state(e);
    }
    if (s == STATUS_OK)
        s = start_thread(e, note);
    if (s != STATUS_OK) {
        encoder_close(e);
        return s;
    }
    e->options.model_path = e->options.backend = e->options.served_name = NULL;
    e->options.slice_vendor = NULL;
    *out = e;
    return STATUS_OK;
}

void encoder_close(encoder *e)
{
    if (e == NULL)
        return;
    if (e->has_thread) {
        atomic_store_explicit(&e->is_closing, true, memory_order_release);
        parking_signal(&e->parking);
        int rc = pthread_join(e->thread, NULL);
        CHECK(rc == 0);
    }
    ring_destroy(e->inbox);
    memory_release(e->ids);
    memory_release(e->positions);
    memory_release(e->types);
    memory_release(e->row_start);
    memory_release(e->outputs);
    tokenizer_destroy(e->tokens);
    safetensors_close(e->folder);
    model_source_close(e->source);
    memory_release(e);
}
