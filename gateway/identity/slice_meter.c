#include "slice_meter.h"

#define MILLION 1000000u
/* A request's weight in what a token is taken to cost is one part of so many: some ten requests of another kind move it. */
#define LEARN_PARTS 8u

void slice_meter_init(struct slice_meter *meter, uint32_t slice_count, uint64_t now_ns)
{
    *meter = (struct slice_meter){.begun_ns = now_ns, .slice_count = slice_count};
}

void slice_meter_note(struct slice_meter *meter, uint64_t busy_ns)
{
    (void)atomic_fetch_add_explicit(&meter->busy_ns, busy_ns, memory_order_relaxed);
}

uint64_t slice_meter_idle_ns(const struct slice_meter *meter, uint64_t now_ns)
{
    uint64_t held_ns = now_ns > meter->begun_ns ? now_ns - meter->begun_ns : 0;
    uint64_t all_ns = held_ns * meter->slice_count;
    uint64_t busy_ns = atomic_load_explicit(&meter->busy_ns, memory_order_relaxed);

    return all_ns > busy_ns ? all_ns - busy_ns : 0;
}

uint64_t slice_meter_bill(struct slice_meter *meter, uint64_t busy_ns, uint64_t factor_millionths,
                          uint64_t now_ns)
{
    uint64_t paid_ns = atomic_load_explicit(&meter->idle_paid_ns, memory_order_relaxed);
    uint64_t idle_ns = slice_meter_idle_ns(meter, now_ns), extra_ns, left_ns;
    __uint128_t most_ns;

    if (factor_millionths <= MILLION)
        return busy_ns;
    most_ns = (__uint128_t)busy_ns * (factor_millionths - MILLION) / MILLION;
    do {
        left_ns = idle_ns > paid_ns ? idle_ns - paid_ns : 0;
        extra_ns = most_ns < left_ns ? (uint64_t)most_ns : left_ns;
    } while (!atomic_compare_exchange_weak_explicit(&meter->idle_paid_ns, &paid_ns,
                                                    paid_ns + extra_ns, memory_order_relaxed,
                                                    memory_order_relaxed));
    return busy_ns + extra_ns;
}

void slice_meter_learn(struct slice_meter *meter, uint64_t tokens, int64_t cost_nano)
{
    uint64_t before = atomic_load_explicit(&meter->token_pico, memory_order_relaxed), now;

    if (tokens == 0 || cost_nano <= 0)
        return;
    now = (uint64_t)((__uint128_t)cost_nano * 1000 / tokens) + 1; /* 0 says that nothing is known */
    if (before > 0)
        now = before - before / LEARN_PARTS + now / LEARN_PARTS;
    /* Of two at once one is lost, which does not matter. */
    atomic_store_explicit(&meter->token_pico, now, memory_order_relaxed);
}

int64_t slice_meter_expect(const struct slice_meter *meter, uint64_t tokens)
{
    uint64_t pico = atomic_load_explicit(&meter->token_pico, memory_order_relaxed);
    __uint128_t nano = ((__uint128_t)pico * tokens + 999) / 1000;

    return nano < INT64_MAX / 4 ? (int64_t)nano : INT64_MAX / 4;
}
