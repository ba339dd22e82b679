/* `penstock simulate`: a day of a pool on a virtual clock, by the server's own autoscaler, placement and router beside other rules. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "simulation.h"
#include "verbs.h"

enum simulate_format { SIMULATE_TABLE, SIMULATE_JSON };

#define NOT_GIVEN (-1)

struct simulate_words {
    const char *rules, *failures, *format, *trace;
    int32_t seed, clusters, slices, models, hours, begin_hour, load_percent;
};

struct simulate_run {
    struct simulation_config config;
    struct trace *trace; /* owned; NULL: none was given */
    bool has_rule[SIMULATION_RULE_COUNT];
    bool has_sharing;
    enum simulate_format format;
};

static const char *const verb = "penstock simulate";

#define MODELS_DEFAULT 10u
#define HOURS_DEFAULT  24u
#define LOAD_DEFAULT   60u

/* --- the command line --- */

static bool rule_add(struct simulate_run *run, struct text_slice word)
{
    const char *names[SIMULATION_RULE_COUNT + 1], *nearest;

    for (int i = 0; i < SIMULATION_RULE_COUNT; i++) {
        names[i] = simulation_rule_name((enum simulation_rule)i);
        if (text_slice_is(word, names[i])) {
            run->has_rule[i] = true;
            return true;
        }
    }
    names[SIMULATION_RULE_COUNT] = "sharing";
    if (text_slice_is(word, "sharing")) {
        run->has_sharing = true;
        return true;
    }
    nearest = settings_nearest(word, names, ARRAY_COUNT(names));
    (void)fprintf(stderr, "%s: unknown rule '%.*s'%s%s%s\n", verb, (int)word.bytes, word.data,
                  nearest != NULL ? "; did you mean '" : "", nearest != NULL ? nearest : "",
                  nearest != NULL ? "'?" : "");
    return false;
}

static bool rules_read(struct simulate_run *run, const char *words)
{
    while (*words != '\0') {
        size_t bytes = strcspn(words, ",");

        if (!rule_add(run, (struct text_slice){words, bytes}))
            return false;
        words += bytes + (words[bytes] == ',');
    }
    return true;
}

static bool word_is_one_of(const char *flag, const char *word, const char *first,
                           const char *second, bool *is_second)
{
    *is_second = strcmp(word, second) == 0;
    if (*is_second || strcmp(word, first) == 0)
        return true;
    (void)fprintf(stderr, "%s: %s must be %s or %s, not '%s'\n", verb, flag, first, second, word);
    return false;
}

static uint32_t given_or(int32_t word, uint32_t otherwise)
{
    return word != NOT_GIVEN ? (uint32_t)word : otherwise;
}

static bool words_read(const struct simulate_words *words, struct simulate_run *run)
{
    bool is_json;

    if (words->trace != NULL && (words->models != NOT_GIVEN || words->load_percent != NOT_GIVEN)) {
        (void)fprintf(stderr,
                      "%s: --trace says what models there are and what is asked of them: "
                      "take --models and --load-percent away\n",
                      verb);
        return false;
    }
    run->config =
        (struct simulation_config){.seed = (uint64_t)words->seed,
                                   .clusters = (uint32_t)words->clusters,
                                   .slices_per_cluster = (uint32_t)words->slices,
                                   .models = given_or(words->models, MODELS_DEFAULT),
                                   .hours = given_or(words->hours, HOURS_DEFAULT),
                                   .begin_hour = (uint32_t)words->begin_hour,
                                   .load = given_or(words->load_percent, LOAD_DEFAULT) / 100.0};
    if (!word_is_one_of("--failures", words->failures, "on", "off", &run->config.is_calm) ||
        !word_is_one_of("--format", words->format, "table", "json", &is_json))
        return false;
    run->format = is_json ? SIMULATE_JSON : SIMULATE_TABLE;
    return rules_read(run, words->rules);
}

/* Its models, and its hours where none were asked for. */
static bool trace_take(const struct simulate_words *words, struct simulate_run *run)
{
    struct error_note note = {""};
    FILE *file = fopen(words->trace, "re");
    status result;

    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s: %s\n", verb, words->trace, strerror(errno));
        return false;
    }
    result = trace_read(file, &run->trace, &note);
    (void)fclose(file);
    if (result != STATUS_OK) {
        (void)fprintf(stderr, "%s: %s: %s\n", verb, words->trace, note.text);
        return false;
    }
    run->config.trace = run->trace;
    run->config.models = trace_model_count(run->trace);
    run->config.hours = given_or(words->hours, trace_hours(run->trace));
    return true;
}

