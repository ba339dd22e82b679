/* Drives the Slurm member for tests: settings as arguments "key=value", orders as JSON lines on standard input, what the driver tells as
 * JSON lines on standard output. Ends with its input. */
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "slurm_member.h"

#define PARTS_MAX   64
#define TEXTS_MAX   64
#define BACK_OFF_NS (200 * NS_PER_MS)

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool is_stopping;

static void say(json_t *line)
{
    if (line == NULL)
        abort();
    (void)pthread_mutex_lock(&output);
    (void)json_dumpf(line, stdout, JSON_COMPACT);
    (void)fputc('\n', stdout);
    (void)fflush(stdout);
    (void)pthread_mutex_unlock(&output);
    json_decref(line);
}

static void say_event(const char *event)
{
    say(json_pack("{s:s}", "event", event));
}

static void on_list_begin(void *context)
{
    (void)context;
    say_event("list_begin");
}

static void on_slice(void *context, const struct slice_report *r)
{
    json_t *labels = json_array();

    (void)context;
    for (uint32_t i = 0; i < r->label_count; i++)
        (void)json_array_append_new(labels, json_string(r->labels[i]));
    say(json_pack(
        "{s:s,s:s,s:s,s:s?,s:s?,s:s?,s:s?,s:s?,s:s,s:s,s:s,s:I,s:I,s:i,s:i,s:i,s:I,s:b,s:o}",
        "event", "slice", "id", r->id, "node", r->node, "region", r->region, "zone", r->zone,
        "nvlink", r->nvlink_domain, "product", r->product, "reason", r->reason, "kind",
        slice_kind_name(r->kind), "vendor", slice_vendor_name(r->vendor), "health",
        slice_health_name(r->health), "memory", (json_int_t)r->memory_bytes, "memory_foreign",
        (json_int_t)r->memory_foreign_bytes, "milli", (int)r->compute_milli, "foreign",
        (int)r->compute_foreign_milli, "step", (int)r->step_milli, "price",
        (json_int_t)r->price_nano_hour, "preemptible", (int)r->is_preemptible, "labels", labels));
}

static void on_slice_gone(void *context, const char *id)
{
    (void)context;
    say(json_pack("{s:s,s:s}", "event", "slice_gone", "id", id));
}

static void on_list_end(void *context)
{
    (void)context;
    say_event("list_end");
}

static void on_heard(void *context)
{
    (void)context;
    say_event("heard");
}

static void on_resync(void *context)
{
    (void)context;
    say_event("resync");
}

static void on_replica(void *context, const struct member_replica *r)
{
    static const char *const phases[] = {"pending",  "starting", "running",
                                         "stopping", "ended",    "failed"};
    static const char *const causes[] = {"none", "program", "node", "preempted", "refused"};

    json_t *parts = json_array();
    uint64_t now_ns = clock_now_ns();

    (void)context;
    for (uint32_t i = 0; i < r->part_count; i++)
        (void)json_array_append_new(parts, json_pack("[s,i,I]", r->parts[i].slice_id,
                                                     (int)r->parts[i].compute_milli,
                                                     (json_int_t)r->parts[i].memory_bytes));
    say(json_pack("{s:s,s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:f,s:o}", "event", "replica", "uid",
                  (json_int_t)r->uid, "phase", phases[r->phase], "cause", causes[r->cause],
                  "handle", r->handle, "name", r->name, "node", r->node, "reason", r->reason,
                  "notice",
                  r->ends_notice_ns > now_ns ? (double)(r->ends_notice_ns - now_ns) / 1e9 : 0.0,
                  "parts", parts));
}

static void on_replicas_listed(void *context)
{
    (void)context;
    say_event("replicas_listed");
}

static void *watch(void *context)
{
    static const struct member_sink sink = {on_list_begin, on_slice,           on_slice_gone,
                                            on_list_end,   on_heard,           on_resync,
                                            on_replica,    on_replicas_listed, NULL};
    const struct member_driver *driver = context;

    while (!atomic_load(&is_stopping)) {
        const struct timespec back_off = {.tv_nsec = BACK_OFF_NS};
        struct error_note note = {""};
        status result = driver->follow(driver->driver, &sink, &is_stopping, &note);

        if (result != STATUS_OK)
            say(json_pack("{s:s,s:s,s:s}", "event", "broken", "status", status_name(result), "note",
                          note.text));
        (void)nanosleep(&back_off, NULL);
    }
    return NULL;
}

static void texts_read(const json_t *list, const char **out)
{
    size_t count = json_array_size(list);

    if (count >= TEXTS_MAX)
        abort();
    for (size_t i = 0; i < count; i++)
        out[i] = json_string_value(json_array_get(list, i));
    out[count] = NULL;
}

