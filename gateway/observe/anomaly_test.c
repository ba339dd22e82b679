/* Synthetic weeks: a season of the day and of the week, noise whose logarithm is normal, and now and then a window that is far off by itself. */
#include "anomaly.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "unit_test.h"

#define WINDOW_S  300
#define WEEK      2016 /* windows */
#define THRESHOLD 6.0
#define START_S   ((int64_t)WINDOW_S * 5000000)
#define SEEDS     12u

static double uniform(unsigned *seed)
{
    return ((double)rand_r(seed) + 1) / ((double)RAND_MAX + 2);
}

static double normal(unsigned *seed)
{
    return sqrt(-2 * log(uniform(seed))) * cos(2 * acos(-1) * uniform(seed));
}

static double season(int window)
{
    double day = 2 * acos(-1) * window / 288;

    return -1.5 + 0.5 * sin(day) + 0.25 * sin(2 * day) + (window / 288 % 7 >= 5 ? -0.4 : 0);
}

/* Time to the first token, by its logarithm. */
static double latency(int window, unsigned *seed)
{
    double value = season(window) + 0.12 * normal(seed);

    if (uniform(seed) < 0.02)
        value += 0.8 * fabs(normal(seed));
    return value;
}

static struct anomaly_series *series_make(enum anomaly_signal signal)
{
    struct anomaly_series *series = malloc(sizeof(*series));

    CHECK(series != NULL);
    anomaly_series_init(series, signal, WINDOW_S);
    return series;
}

static void note(struct anomaly_series *series, int window, double value, double count)
{
    anomaly_series_note(series, START_S + (int64_t)window * WINDOW_S, value,
                        anomaly_noise(series->signal, count), THRESHOLD);
}

static void planted_shifts_are_found_and_end(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        struct anomaly_series *series = series_make(ANOMALY_TTFT);
        unsigned random = seed;
        int window = 0, begins = 4 * WEEK + 100 + (int)(seed * 97);

        for (; window < begins; window++)
            note(series, window, latency(window, &random), 400);
        assert_false(series->is_learning);
        for (; window < begins + 12;
             window++) { /* an hour of answers that begin three times later */
            note(series, window, latency(window, &random) + log(3), 400);
            if (window >= begins + 3)
                assert_true(series->is_anomalous);
        }
        assert_true(series->since_s >= START_S + (int64_t)begins * WINDOW_S);
        assert_true(series->value > 2 * series->expected);
        for (; window < begins + 18; window++)
            note(series, window, latency(window, &random), 400);
        assert_false(series->is_anomalous);
        free(series);
    }
}

/* The rate that the settings' manual tells: less than one in four weeks of a series. */
static void false_alarms_are_rare(void **state)
{
    int alarms = 0;

    (void)state;
    for (unsigned seed = 100; seed < 100 + SEEDS; seed++) {
        struct anomaly_series *series = series_make(ANOMALY_TTFT);
        unsigned random = seed;
        bool was = false;

        for (int window = 0; window < 6 * WEEK; window++) { /* the beginning, too */
            note(series, window, latency(window, &random), 400);
            alarms += series->is_anomalous && !was;
            was = series->is_anomalous;
        }
        free(series);
    }
    print_message("%d false alarms in %u weeks\n", alarms, 6 * SEEDS);
    assert_true(alarms * 4 < (int)(6 * SEEDS));
}

static void an_anomaly_last_week_hides_nothing_today(void **state)
{
    struct anomaly_series *series = series_make(ANOMALY_INTER_TOKEN);
    unsigned random = 3;
    int window = 0;

    (void)state;
    for (; window < 4 * WEEK; window++) {
        bool is_off = window >= 3 * WEEK + 500 && window < 3 * WEEK + 530;

        note(series, window, latency(window, &random) + (is_off ? log(4) : 0), 2000);
    }
    for (; window < 4 * WEEK + 516; window++)
        note(series, window, latency(window, &random), 2000);
    note(series, window, latency(window, &random) + log(4), 2000);
    note(series, window + 1, latency(window + 1, &random) + log(4), 2000);
    assert_true(series->is_anomalous);
    free(series);
}

