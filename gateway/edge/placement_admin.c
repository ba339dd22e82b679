/* GET /admin/placement/{model}. The decision and what was made of each slice come from two looks at one state of the pool, as nobody
 * changes it between them. */
#include <stdlib.h>

#include "check.h"
#include "memory.h"
#include "pool_admin.h"
#include "pool_json.h"

#define WAITING_MAX 256u

static void terms_write(struct buffer *out, const char *key,
                        const float values[PLACEMENT_TERM_COUNT])
{
    json_write_key(out, key);
    buffer_append_byte(out, '{');
    for (int i = 0; i < PLACEMENT_TERM_COUNT; i++)
        pool_json_number(out, placement_term_name((enum placement_term)i), (double)values[i]);
    buffer_append_byte(out, '}');
}

static void reasons_write(struct buffer *out, const uint32_t counts[PLACEMENT_REASON_COUNT])
{
    json_write_key(out, "passed_over");
    buffer_append_byte(out, '{');
    for (int i = PLACEMENT_FITS + 1; i < PLACEMENT_REASON_COUNT; i++) {
        if (counts[i] > 0)
            pool_json_count(out, placement_reason_name((enum placement_reason)i), counts[i]);
    }
    buffer_append_byte(out, '}');
}

static void slice_name_write(const struct pool *pool, uint32_t slice, struct buffer *out)
{
    char name[2 * SLICE_NAME_BYTES_MAX + 2];

    pool_slice_write(pool, slice, name, sizeof(name));
    pool_json_text(out, "slice", name);
}

/* --- the decision --- */

/* Of the slices that came furthest in the filter. */
static enum placement_reason reason_of(const struct placement_decision *decision)
{
    int reason = PLACEMENT_REASON_COUNT - 1;

    while (reason > PLACEMENT_ABSENT && decision->passed_over[reason] == 0)
        reason--;
    return (enum placement_reason)reason;
}

static struct placement_weights weights_of(const struct placement_request *request, uint32_t tier)
{
    return tier < request->tier_count ? request->tiers[tier].weights
                                      : placement_preset(PLACEMENT_BALANCED);
}

static void decision_write(const struct pool_admin *admin, const struct placement_request *request,
                           const struct placement_decision *decision, status result,
                           struct buffer *out)
{
    const struct pool *pool = replica_fleet_pool(admin->fleet);
    struct placement_weights weights = weights_of(request, decision->tier);
    bool is_denied = result == STATUS_DENIED, fits = result == STATUS_OK;
    enum placement_reason reason = is_denied ? PLACEMENT_QUOTA : reason_of(decision);

    pool_json_text(out, "model", admin->model_name(admin->context, request->model));
    pool_json_count(out, "parts", request->part_count);
    pool_json_signed(out, "priority", request->priority);
    pool_json_bool(out, "fits", fits);
    pool_json_text(out, "reason", fits ? NULL : placement_reason_name(reason));
    pool_json_text(out, "quota",
                   is_denied && admin->quota != NULL ? admin->quota_names[decision->quota_node]
                                                     : NULL);
    pool_json_count(out, "tier", decision->tier);
    pool_json_text(out, "domain",
                   fits && request->part_count > 1 ? placement_domain_name(decision->domain)
                                                   : NULL);
    json_write_key(out, "chosen");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; fits && i < decision->part_count; i++) {
        json_write_comma(out);
        buffer_append_byte(out, '{');
        slice_name_write(pool, decision->parts[i].booking.slice, out);
        pool_json_number(out, "score", (double)decision->parts[i].score);
        terms_write(out, "terms", decision->parts[i].terms);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
    terms_write(out, "weights", weights.of);
}

/* --- every slice --- */

struct explained {
    const struct placement_explanation *all; /* [slices] */
};

