#include "capacity_window.h"

void capacity_window_note(struct capacity_window *window, const struct capacity_sums *sums)
{
    window->samples[window->count++ % CAPACITY_WINDOW_SAMPLES] = *sums;
}

struct capacity_sums capacity_window_difference(const struct capacity_window *window)
{
    const struct capacity_sums *newest, *oldest;

    if (window->count < 2)
        return (struct capacity_sums){0};
    newest = &window->samples[(window->count - 1) % CAPACITY_WINDOW_SAMPLES];
    oldest = &window->samples[window->count < CAPACITY_WINDOW_SAMPLES
                                  ? 0
                                  : window->count % CAPACITY_WINDOW_SAMPLES];
    return (struct capacity_sums){.at_ns = newest->at_ns - oldest->at_ns,
                                  .arrivals = newest->arrivals - oldest->arrivals,
                                  .ttft_s = newest->ttft_s - oldest->ttft_s,
                                  .ttft_count = newest->ttft_count - oldest->ttft_count,
                                  .gap_s = newest->gap_s - oldest->gap_s,
                                  .gap_count = newest->gap_count - oldest->gap_count};
}