/* --- the report --- */

static double percent(uint64_t part, uint64_t all)
{
    return all > 0 ? 100.0 * (double)part / (double)all : 0;
}

/* What both forms show of a run, in this order. Times of this machine come last: they differ from run to run. */
struct figure {
    const char *name, *heading;
    int decimals;
    double value;
};
#define FIGURES_MAX 32

static uint32_t figures_of(const struct simulation_report *report, struct figure *figures)
{
    const struct figure all[] = {
        {"requests", "requests", 0, (double)report->requests},
        {"met_percent", "met %", 3, percent(report->met, report->requests)},
        {"worst_model_percent", "worst model %", 3, 100 * report->worst_model_met},
        {"refused", "refused", 0, (double)report->refused},
        {"ttft_p50_ms", "TTFT p50 ms", 0, simulation_ttft_ms(report, 0.5)},
        {"ttft_p99_ms", "p99 ms", 0, simulation_ttft_ms(report, 0.99)},
        {"slice_hours", "slice hours", 0, report->slice_hours},
        {"over_plan", "over plan", 3,
         report->planned_hours > 0 ? report->slice_hours / report->planned_hours : 0},
        {"money", "money", 0, report->money},
        {"starting_hours", "starting h", 0, report->starting_hours},
        {"draining_hours", "draining h", 0, report->draining_hours},
        {"replicas_mean", "replicas", 0, report->replicas_mean},
        {"replicas_most", "most", 0, report->replicas_most},
        {"slices_most", "slices most", 0, report->slices_most},
        {"starts", "starts", 0, (double)report->starts},
        {"stops", "stops", 0, (double)report->stops},
        {"node_losses", "nodes lost", 0, report->node_losses},
        {"cluster_losses", "clusters lost", 0, report->cluster_losses},
        {"zone_losses", "zones lost", 0, report->zone_losses},
        {"spot_waves", "spot waves", 0, report->spot_waves},
        {"lost", "replicas lost", 0, (double)report->lost},
        {"spot_notices", "notices", 0, (double)report->spot_notices},
        {"continued", "continued", 0, (double)report->continued},
        {"zero_starts", "from zero", 0, report->zero_starts},
        {"placement_waits", "waited", 0, (double)report->placement_waits},
        {"place_wait_s_most", "wait s most", 0, report->place_wait_s_most},
        {"placement_us_mean", "place us", 0, report->placement_us_mean},
        {"placement_us_most", "most us", 0, report->placement_us_most},
        {"decision_us_mean", "decide us", 1, report->decision_us_mean},
        {"wall_s", "wall s", 1, report->wall_s},
    };

    _Static_assert(ARRAY_COUNT(all) <= FIGURES_MAX, "room for all figures");
    memcpy(figures, all, sizeof(all));
    return ARRAY_COUNT(all);
}

static uint32_t figures_of_sharing(const struct simulation_sharing *sharing, struct figure *figures)
{
    const struct figure all[] = {
        {"load_mean_percent", "load %", 1, 100 * sharing->load_mean},
        {"gangs", "gangs", 0, sharing->gangs},
        {"gangs_placed", "placed", 0, sharing->gangs_placed},
        {"gang_wait_s_mean", "wait s mean", 1, sharing->gang_wait_s_mean},
        {"gang_wait_s_p99", "p99", 0, sharing->gang_wait_s_p99},
        {"gang_wait_s_most", "most", 0, sharing->gang_wait_s_most},
        {"gang_oldest_s", "still waits s", 0, sharing->gang_oldest_s},
        {"below_s_most", "below guarantee s most", 0, sharing->below_s_most},
        {"reclaim_s", "reclaim period s", 0, sharing->reclaim_s},
        {"placements", "placements", 0, (double)sharing->placements},
        {"preemptions", "preemptions", 0, (double)sharing->preemptions},
        {"moves", "moves", 0, (double)sharing->moves},
        {"is_consistent", "book is sound", 0, sharing->is_consistent},
        {"round_us_mean", "round us", 0, sharing->round_us_mean},
        {"round_us_most", "most us", 0, sharing->round_us_most},
        {"wall_s", "wall s", 1, sharing->wall_s},
    };

    _Static_assert(ARRAY_COUNT(all) <= FIGURES_MAX, "room for all figures");
    memcpy(figures, all, sizeof(all));
    return ARRAY_COUNT(all);
}

