/* What a scrape of a large gateway costs: 64 models, 256 replicas with shared pages, 1000 organisations, all with requests in every
 * bucket that they can have. The families are the gateway's own; the page is made as its scraper makes it. Reports the median and the
 * spread of each format in processor time, and the longest that another thread waited to make a series meanwhile, which is what a loop may wait.
 *
 *     build/release/scrape_bench [ROUNDS] */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "edge.h"
#include "memory.h"
#include "replica_metrics.h"

#define MODELS             64u
#define REPLICAS_PER_MODEL 4u
#define TENANTS            1000u
#define PAGE_BYTES_MAX     (64u << 20)
#define REQUESTS           4u /* of each series */

static struct edge edge;
static char model_names[MODELS][32];
static char folder[64] = "/tmp/scrape_bench.XXXXXX";

static void page_path(uint32_t id, char path[96])
{
    (void)snprintf(path, 96, "%s/%u.page", folder, id);
}

static void replica_make(struct edge_model *model, uint32_t index)
{
    struct edge_replica *replica = &model->replicas[index];
    const struct shared_page_state state = {.running = 3,
                                            .waiting = 1,
                                            .blocks_total = 4096,
                                            .blocks_free = 1000,
                                            .blocks_cached = 900,
                                            .last_step_ns = clock_now_ns(),
                                            .busy_ns = 123456789012,
                                            .step_ms = 12.34f,
                                            .prefill_tokens = 1234567};
    shared_page_writer *writer;
    char path[96];

    replica->id = edge.replica_count++;
    replica->index = index;
    replica->model = model;
    atomic_init(&replica->state, REPLICA_READY);
    page_path(replica->id, path);
    CHECK(shared_page_create(path, &replica->page) == STATUS_OK);
    CHECK(shared_page_writer_open(path, &writer) == STATUS_OK);
    shared_page_write(writer, &state);
    shared_page_writer_close(writer);
}

static void edge_make(void)
{
    const char *names[MODELS];

    CHECK(mkdtemp(folder) != NULL);
    edge.model_count = MODELS;
    edge.models = memory_allocate_array(MODELS, sizeof(edge.models[0]));
    CHECK(edge.models != NULL);
    for (uint32_t i = 0; i < MODELS; i++) {
        struct edge_model *model = &edge.models[i];

        (void)snprintf(model_names[i], sizeof(model_names[i]), "organisation/model-%u", i);
        names[i] = model->name = model_names[i];
        model->index = i;
        model->replica_count = REPLICAS_PER_MODEL;
        model->replicas = memory_allocate_array(REPLICAS_PER_MODEL, sizeof(model->replicas[0]));
        CHECK(model->replicas != NULL);
        for (uint32_t j = 0; j < REPLICAS_PER_MODEL; j++)
            replica_make(model, j);
    }
    CHECK(metrics_registry_create(&edge.registry) == STATUS_OK);
    CHECK(edge_metrics_init(&edge.metrics, edge.registry, names, MODELS, "bench") == STATUS_OK);
    CHECK(queue_metrics_init(&edge.queue_metrics, edge.registry, edge.metrics.names, MODELS) ==
          STATUS_OK);
    CHECK(stream_metrics_init(&edge.stream_metrics, edge.registry, edge.metrics.names, MODELS) ==
          STATUS_OK);
    CHECK(scaling_metrics_init(&edge.scaling_metrics, edge.registry, edge.metrics.names, MODELS) ==
          STATUS_OK);
    CHECK(flow_metrics_init(&edge.flow_metrics, edge.registry, edge.metrics.names, MODELS) ==
          STATUS_OK);
    CHECK(tenant_metrics_create(edge.registry, &edge.tenant_metrics) == STATUS_OK);
    CHECK(replica_metrics_create(&edge, &edge.replica_metrics) == STATUS_OK);
}

static void collect(void *context)
{
    (void)context;
    tenant_metrics_collect(edge.tenant_metrics, clock_now_ns());
    replica_metrics_collect(edge.replica_metrics, &edge, clock_now_ns());
}