static status start(const struct member_driver *driver, const json_t *command,
                    struct error_note *note)
{
    const json_t *parts = json_object_get(command, "parts");
    const char *arguments[TEXTS_MAX], *environment[TEXTS_MAX];
    struct member_part list[PARTS_MAX];
    struct member_order order = {
        .uid = (uint64_t)json_integer_value(json_object_get(command, "uid")),
        .name = "test",
        .arguments = arguments,
        .environment = environment,
        .image = "",
        .parts = list,
        .part_count = (uint32_t)json_array_size(parts),
        .time_limit_ns =
            (uint64_t)json_integer_value(json_object_get(command, "time_limit_s")) * NS_PER_SECOND,
    };

    if (order.part_count > PARTS_MAX)
        abort();
    texts_read(json_object_get(command, "arguments"), arguments);
    texts_read(json_object_get(command, "environment"), environment);
    for (uint32_t i = 0; i < order.part_count; i++) {
        const json_t *part = json_array_get(parts, i);

        list[i] = (struct member_part){
            json_string_value(json_array_get(part, 0)),
            (uint64_t)json_integer_value(json_array_get(part, 2)),
            (uint32_t)json_integer_value(json_array_get(part, 1)),
        };
    }
    return driver->start(driver->driver, &order, note);
}

static void command_run(const struct member_driver *driver, const char *line)
{
    json_t *command = json_loads(line, 0, NULL);
    const char *verb = json_string_value(json_object_get(command, "do"));
    struct error_note note = {""};
    status result = STATUS_INVALID;

    if (verb != NULL && strcmp(verb, "start") == 0)
        result = start(driver, command, &note);
    else if (verb != NULL && strcmp(verb, "stop") == 0)
        result = driver->stop(
            driver->driver, (uint64_t)json_integer_value(json_object_get(command, "uid")),
            (uint64_t)json_integer_value(json_object_get(command, "grace_ms")) * NS_PER_MS, &note);
    say(json_pack("{s:s,s:s,s:s}", "event", "done", "status", status_name(result), "note",
                  note.text));
    json_decref(command);
}

static void setting_take(struct slurm_member_config *config, const char *argument)
{
    const struct {
        const char *name;
        const char **value;
    } texts[] = {{"url=", &config->url},
                 {"user=", &config->user},
                 {"key_file=", &config->key_file},
                 {"token_file=", &config->token_file},
                 {"partition=", &config->partition},
                 {"pool=", &config->pool},
                 {"region=", &config->region},
                 {"working_directory=", &config->working_directory}};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strncmp(argument, texts[i].name, strlen(texts[i].name)) == 0)
            *texts[i].value = argument + strlen(texts[i].name);
    if (strncmp(argument, "poll_ms=", 8) == 0)
        config->poll_ns = strtoull(argument + 8, NULL, 10) * NS_PER_MS;
    if (strncmp(argument, "list_ms=", 8) == 0)
        config->list_ns = strtoull(argument + 8, NULL, 10) * NS_PER_MS;
    if (strncmp(argument, "end_notice_ms=", 14) == 0)
        config->end_notice_ns = strtoull(argument + 14, NULL, 10) * NS_PER_MS;
}

int main(int argc, char **argv)
{
    static const struct slurm_device devices[] = {
        {"h100", "H100-80GB-HBM3", NULL, SLICE_GPU, SLICE_NVIDIA, 90, 1000, 80ull << 30,
         2500000000},
        {"1g.10gb", "H100-80GB-HBM3", "1g.10gb", SLICE_MIG, SLICE_NVIDIA, 90, 143, 10ull << 30,
         400000000},
    };
    struct slurm_member_config config = {.pool = "test",
                                         .user = "root",
                                         .partition = "serve",
                                         .working_directory = "/tmp",
                                         .devices = devices,
                                         .device_count = 2,
                                         .core_price_nano_hour = 10000000,
                                         .cores_per_gpu = 1,
                                         .host_memory_bytes = 100ull << 20,
                                         .poll_ns = SLURM_POLL_NS_DEFAULT,
                                         .list_ns = SLURM_LIST_NS_DEFAULT,
                                         .timeout_ns = SLURM_TIMEOUT_NS_DEFAULT,
                                         .end_notice_ns = SLURM_END_NOTICE_NS_DEFAULT};
    struct member_driver driver;
    struct error_note note = {""};
    pthread_t watcher;
    char *line = NULL;
    size_t room = 0;

    for (int i = 1; i < argc; i++)
        setting_take(&config, argv[i]);
    if (slurm_member_create(&config, &driver, &note) != STATUS_OK) {
        (void)fprintf(stderr, "%s\n", note.text);
        return 1;
    }
    if (pthread_create(&watcher, NULL, watch, &driver) != 0)
        return 1;
    while (getline(&line, &room, stdin) > 0)
        command_run(&driver, line);
    atomic_store(&is_stopping, true);
    (void)pthread_join(watcher, NULL);
    driver.destroy(driver.driver);
    free(line);
    return 0;
}
