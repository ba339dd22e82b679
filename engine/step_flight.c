#include "step_flight.h"

#include <string.h>

#include "check.h"
#include "memory.h"

status step_flights_open(struct step_flights *flights, uint32_t sequence_count_max)
{
    for (uint32_t i = 0; i < MODEL_STEPS_MAX; i++) {
        struct step_flight *f = &flights->items[i];
        f->entries = memory_allocate_array(sequence_count_max, sizeof *f->entries);
        f->samples = memory_allocate_array(sequence_count_max, sizeof *f->samples);
        f->device_numbers = memory_allocate_array(sequence_count_max, sizeof *f->device_numbers);
        f->adapters = memory_allocate_array(sequence_count_max, sizeof *f->adapters);
        if (f->entries == NULL || f->samples == NULL || f->device_numbers == NULL ||
            f->adapters == NULL)
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

void step_flights_close(struct step_flights *flights)
{
    for (uint32_t i = 0; i < MODEL_STEPS_MAX; i++) {
        struct step_flight *f = &flights->items[i];
        memory_release(f->adapters);
        memory_release(f->device_numbers);
        memory_release(f->samples);
        memory_release(f->entries);
    }
}

static struct step_flight *flight_at(struct step_flights *flights, uint32_t number)
{
    return &flights->items[(flights->oldest + number) % MODEL_STEPS_MAX];
}

/* An adapter that is unloaded while the step runs is freed when it is done. */
static void hold_adapters(struct step_flight *f)
{
    f->adapter_count = 0;
    for (uint32_t i = 0; i < f->plan.entry_count; i++) {
        engine_adapter *adapter =
            ((const struct live_request *)f->entries[i].sequence->request)->adapter;
        if (adapter == NULL)
            continue;
        adapter_hold(adapter);
        f->adapters[f->adapter_count++] = adapter;
    }
}

struct step_flight *step_flights_add(engine *e, const struct step_plan *plan)
{
    struct step_flights *flights = &e->flights;
    CHECK(flights->count < MODEL_STEPS_MAX);
    struct step_flight *f = flight_at(flights, flights->count++);
    f->plan = *plan;
    f->plan.entries = f->entries;
    memcpy(f->entries, plan->entries, plan->entry_count * sizeof *f->entries);
    f->sample_count = 0;
    f->may_wait = false;
    hold_adapters(f);
    return f;
}

struct step_flight *step_flights_newest(engine *e)
{
    struct step_flights *flights = &e->flights;
    return flights->count > 0 ? flight_at(flights, flights->count - 1) : NULL;
}

struct step_flight *step_flights_oldest(engine *e)
{
    return e->flights.count > 0 ? flight_at(&e->flights, 0) : NULL;
}

struct step_flight *step_flights_pop(engine *e)
{
    struct step_flights *flights = &e->flights;
    CHECK(flights->count > 0);
    struct step_flight *f = flight_at(flights, 0);
    flights->oldest = (flights->oldest + 1) % MODEL_STEPS_MAX;
    flights->count--;
    return f;
}

void step_flight_finish(struct step_flight *flight)
{
    while (flight->adapter_count > 0)
        engine_release_adapter(flight->adapters[--flight->adapter_count]);
}

void step_flights_forget(engine *e, const struct sequence *s)
{
    for (uint32_t i = 0; i < e->flights.count; i++) {
        struct step_flight *f = flight_at(&e->flights, i);
        for (uint32_t j = 0; j < f->plan.entry_count; j++)
            if (f->entries[j].sequence == s)
                f->entries[j].sequence = NULL;
        for (uint32_t j = 0; j < f->sample_count; j++)
            if (f->samples[j].sequence == s)
                f->samples[j].sequence = NULL;
    }
}

void step_flights_abandon(engine *e)
{
    while (e->flights.count > 0)
        step_flight_finish(step_flights_pop(e));
}
