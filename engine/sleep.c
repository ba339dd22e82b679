/* Sleep: an engine that nobody needs for a while gives its memory to others and is back in a moment.
 *
 * What goes: the KV cache, which is most of what an engine holds, and the buffers of the step. Both are memory that the system
 * can have back without a copy, because nothing in them is needed again. The prefix cache is empty afterwards: to keep it would
 * be to keep the KV cache. A device's memory goes back to the device, and what else it held to the host's. What stays: threads,
 * tokenizer, templates, grammars, adapters and, at level 1, the weights.
 *
 * Only an engine without requests falls asleep; it is the caller's to let them end first. A request that comes at the same
 * time is settled at the queue's door, as Dekker did it: the step thread first says that it sleeps and then counts who has
 * entered; a request first enters and then asks whether the engine sleeps. At least one of them sees the other, so no request
 * is ever inside a sleeping engine.
 *
 * The order is given by any thread and carried out by the step thread between two steps, which owns all that is concerned. */

#include "sleep.h"

#include "check.h"

bool sleep_is_ordered(const engine *e)
{
    return atomic_load_explicit(&e->sleep.is_ordered, memory_order_acquire);
}

bool sleep_keeps_out(engine *e)
{
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&e->sleep.level, memory_order_relaxed) > 0;
}

static bool has_requests(engine *e)
{
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&e->gate.requests, memory_order_relaxed) > 0 ||
           batcher_any_request(e->batch) != NULL;
}

static void set_level(engine *e, uint32_t level)
{
    atomic_store_explicit(&e->sleep.level, level, memory_order_relaxed);
}

static status fall_asleep(engine *e, uint32_t level)
{
    uint32_t before = engine_sleep_level(e);
    if (e->failure != STATUS_OK)
        return STATUS_CLOSED;
    if (level <= before)
        return STATUS_OK;
    if (before == 0) {
        set_level(e, level);
        if (has_requests(e)) {
            set_level(e, 0);
            return STATUS_AGAIN;
        }
        batcher_forget(e->batch);
        e->kv_touched = 0;
    }
    alloc_guard_end(); /* nobody waits for a token meanwhile */
    model_sleep(e->model, level);
    alloc_guard_begin();
    set_level(e, level);
    return STATUS_OK;
}

static status wake(engine *e)
{
    if (engine_sleep_level(e) == 0)
        return STATUS_OK;
    alloc_guard_end();
    status s = model_wake(e->model, &e->sleep.done.note);
    alloc_guard_begin();
    if (s == STATUS_OK)
        set_level(e, 0);
    return s;
}

bool sleep_obey(engine *e)
{
    if (!sleep_is_ordered(e))
        return false;
    atomic_store_explicit(&e->sleep.is_ordered, false, memory_order_relaxed);
    e->sleep.done.note.text[0] = '\0';
    e->sleep.result = e->sleep.wanted > 0 ? fall_asleep(e, e->sleep.wanted) : wake(e);
    engine_metrics_sleep(e->metrics, engine_sleep_level(e));
    return true;
}

void sleep_tell(engine *e)
{
    opening_tell(&e->sleep.done, e->sleep.result);
}

/* One order at a time. */
static status order(engine *e, uint32_t level, struct error_note *note)
{
    if (atomic_exchange_explicit(&e->sleep.is_taken, true, memory_order_acquire))
        return STATUS_AGAIN;
    e->sleep.wanted = level;
    atomic_store_explicit(&e->sleep.done.is_over, false, memory_order_relaxed);
    atomic_store_explicit(&e->sleep.is_ordered, true, memory_order_release);
    parking_signal(&e->step_parking);
    status s = opening_wait(&e->sleep.done, note);
    atomic_store_explicit(&e->sleep.is_taken, false, memory_order_release);
    return s;
}

status engine_sleep(engine *e, uint32_t level)
{
    return level >= 1 && level <= ENGINE_SLEEP_LEVEL_MAX ? order(e, level, NULL) : STATUS_INVALID;
}

status engine_wake(engine *e, struct error_note *note)
{
    return order(e, 0, note);
}

uint32_t engine_sleep_level(const engine *e)
{
    return atomic_load_explicit(&e->sleep.level, memory_order_relaxed);
}
