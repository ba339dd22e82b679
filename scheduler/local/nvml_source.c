#include "nvml_source.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "nvml_scan.h"
#include "thread.h"
#include "xid.h"

/* How long the driver is asked to wait for an event: what stopping costs at the most. */
#define EVENT_WAIT_MS 500u
#define PATH_BYTES    512u

/* What has been heard of one GPU or instance. */
struct record {
    char id[DEVICE_TEXT_BYTES];
    uint32_t gpu_instance, compute_instance;
    uint64_t xid;       /* the last one */
    uint64_t worst_xid; /* of the worst verdict */
    enum xid_verdict worst;
};

struct nvml_source {
    struct nvml_library library;
    bool is_open, has_listener;
    char path[PATH_BYTES], sysfs[PATH_BYTES];
    void (*fault)(void *context, const struct nvml_fault *fault);
    void *context;
    pthread_t listener;
    atomic_bool is_stopping;
    pthread_mutex_t lock; /* of the records and of `fault` */
    struct record records[DEVICES_MAX];
    uint32_t record_count;
};

static struct record *record_of(struct nvml_source *source, const char *id,
                                const struct nvml_event *event)
{
    struct record *record;

    for (uint32_t i = 0; i < source->record_count; i++) {
        record = &source->records[i];
        if (strcmp(record->id, id) == 0 && record->gpu_instance == event->gpu_instance &&
            record->compute_instance == event->compute_instance)
            return record;
    }
    if (source->record_count == DEVICES_MAX)
        return NULL;
    record = &source->records[source->record_count++];
    *record = (struct record){.gpu_instance = event->gpu_instance,
                              .compute_instance = event->compute_instance};
    (void)snprintf(record->id, sizeof record->id, "%s", id);
    return record;
}

static void event_take(struct nvml_source *source, const struct nvml_event *event)
{
    char id[DEVICE_TEXT_BYTES] = "";
    struct nvml_fault fault = {.id = id,
                               .gpu_instance = event->gpu_instance,
                               .compute_instance = event->compute_instance,
                               .xid = event->data,
                               .text = xid_text(event->data)};
    enum xid_verdict verdict = xid_judge(event->data);
    struct record *record;

    if (source->library.uuid(event->device, id, sizeof id) != NVML_OK)
        return; /* the next reading will say that it is lost */
    id[sizeof id - 1] = '\0';
    (void)pthread_mutex_lock(&source->lock);
    record = record_of(source, id, event);
    if (record != NULL) {
        record->xid = event->data;
        if (verdict > record->worst) {
            record->worst = verdict;
            record->worst_xid = event->data;
        }
    }
    fault.is_programs = verdict == XID_PROGRAM;
    fault.is_broken = verdict == XID_BROKEN;
    if (source->fault != NULL && verdict != XID_NOTED)
        source->fault(source->context, &fault);
    (void)pthread_mutex_unlock(&source->lock);
}

static void *listener_run(void *context)
{
    struct nvml_source *source = context;
    const struct nvml_library *library = &source->library;
    unsigned count = 0;
    void *set = NULL;

    if (library->count(&count) != NVML_OK || library->set_create(&set) != NVML_OK)
        return NULL;
    for (unsigned i = 0; i < count; i++) {
        void *device;

        /* One that cannot tell of errors is read all the same. */
        if (library->by_index(i, &device) == NVML_OK)
            (void)library->set_register(device, NVML_EVENT_XID, set);
    }
    while (!atomic_load(&source->is_stopping)) {
        struct nvml_event event = {.device = NULL};
        int result = library->set_wait(set, &event, EVENT_WAIT_MS);

        if (result == NVML_OK && (event.type & NVML_EVENT_XID) != 0)
            event_take(source, &event);
        else if (result != NVML_OK && result != NVML_TIMEOUT)
            break; /* a GPU of the set is lost; what is left is read */
    }
    if (library->set_free != NULL)
        (void)library->set_free(set);
    return NULL;
}

static void listener_start(struct nvml_source *source)
{
    const struct nvml_library *library = &source->library;

    if (library->set_create == NULL || library->set_register == NULL || library->set_wait == NULL)
        return;
    source->has_listener =
        thread_start(&source->listener, "nvml-events", listener_run, source) == STATUS_OK;
}

static bool is_about(const struct record *record, const struct device *device)
{
    bool is_whole = record->gpu_instance == NVML_NO_INSTANCE;
    const char *gpu = device->kind == SLICE_MIG ? device->parent : device->id;

    return strcmp(record->id, gpu) == 0 && (is_whole || device->kind != SLICE_MIG ||
                                            (record->gpu_instance == device->gpu_instance));
}

static void records_apply(struct nvml_source *source, struct device_list *list)
{
    (void)pthread_mutex_lock(&source->lock);
    for (uint32_t r = 0; r < source->record_count; r++) {
        const struct record *record = &source->records[r];

        for (uint32_t i = 0; i < list->count; i++) {
            struct device *device = &list->items[i];

            if (!is_about(record, device))
                continue;
            device->xid = record->xid;
            if (record->worst >= XID_WORN)
                device_blame(device, record->worst == XID_BROKEN ? SLICE_BAD : SLICE_DEGRADED,
                             "Xid %llu: %s", (unsigned long long)record->worst_xid,
                             xid_text(record->worst_xid));
        }
    }
    (void)pthread_mutex_unlock(&source->lock);
}

static status source_scan(void *context, struct device_list *list, struct error_note *note)
{
    struct nvml_source *source = context;
    status result;

    if (!source->is_open) {
        result = nvml_library_open(&source->library, source->path, note);
        if (result != STATUS_OK)
            return result;
        source->is_open = true;
        listener_start(source);
    }
    result = nvml_scan(&source->library, source->sysfs, list, note);
    if (result == STATUS_OK)
        records_apply(source, list);
    return result;
}

static void source_destroy(void *context)
{
    struct nvml_source *source = context;

    atomic_store(&source->is_stopping, true);
    if (source->has_listener)
        (void)pthread_join(source->listener, NULL);
    if (source->is_open)
        nvml_library_close(&source->library);
    (void)pthread_mutex_destroy(&source->lock);
    memory_release(source);
}

static void source_mute(void *context)
{
    struct nvml_source *source = context;

    (void)pthread_mutex_lock(&source->lock);
    source->fault = NULL;
    (void)pthread_mutex_unlock(&source->lock);
}

status nvml_source_create(const struct nvml_source_options *options, struct device_source *out)
{
    const char *path = options->library != NULL ? options->library : "libnvidia-ml.so.1";
    const char *sysfs = options->sysfs != NULL ? options->sysfs : "/sys";
    struct nvml_source *source;

    if (strlen(path) >= PATH_BYTES || strlen(sysfs) >= PATH_BYTES / 2)
        return STATUS_TOO_LARGE;
    source = memory_allocate_array(1, sizeof *source);
    if (source == NULL)
        return STATUS_NO_MEMORY;
    (void)snprintf(source->path, sizeof source->path, "%s", path);
    (void)snprintf(source->sysfs, sizeof source->sysfs, "%s", sysfs);
    source->fault = options->fault;
    source->context = options->context;
    (void)pthread_mutex_init(&source->lock, NULL);
    *out = (struct device_source){"NVML", source_scan, source_destroy, source_mute, source};
    return STATUS_OK;
}
