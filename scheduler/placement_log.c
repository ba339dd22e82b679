#include "placement_log.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "memory.h"

struct placement_log {
    struct placement_log_entry entries[PLACEMENT_LOG_COUNT];
    uint64_t placed_count; /* the newest is at (placed_count - 1) % PLACEMENT_LOG_COUNT */
    uint64_t totals[PLACEMENT_OUTCOME_COUNT];
};

static const char *const OUTCOMES[] = {
    [PLACEMENT_PLACED] = "placed",
    [PLACEMENT_REFUSED] = "refused",
    [PLACEMENT_PREEMPTED] = "preempted",
};
_Static_assert(ARRAY_COUNT(OUTCOMES) == PLACEMENT_OUTCOME_COUNT, "a word for each");

const char *placement_outcome_name(enum placement_outcome outcome)
{
    CHECK(outcome < PLACEMENT_OUTCOME_COUNT);
    return OUTCOMES[outcome];
}

struct placement_log *placement_log_create(void)
{
    return memory_allocate_array(1, sizeof(struct placement_log));
}

void placement_log_destroy(struct placement_log *log)
{
    memory_release(log);
}

void placement_log_place(struct placement_log *log, const struct pool *pool,
                         const struct placement_request *request,
                         const struct placement_decision *decision, uint64_t now_ns)
{
    struct placement_log_entry *entry = &log->entries[log->placed_count++ % PLACEMENT_LOG_COUNT];
    const struct placement_part *first = &decision->parts[0];

    CHECK(decision->part_count > 0);
    *entry = (struct placement_log_entry){.at_ns = now_ns,
                                          .uid = request->uid,
                                          .model = request->model,
                                          .part_count = decision->part_count,
                                          .tier = decision->tier,
                                          .outcome = PLACEMENT_PLACED,
                                          .domain = decision->domain,
                                          .score = first->score,
                                          .weights = placement_preset(PLACEMENT_BALANCED)};
    if (decision->tier < request->tier_count)
        entry->weights = request->tiers[decision->tier].weights;
    pool_slice_write(pool, first->booking.slice, entry->slice, sizeof(entry->slice));
    memcpy(entry->terms, first->terms, sizeof(entry->terms));
    memcpy(entry->passed_over, decision->passed_over, sizeof(entry->passed_over));
    log->totals[PLACEMENT_PLACED]++;
}

void placement_log_mark(struct placement_log *log, uint64_t uid, enum placement_outcome outcome,
                        const char *why)
{
    log->totals[outcome]++;
    for (uint32_t i = 0; i < PLACEMENT_LOG_COUNT && i < log->placed_count; i++) {
        struct placement_log_entry *entry =
            &log->entries[(log->placed_count - 1 - i) % PLACEMENT_LOG_COUNT];

        if (entry->uid != uid)
            continue;
        entry->outcome = outcome;
        (void)snprintf(entry->why, sizeof(entry->why), "%s", why);
        return;
    }
}

const struct placement_log_entry *placement_log_get(const struct placement_log *log, uint32_t i)
{
    if (i >= PLACEMENT_LOG_COUNT || i >= log->placed_count)
        return NULL;
    return &log->entries[(log->placed_count - 1 - i) % PLACEMENT_LOG_COUNT];
}

uint64_t placement_log_total(const struct placement_log *log, enum placement_outcome outcome)
{
    CHECK(outcome < PLACEMENT_OUTCOME_COUNT);
    return log->totals[outcome];
}
