#include "unit_test.h"

#include <stdbool.h>

#include "simulation.h"

/* The short form of bench/simulator: the same code, a small world, an hour of a morning. Everything follows from the seed, so the bounds
 * are of figures that are always the same; they leave room for another maths library's last bits. */

static const struct simulation_config small = {.seed = 7,
                                               .clusters = 6,
                                               .slices_per_cluster = 48,
                                               .models = 10,
                                               .hours = 1,
                                               .begin_hour = 9,
                                               .load = 0.5};

static double met(const struct simulation_report *report)
{
    return (double)report->met / (double)report->requests;
}

static void print(enum simulation_rule rule, const struct simulation_report *report)
{
    print_message("seed %llu, %s: %llu requests, %.3f %% met, %.1f slice hours, plan %.1f\n",
                  (unsigned long long)small.seed, simulation_rule_name(rule),
                  (unsigned long long)report->requests, 100 * met(report), report->slice_hours,
                  report->planned_hours);
}

static void our_rule_meets_the_level_at_little_more_than_the_clairvoyant_pays(void **state)
{
    static struct simulation_report reports[SIMULATION_RULE_COUNT];
    struct error_note note = {""};
    const struct simulation_report *ours = &reports[SIMULATION_PENSTOCK],
                                   *clairvoyant = &reports[SIMULATION_CLAIRVOYANT];
    (void)state;

    for (int i = 0; i < SIMULATION_RULE_COUNT; i++) {
        assert_int_equal(simulation_run(&small, (enum simulation_rule)i, &reports[i], &note),
                         STATUS_OK);
        print((enum simulation_rule)i, &reports[i]);
        assert_true(reports[i].requests > 100000);
    }
    assert_true(met(ours) >= 0.99 && met(clairvoyant) >= 0.99);
    assert_true(ours->worst_model_met >= 0.97);
    assert_true(ours->slice_hours <= 1.15 * clairvoyant->slice_hours);
    assert_true(ours->slice_hours < reports[SIMULATION_STATIC].slice_hours);
    assert_true(met(ours) >= met(&reports[SIMULATION_QUEUE]));
    assert_true(met(ours) >= met(&reports[SIMULATION_CONCURRENCY]));
}

static void every_rule_sees_the_same_requests_and_a_seed_the_same_day(void **state)
{
    static struct simulation_report first, second, other;
    struct simulation_config config = small;
    struct error_note note = {""};
    (void)state;

    assert_int_equal(simulation_run(&config, SIMULATION_PENSTOCK, &first, &note), STATUS_OK);
    assert_int_equal(simulation_run(&config, SIMULATION_PENSTOCK, &second, &note), STATUS_OK);
    assert_int_equal(first.requests, second.requests);
    assert_int_equal(first.met, second.met);
    assert_int_equal(first.starts, second.starts);
    assert_int_equal(first.lost, second.lost);
    assert_memory_equal(first.ttft_ms_below, second.ttft_ms_below, sizeof(first.ttft_ms_below));
    assert_memory_equal(&first.slice_hours, &second.slice_hours, sizeof(first.slice_hours));
    config.seed++;
    assert_int_equal(simulation_run(&config, SIMULATION_PENSTOCK, &other, &note), STATUS_OK);
    assert_true(other.requests != first.requests);
}

static void a_night_is_quieter_than_an_afternoon(void **state)
{
    static struct simulation_report night, afternoon;
    struct simulation_config config = small;
    struct error_note note = {""};
    (void)state;

    config.is_calm = true;
    config.begin_hour = 3;
    assert_int_equal(simulation_run(&config, SIMULATION_PENSTOCK, &night, &note), STATUS_OK);
    config.begin_hour = 15;
    assert_int_equal(simulation_run(&config, SIMULATION_PENSTOCK, &afternoon, &note), STATUS_OK);
    assert_true(2 * night.requests < afternoon.requests);
    assert_true(night.slice_hours < afternoon.slice_hours);
    assert_int_equal(night.lost + afternoon.lost + night.spot_notices, 0);
}

static void failures_cost_replicas_and_their_requests_go_on_elsewhere(void **state)
{
    static struct simulation_report report;
    struct simulation_config config = small;
    struct error_note note = {""};
    (void)state;

    /* A seed in whose hour a node of busy replicas fails. */
    config.seed = 4;
    config.clusters = 20;
    config.slices_per_cluster = 16;
    config.models = 6;
    assert_int_equal(simulation_run(&config, SIMULATION_PENSTOCK, &report, &note), STATUS_OK);
    print_message("seed %llu: lost %llu, continued %llu, refused %llu, %.3f %% met\n",
                  (unsigned long long)config.seed, (unsigned long long)report.lost,
                  (unsigned long long)report.continued, (unsigned long long)report.refused,
                  100 * met(&report));
    assert_true(report.lost > 0 && report.continued > 50);
    assert_true(report.refused < 10);
    assert_true(met(&report) >= 0.99);
}

static void gangs_are_placed_and_guarantees_kept_while_all_ask_for_more(void **state)
{
    struct simulation_config config = small;
    struct simulation_sharing sharing;
    struct error_note note = {""};
    (void)state;

    config.clusters = 10;
    config.slices_per_cluster = 40;
    config.hours = 6;
    config.load = 0.9;
    assert_int_equal(simulation_share(&config, &sharing, &note), STATUS_OK);
    print_message("seed %llu: load %.3f, %u gangs wait %.1f s on average, %.0f s at most; below a "
                  "guarantee %.0f s of %.0f s; %llu preempted\n",
                  (unsigned long long)config.seed, sharing.load_mean, sharing.gangs_placed,
                  sharing.gang_wait_s_mean, sharing.gang_wait_s_most, sharing.below_s_most,
                  sharing.reclaim_s, (unsigned long long)sharing.preemptions);
    assert_true(sharing.load_mean > 0.85);
    assert_true(sharing.gangs_placed > 20);
    assert_true(sharing.gang_wait_s_most <= 120 && sharing.gang_oldest_s <= 120);
    assert_true(sharing.below_s_most <= sharing.reclaim_s);
    assert_true(sharing.is_consistent);
}

static void worlds_that_make_no_sense_are_refused(void **state)
{
    struct simulation_config config = small;
    struct simulation_report report;
    struct error_note note = {""};
    (void)state;

    config.hours = 0;
    assert_int_equal(simulation_run(&config, SIMULATION_PENSTOCK, &report, &note), STATUS_INVALID);
    assert_string_equal(note.text, "hours must be from 1 to 168, not 0");
    config.hours = 168;
    assert_int_equal(simulation_check(&config, &note), STATUS_OK);
    config.hours = 169;
    assert_int_equal(simulation_check(&config, &note), STATUS_INVALID);
    config = small;
    config.load = 0.96;
    assert_int_equal(simulation_check(&config, &note), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_rule_meets_the_level_at_little_more_than_the_clairvoyant_pays),
        cmocka_unit_test(every_rule_sees_the_same_requests_and_a_seed_the_same_day),
        cmocka_unit_test(a_night_is_quieter_than_an_afternoon),
        cmocka_unit_test(failures_cost_replicas_and_their_requests_go_on_elsewhere),
        cmocka_unit_test(gangs_are_placed_and_guarantees_kept_while_all_ask_for_more),
        cmocka_unit_test(worlds_that_make_no_sense_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
