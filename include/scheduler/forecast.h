#ifndef PENSTOCK_SCHEDULER_FORECAST_H
#define PENSTOCK_SCHEDULER_FORECAST_H

#include <stdint.h>

/* Learns the load of the hour of the week, in buckets of five minutes, and tells what will come. scheduler/forecast.c has the
 * model. Flat: may be copied and kept. Pure; one owner at a time. */

#define FORECAST_BUCKET_S     300
#define FORECAST_DAY_BUCKETS  288u
#define FORECAST_WEEK_BUCKETS (7u * FORECAST_DAY_BUCKETS)

struct forecast {
    float week[FORECAST_WEEK_BUCKETS]; /* the season; negative: this bucket was never seen */
    float
        day[FORECAST_DAY_BUCKETS]; /* the same over all days, for what the week does not know yet */
    double level, trend;   /* of what came over what the season said, and its change a bucket */
    double error_square;   /* of forecasts for the next bucket, relative; fading */
    int64_t bucket;        /* the one that is being filled; negative: none yet */
    double sum, weight;    /* of it */
    uint32_t bucket_count; /* filled ones */
};

void forecast_init(struct forecast *forecast);

/* The load now, in whatever unit (requests a second); `local_s`: seconds since 1970 by the clock on the wall. A clock that goes
 * backwards begins a bucket anew. */
void forecast_note(struct forecast *forecast, int64_t local_s, double value);

/* What is expected at `local_s`, now or later, with `deviations` standard deviations of the past error above it (1.2816: nine
 * times of ten it is less). Negative: not known, less than FORECAST_BUCKETS_NEEDED buckets or none for that time of day. */
#define FORECAST_BUCKETS_NEEDED 5u
double forecast_at(const struct forecast *forecast, int64_t local_s, double deviations);

#endif
