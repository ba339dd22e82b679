#include "engine_private.h"

#include "adapter_upload.h"
#include "clock.h"
#include "device_choice.h"
#include "sleep.h"
#include "step_collect.h"
#include "step_ends.h"
#include "step_figures.h"
#include "step_flight.h"
#include "step_inbox.h"
#include "step_launch.h"

/* The step thread. Each turn: read the inbox, plan, launch (step_launch.c), collect (step_collect.c), publish. Between turns and
 * only there, requests come, are cancelled and end, so the batcher needs no lock and a cancelled request's blocks are
 * free for the very next plan. With nothing to do it parks; it never spins. After opening it allocates nothing.
 *
 * Where the host computes, a step is over when it is launched, and collected in the same turn. A device is kept one step ahead:
 *
 *      turn 1   plan 1, launch 1
 *      turn 2   plan 2, launch 2, collect 1      the device begins with 2 while the host takes 1's tokens,
 *      turn 3   plan 3, launch 3, collect 2      reads the inbox and plans 3
 *
 * Step 2 is planned without 1's tokens: they have their places, and the device finds them by itself. Whoever ends with one of them
 * has computed a row too many in step 2, which nobody looks at. A step whose tokens the next plan must know is collected
 * at once (step_flight.may_wait): those with drafts, grammars, or anything that the host samples or reads. */

/* The device has failed: everybody is told, and nothing is accepted any more. The replica's keeper ends the process. */
static void fail_engine(engine *e, status s)
{
    e->failure = s;
    atomic_store_explicit(&e->is_failed, true, memory_order_relaxed);
    engine_metrics_failed(e->metrics);
    step_flights_abandon(e);
    batcher_abandon(e->batch);
    end_all_requests(e, FINISH_ERROR, s);
}

/* Plans a step and starts it. False: nothing can run now. */
static bool launch_next(engine *e)
{
    uint64_t now_ns = clock_now_ns();
    batcher_set_now(e->batch, now_ns);
    const struct step_plan *plan = batcher_plan(e->batch);
    if (plan == NULL)
        return false;
    if (e->flights.count == 0)
        atomic_store_explicit(&e->step_busy_since_ns, now_ns, memory_order_relaxed);
    status s = step_launch(e, plan, now_ns);
    if (s != STATUS_OK)
        fail_engine(e, s);
    return true;
}

static void collect_oldest(engine *e)
{
    status s = step_collect(e);
    if (s != STATUS_OK)
        fail_engine(e, s);
    else if (e->flights.count > 0) { /* a sign of life: the device goes on with the next one */
        atomic_store_explicit(&e->step_busy_since_ns, e->step_end_ns, memory_order_relaxed);
        tell_step(e, step_flights_oldest(e), false, e->step_end_ns, 0);
    }
}

/* False: there was nothing to do. */
static bool run_step(engine *e)
{
    const struct step_flight *newest = step_flights_newest(e);
    bool may_plan = newest == NULL || newest->may_wait;
    bool has_launched = may_plan && launch_next(e);
    if (!has_launched && newest == NULL)
        return false;
    newest = step_flights_newest(e);
    uint32_t stay = has_launched && newest != NULL && newest->may_wait ? 1 : 0;
    while (e->flights.count > stay)
        collect_oldest(e);
    /* With nobody left the device does the last one for nothing. */
    while (e->flights.count > 0 && batcher_any_request(e->batch) == NULL)
        collect_oldest(e);
    return true;
}

/* The first write to a page of the cache is a fault. On a guest whose host has to find the memory
 * too, a huge page took 5 to 6 ms: at 16 streams every sixth step stalled for that long until the
 * whole cache had been written to once. So idle time goes into this much cache beyond what is in
 * use: a gigabyte is 30 s of decoding at 1,300 tokens a second with 23 kB a token. */
#define TOUCH_AHEAD_BYTES ((uint64_t)1 << 30)

/* Blocks are first used in their order. */
static void touch_ahead(engine *e)
{
    struct batcher_stats now;
    batcher_get_stats(e->batch, &now);
    uint64_t ahead = TOUCH_AHEAD_BYTES / e->file_info.kv_block_bytes;
    uint64_t end = now.blocks.total - now.blocks.free + ahead;
    end = end < now.blocks.total ? end : now.blocks.total;
    while (e->kv_touched < end && !has_mail(e))
        model_kv_touch_block(e->model, e->kv_touched++);
}

/* Sleeps until something is in the inbox. */
static void wait_for_work(engine *e)
{
    atomic_store_explicit(&e->step_busy_since_ns, 0, memory_order_relaxed);
    e->busy_until_ns = 0;
    if (engine_sleep_level(e) == 0)
        touch_ahead(e);
    uint32_t ticket = parking_prepare(&e->step_parking);
    if (has_mail(e))
        parking_cancel(&e->step_parking);
    else
        parking_wait(&e->step_parking, ticket, UINT64_MAX);
}

