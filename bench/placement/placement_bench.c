/* What placement costs on a large pool: 10,000 slices in 100 members by default, GPUs on nodes of eight with NVLink and leaf
 * domains, MIG instances, CPU sets that are shared, a fifth of it spot, 1,000 models. Prints one JSON object; times
 * are of this thread's processor time.
 *
 * Every decision is a different model's, with the prices, round trips and warm nodes that a gateway would pass, in a book of the given
 * load; each is released again, so the load stays. A full re-plan places the replicas of all models from an empty book.
 *
 *      placement_bench [--slices N] [--members N] [--models N] [--load PERCENT] [--decisions N] [--seed N] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "clock.h"
#include "placement.h"
#include "placement_moves.h"
#include "placement_queue.h"

#define GIB         (1ull << 30)
#define REGIONS     8u
#define PRODUCTS    5u
#define MODELS_MAX  100000u
#define SAMPLES_MAX 1000000u
#define NODE_SLICES 8u
#define WARM_NODES  4u

struct options {
    uint64_t slices, members, models, load, decisions, seed;
};

struct model {
    struct placement_request request;
    struct placement_known round_trips[REGIONS], warm[WARM_NODES];
};

struct bench {
    struct options options;
    struct pool *pool;
    struct placement *placement;
    struct placement_known speeds[PRODUCTS];
    struct model *models;
    uint64_t random, uid;
    double *samples;
    struct placement_decision decision;
};

static const char *const PRODUCT_NAMES[PRODUCTS] = {"H100", "A100", "MI300X", "A100-1g", "epyc"};

static uint64_t next(struct bench *bench) /* SplitMix64 */
{
    uint64_t value = bench->random += 0x9E3779B97F4A7C15ull;

    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ value >> 27) * 0x94D049BB133111EBull;
    return value ^ value >> 31;
}

