#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "amd_source.h"
#include "clock.h"
#include "local_internal.h"
#include "log.h"
#include "memory.h"

#define TEXTS_BYTES_MAX (1u << 20)
/* What has lost its lifeline is killed by the kernel at once; a core that is busy may take a while to do it. */
#define REAP_MS 10000

void local_wake(struct local_member *member)
{
    const uint64_t one = 1;

    while (write(member->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

static void member_wake(void *driver)
{
    local_wake(driver);
}

static void reading_changed(void *context)
{
    struct local_member *member = context;

    atomic_store_explicit(&member->has_reading, true, memory_order_release);
    local_wake(member);
}

/* --- the end --- */

/* Those of our children that end with their lifeline are collected. */
static void replica_leave(struct local_replica *replica)
{
    char text[64];

    for (uint32_t i = 0; i < replica->part_count; i++) {
        struct child *child = &replica->parts[i].child;
        struct pollfd end = {.fd = child->pid_fd, .events = POLLIN};

        if (child->pid == 0)
            continue;
        (void)close(child->lifeline_fd);
        child->lifeline_fd = -1;
        if (!child->is_adopted && !replica->is_released && poll(&end, 1, REAP_MS) == 1)
            (void)child_collect(child, text, sizeof text);
    }
    local_replica_free(replica);
}

static void member_destroy(void *driver)
{
    struct local_member *member = driver;

    for (uint32_t i = 0; i < LOCAL_VENDORS; i++)
        device_watch_destroy(member->watches[i]);
    for (uint32_t row = 0; row < member->replica_bound; row++)
        if (member->replicas[row] != NULL)
            replica_leave(member->replicas[row]);
    if (member->epoll_fd >= 0)
        (void)close(member->epoll_fd);
    if (member->wake_fd >= 0)
        (void)close(member->wake_fd);
    (void)pthread_mutex_destroy(&member->lock);
    (void)pthread_mutex_destroy(&member->fault_lock);
    arena_destroy(member->texts);
    memory_release(member);
}

/* --- the beginning --- */

/* False: no memory. NULL stays what it is. */
static bool text_keep(arena *texts, const char **text)
{
    if (*text == NULL)
        return true;
    *text = arena_copy_text(texts, *text, strlen(*text));
    return *text != NULL;
}

static bool lists_keep(struct local_member *member, const struct local_member_config *config)
{
    const char **labels =
        arena_allocate_array(member->texts, config->label_count + 1, sizeof labels[0]);
    struct local_price *prices =
        arena_allocate_array(member->texts, config->price_count + 1, sizeof prices[0]);

    if (labels == NULL || prices == NULL)
        return false;
    for (uint32_t i = 0; i < config->label_count; i++) {
        labels[i] = config->labels[i];
        if (!text_keep(member->texts, &labels[i]))
            return false;
    }
    for (uint32_t i = 0; i < config->price_count; i++) {
        prices[i] = config->prices[i];
        if (!text_keep(member->texts, &prices[i].product))
            return false;
    }
    member->config.labels = labels;
    member->config.prices = prices;
    return true;
}

static status config_keep(struct local_member *member, const struct local_member_config *config,
                          struct error_note *note)
{
    char host[LOCAL_NODE_BYTES] = "";
    struct local_member_config *kept = &member->config;
    status result = arena_create(TEXTS_BYTES_MAX, &member->texts);

    if (result != STATUS_OK)
        return result;
    *kept = *config;
    if (kept->node == NULL || kept->node[0] == '\0') {
        if (gethostname(host, sizeof host - 1) != 0) {
            error_note_set(note, "gethostname: %s", strerrordesc_np(errno));
            return STATUS_IO;
        }
        kept->node = host;
    }
    if (!text_keep(member->texts, &kept->pool) || !text_keep(member->texts, &kept->node) ||
        !text_keep(member->texts, &kept->region) || !text_keep(member->texts, &kept->zone) ||
        !text_keep(member->texts, &kept->owner) || !text_keep(member->texts, &kept->sysfs) ||
        !text_keep(member->texts, &kept->nvml_library) ||
        !text_keep(member->texts, &kept->program) || !lists_keep(member, config))
        return STATUS_NO_MEMORY;
    return STATUS_OK;
}

static status config_check(const struct local_member_config *config, struct error_note *note)
{
    if (config->label_count > SLICE_LABELS_MAX || config->price_count > LOCAL_PRICES_MAX) {
        error_note_set(note, "%u labels of at most %u, %u prices of at most %u",
                       config->label_count, SLICE_LABELS_MAX, config->price_count,
                       LOCAL_PRICES_MAX);
        return STATUS_INVALID;
    }
    if (config->node != NULL && strlen(config->node) >= LOCAL_NODE_BYTES) {
        error_note_set(note, "the node's name is longer than %u bytes", LOCAL_NODE_BYTES - 1);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

/* Walls are tried once before a replica needs them, so that what they cannot do is known at the start. */
static status sandbox_try(const struct local_member_config *config, struct error_note *note)
{
    const struct sandbox_options options = {.needs_landlock =
                                                config->sandbox == LOCAL_SANDBOX_REQUIRED};
    struct sandbox *sandbox;
    char text[256];
    status result;

    if (config->sandbox == LOCAL_SANDBOX_OFF)
        return STATUS_OK;
    result = sandbox_create(&options, &sandbox, note);
    if (result != STATUS_OK)
        return result;
    sandbox_describe(sandbox, text, sizeof text);
    log_info("scheduler/local", "replicas run in a sandbox: %s", text);
    sandbox_destroy(sandbox);
    return STATUS_OK;
}

static status cores_read(struct local_member *member, struct error_note *note)
{
    const struct local_member_config *config = &member->config;
    struct cpu_slices_options near = config->cpu;
    status result = STATUS_OK;

    near.cut = CPU_CUT_NODES;
    if (config->has_cpu_slices)
        result = cpu_slices_read(&config->cpu, &member->cpus, note);
    if (result == STATUS_OK && config->has_devices)
        result = cpu_slices_read(&near, &member->nodes, note);
    return result;
}

static status watch_create(struct local_member *member, uint32_t vendor)
{
    const struct local_member_config *config = &member->config;
    const struct nvml_source_options nvml = {.library = config->nvml_library,
                                             .sysfs = config->sysfs,
                                             .fault = local_fault_note,
                                             .context = member};
    struct device_watch_options options = {.interval_ns = config->device_interval_ns,
                                           .silent_after_ns = LOCAL_DEVICE_SILENT_INTERVALS *
                                                              config->device_interval_ns,
                                           .changed = reading_changed,
                                           .context = member};
    status result = vendor == LOCAL_NVML ? nvml_source_create(&nvml, &options.source)
                                         : amd_source_create(config->sysfs, &options.source);

    return result == STATUS_OK ? device_watch_create(&options, &member->watches[vendor]) : result;
}

static status member_open(struct local_member *member, const struct local_member_config *config,
                          struct error_note *note)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    status result = config_check(config, note);

    if (result == STATUS_OK)
        result = config_keep(member, config, note);
    if (result == STATUS_OK)
        result = sandbox_try(&member->config, note);
    if (result == STATUS_OK)
        result = cores_read(member, note);
    if (result != STATUS_OK)
        return result;
    member->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    member->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (member->epoll_fd < 0 || member->wake_fd < 0 ||
        epoll_ctl(member->epoll_fd, EPOLL_CTL_ADD, member->wake_fd, &event) != 0) {
        error_note_set(note, "epoll: %s", strerrordesc_np(errno));
        return STATUS_IO;
    }
    for (uint32_t i = 0; result == STATUS_OK && config->has_devices && i < LOCAL_VENDORS; i++)
        result = watch_create(member, i);
    return result;
}

status local_member_create(const struct local_member_config *config, struct member_driver *out,
                           struct error_note *note)
{
    struct local_member *member = memory_allocate_array(1, sizeof *member);
    status result;

    if (member == NULL)
        return STATUS_NO_MEMORY;
    member->epoll_fd = member->wake_fd = -1;
    (void)pthread_mutex_init(&member->lock, NULL);
    (void)pthread_mutex_init(&member->fault_lock, NULL);
    result = member_open(member, config, note);
    if (result != STATUS_OK) {
        member_destroy(member);
        return result;
    }
    *out = (struct member_driver){.follow = local_follow,
                                  .start = local_start,
                                  .stop = local_stop,
                                  .destroy = member_destroy,
                                  .driver = member,
                                  .wake = member_wake};
    return STATUS_OK;
}
