#include "anomaly.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"

#define DAY_S       86400
#define WEEK_S      (7 * DAY_S)
#define HALF_HOUR_S 1800
/* Values that a median needs: of two weeks' hours, of two days' hours, of three hours */
#define WEEKS_NEED    24u
#define DAYS_NEED     24u
#define HOURS_NEED    36u
#define WEEKS         4
#define DAYS          7
#define ROWS_IN_A_ROW 2u
/* A normal distribution's standard deviation, from its median absolute deviation */
#define MAD_SCALE 1.4826
/* What is usual is never taken for narrower than this: 5 % of a time, one percent of requests that fail where none do. */
#define TIME_FLOOR  0.05
#define SHARE_FLOOR 0.02

static const char *const names[ANOMALY_SIGNAL_COUNT] = {
    [ANOMALY_TTFT] = "ttft",
    [ANOMALY_INTER_TOKEN] = "inter_token",
    [ANOMALY_ERROR_RATE] = "error_rate",
    [ANOMALY_ACCEPTANCE] = "acceptance_rate",
};

const char *anomaly_signal_name(enum anomaly_signal signal)
{
    CHECK(signal >= 0 && signal < ANOMALY_SIGNAL_COUNT);
    return names[signal];
}

static bool is_time(enum anomaly_signal signal)
{
    return signal == ANOMALY_TTFT || signal == ANOMALY_INTER_TOKEN;
}

double anomaly_from_measure(enum anomaly_signal signal, double measure)
{
    if (is_time(signal))
        return log(fmax(measure, 1e-6));
    return asin(sqrt(fmin(fmax(measure, 0), 1)));
}

double anomaly_to_measure(enum anomaly_signal signal, double value)
{
    double root;

    if (is_time(signal))
        return exp(value);
    root = sin(fmin(fmax(value, 0), acos(0)));
    return root * root;
}

double anomaly_noise(enum anomaly_signal signal, double count)
{
    /* Of a median of times that differ by a factor of two, and of the arcsine of a root. */
    return (is_time(signal) ? 1.25 * 0.7 : 0.5) / sqrt(fmax(count, 1));
}

void anomaly_series_init(struct anomaly_series *series, enum anomaly_signal signal,
                         int64_t window_s)
{
    *series = (struct anomaly_series){
        .signal = signal, .window_s = window_s, .is_learning = true, .value = NAN, .expected = NAN};
    for (uint32_t i = 0; i < ANOMALY_SLOTS; i++)
        series->values[i] = NAN;
}

/* --- what was --- */

static float *place(struct anomaly_series *series, int64_t window)
{
    return &series->values[(uint64_t)window % ANOMALY_SLOTS];
}

static void learn(struct anomaly_series *series, int64_t window, double value)
{
    if (window <= 0 || (series->newest > 0 && window <= series->newest - (int64_t)ANOMALY_SLOTS))
        return;
    /* Those between had no value; what stands there is a month old. */
    for (int64_t i = series->newest + 1; series->newest > 0 && i < window; i++) {
        if (i - series->newest > (int64_t)ANOMALY_SLOTS)
            break;
        *place(series, i) = NAN;
    }
    *place(series, window) = (float)value;
    if (window > series->newest)
        series->newest = window;
}

void anomaly_series_learn(struct anomaly_series *series, int64_t start_s, double value)
{
    learn(series, start_s / series->window_s, value);
}

struct sample {
    float values[ANOMALY_SLOTS];
    uint32_t count;
};

/* The windows from `first` to `last`, as far as they are kept and before `window`. */
static void gather(struct anomaly_series *series, int64_t first, int64_t last, int64_t window,
                   struct sample *out)
{
    int64_t oldest = series->newest - (int64_t)ANOMALY_SLOTS + 1;

    first = first > oldest ? first : oldest;
    last = last < window - 1 ? last : window - 1;
    last = last < series->newest ? last : series->newest;
    for (int64_t i = first > 0 ? first : 1; i <= last && out->count < ANOMALY_SLOTS; i++) {
        if (!isnan(*place(series, i)))
            out->values[out->count++] = *place(series, i);
    }
}

/* Around the same time, `count` times `step_s` ago. */
static void gather_season(struct anomaly_series *series, int64_t window, int count, int64_t step_s,
                          struct sample *out)
{
    int64_t half = HALF_HOUR_S / series->window_s;

    out->count = 0;
    for (int i = count; i > 0; i--) {
        int64_t then = window - i * (step_s / series->window_s);

        gather(series, then - half, then + half, window, out);
    }
}

/* The nearest season of which enough is known. */
static bool sample_take(struct anomaly_series *series, int64_t window, struct sample *out)
{
    gather_season(series, window, WEEKS, WEEK_S, out);
    if (out->count >= WEEKS_NEED)
        return true;
    gather_season(series, window, DAYS, DAY_S, out);
    if (out->count >= DAYS_NEED)
        return true;
    out->count = 0;
    gather(series, window - DAY_S / series->window_s, window - 1, window, out);
    return out->count >= HOURS_NEED;
}

static int by_size(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;

    return (left > right) - (left < right);
}

static double median(struct sample *sample)
{
    uint32_t half = sample->count / 2;

    qsort(sample->values, sample->count, sizeof(sample->values[0]), by_size);
    if (sample->count % 2 == 1)
        return sample->values[half];
    return ((double)sample->values[half - 1] + (double)sample->values[half]) / 2;
}

/* False: not enough is known. */
static bool expect(struct anomaly_series *series, int64_t window, double *middle, double *spread)
{
    struct sample sample; /* 35 KB */

    if (!sample_take(series, window, &sample))
        return false;
    *middle = median(&sample);
    for (uint32_t i = 0; i < sample.count; i++)
        sample.values[i] = fabsf(sample.values[i] - (float)*middle);
    *spread = MAD_SCALE * median(&sample);
    return true;
}

/* --- what is --- */

static void state_step(struct anomaly_series *series, int64_t start_s, double threshold)
{
    if (series->score >= threshold) {
        series->below_count = 0;
        if (series->above_count++ == 0 && !series->is_anomalous)
            series->since_s = start_s;
        if (series->above_count >= ROWS_IN_A_ROW)
            series->is_anomalous = true;
        return;
    }
    series->above_count = 0;
    if (series->score < threshold / 2) {
        series->below_count++;
        if (series->below_count >= ROWS_IN_A_ROW)
            series->is_anomalous = false;
    }
}

void anomaly_series_note(struct anomaly_series *series, int64_t start_s, double value, double noise,
                         double threshold)
{
    int64_t window = start_s / series->window_s;
    double floor = is_time(series->signal) ? TIME_FLOOR : SHARE_FLOOR, middle, spread;

    series->value = series->expected = NAN;
    series->score = 0;
    if (isnan(value)) {
        state_step(series, start_s, threshold);
        return;
    }
    series->value = anomaly_to_measure(series->signal, value);
    series->is_learning = !expect(series, window, &middle, &spread);
    if (!series->is_learning) {
        series->expected = anomaly_to_measure(series->signal, middle);
        series->score = (value - middle) / sqrt(spread * spread + noise * noise + floor * floor);
        if (series->signal == ANOMALY_ACCEPTANCE) /* less of it is the bad side */
            series->score = -series->score;
    }
    state_step(series, start_s, threshold);
    learn(series, window, value);
}
