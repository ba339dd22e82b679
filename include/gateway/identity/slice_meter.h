#ifndef PENSTOCK_IDENTITY_SLICE_METER_H
#define PENSTOCK_IDENTITY_SLICE_METER_H

#include <stdatomic.h>
#include <stdint.h>

/* The time of a model's slices: how much of it was busy, how much idle, and who pays for the idle part. All of it is whole
 * nanoseconds, so nothing is paid twice: idle time is taken from one heap, by requests that have used the slices, and never
 * more than there is. Plain data, zero where nothing was noted; any thread. */
struct slice_meter {
    uint64_t begun_ns; /* monotonic; from then on the slices are held */
    uint32_t slice_count;
    _Atomic uint64_t busy_ns;      /* of all slices */
    _Atomic uint64_t idle_paid_ns; /* idle time that requests have been told to pay for */
    _Atomic uint64_t token_pico; /* what a token has cost lately, in 1e-12 of money; 0: not known */
};

void slice_meter_init(struct slice_meter *meter, uint32_t slice_count, uint64_t now_ns);

/* The slices were busy for so much longer. */
void slice_meter_note(struct slice_meter *meter, uint64_t busy_ns);
/* What was not busy, of all slices. */
uint64_t slice_meter_idle_ns(const struct slice_meter *meter, uint64_t now_ns);

/* The time that a request pays for: its own, and of the idle time that nobody has paid yet as much as makes it at most
 * `factor_millionths` / 1e6 of its own. */
uint64_t slice_meter_bill(struct slice_meter *meter, uint64_t busy_ns, uint64_t factor_millionths,
                          uint64_t now_ns);

/* A request of so many tokens has cost so much: the next ones are estimated by it. */
void slice_meter_learn(struct slice_meter *meter, uint64_t tokens, int64_t cost_nano);
/* What so many tokens should cost; 0: nothing is known yet. */
int64_t slice_meter_expect(const struct slice_meter *meter, uint64_t tokens);

#endif
