/* The encoder as a service: its thread, its queue, and how waiting texts become passes.
 *
 *   any thread   encoder_submit -> gate (counts) -> ring -> wakes the thread
 *   the thread   ring -> list of requests, oldest first -> texts of the oldest, then of the next, until a
 *                pass is full -> encoder_model_run -> on_done of the requests that are through
 *
 * A request's texts may lie in several passes, and a pass may hold texts of many requests. A text's
 * numbers do not depend on its neighbours, so order is all that batching changes. Everything a pass
 * needs is allocated at open. */
#include "encoder.h"

#include <stdatomic.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "encoder_metrics.h"
#include "encoder_model.h"
#include "json_file.h"
#include "memory.h"
#include "model.h"
#include "ring.h"
#include "thread.h"
#include "tokenizer_folder.h"

#define TEXTS_LIMIT    4096u
#define ROWS_LIMIT     (1u << 20)
#define REQUESTS_LIMIT (1u << 20)

struct encoder {
    struct encoder_options options;
    struct encoder_shape shape;
    struct encoder_info info;
    safetensors *folder;  /* owned; or */
    model_source *source; /* owned; a GGUF file */
    tokenizer *tokens;    /* owned */
    struct encoder_metrics metrics;
    enum backend_path path;

    ring *inbox; /* owned */
    struct parking parking, open_parking;
    pthread_t thread;
    bool has_thread;
    _Atomic uint32_t open_state; /* 0: loading, 1: open, 2: failed */
    status open_status;          /* written before open_state, as open_note and info */
    struct error_note open_note;
    _Atomic bool is_closing;
    _Atomic uint64_t waiting_tokens; /* of requests that are not through */
    _Atomic uint32_t waiting_count;
    _Atomic uint64_t busy_since_ns; /* 0: asleep */

    /* the thread's */
    backend *device;
    encoder_model *model;
    struct encoder_request *oldest, **newest;
    status failure;                   /* of the device: nothing runs any more */
    int32_t *ids, *positions, *types; /* owned; [rows_max] */
    uint32_t *row_start;              /* owned; [texts_max + 1] */
    float **outputs;                  /* owned; [texts_max] */
    uint32_t rows_max, texts_max;
    _Atomic uint32_t running;
    _Atomic uint64_t passes, texts, pass_tokens;
    _Atomic float pass_ms;
};

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
    const char *name = e->options.backend != NULL ? e->options.backend : "auto";
    for (int path = BACKEND_AUTO; path <= BACKEND_AMX; path++) {
        if (strcmp(name, backend_path_name((enum backend_path)path)) == 0) {
            e->path = (enum backend_path)path;
            return STATUS_OK;
        }
    }
    error_note_set(note, "there is no backend \"%s\"", name);
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

/* The model is opened by the thread that will use it: a backend belongs to its opener. */
static status open_model(encoder *e, struct error_note *note)
{
    struct backend_options device = {.path = e->path, .threads = e->options.threads};
    const gguf *file = e->source != NULL ? model_source_gguf(e->source) : NULL;
    status s = backend_open(&device, &e->device, note);
    if (s == STATUS_OK)
        s = encoder_model_open(e->folder, file, e->device, &e->shape, e->rows_max, e->texts_max,
                               &e->model, note);
    if (s != STATUS_OK)
        return s;
    e->info.backend = e->device->operations->name;
    e->info.weight_bytes = encoder_model_weights(e->model)->bytes;
    e->info.parameter_count = encoder_model_weights(e->model)->parameter_count;
    return STATUS_OK;
}

/* --- passes --- */

static void finish_request(encoder *e, struct encoder_request *r, status result)
{
    double seconds = (double)(clock_now_ns() - r->submitted_ns) / (double)NS_PER_SECOND;
    atomic_fetch_sub_explicit(&e->waiting_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&e->waiting_tokens, r->text_start[r->text_count],
                              memory_order_relaxed);
    if (e->metrics.latency != NULL && result == STATUS_OK) {
        metrics_add(e->metrics.succeeded, 1);
        metrics_observe(e->metrics.latency, seconds);
        metrics_observe(e->metrics.request_tokens, r->text_start[r->text_count]);
    }
    r->on_done(r, result);
}

static void read_inbox(encoder *e)
{
    struct encoder_request *r;
    while ((r = ring_pop(e->inbox)) != NULL) {
        r->next = NULL;
        *e->newest = r;
        e->newest = &r->next;
    }
}

