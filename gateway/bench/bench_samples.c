#include "bench_samples.h"

#include <math.h>
#include <stdlib.h>

#include "memory.h"

#define COUNT_FIRST 1024u

status bench_samples_add(struct bench_samples *samples, double value)
{
    if (samples->count == samples->capacity) {
        size_t capacity = samples->capacity == 0 ? COUNT_FIRST : 2 * samples->capacity;
        double *values = memory_resize(samples->values, capacity * sizeof(*values));

        if (values == NULL)
            return STATUS_NO_MEMORY;
        samples->values = values;
        samples->capacity = capacity;
    }
    samples->values[samples->count++] = value;
    samples->sum += value;
    return STATUS_OK;
}

double bench_samples_mean(const struct bench_samples *samples)
{
    return samples->count > 0 ? samples->sum / (double)samples->count : 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_samples_percentile(struct bench_samples *samples, double p)
{
    double rank = ceil(p * (double)samples->count);

    if (samples->count == 0)
        return 0;
    qsort(samples->values, samples->count, sizeof(*samples->values), compare);
    return samples->values[rank < 1 ? 0 : (size_t)rank - 1];
}

void bench_samples_deinit(struct bench_samples *samples)
{
    memory_release(samples->values);
}
