/* The machine's slices as they are told: those of cores never change; devices are told again when anything in their report has. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "hash.h"
#include "local_internal.h"
#include "memory.h"

/* --- what of a slice is where --- */

/* Behind "node/"; NULL: another node's. */
static const char *name_of(const struct local_member *member, const char *slice_id)
{
    size_t bytes = strlen(member->config.node);

    if (strncmp(slice_id, member->config.node, bytes) != 0 || slice_id[bytes] != '/')
        return NULL;
    return slice_id + bytes + 1;
}

const struct cpu_slice *local_slice_cores(const struct local_member *member, const char *slice_id)
{
    const char *name = name_of(member, slice_id);

    for (uint32_t i = 0; name != NULL && i < member->cpus.count; i++)
        if (strcmp(member->cpus.items[i].name, name) == 0)
            return &member->cpus.items[i];
    return NULL;
}

static const struct device *device_find(const struct device_list *list, const char *name)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].id, name) == 0)
            return &list->items[i];
    return NULL;
}

const struct device *local_slice_device(const struct local_member *member, const char *slice_id)
{
    const char *name = name_of(member, slice_id);
    const struct device *device = NULL;

    for (uint32_t i = 0; name != NULL && device == NULL && i < LOCAL_VENDORS; i++)
        device = device_find(&member->lists[i], name);
    return device;
}

bool local_slice_device_read(struct local_member *member, const char *slice_id, struct device *out)
{
    struct device_list *list = memory_allocate(sizeof *list);
    const char *name = name_of(member, slice_id);
    const struct device *device = NULL;
    struct error_note note;

    for (uint32_t i = 0; list != NULL && name != NULL && device == NULL && i < LOCAL_VENDORS; i++) {
        if (member->watches[i] == NULL)
            continue;
        /* A driver that hangs has the names that it had. */
        (void)(device_watch_read(member->watches[i], clock_now_ns(), list, &note) == STATUS_OK);
        device = device_find(list, name);
        if (device != NULL)
            *out = *device;
    }
    memory_release(list);
    return device != NULL;
}

/* --- telling --- */

static uint64_t text_hash(const char *text)
{
    static const struct hash_key key = {0};

    return text != NULL ? hash64(&key, text, strlen(text)) : 0;
}

/* Of what can change of this machine's slices. */
static uint64_t report_print(const struct slice_report *report)
{
    static const struct hash_key key = {0};
    const uint64_t facts[] = {text_hash(report->nvlink_domain),
                              text_hash(report->switch_name),
                              text_hash(report->pcie_root),
                              text_hash(report->product),
                              text_hash(report->profile),
                              text_hash(report->reason),
                              (uint64_t)report->kind,
                              (uint64_t)report->health,
                              (uint64_t)report->numa,
                              report->compute_capability,
                              report->memory_bytes,
                              report->memory_foreign_bytes,
                              report->compute_milli};

    return hash64(&key, facts, sizeof facts);
}

static struct local_told *told_find(struct local_member *member, const char *id)
{
    for (uint32_t i = 0; i < member->told_count; i++)
        if (strcmp(member->told[i].id, id) == 0)
            return &member->told[i];
    return NULL;
}

static void report_tell(struct local_member *member, const struct member_sink *sink, bool is_list,
                        struct slice_report *report)
{
    const struct local_member_config *config = &member->config;
    struct local_told *told = told_find(member, report->id);
    uint64_t print = report_print(report);
    bool is_news = is_list || told == NULL || told->print != print;

    report->region = config->region;
    report->zone = config->zone;
    report->owner = config->owner;
    report->labels = config->labels;
    report->label_count = config->label_count;
    if (told == NULL) {
        if (member->told_count == LOCAL_SLICES_MAX)
            return; /* two devices of one name: the lists have room for no more than this */
        told = &member->told[member->told_count++];
        (void)snprintf(told->id, sizeof told->id, "%s", report->id);
    }
    told->print = print;
    told->is_there = true;
    if (is_news)
        sink->slice(sink->context, report);
}