/* The thread's own time: what others do on the machine meanwhile does not count, but for the caches. */
static uint64_t cpu_ns(void)
{
    struct timespec now;

    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* --- the pool --- */

static void describe(struct slice_report *report, uint32_t member, uint32_t node)
{
    static const char *const labels[] = {"eu", "hipaa"};
    uint32_t kind = node % 8;

    *report = (struct slice_report){.kind = SLICE_GPU,
                                    .vendor = SLICE_NVIDIA,
                                    .product = PRODUCT_NAMES[kind < 4   ? 0
                                                             : kind < 6 ? 1
                                                                        : kind - 4],
                                    .compute_capability = kind < 4 ? 90 : 80,
                                    .numa = -1,
                                    .labels = labels,
                                    .label_count = member % 3,
                                    .memory_bytes = 80 * GIB,
                                    .compute_milli = 1000,
                                    .price_nano_hour = 2000000000 + member * 10000000ll,
                                    .is_preemptible = node % 5 == 0,
                                    .preemptions_hour = 0.1f};
    if (kind == 6) {
        report->vendor = SLICE_AMD;
        report->compute_capability = 0;
        report->memory_bytes = 192 * GIB;
    } else if (kind == 7 && member % 2 == 0) {
        report->kind = SLICE_MIG;
        report->profile = "1g.10gb";
        report->memory_bytes = 10 * GIB;
        report->compute_milli = 143;
        report->price_nano_hour = 400000000;
    } else if (kind == 7) {
        report->kind = SLICE_CPU_SET;
        report->vendor = SLICE_CPU;
        report->product = PRODUCT_NAMES[4];
        report->compute_milli = 16000;
        report->step_milli = 1000;
        report->tenants_max = 16;
        report->price_nano_hour = 300000000;
    }
}

static void report_slice(struct bench *bench, uint32_t member, uint32_t i)
{
    char id[32], node[16], nvlink[20], rack[16], zone[24], region[16];
    struct slice_report report;
    uint32_t at = i / NODE_SLICES;

    describe(&report, member, at);
    (void)snprintf(id, sizeof(id), "n%u/g%u", at, i % NODE_SLICES);
    (void)snprintf(node, sizeof(node), "n%u", at);
    (void)snprintf(nvlink, sizeof(nvlink), "nv%u", at);
    (void)snprintf(rack, sizeof(rack), "r%u", at / 4);
    (void)snprintf(region, sizeof(region), "region%u", member % REGIONS);
    (void)snprintf(zone, sizeof(zone), "region%u-%u", member % REGIONS, at % 3);
    report.id = id;
    report.node = node;
    report.nvlink_domain = nvlink;
    report.rack = rack;
    report.region = region;
    report.zone = zone;
    CHECK(pool_slice_upsert(bench->pool, member, &report, 0) == STATUS_OK);
}

/* Returns how long the lists took, in nanoseconds. */
static uint64_t fill_pool(struct bench *bench)
{
    static const struct hash_key key = {11, 12};
    struct pool_limits limits = POOL_LIMITS_DEFAULT;
    uint64_t began_ns, each = bench->options.slices / bench->options.members, label;

    limits.members_max = (uint32_t)bench->options.members;
    CHECK(pool_create(&limits, &key, NULL, &bench->pool) == STATUS_OK);
    CHECK(pool_label_declare(bench->pool, "eu", &label) == STATUS_OK);
    CHECK(pool_label_declare(bench->pool, "hipaa", &label) == STATUS_OK);
    began_ns = cpu_ns();
    for (uint32_t m = 0; m < bench->options.members; m++) {
        char name[16];
        struct member_config config = {
            .name = name, .interval_ns = NS_PER_SECOND, .lost_after_ns = 10 * NS_PER_SECOND};
        uint32_t member;

        (void)snprintf(name, sizeof(name), "m%u", m);
        CHECK(pool_member_add(bench->pool, &config, 0, &member) == STATUS_OK);
        pool_list_begin(bench->pool, member, 0);
        for (uint32_t i = 0; i < each; i++)
            report_slice(bench, member, i);
        (void)pool_list_end(bench->pool, member, 0);
    }
    return cpu_ns() - began_ns;
}

/* --- the models --- */

static void make_request(struct bench *bench, struct model *model, uint32_t number)
{
    struct placement_request *request = &model->request;
    uint64_t kind = next(bench) % 10;

    *request = (struct placement_request){.model = number,
                                          .priority = (int32_t)(next(bench) % 3),
                                          .is_preemptible = true,
                                          .is_movable = true,
                                          .part_count = 1,
                                          .run_ns = POOL_NO_END,
                                          .reserve_ns = NS_PER_SECOND,
                                          .speeds = bench->speeds,
                                          .speed_count = PRODUCTS,
                                          .round_trips_ms = model->round_trips,
                                          .round_trip_count = REGIONS,
                                          .cold_starts_s = model->warm,
                                          .cold_start_count = WARM_NODES,
                                          .cold_start_s = 40,
                                          .recover_s = 60};
    request->shape.takes_preemptible = next(bench) % 2 == 0;
    request->shape.memory_bytes = kind < 3 ? 8 * GIB : 40 * GIB;
    if (kind < 2) {
        request->shape.vendors = 1u << SLICE_CPU;
        request->shape.compute_milli = 4000;
        request->shape.memory_bytes = 4 * GIB;
    } else {
        request->shape.vendors = kind == 9 ? 0 : 1u << SLICE_NVIDIA;
        request->shape.compute_capability_min = kind == 8 ? 90 : 0;
    }
    if (next(bench) % 4 == 0)
        request->shape.labels_required = pool_label_find(bench->pool, "eu");
    request->on_demand_min = (uint32_t)(next(bench) % 2);
}

static void make_models(struct bench *bench)
{
    char name[32];

    bench->models = calloc(bench->options.models, sizeof(*bench->models));
    CHECK(bench->models != NULL);
    for (uint32_t i = 0; i < PRODUCTS; i++)
        bench->speeds[i] = (struct placement_known){pool_name_find(bench->pool, PRODUCT_NAMES[i]),
                                                    (float)(3000 - 500 * i)};
    for (uint32_t i = 0; i < bench->options.models; i++) {
        struct model *model = &bench->models[i];

        for (uint32_t r = 0; r < REGIONS; r++) {
            (void)snprintf(name, sizeof(name), "region%u", r);
            model->round_trips[r] = (struct placement_known){pool_name_find(bench->pool, name),
                                                             (float)(next(bench) % 200)};
        }
        for (uint32_t w = 0; w < WARM_NODES; w++) {
            (void)snprintf(name, sizeof(name), "n%u", (uint32_t)(next(bench) % 8));
            model->warm[w] = (struct placement_known){
                pool_member_name_find(bench->pool, (uint32_t)(next(bench) % bench->options.members),
                                      name),
                1};
        }
        make_request(bench, model, i);
    }
}

static struct placement_request request_of(struct bench *bench, uint32_t part_count)
{
    struct placement_request request = bench->models[next(bench) % bench->options.models].request;

    request.uid = ++bench->uid;
    request.part_count = part_count;
    request.domain_max = PLACEMENT_LEAF;
    if (part_count > 1) {
        request.shape.vendors = 1u << SLICE_NVIDIA;
        request.shape.memory_bytes = 40 * GIB;
        request.shape.compute_milli = 0;
        request.shape.labels_required = 0;
    }
    return request;
}

/* --- measuring --- */

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return a < b ? -1 : a > b;
}

