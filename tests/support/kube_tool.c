/* The Kubernetes member's driver as a program: what it tells goes out as lines of JSON, orders come in as lines of JSON.
 * usage: kube_tool CONFIG, a JSON object with fields of struct kube_member_config */

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kube_member.h"

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool is_stopping;

static void put(json_t *line)
{
    (void)pthread_mutex_lock(&output);
    (void)json_dumpf(line, stdout, JSON_COMPACT);
    (void)putchar('\n');
    (void)fflush(stdout);
    (void)pthread_mutex_unlock(&output);
    json_decref(line);
}

static void put_event(const char *event)
{
    put(json_pack("{s:s}", "event", event));
}

static void list_begin(void *context)
{
    (void)context;
    put_event("list_begin");
}

static void list_end(void *context)
{
    (void)context;
    put_event("list_end");
}

static void heard(void *context)
{
    (void)context;
    put_event("heard");
}

static void resync(void *context)
{
    (void)context;
    put_event("resync");
}

static void replicas_listed(void *context)
{
    (void)context;
    put_event("replicas_listed");
}

static void slice(void *context, const struct slice_report *report)
{
    (void)context;
    json_t *labels = json_array();
    for (uint32_t i = 0; i < report->label_count; i++)
        (void)json_array_append_new(labels, json_string(report->labels[i]));
    put(json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s, s:s, s:s, s:I, s:I, s:i, "
                  "s:i, s:I, s:b, s:o}",
                  "event", "slice", "id", report->id, "node", report->node, "region",
                  report->region, "zone", report->zone, "product", report->product, "profile",
                  report->profile, "reason", report->reason, "kind", slice_kind_name(report->kind),
                  "vendor", slice_vendor_name(report->vendor), "health",
                  slice_health_name(report->health), "memory", (json_int_t)report->memory_bytes,
                  "memory_foreign", (json_int_t)report->memory_foreign_bytes, "milli",
                  (int)report->compute_milli, "milli_foreign", (int)report->compute_foreign_milli,
                  "price", (json_int_t)report->price_nano_hour, "spot", report->is_preemptible,
                  "labels", labels));
}

static void slice_gone(void *context, const char *id)
{
    (void)context;
    put(json_pack("{s:s, s:s}", "event", "slice_gone", "id", id));
}

static void replica(void *context, const struct member_replica *told)
{
    static const char *const phases[MEMBER_PHASE_COUNT] = {"pending",  "starting", "running",
                                                           "stopping", "ended",    "failed"};
    static const char *const causes[MEMBER_CAUSE_COUNT] = {"none", "program", "node", "preempted",
                                                           "refused"};
    (void)context;
    json_t *parts = json_array();
    for (uint32_t i = 0; i < told->part_count; i++)
        (void)json_array_append_new(parts,
                                    json_pack("{s:s, s:I, s:I}", "slice", told->parts[i].slice_id,
                                              "memory", (json_int_t)told->parts[i].memory_bytes,
                                              "milli", (json_int_t)told->parts[i].compute_milli));
    put(json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:s, s:o}", "event", "replica",
                  "uid", (json_int_t)told->uid, "phase", phases[told->phase], "cause",
                  causes[told->cause], "handle", told->handle, "node", told->node, "reason",
                  told->reason, "notice", told->ends_notice_ns > 0, "name", told->name, "address",
                  told->address, "parts", parts));
}

static const struct member_sink sink = {.list_begin = list_begin,
                                        .slice = slice,
                                        .slice_gone = slice_gone,
                                        .list_end = list_end,
                                        .heard = heard,
                                        .resync = resync,
                                        .replica = replica,
                                        .replicas_listed = replicas_listed};

static void *watcher_run(void *context)
{
    struct member_driver *driver = context;
    while (!atomic_load(&is_stopping)) {
        struct error_note note = {0};
        status result = driver->follow(driver->driver, &sink, &is_stopping, &note);
        put(json_pack("{s:s, s:s, s:s}", "event", "follow_end", "status", status_name(result),
                      "note", note.text));
        (void)usleep(200000);
    }
    return NULL;
}

static const char **texts_of(const json_t *list)
{
    const char **texts = calloc(json_array_size(list) + 1, sizeof(texts[0]));
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        texts[i] = json_string_value(item);
    }
    return texts;
}

