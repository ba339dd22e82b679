#include "history_sample.h"

#include "check.h"
#include "clock.h"
#include "control_internal.h"
#include "edge.h"
#include "memory.h"
#include "model_activity.h"
#include "pool_admin.h"
#include "replica_time.h"

#define LOOK_NS NS_PER_SECOND

/* What a replica was at the last look, and what its page said: its numbers are sums since its process began. */
struct history_seen {
    bool is_there;
    enum replica_life life;
    enum slice_wait wait;
    uint32_t generation;
    uint64_t busy_ns, prefill_tokens, draft_tokens, accepted_tokens;
    double assumed_seconds; /* that were taken for busy since a step has no end yet */
};

/* --- life --- */

static status series_make(struct history_sample *sample, const struct edge *edge)
{
    static const char *const labels[] = {"model", "state", NULL};
    metrics_family *family;
    const struct metrics_family_options options = {
        METRICS_COUNTER,
        "penstock_slice_state_seconds_total",
        "What replicas' time goes to; without a model: the time of slices without a replica, in "
        "devices.",
        labels,
        NULL,
        0,
        0};
    status result = metrics_family_create(edge->registry, &options, &family);

    for (uint32_t i = 0; i <= edge->model_count && result == STATUS_OK; i++) {
        for (int j = 0; j < TIME_COUNT; j++) {
            const char *const values[] = {i < edge->model_count ? edge->models[i].name
                                                                : HISTORY_FREE_SLICES,
                                          replica_time_name((enum replica_time)j)};

            sample->state_seconds[i * TIME_COUNT + (uint32_t)j] =
                metrics_series_get(family, values);
        }
    }
    return result;
}

status history_sample_init(struct history_sample *sample, const struct control *control,
                           uint64_t now_ns)
{
    const struct edge *edge = control->edge;
    uint32_t rows = edge->model_count + 1;

    *sample = (struct history_sample){
        .rows = memory_allocate_array(rows, sizeof(sample->rows[0])),
        .seen = memory_allocate_array(edge->replica_count, sizeof(sample->seen[0])),
        .mix = memory_allocate_array(rows, sizeof(sample->mix[0])),
        .state_seconds =
            memory_allocate_array((size_t)rows * TIME_COUNT, sizeof(sample->state_seconds[0])),
        .looked_ns = now_ns,
        .look_ns = now_ns + LOOK_NS,
        .slices_ns = now_ns,
        .interval_ns = edge->configs.first->config->observability.history.interval_ns};
    sample->put_ns = now_ns + sample->interval_ns;
    if (sample->rows == NULL || sample->seen == NULL || sample->mix == NULL ||
        sample->state_seconds == NULL)
        return STATUS_NO_MEMORY;
    return series_make(sample, edge);
}

void history_sample_deinit(struct history_sample *sample)
{
    memory_release(sample->rows);
    memory_release(sample->seen);
    memory_release(sample->mix);
    memory_release(sample->state_seconds);
}

/* --- a replica --- */

/* There is free compute in all, but not where the replica could have it. */
static enum slice_wait no_room(const struct control *control, const struct slice_shape *shape)
{
    const struct pool_columns *columns = pool_columns(replica_fleet_pool(control->fleet));
    uint64_t free_milli = 0;

    for (uint32_t i = 0; i < columns->count; i++) {
        if (pool_slice_state(columns, i) == SLICE_OK)
            free_milli += columns->compute_free[i];
    }
    return free_milli > 0 && free_milli >= shape->compute_milli ? SLICE_WAIT_PIECES
                                                                : SLICE_WAIT_LIMIT;
}

static enum slice_wait wait_of_reason(const struct control *control,
                                      const struct placement_waiting *waiting)
{
    switch (waiting->reason) {
    case PLACEMENT_FITS: /* not tried yet */
        return SLICE_WAIT_NEW;
    case PLACEMENT_ABSENT:
    case PLACEMENT_MEMBER_STATE:
    case PLACEMENT_BACK_OFF:
    case PLACEMENT_HEALTH:
    case PLACEMENT_QUARANTINE:
        return SLICE_WAIT_GONE;
    case PLACEMENT_TOO_SMALL:
    case PLACEMENT_NO_DOMAIN:
        return SLICE_WAIT_PIECES;
    case PLACEMENT_NO_ROOM:
        return no_room(control, &waiting->request->shape);
    default: /* whom it belongs to, where it is, what it costs, quotas: rules of the config */
        return SLICE_WAIT_LIMIT;
    }
}

static enum slice_wait wait_of(const struct control *control, uint64_t uid)
{
    const struct placement_queue *queue = replica_fleet_queue(control->fleet);
    struct placement_waiting waiting;

    for (uint32_t i = 0; placement_queue_get(queue, i, &waiting); i++) {
        if (waiting.request->uid == uid)
            return wait_of_reason(control, &waiting);
    }
    return SLICE_WAIT_NEW; /* its member is at it */
}