static void print_samples(struct bench *bench, const char *name, uint64_t count, uint64_t placed)
{
    qsort(bench->samples, count, sizeof(*bench->samples), compare);
    printf("  \"%s\": {\"count\": %" PRIu64 ", \"placed\": %" PRIu64
           ", \"median_us\": %.1f, \"p99_us\": %.1f, \"most_us\": %.1f},\n",
           name, count, placed, bench->samples[count / 2], bench->samples[count * 99 / 100],
           bench->samples[count - 1]);
}

static void load_book(struct bench *bench, uint64_t percent)
{
    uint64_t total = 0, used = 0, failed = 0;
    const struct pool_columns *columns = pool_columns(bench->pool);

    for (uint32_t i = 0; i < columns->count; i++) {
        total += columns->compute_milli[i];
        used += columns->compute_booked[i];
    }
    while (used * 100 < total * percent && failed < 1000) {
        struct placement_request request = request_of(bench, 1);

        if (placement_reserve(bench->placement, &request, 0, &bench->decision) != STATUS_OK) {
            failed++;
            continue;
        }
        CHECK(pool_commit(bench->pool, request.uid, 0) == STATUS_OK);
        used += bench->decision.parts[0].booking.compute_milli;
    }
    printf("  \"booked_percent\": %.1f, \"bookings\": %u,\n", (double)used * 100 / (double)total,
           pool_booking_count(bench->pool));
}

static void measure_decisions(struct bench *bench, const char *name, uint32_t part_count)
{
    uint64_t placed = 0;

    for (uint64_t i = 0; i < bench->options.decisions; i++) {
        struct placement_request request = request_of(bench, part_count);
        uint64_t began_ns = cpu_ns();
        status result = placement_reserve(bench->placement, &request, 0, &bench->decision);

        bench->samples[i] = (double)(cpu_ns() - began_ns) / 1e3;
        placed += result == STATUS_OK;
        (void)pool_release(bench->pool, request.uid);
    }
    print_samples(bench, name, bench->options.decisions, placed);
}

static void measure_preemptions(struct bench *bench)
{
    static struct placement_preemption preemption;
    uint64_t count = bench->options.decisions / 20 + 1, placed = 0;

    for (uint64_t i = 0; i < count; i++) {
        struct placement_request request = request_of(bench, 8);
        uint64_t began_ns;

        request.priority = 10;
        began_ns = cpu_ns();
        placed += placement_preempt(bench->placement, &request, 0, 0, &preemption) == STATUS_OK;
        bench->samples[i] = (double)(cpu_ns() - began_ns) / 1e3;
    }
    print_samples(bench, "preemption_of_8", count, placed);
}

static void on_placed(void *context, const struct placement_request *request,
                      const struct placement_decision *decision)
{
    struct bench *bench = context;

    CHECK(decision->part_count == request->part_count);
    CHECK(pool_commit(bench->pool, request->uid, 0) == STATUS_OK);
}

/* A full book, a hundred replicas of which end in known times, and a hundred gangs that wait: a round tries them all, and finds
 * the starts of the first four. */
static void measure_rounds(struct bench *bench)
{
    struct placement_queue_driver driver = {.placed = on_placed, .context = bench};
    struct placement_queue *queue;
    uint64_t rounds = 20, drained = 0;

    for (uint32_t row = 0; row < pool_booking_bound(bench->pool) && drained < 100; row += 7) {
        const struct booking *booking = pool_booking_at(bench->pool, row);

        if (booking != NULL)
            CHECK(pool_drain(bench->pool, booking->uid, ++drained * NS_PER_SECOND) == STATUS_OK);
    }
    CHECK(placement_queue_create(bench->placement, 128, &queue) == STATUS_OK);
    for (uint32_t i = 0; i < 100; i++) {
        struct placement_request request = request_of(bench, 8);

        CHECK(placement_queue_add(queue, &request, i) == STATUS_OK);
    }
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t began_ns = cpu_ns();

        (void)placement_queue_round(queue, &driver, 0);
        bench->samples[i] = (double)(cpu_ns() - began_ns) / 1e3;
    }
    print_samples(bench, "round_of_100_waiting", rounds, 100 - placement_queue_count(queue));
    placement_queue_destroy(queue);
}