static void row_print(const struct simulate_run *run, const char *name,
                      const struct figure *figures, uint32_t count, bool has_heading)
{
    if (run->format == SIMULATE_JSON) {
        (void)printf("{\"rule\": \"%s\", \"seed\": %llu, \"hours\": %u", name,
                     (unsigned long long)run->config.seed, run->config.hours);
        for (uint32_t i = 0; i < count; i++)
            (void)printf(", \"%s\": %.*f", figures[i].name, figures[i].decimals, figures[i].value);
        (void)printf("}\n");
        return;
    }
    for (uint32_t line = has_heading ? 0 : 2; line < 3; line++) {
        (void)printf("| %s |", line == 0 ? "rule" : line == 1 ? "---" : name);
        for (uint32_t i = 0; i < count; i++) {
            if (line < 2)
                (void)printf(" %s |", line == 0 ? figures[i].heading : "---");
            else
                (void)printf(" %.*f |", figures[i].decimals, figures[i].value);
        }
        (void)printf("\n");
    }
}

static bool rules_run(const struct simulate_run *run)
{
    struct figure figures[FIGURES_MAX];
    struct error_note note = {""};
    bool has_heading = true;

    for (int i = 0; i < SIMULATION_RULE_COUNT; i++) {
        struct simulation_report report;

        if (!run->has_rule[i])
            continue;
        if (simulation_run(&run->config, (enum simulation_rule)i, &report, &note) != STATUS_OK) {
            (void)fprintf(stderr, "%s: %s\n", verb, note.text);
            return false;
        }
        row_print(run, simulation_rule_name((enum simulation_rule)i), figures,
                  figures_of(&report, figures), has_heading);
        (void)fflush(stdout);
        has_heading = false;
    }
    return true;
}

static bool sharing_run(const struct simulate_run *run)
{
    struct figure figures[FIGURES_MAX];
    struct simulation_sharing sharing;
    struct error_note note = {""};

    if (simulation_share(&run->config, &sharing, &note) != STATUS_OK) {
        (void)fprintf(stderr, "%s: %s\n", verb, note.text);
        return false;
    }
    row_print(run, "sharing", figures, figures_of_sharing(&sharing, figures), true);
    return true;
}

static int run_all(const struct simulate_words *words, const struct simulate_run *run)
{
    struct error_note note = {""};

    if (simulation_check(&run->config, &note) != STATUS_OK) {
        (void)fprintf(stderr, "%s: %s\n", verb, note.text);
        return EXIT_USAGE;
    }
    if (run->format == SIMULATE_TABLE)
        (void)printf("seed %d, %u clusters of %u slices, %u models%s, %u hours from hour %u of the "
                     "week, failures %s\n\n",
                     words->seed, run->config.clusters, run->config.slices_per_cluster,
                     run->config.models, run->trace != NULL ? " of the trace" : "",
                     run->config.hours, run->config.begin_hour, words->failures);
    return rules_run(run) && (!run->has_sharing || sharing_run(run)) ? 0 : 1;
}

int verb_simulate(int argument_count, char **arguments)
{
    struct simulate_words words = {.rules = "penstock,queue,concurrency,static,clairvoyant",
                                   .failures = "on",
                                   .format = "table",
                                   .seed = 1,
                                   .clusters = 10,
                                   .slices = 40,
                                   .models = NOT_GIVEN,
                                   .hours = NOT_GIVEN,
                                   .load_percent = NOT_GIVEN};
    const struct flag flags[] = {
        {.name = "--rules", .text = &words.rules},
        {.name = "--failures", .text = &words.failures},
        {.name = "--format", .text = &words.format},
        {.name = "--trace", .text = &words.trace},
        {.name = "--seed", .number = &words.seed, .number_max = INT32_MAX},
        {.name = "--clusters", .number = &words.clusters, .number_max = INT32_MAX},
        {.name = "--slices", .number = &words.slices, .number_max = INT32_MAX},
        {.name = "--models", .number = &words.models, .number_max = INT32_MAX},
        {.name = "--hours", .number = &words.hours, .number_max = INT32_MAX},
        {.name = "--begin-hour", .number = &words.begin_hour, .number_max = INT32_MAX},
        {.name = "--load-percent", .number = &words.load_percent, .number_max = INT32_MAX}};
    struct simulate_run run = {.format = SIMULATE_TABLE};
    int result;

    if (!arguments_read("simulate", argument_count, arguments, flags, ARRAY_COUNT(flags), NULL) ||
        !words_read(&words, &run))
        return EXIT_USAGE;
    result = words.trace != NULL && !trace_take(&words, &run) ? 1 : run_all(&words, &run);
    trace_destroy(run.trace);
    return result;
}