/* False: nothing is there, and nothing is wanted. */
static bool life_of(enum replica_state state, enum replica_life *out)
{
    switch (state) {
    case REPLICA_PLACING:
        *out = LIFE_PLACING;
        return true;
    case REPLICA_STARTING:
        *out = LIFE_STARTING;
        return true;
    case REPLICA_READY:
    case REPLICA_ASLEEP:
    case REPLICA_DRAINING:
        *out = LIFE_UP;
        return true;
    case REPLICA_STOPPING:
    case REPLICA_BACKING_OFF:
    case REPLICA_FAILED:
        *out = LIFE_BROKEN;
        return true;
    case REPLICA_STOPPED:
    case REPLICA_STATE_COUNT:
        break;
    }
    return false;
}

/* Prompts' share of the time in steps: what their tokens take by themselves. Where that is not known yet, all of it, if there were any. */
static double prefill_seconds(const struct shared_page_state *page, uint64_t tokens, double busy)
{
    float each_ns = page->prefill_ns_alone > 0 ? page->prefill_ns_alone : page->prefill_ns_beside;

    if (tokens == 0 || each_ns > 0)
        return (double)tokens * (double)each_ns / 1e9;
    return busy;
}

static void page_take(const struct edge_replica *replica, struct history_seen *seen,
                      struct replica_look *look, struct history_row *row)
{
    uint32_t generation = atomic_load_explicit(&replica->generation, memory_order_relaxed);
    struct shared_page_state page;
    double free_share, busy, assumed;

    if (!shared_page_read(replica->page, &page))
        return;
    if (seen->generation != generation || page.busy_ns < seen->busy_ns) /* another process */
        *seen = (struct history_seen){
            .is_there = seen->is_there, .life = seen->life, .generation = generation};
    busy = (double)(page.busy_ns - seen->busy_ns) / 1e9;
    assumed = busy < seen->assumed_seconds ? busy : seen->assumed_seconds;
    look->busy_seconds = busy - assumed;
    look->prefill_seconds =
        prefill_seconds(&page, page.prefill_tokens - seen->prefill_tokens, look->busy_seconds);
    seen->assumed_seconds =
        busy > 0 || page.running == 0 ? 0 : seen->assumed_seconds + look->seconds;
    look->running = page.running;
    look->waiting = page.waiting;
    row->values[HISTORY_DRAFTED_TOKENS] += (double)(page.draft_tokens - seen->draft_tokens);
    row->values[HISTORY_ACCEPTED_TOKENS] += (double)(page.accepted_tokens - seen->accepted_tokens);
    seen->busy_ns = page.busy_ns;
    seen->prefill_tokens = page.prefill_tokens;
    seen->draft_tokens = page.draft_tokens;
    seen->accepted_tokens = page.accepted_tokens;
    if (page.blocks_total == 0)
        return;
    free_share = (double)(page.blocks_free + page.blocks_cached) / page.blocks_total;
    look->kv_free_share = free_share < 1 ? free_share : 1;
    row->values[HISTORY_KV_SECONDS] += (1 - look->kv_free_share) * look->seconds;
    row->values[HISTORY_UP_SECONDS] += look->seconds;
}

/* What it shares with its model's other replicas is in `common`. A look follows each change of a state, so that the time since the last one
 * was spent as that look found it. */
static void replica_take(struct history_sample *sample, const struct control *control, uint32_t id,
                         const struct replica_look *common, struct history_row *row)
{
    const struct control_slot *slot = &control->slots[id];
    struct edge_replica *replica = slot->replica;
    struct history_seen *seen = &sample->seen[id];
    struct replica_look look = *common;
    bool was_there = seen->is_there;

    look.life = seen->life;
    look.wait = seen->wait;
    seen->is_there =
        life_of(edge_replica_state(replica), &seen->life) && control_slot_is_ours(control, slot);
    if (seen->is_there && seen->life == LIFE_PLACING)
        seen->wait = wait_of(control, slot->uid);
    if (!was_there)
        return;
    look.kv_free_share = 1;
    look.is_distrusted = !replica_guard_is_whole(&replica->guard);
    if (look.life == LIFE_UP && replica->page != NULL)
        page_take(replica, seen, &look, row);
    else if (look.life == LIFE_UP) /* another's server: busy while it has something of ours */
        look.running = atomic_load_explicit(&replica->outstanding, memory_order_relaxed);
    row->values[HISTORY_WAITING_SECONDS] += look.waiting * look.seconds;
    row->values[HISTORY_RUNNING_SECONDS] += look.running * look.seconds;
    replica_time_split(&look, row->values);
}

/* --- a model --- */

static void model_take(struct history_sample *sample, const struct control *control,
                       uint32_t model_index, double seconds)
{
    const struct edge_model *model = &control->edge->models[model_index];
    struct history_row *row = &sample->rows[model_index], now = {.values = {0}};
    double refused = row->values[HISTORY_REFUSED];
    struct replica_look common = {.seconds = seconds};
    struct admission_figures figures;

    model_activity_take(&control->edge->activities[model_index], row);
    admission_figures(model->admission, &figures);
    for (uint32_t i = 0; i < WAITING_ROOM_BAND_COUNT; i++)
        common.held += figures.waiting[i];
    common.are_held_for_kv = common.held > 0 && figures.running < (int64_t)figures.slots;
    common.refused = row->values[HISTORY_REFUSED] > refused;
    now.values[HISTORY_WAITING_SECONDS] = common.held * seconds;
    for (uint32_t i = 0; i < model->replica_count; i++)
        replica_take(sample, control, model->replicas[i].id, &common, &now);
    history_row_add(row, &now);
    for (uint32_t i = 0; i < TIME_COUNT; i++) {
        if (now.values[i] > 0)
            metrics_add(sample->state_seconds[model_index * TIME_COUNT + i], now.values[i]);
    }
}