/* Of the book as it is: what the models asked for could not use, in the first models' shapes. */
static void print_stranded(struct bench *bench)
{
    struct placement_stranded_shape mix[32];
    uint32_t count = bench->options.models < 32 ? (uint32_t)bench->options.models : 32;
    struct placement_stranded stranded;

    for (uint32_t i = 0; i < count; i++)
        mix[i] = (struct placement_stranded_shape){.shape = bench->models[i].request.shape,
                                                   .share = 1.0f / (float)count};
    stranded = placement_stranded(bench->placement, mix, count);
    printf("  \"free_share\": %.3f, \"stranded_share\": %.3f,\n",
           (double)stranded.free_milli / (double)stranded.total_milli, stranded.stranded_share);
}

static void measure_plans(struct bench *bench)
{
    uint64_t models = bench->options.models, replicas = 0, placed = 0, runs = 5;
    uint32_t each = (uint32_t)(bench->options.slices / models);
    struct placement_plan_item *items = calloc(models, sizeof(*items));
    uint32_t *slices = calloc(models * each, sizeof(*slices));

    CHECK(items != NULL && slices != NULL && each > 0);
    for (uint64_t i = 0; i < models; i++) {
        items[i] = (struct placement_plan_item){
            .request = &bench->models[i].request, .replicas = each, .slices = slices + i * each};
        replicas += each;
    }
    for (uint64_t run = 0; run < runs; run++) {
        uint64_t began_ns = cpu_ns();

        placement_plan(bench->placement, items, (uint32_t)models, true, 0);
        bench->samples[run] = (double)(cpu_ns() - began_ns) / 1e3;
    }
    for (uint64_t i = 0; i < models; i++)
        placed += items[i].placed;
    printf("  \"plan_models\": %" PRIu64 ", \"plan_replicas\": %" PRIu64 ",\n", models, replicas);
    print_samples(bench, "plan", runs, placed);
    free(slices);
    free(items);
}

static bool parse(int count, char **words, struct options *options)
{
    const struct {
        const char *name;
        uint64_t *value, max;
    } known[] = {
        {"--slices", &options->slices, 20000},
        {"--members", &options->members, 256},
        {"--models", &options->models, MODELS_MAX},
        {"--load", &options->load, 100},
        {"--decisions", &options->decisions, SAMPLES_MAX},
        {"--seed", &options->seed, UINT64_MAX},
    };

    for (int i = 1; i < count; i += 2) {
        size_t k = 0;
        char *end;

        while (k < ARRAY_COUNT(known) && strcmp(words[i], known[k].name) != 0)
            k++;
        if (k == ARRAY_COUNT(known) || i + 1 == count)
            return false;
        *known[k].value = strtoull(words[i + 1], &end, 10);
        if (*end != '\0' || *known[k].value > known[k].max)
            return false;
    }
    return options->members > 0 && options->models > 0 && options->decisions > 0 &&
           options->slices >= options->members && options->slices >= options->models;
}

int main(int count, char **words)
{
    struct bench bench = {.options = {.slices = 10000,
                                      .members = 100,
                                      .models = 1000,
                                      .load = 70,
                                      .decisions = 2000,
                                      .seed = 1}};
    uint64_t listed_ns;

    if (!parse(count, words, &bench.options)) {
        (void)fprintf(stderr, "usage: placement_bench [--slices N] [--members N] [--models N] "
                              "[--load PERCENT] [--decisions N] [--seed N]\n");
        return 2;
    }
    bench.random = bench.options.seed;
    bench.samples = calloc(SAMPLES_MAX, sizeof(*bench.samples));
    CHECK(bench.samples != NULL);
    listed_ns = fill_pool(&bench);
    CHECK(placement_create(bench.pool, NULL, &bench.placement) == STATUS_OK);
    make_models(&bench);
    printf("{\n  \"slices\": %" PRIu64 ", \"members\": %" PRIu64 ", \"seed\": %" PRIu64
           ", \"list_all_ms\": %.1f,\n",
           bench.options.slices, bench.options.members, bench.options.seed,
           (double)listed_ns / 1e6);
    measure_decisions(&bench, "decision_empty", 1);
    load_book(&bench, bench.options.load);
    print_stranded(&bench);
    measure_decisions(&bench, "decision", 1);
    measure_decisions(&bench, "gang_of_8", 8);
    measure_decisions(&bench, "gang_of_24", 24);
    measure_plans(&bench);
    load_book(&bench, 100);
    measure_preemptions(&bench);
    measure_rounds(&bench);
    printf("  \"names\": %u\n}\n", pool_name_bound(bench.pool));
    placement_destroy(bench.placement);
    pool_destroy(bench.pool);
    free(bench.models);
    free(bench.samples);
    return 0;
}