/* What load leaves behind. */
static void load(void)
{
    static const enum edge_route routes[] = {ROUTE_CHAT_COMPLETIONS, ROUTE_COMPLETIONS};
    static const char trace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
    static const int codes[] = {200, 400, 429, 503};
    const struct request_usage usage = {.is_known = true,
                                        .prompt_tokens = 812,
                                        .cached_tokens = 512,
                                        .completion_tokens = 97,
                                        .cost_nano = 123457};
    const struct quota_view view = {.requests = {600, 311, 1000000}, .tokens = {1, 0, 1000000}};

    for (uint32_t i = 0; i < MODELS; i++) {
        const struct edge_model_metrics *model = &edge.metrics.models[i];

        for (size_t code = 0; code < ARRAY_COUNT(codes); code++)
            for (size_t route = 0; route < ARRAY_COUNT(routes); route++)
                edge_metrics_request(&edge.metrics, i, routes[route], codes[code],
                                     0.1234567 * (double)(code + 1), trace);
        for (uint32_t k = 0; k < REQUESTS; k++) {
            double seconds = 0.0123457 * (double)(k + 1);

            metrics_observe_traced(model->time_to_first_token, 10 * seconds, trace);
            metrics_observe_traced(model->inter_token, seconds, trace);
            metrics_observe(edge.flow_metrics.models[i].added, seconds / 100);
            queue_metrics_waited(&edge.queue_metrics, i, (int32_t)k - 2, seconds);
        }
        flow_metrics_count_tokens(edge.flow_metrics.models[i].tokens, &usage);
    }
    for (uint32_t i = 0; i < TENANTS; i++) {
        struct tenant_row *row;
        char name[32];

        (void)snprintf(name, sizeof(name), "tenant-%u", i);
        row = tenant_metrics_row(edge.tenant_metrics, name);
        tenant_row_request(row, 200, &usage);
        tenant_row_limits(row, &view, clock_now_ns());
    }
}

/* --- another thread makes series, as a loop does for a new tenant --- */

static _Atomic bool is_over;
static _Atomic uint64_t longest_wait_ns;

static void *series_make(void *context)
{
    metrics_family *family = context;

    for (uint32_t i = 0; !atomic_load(&is_over); i++) {
        uint64_t start_ns, wait_ns;
        char name[16];
        const char *value = name;

        (void)snprintf(name, sizeof(name), "%u", i % 500);
        start_ns = clock_now_ns();
        (void)metrics_series_get(family, &value);
        wait_ns = clock_now_ns() - start_ns;
        if (wait_ns > atomic_load(&longest_wait_ns))
            atomic_store(&longest_wait_ns, wait_ns);
        (void)usleep(50);
    }
    return NULL;
}

/* --- the measurement --- */

/* Of this thread: what others on the machine do does not count. */
static uint64_t processor_ns(void)
{
    struct timespec now;

    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

static void measure(enum metrics_format format, uint32_t rounds)
{
    uint64_t *times = memory_allocate_array(rounds, sizeof(times[0]));
    size_t bytes = 0, lines = 0;
    struct buffer page;

    CHECK(times != NULL);
    buffer_init(&page, PAGE_BYTES_MAX);
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t start_ns = processor_ns();

        buffer_clear(&page); /* its memory is kept, as the scraper keeps it */
        metrics_write(edge.registry, format, &page);
        times[i] = processor_ns() - start_ns;
        CHECK(page.failed == STATUS_OK);
        bytes = page.bytes;
        lines = 0;
        for (const char *at = page.data; (at = memchr(at, '\n', page.data + bytes - at)) != NULL;
             at++)
            lines++;
    }
    buffer_deinit(&page);
    qsort(times, rounds, sizeof(times[0]), compare);
    printf(
        "%-12s %zu lines, %zu bytes: median %.3f ms, 10th percentile %.3f, 90th %.3f, most %.3f\n",
        format == METRICS_TEXT ? "text" : "OpenMetrics", lines, bytes,
        (double)times[rounds / 2] / 1e6, (double)times[rounds / 10] / 1e6,
        (double)times[rounds * 9 / 10] / 1e6, (double)times[rounds - 1] / 1e6);
    memory_release(times);
}

static void remove_pages(void)
{
    for (uint32_t i = 0; i < edge.replica_count; i++) {
        char path[96];

        page_path(i, path);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

int main(int argc, char **argv)
{
    static const char *const label[] = {"name", NULL};
    const struct metrics_family_options options = {
        .kind = METRICS_GAUGE, .name = "bench_series", .help = "x", .labels = label};
    uint32_t rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 200;
    metrics_family *family;
    pthread_t thread;

    if (rounds == 0) {
        (void)fprintf(stderr, "usage: %s [ROUNDS]\n", argv[0]);
        return 2;
    }
    edge_make();
    metrics_on_scrape(edge.registry, collect, NULL);
    load();
    measure(METRICS_TEXT, rounds);
    measure(METRICS_OPENMETRICS, rounds);
    CHECK(metrics_family_create(edge.registry, &options, &family) == STATUS_OK);
    CHECK(pthread_create(&thread, NULL, series_make, family) == 0);
    measure(METRICS_TEXT, rounds);
    atomic_store(&is_over, true);
    CHECK(pthread_join(thread, NULL) == 0);
    printf("a series was made meanwhile within %.3f ms at most\n",
           (double)atomic_load(&longest_wait_ns) / 1e6);
    remove_pages();
    return 0;
}
