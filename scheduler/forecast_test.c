#include "unit_test.h"

#include <math.h>
#include <stdbool.h>

#include "forecast.h"

#define MONDAY_S 1767571200ll
#define DAY_S    86400ll

static bool is_near(double value, double expected, double difference)
{
    return fabs(value - expected) <= difference;
}

/* By day twice the night, at the weekend half of it. */
static double usual(int64_t local_s)
{
    int64_t second = local_s % DAY_S;
    int64_t day = (local_s - MONDAY_S) / DAY_S % 7;

    return (second >= 8 * 3600 && second < 20 * 3600 ? 200 : 100) * (day >= 5 ? 0.5 : 1);
}

static void learn(struct forecast *forecast, int64_t from_s, int64_t to_s, double factor)
{
    for (int64_t s = from_s; s < to_s; s += 60)
        forecast_note(forecast, s, factor * usual(s));
}

static void nothing_is_known_before_anything_was_seen(void **state)
{
    static struct forecast forecast;
    (void)state;

    forecast_init(&forecast);
    assert_true(forecast_at(&forecast, MONDAY_S, 0) < 0);
    learn(&forecast, MONDAY_S, MONDAY_S + 3600, 1);
    /* Known: the hour that was seen. Not known: the next one, of which no day has told. */
    assert_true(is_near(forecast_at(&forecast, MONDAY_S + 1800, 0), 100, 1e-3));
    assert_true(forecast_at(&forecast, MONDAY_S + 7200, 0) < 0);
}

static void the_hour_of_the_week_comes_again(void **state)
{
    static struct forecast forecast;
    (void)state;

    forecast_init(&forecast);
    learn(&forecast, MONDAY_S, MONDAY_S + 14 * DAY_S, 1);
    for (int64_t hour = 0; hour < 168; hour++) {
        int64_t then_s = MONDAY_S + 14 * DAY_S + hour * 3600 + 1800;

        assert_true(is_near(forecast_at(&forecast, then_s, 0), usual(then_s), 1e-3));
    }
}

static void a_day_that_was_never_seen_is_like_the_others(void **state)
{
    static struct forecast forecast;
    (void)state;

    forecast_init(&forecast);
    learn(&forecast, MONDAY_S, MONDAY_S + 2 * DAY_S, 1);
    assert_true(is_near(forecast_at(&forecast, MONDAY_S + 2 * DAY_S + 10 * 3600, 0), 200, 1e-3));
}

static void a_busier_day_lifts_what_is_to_come(void **state)
{
    static struct forecast forecast;
    int64_t now_s = MONDAY_S + 14 * DAY_S + 7 * 3600;
    (void)state;

    forecast_init(&forecast);
    learn(&forecast, MONDAY_S, MONDAY_S + 14 * DAY_S, 1);
    learn(&forecast, MONDAY_S + 14 * DAY_S, now_s, 1.5);
    /* Half past eight is an hour and a half away; it will be half as much again, too. */
    assert_true(is_near(forecast_at(&forecast, now_s + 5400, 0) / 300, 1, 0.05));
}

static void the_upper_side_covers_nine_of_ten(void **state)
{
    static struct forecast forecast;
    uint64_t chance = 1;
    uint32_t below = 0, all = 0;
    (void)state;

    forecast_init(&forecast);
    for (int64_t s = MONDAY_S; s < MONDAY_S + 28 * DAY_S; s += FORECAST_BUCKET_S) {
        double sum = 0, value;

        for (int i = 0; i < 12; i++) {
            chance = chance * 6364136223846793005ull + 1442695040888963407ull;
            sum += (double)(chance >> 11) * 0x1p-53;
        }
        /* Twelve uniform numbers are a normal one: a tenth more or less. */
        value = usual(s) * (1 + 0.1 * (sum - 6));
        if (s >= MONDAY_S + 21 * DAY_S && (s % DAY_S) / 3600 % 12 != 8 - 1) {
            below += value <= forecast_at(&forecast, s + FORECAST_BUCKET_S / 2, 1.2816);
            all++;
        }
        forecast_note(&forecast, s, value);
    }
    assert_true(below > 0.85 * all && below < 0.96 * all);
}

static void a_burst_does_not_change_the_day(void **state)
{
    static struct forecast forecast;
    int64_t now_s = MONDAY_S + 14 * DAY_S + 10 * 3600;
    (void)state;

    forecast_init(&forecast);
    learn(&forecast, MONDAY_S, now_s, 1);
    learn(&forecast, now_s, now_s + 300, 3);
    learn(&forecast, now_s + 300, now_s + 3600, 1);
    assert_true(is_near(forecast_at(&forecast, now_s + 3 * 3600, 0) / 200, 1, 0.1));
}

static void a_clock_that_goes_back_loses_a_bucket_only(void **state)
{
    static struct forecast forecast;
    (void)state;

    forecast_init(&forecast);
    learn(&forecast, MONDAY_S, MONDAY_S + 14 * DAY_S, 1);
    forecast_note(&forecast, MONDAY_S + 13 * DAY_S, 1e9);
    learn(&forecast, MONDAY_S + 14 * DAY_S + 600, MONDAY_S + 14 * DAY_S + 3600, 1);
    assert_true(isfinite(forecast_at(&forecast, MONDAY_S + 14 * DAY_S + 7200, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_before_anything_was_seen),
        cmocka_unit_test(the_hour_of_the_week_comes_again),
        cmocka_unit_test(a_day_that_was_never_seen_is_like_the_others),
        cmocka_unit_test(a_busier_day_lifts_what_is_to_come),
        cmocka_unit_test(the_upper_side_covers_nine_of_ten),
        cmocka_unit_test(a_burst_does_not_change_the_day),
        cmocka_unit_test(a_clock_that_goes_back_loses_a_bucket_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
