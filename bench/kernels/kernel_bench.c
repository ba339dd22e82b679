/* Times the operations of the kernel table: operation x shape x path.
 *
 * Every case is compared with the reference before it is timed. Weights are timed cold, as a
 * model's are: a case cycles through as many copies as a model has layers, so that none is still in
 * a cache when its turn comes again. The figure is the fastest of many short repetitions, since
 * neighbours on the machine only ever add time. The share of the roof is the time that the bytes (at
 * the measured read bandwidth of as large a set), the int8 products or the f32 products (at the
 * measured peaks of the path) need at least, whichever is longest, over the time taken. */

#include "kernel_bench.h"

#include <getopt.h>

#include "clock.h"
#include "machine.h"

#define TIME_MIN_NS (250 * NS_PER_MS)
#define REPEATS_MIN 5u
#define REPEATS_MAX 400u

bool is_wanted(const struct bench *bench, const char *name)
{
    return bench->filter == NULL || strstr(name, bench->filter) != NULL;
}

/* The longest time that one of the limits alone asks for, and its name. */
static double least_ns(const struct roofs *roofs, const struct timing *t, const char **roof)
{
    const struct {
        const char *name;
        double work, per_s;
    } limits[] = {{"read", t->bytes, roofs->near_bytes_per_s},
                  {"int8 peak", t->int8_ops, roofs->int8_ops_per_s},
                  {"f32 peak", t->float_ops, roofs->float_ops_per_s}};
    double longest = 0;
    for (size_t i = 0; i < ARRAY_COUNT(limits); i++) {
        double ns = limits[i].work / limits[i].per_s * 1e9;
        if (ns >= longest) {
            longest = ns;
            *roof = limits[i].name;
        }
    }
    return longest;
}

void report(struct bench *bench, const struct timing *t)
{
    const char *roof = "";
    double share = least_ns(&bench->roofs, t, &roof) / t->ns;
    double gops = (t->int8_ops + t->float_ops) / t->ns;
    const char *path = backend_path_name(bench->path);
    printf("%-12s %-10s %-22s rows %4u  %10.1f us  %7.2f GB/s  %8.1f GOP/s  %5.1f %% of %s\n", path,
           t->operation, t->shape, t->n_rows, t->ns / 1e3, t->bytes / t->ns, gops, 100 * share,
           roof);
    (void)fflush(stdout);
    json_array_append_new(bench->rows,
                          json_pack("{s:s,s:s,s:s,s:i,s:f,s:f,s:f,s:f,s:s}", "path", path,
                                    "operation", t->operation, "shape", t->shape, "rows",
                                    (int)t->n_rows, "ns", t->ns, "gb_per_s", t->bytes / t->ns,
                                    "gop_per_s", gops, "roof_share", share, "roof", roof));
}

double fastest_ns(void (*run)(void *context), void *context)
{
    double best = 1e18;
    uint64_t begin_ns = clock_now_ns();
    run(context);
    for (uint32_t i = 0; i < REPEATS_MAX; i++) {
        uint64_t start_ns = clock_now_ns();
        run(context);
        uint64_t end_ns = clock_now_ns();
        double ns = (double)(end_ns - start_ns);
        best = ns < best ? ns : best;
        if (i + 1 >= REPEATS_MIN && end_ns - begin_ns > TIME_MIN_NS)
            break;
    }
    return best;
}

void check_close(const char *name, const float *expected, const float *actual, size_t count)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)actual[i] - (double)expected[i];
        error += difference * difference;
        size += (double)expected[i] * (double)expected[i];
    }
    if (!(error <= size * 0.03 * 0.03)) {
        fprintf(stderr, "%s: differs from the reference by %.3g of its size\n", name,
                sqrt(error / size));
        exit(1);
    }
}

static void bench_path(struct bench *bench)
{
    bench->b = backend_open_or_die(bench->path, bench->threads);
    bench->roofs = roofs_measure(bench->b, bench->path, bench->threads, COLD_BYTES);
    roofs_print(&bench->roofs, backend_path_name(bench->path), bench->threads);
    json_object_set_new(bench->paths, backend_path_name(bench->path), roofs_json(&bench->roofs));
    bench_products(bench);
    bench_row_operations(bench);
    bench_cache_operations(bench);
    backend_close(bench->b);
}

static int usage(void)
{
    fprintf(
        stderr,
        "usage: kernel_bench [--path NAME] [--threads N] [--only PART_OF_A_NAME] [--json FILE]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"path", required_argument, NULL, 'p'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"json", required_argument, NULL, 'j'},
                                            {0}};
    struct bench bench = {.threads = 2, .rows = json_array(), .paths = json_object(), .random = 1};
    const char *path = NULL, *json = NULL;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'p':
            path = optarg;
            break;
        case 't':
            bench.threads = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            bench.filter = optarg;
            break;
        case 'j':
            json = optarg;
            break;
        default:
            return usage();
        }
    }
    if (optind != argc || bench.threads == 0)
        return usage();
    json_t *machine = machine_json(); /* before the load that is our own */
    bench.reference = backend_open_or_die(BACKEND_REFERENCE, 1);
    uint32_t tried = 0;
    for (size_t i = 0; i < ARRAY_COUNT(fast_paths); i++) {
        bench.path = fast_paths[i];
        if (!backend_path_is_supported(bench.path) ||
            (path != NULL && strcmp(path, backend_path_name(bench.path)) != 0))
            continue;
        bench_path(&bench);
        tried++;
    }
    backend_close(bench.reference);
    if (tried == 0) {
        fprintf(stderr, "kernel_bench: no such path on this CPU\n");
        return 1;
    }
    json_t *all =
        json_pack("{s:s,s:o,s:i,s:o,s:o}", "benchmark", "kernels", "machine", machine, "threads",
                  (int)bench.threads, "paths", bench.paths, "rows", bench.rows);
    CHECK(all != NULL);
    int result = json != NULL ? json_dump_file(all, json, JSON_INDENT(1)) : 0;
    if (result != 0)
        fprintf(stderr, "kernel_bench: cannot write %s\n", json);
    json_decref(all);
    return result == 0 ? 0 : 1;
}
