/* Forecast
 *
 * Holt and Winters' exponential smoothing with a multiplicative season of a week and a damped trend (Winters 1960; damped: Gardner and
 * McKenzie 1985):
 *
 *      expected(t) = season(t) * (level + damped trend)
 *
 * The season is the mean load of each five minutes of the week; a time that this week's day has not taught yet is taken from the same
 * time of all days. The level is how today compares with the season: 1 on an ordinary day. It is smoothed over half an hour, so a
 * burst does not make the rest of the day busy; the autoscaler's windows see bursts.
 *
 * The forecast is for capacity, so what counts is its upper side: the spread of past errors is added, relative to the expected
 * load. A season learns slowly (a third a week), and the first time it takes what it sees. */
#include "forecast.h"

#include <math.h>
#include <string.h>

#define SEASON_RATE            0.3
#define LEVEL_RATE             0.25 /* four buckets: 20 minutes */
#define TREND_RATE             0.05
#define TREND_DAMPED           0.8
#define ERROR_RATE             0.02 /* fifty buckets: four hours */
#define LEVEL_LEAST            0.1 /* a day of a tenth of the usual load is not the end of the season */
#define LEVEL_MOST             10.0
#define SECONDS_1970_TO_MONDAY (4 * 86400) /* the first of January 1970 was a Thursday */

void forecast_init(struct forecast *forecast)
{
    memset(forecast, 0, sizeof(*forecast));
    for (uint32_t i = 0; i < FORECAST_WEEK_BUCKETS; i++)
        forecast->week[i] = -1;
    for (uint32_t i = 0; i < FORECAST_DAY_BUCKETS; i++)
        forecast->day[i] = -1;
    forecast->level = 1;
    forecast->bucket = -1;
}

static uint32_t week_place(int64_t bucket)
{
    int64_t shifted = bucket - SECONDS_1970_TO_MONDAY / FORECAST_BUCKET_S;
    int64_t place = shifted % FORECAST_WEEK_BUCKETS;

    return (uint32_t)(place < 0 ? place + FORECAST_WEEK_BUCKETS : place);
}

static double season_of(const struct forecast *forecast, int64_t bucket)
{
    uint32_t place = week_place(bucket);

    return forecast->week[place] >= 0 ? forecast->week[place]
                                      : forecast->day[place % FORECAST_DAY_BUCKETS];
}

static double level_ahead(const struct forecast *forecast, double buckets)
{
    /* trend * (d + d^2 + ... ), by whole buckets; a part of one counts as that part. */
    double damped = TREND_DAMPED * (1 - pow(TREND_DAMPED, buckets)) / (1 - TREND_DAMPED);

    return fmin(fmax(forecast->level + forecast->trend * damped, LEVEL_LEAST), LEVEL_MOST);
}

static float learn(float old, double value)
{
    return old < 0 ? (float)value : (float)(old + SEASON_RATE * (value - old));
}

/* The bucket is full: compares it with what was expected, then learns it. */
static void bucket_close(struct forecast *forecast)
{
    double value = forecast->sum / forecast->weight, season = season_of(forecast, forecast->bucket);
    uint32_t place = week_place(forecast->bucket);

    if (season > 0) {
        double expected = season * level_ahead(forecast, 1);
        double error = (value - expected) / fmax(expected, 1e-9);
        double ratio = fmin(fmax(value / season, LEVEL_LEAST), LEVEL_MOST);
        double before = forecast->level;

        error = fmin(fmax(error, -1), 1); /* one burst is not the measure of all */
        forecast->error_square += ERROR_RATE * (error * error - forecast->error_square);
        forecast->level += LEVEL_RATE * (ratio - (forecast->level + forecast->trend));
        forecast->level += forecast->trend;
        forecast->trend = (1 - TREND_RATE) * TREND_DAMPED * forecast->trend +
                          TREND_RATE * (forecast->level - before);
    }
    forecast->week[place] = learn(forecast->week[place], value);
    forecast->day[place % FORECAST_DAY_BUCKETS] =
        learn(forecast->day[place % FORECAST_DAY_BUCKETS], value);
    forecast->bucket_count += forecast->bucket_count < UINT32_MAX;
}

void forecast_note(struct forecast *forecast, int64_t local_s, double value)
{
    int64_t bucket = local_s / FORECAST_BUCKET_S;

    if (bucket != forecast->bucket) {
        if (forecast->bucket >= 0 && bucket > forecast->bucket && forecast->weight > 0)
            bucket_close(forecast);
        forecast->bucket = bucket;
        forecast->sum = forecast->weight = 0;
    }
    forecast->sum += value;
    forecast->weight += 1;
}

double forecast_at(const struct forecast *forecast, int64_t local_s, double deviations)
{
    /* Buckets' middles are their times: between two of them the season is the straight line. */
    double position = (double)local_s / FORECAST_BUCKET_S - 0.5, from, to, season, ahead;
    int64_t bucket = (int64_t)floor(position);

    if (forecast->bucket_count < FORECAST_BUCKETS_NEEDED)
        return -1;
    from = season_of(forecast, bucket);
    to = season_of(forecast, bucket + 1);
    if (from < 0 || to < 0)
        return -1;
    season = from + (to - from) * (position - (double)bucket);
    ahead = fmax(position + 1 - (double)forecast->bucket, 0);
    return season * level_ahead(forecast, ahead) * (1 + deviations * sqrt(forecast->error_square));
}