static void rates_are_judged_by_how_many_there_were(void **state)
{
    struct anomaly_series *series = series_make(ANOMALY_ERROR_RATE);
    int window = 0;

    (void)state;
    for (; window < 300; window++)
        note(series, window, anomaly_from_measure(ANOMALY_ERROR_RATE, 0), 500);
    assert_false(series->is_learning);
    /* One of twenty may be chance; fifty of five hundred are not. */
    note(series, window++, anomaly_from_measure(ANOMALY_ERROR_RATE, 0.05), 20);
    assert_true(series->score < THRESHOLD);
    note(series, window++, anomaly_from_measure(ANOMALY_ERROR_RATE, 0.1), 500);
    note(series, window++, anomaly_from_measure(ANOMALY_ERROR_RATE, 0.1), 500);
    assert_true(series->is_anomalous);
    assert_true(fabs(series->value - 0.1) < 1e-6);
    free(series);
}

static void fewer_accepted_drafts_are_bad_and_more_are_not(void **state)
{
    struct anomaly_series *series = series_make(ANOMALY_ACCEPTANCE);
    unsigned random = 9;
    int window = 0;

    (void)state;
    for (; window < 300; window++)
        note(series, window, anomaly_from_measure(ANOMALY_ACCEPTANCE, 0.6 + 0.02 * normal(&random)),
             3000);
    for (int i = 0; i < 3; i++)
        note(series, window++, anomaly_from_measure(ANOMALY_ACCEPTANCE, 0.9), 3000);
    assert_false(series->is_anomalous);
    assert_true(series->score < 0);
    for (int i = 0; i < 3; i++)
        note(series, window++, anomaly_from_measure(ANOMALY_ACCEPTANCE, 0.3), 3000);
    assert_true(series->is_anomalous);
    free(series);
}

static void nothing_is_judged_before_enough_is_known(void **state)
{
    struct anomaly_series *series = series_make(ANOMALY_TTFT);

    (void)state;
    for (int window = 0; window < 36; window++) {
        note(series, window, window % 2 == 0 ? -2 : 2, 100);
        assert_true(series->is_learning);
        assert_false(series->is_anomalous);
    }
    note(series, 36, 0, 100);
    assert_false(series->is_learning);
    free(series);
}

static void windows_without_traffic_end_an_anomaly(void **state)
{
    struct anomaly_series *series = series_make(ANOMALY_TTFT);
    int window = 0;

    (void)state;
    for (; window < 60; window++)
        note(series, window, -1, 100);
    note(series, window++, 3, 100);
    assert_false(series->is_anomalous); /* one alone may be chance */
    note(series, window++, 3, 100);
    assert_true(series->is_anomalous);
    note(series, window++, NAN, 0);
    assert_true(series->is_anomalous);
    assert_true(isnan(series->value));
    note(series, window++, NAN, 0);
    assert_false(series->is_anomalous);
    /* A gap longer than what is kept: all of it is forgotten. */
    note(series, window + (int)ANOMALY_SLOTS + 5, -1, 100);
    note(series, window + (int)ANOMALY_SLOTS + 6, -1, 100);
    assert_true(series->is_learning);
    free(series);
}

static void measures_come_back(void **state)
{
    (void)state;
    for (int i = 0; i < ANOMALY_SIGNAL_COUNT; i++) {
        enum anomaly_signal signal = (enum anomaly_signal)i;
        double back = anomaly_to_measure(signal, anomaly_from_measure(signal, 0.37));

        assert_true(fabs(back - 0.37) < 1e-9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_shifts_are_found_and_end),
        cmocka_unit_test(false_alarms_are_rare),
        cmocka_unit_test(an_anomaly_last_week_hides_nothing_today),
        cmocka_unit_test(rates_are_judged_by_how_many_there_were),
        cmocka_unit_test(fewer_accepted_drafts_are_bad_and_more_are_not),
        cmocka_unit_test(nothing_is_judged_before_enough_is_known),
        cmocka_unit_test(windows_without_traffic_end_an_anomaly),
        cmocka_unit_test(measures_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