/* Lays one text behind the pass's rows; false: it does not fit any more. */
static bool add_text(encoder *e, struct encoder_pass *pass, struct encoder_request *r)
{
    uint32_t i = r->next_text, from = r->text_start[i], count = r->text_start[i + 1] - from;
    uint32_t row = e->row_start[pass->text_count];
    if (pass->text_count == e->texts_max || count > e->rows_max - row)
        return false;
    uint32_t second = r->second_start != NULL ? r->second_start[i] : count;
    for (uint32_t k = 0; k < count; k++) {
        e->ids[row + k] = r->tokens[from + k];
        e->positions[row + k] = (int32_t)(e->shape.position_offset + k);
        e->types[row + k] = k >= second && e->shape.n_types > 1 ? 1 : 0;
    }
    e->outputs[pass->text_count] = r->out + (size_t)i * encoder_output_count(&e->info);
    e->row_start[++pass->text_count] = row + count;
    r->next_text++;
    return true;
}

static void note_start(const encoder *e, const struct encoder_request *r)
{
    if (e->metrics.queue_time != NULL && r->next_text == 0)
        metrics_observe(e->metrics.queue_time,
                        (double)(clock_now_ns() - r->submitted_ns) / (double)NS_PER_SECOND);
}

/* Fills a pass from the oldest request on; returns how many requests have texts in it. */
static uint32_t fill_pass(encoder *e, struct encoder_pass *pass)
{
    uint32_t touched = 0;
    *pass = (struct encoder_pass){.tokens = e->ids,
                                  .positions = e->positions,
                                  .types = e->types,
                                  .row_start = e->row_start,
                                  .out = e->outputs};
    e->row_start[0] = 0;
    for (struct encoder_request *r = e->oldest; r != NULL; r = r->next, touched++) {
        if (r->is_unwanted != NULL && atomic_load_explicit(r->is_unwanted, memory_order_relaxed))
            r->next_text = r->text_count;
        note_start(e, r);
        while (r->next_text < r->text_count)
            if (!add_text(e, pass, r))
                return touched + 1;
    }
    return touched;
}

/* Ends the requests at the head of the list whose texts have all been in a pass. */
static void end_done(encoder *e, status result)
{
    while (e->oldest != NULL &&
           (result != STATUS_OK || e->oldest->next_text == e->oldest->text_count)) {
        struct encoder_request *r = e->oldest;
        e->oldest = r->next;
        if (e->oldest == NULL)
            e->newest = &e->oldest;
        finish_request(e, r, result);
    }
}

static void count_pass(encoder *e, const struct encoder_pass *pass, uint64_t took_ns)
{
    uint32_t rows = e->row_start[pass->text_count];
    float ms = (float)took_ns / (float)NS_PER_MS;
    float before = atomic_load_explicit(&e->pass_ms, memory_order_relaxed);
    atomic_store_explicit(&e->pass_ms, before == 0 ? ms : before + (ms - before) / 8,
                          memory_order_relaxed);
    atomic_fetch_add_explicit(&e->passes, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->texts, pass->text_count, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->pass_tokens, rows, memory_order_relaxed);
    if (e->metrics.pass_tokens != NULL) {
        metrics_observe(e->metrics.pass_tokens, rows);
        metrics_add(e->metrics.prompt_tokens, rows);
    }
}

static void set_running(encoder *e, uint32_t running)
{
    atomic_store_explicit(&e->running, running, memory_order_relaxed);
    if (e->metrics.running == NULL)
        return;
    uint32_t all = atomic_load_explicit(&e->waiting_count, memory_order_relaxed);
    metrics_set(e->metrics.running, running);
    metrics_set(e->metrics.waiting, all > running ? all - running : 0);
}

static void run_pass(encoder *e)
{
    struct encoder_pass pass;
    set_running(e, fill_pass(e, &pass));
    uint64_t start_ns = clock_now_ns();
    if (pass.text_count > 0 && e->failure == STATUS_OK) {
        e->failure = encoder_model_run(e->model, &pass);
        count_pass(e, &pass, clock_now_ns() - start_ns);
    }
    end_done(e, e->failure);
    set_running(e, 0);
}

static void run_passes(encoder *e)
{
    for (;;) {
        atomic_store_explicit(&e->busy_since_ns, clock_now_ns(), memory_order_relaxed);
        read_inbox(e);
        if (atomic_load_explicit(&e->is_closing, memory_order_acquire)) {
            read_inbox(e);
            end_done(e, STATUS_CLOSED);
            return;
        }
        if (e->oldest != NULL) {
            run_pass(e);
            continue;
        }
        uint32_t ticket = parking_prepare(&e->parking);
        if (ring_count(e->inbox) > 0 ||
            atomic_load_explicit(&e->is_closing, memory_order_acquire)) {
            parking_cancel(&e->parking);
            continue;
        }
        atomic_store_explicit(&e->busy_since_ns, 0, memory_order_relaxed);
        parking_wait(&e->parking, ticket, UINT64_MAX);
    }
}

