#include "load_window.h"

#include "check.h"
#include "clock.h"

static uint32_t place_of(uint64_t second)
{
    return (uint32_t)(second % LOAD_WINDOW_SECONDS);
}

void load_window_note(struct load_window *window, uint64_t now_ns, double value)
{
    uint64_t now_s = now_ns / NS_PER_SECOND;

    if (window->first_s == 0) {
        window->first_s = now_s + 1;
        window->last_s = now_s;
    }
    for (uint64_t s = window->last_s + 1; s <= now_s && s <= window->last_s + LOAD_WINDOW_SECONDS;
         s++) {
        window->sum[place_of(s)] = 0;
        window->samples[place_of(s)] = 0;
    }
    window->last_s = now_s;
    window->sum[place_of(now_s)] += value;
    window->samples[place_of(now_s)]++;
}

/* Calls for every bucket with a sample among the last `seconds`: *sum of their means, *squares, returns how many. */
static uint32_t gather(const struct load_window *window, uint64_t now_ns, uint32_t seconds,
                       double *sum, double *squares)
{
    uint64_t now_s = now_ns / NS_PER_SECOND, from_s;
    uint32_t count = 0;

    CHECK(seconds >= 1 && seconds <= LOAD_WINDOW_SECONDS);
    *sum = *squares = 0;
    if (window->first_s == 0)
        return 0;
    from_s = now_s + 1 > seconds ? now_s + 1 - seconds : 0;
    if (from_s + 1 < window->first_s)
        from_s = window->first_s - 1;
    if (window->last_s >= LOAD_WINDOW_SECONDS && from_s + LOAD_WINDOW_SECONDS <= window->last_s)
        from_s = window->last_s + 1 - LOAD_WINDOW_SECONDS;
    for (uint64_t s = from_s; s <= window->last_s; s++) {
        uint32_t place = place_of(s);
        double mean;

        if (window->samples[place] == 0)
            continue;
        mean = window->sum[place] / window->samples[place];
        *sum += mean;
        *squares += mean * mean;
        count++;
    }
    return count;
}

double load_window_mean(const struct load_window *window, uint64_t now_ns, uint32_t seconds)
{
    double sum, squares;
    uint32_t count = gather(window, now_ns, seconds, &sum, &squares);

    return count > 0 ? sum / count : 0;
}

double load_window_variance(const struct load_window *window, uint64_t now_ns, uint32_t seconds)
{
    double sum, squares, variance;
    uint32_t count = gather(window, now_ns, seconds, &sum, &squares);

    if (count < 2)
        return 0;
    variance = (squares - sum * sum / count) / (count - 1);
    return variance > 0 ? variance : 0;
}