/* The best first, then those that came furthest, then as they stand in the pool. */
static int compare_explained(const void *left, const void *right, void *context)
{
    const struct placement_explanation *all = ((const struct explained *)context)->all;
    uint32_t i = *(const uint32_t *)left, j = *(const uint32_t *)right;
    const struct placement_explanation *a = &all[i], *b = &all[j];

    if (a->reason != b->reason) {
        if (a->reason == PLACEMENT_FITS || b->reason == PLACEMENT_FITS)
            return a->reason == PLACEMENT_FITS ? -1 : 1;
        return a->reason > b->reason ? -1 : 1;
    }
    if (a->reason == PLACEMENT_FITS && a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return i < j ? -1 : i > j;
}

static void explained_write(const struct pool *pool, const struct placement_request *request,
                            uint32_t slice, const struct placement_explanation *explained,
                            struct buffer *out)
{
    uint64_t memory_bytes;
    uint32_t milli;

    pool_part_size(pool, slice, &request->shape, &memory_bytes, &milli);
    json_write_comma(out);
    buffer_append_byte(out, '{');
    slice_name_write(pool, slice, out);
    if (explained->reason == PLACEMENT_FITS) {
        pool_json_text(out, "reason", NULL);
        pool_json_number(out, "score", (double)explained->score);
        terms_write(out, "terms", explained->terms);
    } else {
        pool_json_text(out, "reason", placement_reason_name(explained->reason));
        pool_json_text(out, "score", NULL);
        pool_json_text(out, "terms", NULL);
    }
    pool_json_price(out, "price_hour", (uint64_t)pool_part_price(pool, slice, memory_bytes, milli));
    pool_json_bool(out, "preemptible", pool_columns(pool)->is_preemptible[slice]);
    buffer_append_byte(out, '}');
}

static void slices_write(const struct pool *pool, const struct placement_request *request,
                         const struct placement_explanation *explanations, uint32_t *order,
                         const struct pool_page *page, struct buffer *out)
{
    const struct pool_columns *columns = pool_columns(pool);
    struct explained explained = {explanations};
    uint32_t counts[PLACEMENT_REASON_COUNT] = {0}, count = 0;

    for (uint32_t i = 0; i < columns->count; i++) {
        if (columns->presence[i] == SLICE_ABSENT)
            continue;
        counts[explanations[i].reason]++;
        order[count++] = i;
    }
    qsort_r(order, count, sizeof(*order), compare_explained, &explained);
    reasons_write(out, counts);
    json_write_key(out, "slices");
    buffer_append_byte(out, '[');
    for (uint32_t i = page->from; i < count && i - page->from < page->count_max; i++)
        explained_write(pool, request, order[i], &explanations[order[i]], out);
    buffer_append_byte(out, ']');
    pool_json_count(out, "slice_count", count);
    pool_json_count(out, "from", page->from);
}

/* --- who waits, and what was decided --- */

static void waiting_write(const struct pool_admin *admin, const struct placement_waiting *waiting,
                          uint64_t now_ns, struct buffer *out)
{
    const struct placement_request *request = waiting->request;

    json_write_comma(out);
    buffer_append_byte(out, '{');
    pool_json_uid(out, request->uid);
    pool_json_text(out, "model", admin->model_name(admin->context, request->model));
    pool_json_signed(out, "priority", request->priority);
    pool_json_count(out, "parts", request->part_count);
    pool_json_number(out, "waited_seconds", pool_json_seconds(waiting->since_ns, now_ns));
    /* Not tried yet: there is none. */
    pool_json_text(out, "reason",
                   waiting->reason != PLACEMENT_FITS ? placement_reason_name(waiting->reason)
                                                     : NULL);
    pool_json_bool(out, "hold", waiting->has_hold);
    if (waiting->start_ns != POOL_NO_END)
        pool_json_number(out, "starts_seconds", pool_json_seconds(now_ns, waiting->start_ns));
    else
        pool_json_text(out, "starts_seconds", NULL);
    buffer_append_byte(out, '}');
}

static void logged_write(const struct pool_admin *admin, const struct placement_log_entry *entry,
                         uint64_t now_ns, struct buffer *out)
{
    json_write_comma(out);
    buffer_append_byte(out, '{');
    pool_json_number(out, "seconds_ago", pool_json_seconds(entry->at_ns, now_ns));
    pool_json_uid(out, entry->uid);
    pool_json_text(out, "model", admin->model_name(admin->context, entry->model));
    pool_json_text(out, "slice", entry->slice);
    pool_json_count(out, "parts", entry->part_count);
    pool_json_count(out, "tier", entry->tier);
    pool_json_text(out, "outcome", placement_outcome_name(entry->outcome));
    pool_json_text(out, "why", entry->why);
    pool_json_number(out, "score", (double)entry->score);
    terms_write(out, "terms", entry->terms);
    terms_write(out, "weights", entry->weights.of);
    reasons_write(out, entry->passed_over);
    buffer_append_byte(out, '}');
}

static void queue_write(const struct pool_admin *admin, uint64_t now_ns, struct buffer *out)
{
    const struct placement_queue *queue = replica_fleet_queue(admin->fleet);
    const struct placement_log *log = replica_fleet_log(admin->fleet);
    const struct placement_log_entry *entry;
    struct placement_waiting waiting;

    json_write_key(out, "waiting");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < WAITING_MAX && placement_queue_get(queue, i, &waiting); i++)
        waiting_write(admin, &waiting, now_ns, out);
    buffer_append_byte(out, ']');
    json_write_key(out, "decisions");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; (entry = placement_log_get(log, i)) != NULL; i++)
        logged_write(admin, entry, now_ns, out);
    buffer_append_byte(out, ']');
}

/* --- the whole --- */

status placement_json_write(const struct pool_admin *admin, const struct placement_request *request,
                            const struct pool_page *page, uint64_t now_ns, struct buffer *out)
{
    const struct pool *pool = replica_fleet_pool(admin->fleet);
    struct placement *placement = replica_fleet_placement(admin->fleet);
    uint32_t slice_count = pool_columns(pool)->count;
    struct placement_decision *decision = memory_allocate_array(1, sizeof(*decision));
    struct placement_explanation *explanations =
        memory_allocate_array((size_t)slice_count + 1, sizeof(*explanations));
    uint32_t *order = memory_allocate_array((size_t)slice_count + 1, sizeof(*order));
    status chosen, result = STATUS_NO_MEMORY;

    CHECK(page->count_max > 0 && page->count_max <= POOL_PAGE_MAX);
    if (decision == NULL || explanations == NULL || order == NULL)
        goto done;
    chosen = placement_choose(placement, request, now_ns, decision);
    result = chosen == STATUS_INVALID
                 ? chosen
                 : placement_explain(placement, request, decision->tier, now_ns, explanations);
    if (result != STATUS_OK)
        goto done;
    buffer_append_byte(out, '{');
    decision_write(admin, request, decision, chosen, out);
    slices_write(pool, request, explanations, order, page, out);
    queue_write(admin, now_ns, out);
    buffer_append_byte(out, '}');
done:
    memory_release(order);
    memory_release(explanations);
    memory_release(decision);
    return result;
}