static int64_t device_price(const struct local_member_config *config, const char *product)
{
    int64_t others = 0;

    for (uint32_t i = 0; i < config->price_count; i++) {
        const char *name = config->prices[i].product;

        if (name == NULL || name[0] == '\0')
            others = config->prices[i].nano_hour;
        else if (strcmp(name, product) == 0)
            return config->prices[i].nano_hour;
    }
    return others;
}

static void cores_tell(struct local_member *member, const struct member_sink *sink, bool is_list)
{
    char id[SLICE_NAME_BYTES_MAX + 1];
    struct slice_report report;

    for (uint32_t i = 0; i < member->cpus.count; i++) {
        const struct cpu_slice *slice = &member->cpus.items[i];

        cpu_slice_report(slice, member->config.node, id, &report);
        report.price_nano_hour = member->config.core_price_nano_hour * slice->core_count;
        report_tell(member, sink, is_list, &report);
    }
}

static uint32_t own_pids(struct local_member *member, uint32_t *pids, uint32_t count_max)
{
    uint32_t count = 0;

    (void)pthread_mutex_lock(&member->lock);
    for (uint32_t row = 0; row < member->replica_bound; row++) {
        const struct local_replica *replica = member->replicas[row];

        for (uint32_t i = 0; replica != NULL && i < replica->part_count && count < count_max; i++)
            if (replica->parts[i].child.pid != 0)
                pids[count++] = (uint32_t)replica->parts[i].child.pid;
    }
    (void)pthread_mutex_unlock(&member->lock);
    return count;
}

/* Which of them works on devices is not known here; the rest does no harm. */
static void devices_tell(struct local_member *member, const struct member_sink *sink, bool is_list)
{
    char id[DEVICE_SLICE_ID_BYTES];
    uint32_t pids[LOCAL_REPLICAS_MAX];
    uint32_t pid_count = own_pids(member, pids, LOCAL_REPLICAS_MAX);
    struct slice_report report;

    for (uint32_t v = 0; v < LOCAL_VENDORS; v++)
        for (uint32_t i = 0; i < member->lists[v].count; i++) {
            const struct device *device = &member->lists[v].items[i];

            device_report(device, member->config.node, pids, pid_count, id, &report);
            report.price_nano_hour = device_price(&member->config, device->product);
            report_tell(member, sink, is_list, &report);
        }
}

/* A driver that has not been read for the first time keeps what it had: nothing. */
static void devices_read(struct local_member *member)
{
    struct error_note note;

    member->all.count = 0;
    for (uint32_t v = 0; v < LOCAL_VENDORS; v++) {
        struct device_list *list = &member->lists[v];

        if (member->watches[v] == NULL)
            continue;
        /* What it returns is told by the devices' health. */
        (void)(device_watch_read(member->watches[v], clock_now_ns(), list, &note) == STATUS_OK);
        for (uint32_t i = 0; i < list->count && member->all.count < DEVICES_MAX; i++)
            member->all.items[member->all.count++] = list->items[i];
    }
    if (member->config.metrics != NULL)
        device_metrics_set(member->config.metrics, &member->all, clock_now_ns());
}

static void gone_tell(struct local_member *member, const struct member_sink *sink, bool is_list)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < member->told_count; i++) {
        struct local_told *told = &member->told[i];

        if (told->is_there) {
            if (kept != i)
                member->told[kept] = *told;
            kept++;
        } else if (!is_list) {
            sink->slice_gone(sink->context, told->id);
        }
    }
    member->told_count = kept;
}

void local_slices_tell(struct local_member *member, const struct member_sink *sink, bool is_list)
{
    devices_read(member);
    for (uint32_t i = 0; i < member->told_count; i++)
        member->told[i].is_there = false;
    if (is_list)
        sink->list_begin(sink->context);
    cores_tell(member, sink, is_list);
    devices_tell(member, sink, is_list);
    gone_tell(member, sink, is_list);
    if (is_list)
        sink->list_end(sink->context);
}