static void *thread_run(void *context)
{
    encoder *e = context;
    e->open_status = open_model(e, &e->open_note);
    bool is_open = e->open_status == STATUS_OK;
    atomic_store_explicit(&e->open_state, is_open ? 1 : 2, memory_order_release);
    parking_signal(&e->open_parking);
    if (is_open)
        run_passes(e);
    encoder_model_close(e->model);
    backend_close(e->device);
    return NULL;
}

static status start_thread(encoder *e, struct error_note *note)
{
    status s = thread_start(&e->thread, "encoder", thread_run, e);
    if (s != STATUS_OK)
        return s;
    e->has_thread = true;
    while (atomic_load_explicit(&e->open_state, memory_order_acquire) == 0) {
        uint32_t ticket = parking_prepare(&e->open_parking);
        if (atomic_load_explicit(&e->open_state, memory_order_acquire) != 0)
            parking_cancel(&e->open_parking);
        else
            parking_wait(&e->open_parking, ticket, UINT64_MAX);
    }
    if (e->open_status != STATUS_OK && note != NULL)
        *note = e->open_note;
    return e->open_status;
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
        s = make_state(e);
    }
    if (s == STATUS_OK)
        s = start_thread(e, note);
    if (s != STATUS_OK) {
        encoder_close(e);
        return s;
    }
    e->options.model_path = e->options.backend = e->options.served_name = NULL;
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

/* --- from other threads --- */

const struct encoder_info *encoder_get_info(const encoder *e)
{
    return &e->info;
}

const tokenizer *encoder_get_tokenizer(const encoder *e)
{
    return e->tokens;
}

static bool is_well_formed(const encoder *e, const struct encoder_request *r)
{
    if (r->text_count == 0 || r->text_start[0] != 0)
        return false;
    for (uint32_t i = 0; i < r->text_count; i++)
        if (r->text_start[i + 1] <= r->text_start[i] ||
            r->text_start[i + 1] - r->text_start[i] > e->info.context_max)
            return false;
    for (uint32_t i = 0; i < r->text_start[r->text_count]; i++)
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= e->info.vocabulary)
            return false;
    return true;
}

status encoder_submit(encoder *e, struct encoder_request *r)
{
    if (!is_well_formed(e, r))
        return STATUS_INVALID;
    if (atomic_load_explicit(&e->is_closing, memory_order_acquire))
        return STATUS_CLOSED;
    uint64_t tokens = r->text_start[r->text_count];
    uint64_t before = atomic_fetch_add_explicit(&e->waiting_tokens, tokens, memory_order_relaxed);
    uint32_t count = atomic_fetch_add_explicit(&e->waiting_count, 1, memory_order_relaxed);
    r->submitted_ns = clock_now_ns();
    r->next_text = 0;
    /* one request alone is never too much */
    bool is_full = count >= e->options.queue_requests_max ||
                   (before > 0 && before + tokens > e->options.queue_tokens_max);
    if (is_full || ring_push(e->inbox, r) != STATUS_OK) {
        atomic_fetch_sub_explicit(&e->waiting_tokens, tokens, memory_order_relaxed);
        atomic_fetch_sub_explicit(&e->waiting_count, 1, memory_order_relaxed);
        return STATUS_FULL;
    }
    parking_signal(&e->parking);
    return STATUS_OK;
}

void encoder_get_stats(const encoder *e, struct encoder_stats *out)
{
    uint32_t running = atomic_load_explicit(&e->running, memory_order_relaxed);
    uint32_t all = atomic_load_explicit(&e->waiting_count, memory_order_relaxed);
    *out = (struct encoder_stats){
        .running = running,
        .waiting = all > running ? all - running : 0,
        .waiting_tokens = atomic_load_explicit(&e->waiting_tokens, memory_order_relaxed),
        .passes = atomic_load_explicit(&e->passes, memory_order_relaxed),
        .texts = atomic_load_explicit(&e->texts, memory_order_relaxed),
        .tokens = atomic_load_explicit(&e->pass_tokens, memory_order_relaxed),
        .pass_ms = atomic_load_explicit(&e->pass_ms, memory_order_relaxed),
    };
}

bool encoder_is_alive(const encoder *e, uint64_t now_ns, uint64_t limit_ns)
{
    uint64_t since = atomic_load_explicit(&e->busy_since_ns, memory_order_relaxed);
    return since == 0 || now_ns <= since || now_ns - since <= limit_ns;
}