static void run_steps(engine *e)
{
    alloc_guard_begin();
    for (;;) {
        read_inbox(e);
        bool is_closing = atomic_load_explicit(&e->is_closing, memory_order_acquire);
        if (is_closing)
            end_all_requests(e, FINISH_ABORT, STATUS_OK);
        bool was_busy = run_step(e), has_obeyed = sleep_obey(e);
        bool has_uploaded = adapter_upload_turn(e);
        publish_stats(e);
        if (e->options.on_turn != NULL)
            e->options.on_turn(e->options.context, e);
        if (has_obeyed)
            sleep_tell(e);
        parking_signal(&e->publisher_parking);
        if (was_busy || has_obeyed || has_uploaded)
            continue;
        if (is_closing && atomic_load_explicit(&e->inbox, memory_order_acquire) == NULL)
            break;
        wait_for_work(e);
    }
    alloc_guard_end();
}

/* --- life --- */

/* Something must be said of every failure. */
static status explained(status s, const char *what, struct error_note *note)
{
    if (s != STATUS_OK && note->text[0] == '\0')
        error_note_set(note, "%s (%s)", what, status_name(s));
    return s;
}

static status open_device(engine *e, struct error_note *note)
{
    struct device_choice choice = {
        .all = {.path = e->path, .threads = e->info.threads},
        .rank_count = e->options.rank_count > 1 ? e->options.rank_count : 1,
        .place = e->place,
        .fits = engine_device_fits,
        .context = e,
    };
    status s = device_choice_open(&choice, &e->device, note);
    e->path = choice.all.path;
    if (s != STATUS_OK)
        return explained(s, "the backend cannot be opened", note);
    const struct backend_operations *o = e->device->operations;
    e->device_samples = o->step_begin != NULL;
    e->has_device_memory = o->memory_info != NULL;
    if (!e->has_device_memory)
        return STATUS_OK;
    uint64_t total;
    s = o->memory_info(e->device, &total, &e->device_available_bytes);
    if (s != STATUS_OK)
        error_note_set(note, "the %s backend cannot tell its memory", o->name);
    return s;
}

/* Below the cache, if there is such memory. */
static void open_host(engine *e)
{
    uint64_t block_ns;
    uint32_t slots = model_host_slots(e->model, &block_ns);
    e->info.host_bytes = (uint64_t)slots * BLOCK_TOKENS * e->info.kv_bytes_per_token;
    if (slots > 0)
        batcher_open_host(e->batch, block_ns);
}

static status open_model(engine *e, struct error_note *note)
{
    struct model_options options = {
        .batch_tokens_max = e->options.batch_tokens_max,
        .logit_rows_max = engine_logit_rows_max(e),
        .sequence_count_max = e->options.sequence_count_max,
        .context_max = e->info.context_max,
        .kv_blocks = e->info.block_count,
        .kv_type = e->kv_type,
        .host_slots = e->host_slots,
        .adapter_rank_max = e->options.adapters_max > 0 ? e->options.adapter_rank_max : 0,
        .adapters_max = e->options.adapters_max,
        .weight_cache = e->weight_cache,
        .model_path = e->model_path,
        .rank_count = e->options.rank_count,
        .rank_backend = {.path = e->path, .threads = e->info.threads},
    };
    status s = model_open(e->source, e->device, &options, &e->model, note);
    if (s == STATUS_OK)
        open_host(e);
    return explained(s, "the model cannot be opened", note);
}

void *step_thread_run(void *context)
{
    engine *e = context;
    status s = open_device(e, &e->device_opening.note);
    opening_tell(&e->device_opening, s);
    if (s == STATUS_OK)
        s = opening_wait(&e->planning, NULL);
    if (s == STATUS_OK)
        s = open_model(e, &e->opening.note);
    bool is_open = s == STATUS_OK;
    if (is_open) {
        e->info.backend = e->device->operations->name;
        e->info.weight_bytes = model_get_info(e->model)->weight_bytes;
        e->adapters.model = e->model;
        e->info.mapped_ns = model_get_info(e->model)->mapped_ns;
        e->info.warmed_ns = clock_now_ns();
        publish_stats(e);
    }
    /* Release pairs with engine_open's acquire: status, note and info are seen with it. */
    opening_tell(&e->opening, s);
    if (is_open)
        run_steps(e);
    adapter_table_clear(&e->adapters);
    model_close(e->model);
    backend_close(e->device);
    return NULL;
}
