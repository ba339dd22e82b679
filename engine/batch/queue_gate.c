#include "queue_gate.h"

#include "check.h"

/* All atomics here are relaxed: the counts bound something and order nothing. The request itself
 * travels through the engine's inbox, whose own release and acquire make it visible. */

void queue_gate_init(struct queue_gate *gate, uint32_t requests_max, uint64_t tokens_max,
                     uint32_t slots)
{
    atomic_init(&gate->requests, 0);
    atomic_init(&gate->tokens, 0);
    atomic_init(&gate->free_slots, slots);
    gate->requests_max = requests_max;
    gate->tokens_max = tokens_max;
}

static status requests_enter(struct queue_gate *gate)
{
    uint64_t limit = (uint64_t)gate->requests_max +
                     atomic_load_explicit(&gate->free_slots, memory_order_relaxed);
    uint32_t now = atomic_load_explicit(&gate->requests, memory_order_relaxed);
    do {
        if (now >= limit)
            return STATUS_FULL;
    } while (!atomic_compare_exchange_weak_explicit(&gate->requests, &now, now + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return STATUS_OK;
}

static status tokens_enter(struct queue_gate *gate, uint32_t tokens)
{
    uint64_t now = atomic_load_explicit(&gate->tokens, memory_order_relaxed);
    do {
        if (now != 0 && now + tokens > gate->tokens_max)
            return STATUS_FULL;
    } while (!atomic_compare_exchange_weak_explicit(&gate->tokens, &now, now + tokens,
                                                    memory_order_relaxed, memory_order_relaxed));
    return STATUS_OK;
}

status queue_gate_enter(struct queue_gate *gate, uint32_t tokens)
{
    status s = requests_enter(gate);
    if (s != STATUS_OK)
        return s;
    s = tokens_enter(gate, tokens);
    if (s != STATUS_OK)
        atomic_fetch_sub_explicit(&gate->requests, 1, memory_order_relaxed);
    return s;
}

void queue_gate_reenter(struct queue_gate *gate, uint32_t tokens)
{
    atomic_fetch_add_explicit(&gate->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&gate->tokens, tokens, memory_order_relaxed);
}

void queue_gate_leave(struct queue_gate *gate, uint32_t tokens)
{
    uint32_t requests = atomic_fetch_sub_explicit(&gate->requests, 1, memory_order_relaxed);
    uint64_t sum = atomic_fetch_sub_explicit(&gate->tokens, tokens, memory_order_relaxed);
    CHECK(requests > 0 && sum >= tokens);
}

void queue_gate_set_free_slots(struct queue_gate *gate, uint32_t slots)
{
    atomic_store_explicit(&gate->free_slots, slots, memory_order_relaxed);
}
