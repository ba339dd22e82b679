/* What the encoder's thread does: requests off the inbox, and passes of their texts. */

#include "clock.h"
#include "device_choice.h"
#include "encoder_private.h"
#include "time_shares.h"

/* Weights, with as much again for what a pass holds: encoders are small beside devices. */
static status fits_device(void *context, uint64_t available_bytes, struct error_note *note)
{
    const encoder *e = context;
    if (available_bytes / 2 > e->info.weight_bytes)
        return STATUS_OK;
    error_note_set(note, "%.1f MB of weights do not fit into the %.1f MB that a device has left",
                   (double)e->info.weight_bytes / 1e6, (double)available_bytes / 1e6);
    return STATUS_TOO_LARGE;
}

/* The model is opened by the thread that will use it: a backend belongs to its opener. */
static status open_model(encoder *e, struct error_note *note)
{
    struct device_choice choice = {.all = {.path = e->path, .threads = e->info.threads},
                                   .rank_count = 1,
                                   .place = device_place_of(e->options.slice_vendor),
                                   .fits = fits_device,
                                   .context = e};
    const gguf *file = e->source != NULL ? model_source_gguf(e->source) : NULL;
    status s = device_choice_open(&choice, &e->device, note);
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
    r->pass_rows += count;
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
        r->pass_rows = 0;
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

/* Each request pays for its rows; `count` requests, from the oldest on, are in the pass. */
static void share_time(encoder *e, const struct encoder_pass *pass, uint32_t count,
                       uint64_t took_ns)
{
    struct time_shares shares = {.elapsed_ns = took_ns,
                                 .row_count = e->row_start[pass->text_count]};
    struct encoder_request *r = e->oldest;
    for (uint32_t i = 0; i < count; i++, r = r->next)
        r->busy_ns += time_shares_next(&shares, r->pass_rows);
    atomic_fetch_add_explicit(&e->busy_ns, took_ns, memory_order_relaxed);
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
    uint64_t start_ns = clock_now_ns();
    uint32_t count = fill_pass(e, &pass);
    set_running(e, count);
    if (pass.text_count > 0 && e->failure == STATUS_OK) {
        e->failure = encoder_model_run(e->model, &pass);
        uint64_t took_ns = clock_now_ns() - start_ns;
        count_pass(e, &pass, took_ns);
        share_time(e, &pass, count, took_ns);
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

void *encoder_thread_run(void *context)
{
    encoder *e = context;
    status s = open_model(e, &e->opening.note);
    opening_tell(&e->opening, s);
    if (s == STATUS_OK)
        run_passes(e);
    encoder_model_close(e->model);
    backend_close(e->device);
    return NULL;
}