static status order_give(struct member_driver *driver, const json_t *line, struct error_note *note)
{
    const json_t *parts = json_object_get(line, "parts");
    struct member_part list[64] = {0};
    const char **arguments = texts_of(json_object_get(line, "arguments"));
    const char **environment = texts_of(json_object_get(line, "environment"));
    struct member_order order = {
        .uid = (uint64_t)json_integer_value(json_object_get(line, "uid")),
        .name = json_string_value(json_object_get(line, "name")),
        .arguments = arguments,
        .environment = environment,
        .image = "",
        .parts = list,
        .part_count = (uint32_t)json_array_size(parts),
        .priority = (int32_t)json_integer_value(json_object_get(line, "priority")),
        .grace_ns = (uint64_t)json_integer_value(json_object_get(line, "grace_s")) * 1000000000ull};
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part)
    {
        list[i] = (struct member_part){
            .slice_id = json_string_value(json_object_get(part, "slice")),
            .memory_bytes = (uint64_t)json_integer_value(json_object_get(part, "memory")),
            .compute_milli = (uint32_t)json_integer_value(json_object_get(part, "milli"))};
    }
    status result = driver->start(driver->driver, &order, note);
    free(arguments);
    free(environment);
    return result;
}

static const char *text_of(const json_t *config, const char *key)
{
    return json_string_value(json_object_get(config, key));
}

static uint64_t number_of(const json_t *config, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(config, key));
}

/* Texts stay in `json`. */
static void config_read(const json_t *json, struct kube_member_config *out)
{
    static const char *const labels[] = {"eu"};
    static struct kube_member_priority priorities[8];
    const char *class_name;
    json_t *priority;
    *out = (struct kube_member_config){
        .kubeconfig = text_of(json, "kubeconfig"),
        .context = text_of(json, "context"),
        .namespace_name = text_of(json, "namespace"),
        .pool = text_of(json, "pool"),
        .image = text_of(json, "image"),
        .labels = labels,
        .label_count = 1,
        .runtime_class = text_of(json, "runtime_class"),
        .volume_claim = text_of(json, "volume_claim"),
        .volume_path = "/models",
        .priorities = priorities,
        .partition_profile = text_of(json, "partition_profile"),
        .cores_per_device = (uint32_t)number_of(json, "cores_per_device"),
        .host_memory_bytes = number_of(json, "host_memory"),
        .heartbeat_ns = number_of(json, "heartbeat_ms") * 1000000ull,
        .has_cpu_slices = json_is_true(json_object_get(json, "cpu_slices"))};
    json_object_foreach(json_object_get(json, "priorities"), class_name, priority)
    {
        if (out->priority_count < sizeof(priorities) / sizeof(priorities[0]))
            priorities[out->priority_count++] =
                (struct kube_member_priority){(int32_t)json_integer_value(priority), class_name};
    }
}

static void orders_run(struct member_driver *driver)
{
    static char text[262144];
    while (fgets(text, sizeof(text), stdin) != NULL) {
        struct error_note note = {""};
        json_t *line = json_loads(text, 0, NULL);
        const char *verb = json_string_value(json_object_get(line, "do"));
        status result = verb != NULL && strcmp(verb, "stop") == 0
                            ? driver->stop(driver->driver, number_of(line, "uid"),
                                           number_of(line, "grace_s") * 1000000000ull, &note)
                            : order_give(driver, line, &note);
        put(json_pack("{s:s, s:s, s:s}", "event", "answer", "status", status_name(result), "note",
                      note.text));
        json_decref(line);
    }
}

int main(int count, char **words)
{
    struct kube_member_config config;
    struct member_driver driver;
    struct error_note note = {""};
    pthread_t watcher;
    json_t *json = count == 2 ? json_loads(words[1], 0, NULL) : NULL;
    if (json == NULL)
        return 2;
    config_read(json, &config);
    if (kube_member_create(&config, &driver, &note) != STATUS_OK ||
        pthread_create(&watcher, NULL, watcher_run, &driver) != 0)
        return 1;
    orders_run(&driver);
    atomic_store(&is_stopping, true);
    (void)pthread_join(watcher, NULL);
    driver.destroy(driver.driver);
    json_decref(json);
    return 0;
}