/* --- slices without a replica --- */

/* What is asked for, by how many replicas of it there should be. */
static uint32_t mix_take(struct history_sample *sample, const struct control *control)
{
    uint32_t count = 0;
    double sum = 0;

    for (uint32_t i = 0; i < control->edge->model_count; i++) {
        uint32_t wanted =
            atomic_load_explicit(&control->edge->models[i].wanted, memory_order_relaxed);

        if (control->scalings[i].model == NULL || wanted == 0)
            continue;
        sample->mix[count++] =
            (struct placement_stranded_shape){control->slices[i].request.shape, (float)wanted};
        sum += wanted;
    }
    for (uint32_t i = 0; i < count; i++)
        sample->mix[i].share = (float)(sample->mix[i].share / sum);
    return count;
}

static void slices_take(struct history_sample *sample, struct control *control, uint64_t now_ns)
{
    const struct pool_columns *columns = pool_columns(replica_fleet_pool(control->fleet));
    double seconds = (double)(now_ns - sample->slices_ns) / 1e9, milli[TIME_COUNT] = {0};
    uint32_t mix_count = mix_take(sample, control), row = control->edge->model_count;
    struct placement_stranded stranded;

    sample->slices_ns = now_ns;
    for (uint32_t i = 0; i < columns->count; i++) {
        if (columns->presence[i] == SLICE_ABSENT)
            continue;
        if (pool_slice_state(columns, i) == SLICE_OK)
            milli[TIME_IDLE] += columns->compute_free[i];
        else if (columns->compute_milli[i] > columns->compute_booked[i])
            milli[TIME_BROKEN] += (double)(columns->compute_milli[i] - columns->compute_booked[i]);
    }
    if (mix_count > 0) {
        stranded =
            placement_stranded(replica_fleet_placement(control->fleet), sample->mix, mix_count);
        milli[TIME_FRAGMENTATION] = stranded.stranded_share * (double)stranded.total_milli;
        if (milli[TIME_FRAGMENTATION] > milli[TIME_IDLE])
            milli[TIME_FRAGMENTATION] = milli[TIME_IDLE];
        milli[TIME_IDLE] -= milli[TIME_FRAGMENTATION];
    }
    for (uint32_t i = 0; i < TIME_COUNT; i++) {
        sample->rows[row].values[i] += milli[i] / 1000 * seconds;
        if (milli[i] > 0)
            metrics_add(sample->state_seconds[row * TIME_COUNT + i], milli[i] / 1000 * seconds);
    }
}

/* --- turns --- */

static void put(struct history_sample *sample, struct control *control, uint64_t now_ns)
{
    uint32_t rows = control->edge->model_count + 1;

    slices_take(sample, control, now_ns);
    history_put(control->edge->history, sample->minute_s, sample->rows);
    for (uint32_t i = 0; i < rows; i++)
        sample->rows[i] = (struct history_row){.values = {0}};
    sample->put_ns = now_ns + sample->interval_ns;
}

static void look(struct history_sample *sample, struct control *control, uint64_t now_ns)
{
    double seconds = (double)(now_ns - sample->looked_ns) / 1e9;

    for (uint32_t i = 0; i < control->edge->model_count; i++)
        model_take(sample, control, i, seconds);
    sample->looked_ns = now_ns;
}

/* A second that a minute begins in is the minute's before: its look comes at its end. */
uint64_t history_sample_tick(struct history_sample *sample, struct control *control,
                             uint64_t now_ns)
{
    int64_t wall_s, minute_s;

    if (now_ns < sample->look_ns && !sample->must_look)
        return sample->look_ns;
    sample->must_look = false;
    wall_s = (int64_t)(clock_wall_ms() / 1000);
    minute_s = wall_s - wall_s % 60;
    if (sample->minute_s == 0)
        sample->minute_s = minute_s;
    look(sample, control, now_ns);
    if (now_ns >= sample->put_ns || minute_s != sample->minute_s)
        put(sample, control, now_ns);
    sample->minute_s = minute_s;
    sample->look_ns = now_ns + LOOK_NS;
    if (sample->interval_ns < LOOK_NS) /* rows that are to be there sooner are looked for sooner */
        sample->look_ns = now_ns + sample->interval_ns;
    return sample->look_ns;
}

void history_sample_end(struct history_sample *sample, struct control *control, uint64_t now_ns)
{
    if (sample->minute_s == 0)
        return;
    look(sample, control, now_ns);
    put(sample, control, now_ns);
}
