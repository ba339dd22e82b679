/* From an order to processes. All that may fail or takes long is done without the table's lock, so that the watcher hears of ends
 * meanwhile; the worker is the only one that starts. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "local_internal.h"
#include "memory.h"

#define OWN_PROGRAM "/proc/self/exe" /* also when its file has been replaced since */
/* Of one start: texts of a few variables and paths. */
#define LAUNCH_BYTES_MAX (64u << 10)

extern char **environ;

/* One part on its way to a process. */
struct launch {
    struct local_member *member;
    const struct member_order *order;
    struct local_replica *replica;
    uint32_t part;
    arena *memory; /* owned */
    struct local_environment environment;
    struct sandbox_path paths[SANDBOX_PATHS_MAX];
    uint32_t path_count;
    struct cpu_bind bind;
    bool has_bind, has_device;
    struct device device;
};

static const char *program_of(const struct local_member *member)
{
    const char *program = member->config.program;

    return program != NULL && program[0] != '\0' ? program : OWN_PROGRAM;
}

/* --- its place --- */

/* What parts of this slice's cores are given away. */
static void cores_used(struct local_member *member, const struct local_replica *replica,
                       uint32_t *used)
{
    const struct cpu_slices *slices = &member->cpus;

    for (uint32_t i = 0; i < replica->part_count; i++) {
        const struct local_part *part = &replica->parts[i];

        if (part->child.pid != 0)
            local_cores_charge(slices, &part->cores, part->bound_milli, used);
    }
}

static void cores_bind(struct launch *launch, const struct cpu_slice *slice)
{
    struct local_member *member = launch->member;
    struct local_part *part = &launch->replica->parts[launch->part];
    uint32_t used[CPU_SETSIZE] = {0};

    (void)pthread_mutex_lock(&member->lock);
    for (uint32_t row = 0; row < member->replica_bound; row++)
        if (member->replicas[row] != NULL)
            cores_used(member, member->replicas[row], used);
    (void)pthread_mutex_unlock(&member->lock);
    cores_used(member, launch->replica, used);
    local_cores_pick(&member->cpus, slice, part->bound_milli, used, &part->cores);
    launch->bind = slice->bind;
    launch->bind.cores = part->cores;
    launch->has_bind = true;
}

/* Near its device, and anywhere else when that is full: what it keeps in main memory is on its way there. */
static void device_bind(struct launch *launch)
{
    const struct cpu_slices *nodes = &launch->member->nodes;

    for (uint32_t i = 0; i < nodes->count && launch->device.numa >= 0; i++)
        if (nodes->items[i].numa == launch->device.numa) {
            launch->bind = nodes->items[i].bind;
            launch->bind.is_strict = false;
            launch->has_bind = true;
        }
}

static status place_take(struct launch *launch, struct error_note *note)
{
    const struct local_part *part = &launch->replica->parts[launch->part];
    const struct cpu_slice *slice = local_slice_cores(launch->member, part->slice_id);

    if (slice != NULL) {
        cores_bind(launch, slice);
        return STATUS_OK;
    }
    if (!local_slice_device_read(launch->member, part->slice_id, &launch->device)) {
        error_note_set(note, "%s: there is no such slice here", part->slice_id);
        return STATUS_FULL; /* a device may have gone since */
    }
    launch->has_device = true;
    device_bind(launch);
    return STATUS_OK;
}

/* --- what it gets --- */

static status environment_make(struct launch *launch, struct error_note *note)
{
    struct local_environment *environment = &launch->environment;
    const struct member_order *order = launch->order;
    const char *pool = launch->member->config.pool;

    environment->memory = launch->memory;
    local_environment_inherit(environment, environ);
    for (const char *const *variable = order->environment; variable != NULL && *variable != NULL;
         variable++)
        local_environment_put(environment, *variable);
    local_environment_set(environment, "PENSTOCK_POOL", "%s", pool != NULL ? pool : "");
    local_environment_set(environment, "PENSTOCK_UID", "%016" PRIx64, order->uid);
    if (order->part_count > 1) {
        local_environment_set(environment, "PENSTOCK_PART", "%u", launch->part);
        local_environment_set(environment, "PENSTOCK_PARTS", "%u", order->part_count);
    }
    if (launch->has_device)
        local_device_show(&launch->device, environment);
    if (environment->failed != STATUS_TOO_LARGE)
        return environment->failed;
    error_note_set(note, "its environment has more than %u variables, or too long ones",
                   LOCAL_ENVIRONMENT_MAX);
    return STATUS_INVALID;
}

static const enum sandbox_access accesses[MEMBER_ACCESS_COUNT] = {
    [MEMBER_READS] = SANDBOX_READ,
    [MEMBER_WRITES] = SANDBOX_WRITE,
    [MEMBER_LISTENS] = SANDBOX_LISTEN,
};

static status sandbox_make(struct launch *launch, struct sandbox **out, struct error_note *note)
{
    const struct local_member_config *config = &launch->member->config;
    const struct member_order *order = launch->order;
    const struct local_part *part = &launch->replica->parts[launch->part];
    struct sandbox_options options = {.paths = launch->paths,
                                      .needs_landlock = config->sandbox == LOCAL_SANDBOX_REQUIRED};
    status result;

    if (config->sandbox == LOCAL_SANDBOX_OFF)
        return STATUS_OK;
    launch->paths[launch->path_count++] =
        (struct sandbox_path){program_of(launch->member), SANDBOX_EXECUTE, false};
    if (launch->has_device)
        local_device_paths(&launch->device, launch->memory, launch->paths, &launch->path_count);
    if (order->path_count > SANDBOX_PATHS_MAX - launch->path_count) {
        error_note_set(note, "it names more than %u files", SANDBOX_PATHS_MAX - launch->path_count);
        return STATUS_INVALID;
    }
    for (uint32_t i = 0; i < order->path_count; i++)
        launch->paths[launch->path_count++] =
            (struct sandbox_path){order->paths[i].path, accesses[order->paths[i].access], true};
    options.path_count = launch->path_count;
    /* A device's memory is none of the process's. */
    if (config->limits_memory && !launch->has_device)
        options.data_bytes_max = part->memory_bytes;
    result = sandbox_create(&options, out, note);
    if (result != STATUS_OK)
        error_note_prefix(note, "its sandbox");
    return result;
}

/* --- the process --- */

static status order_run(struct launch *launch, struct error_note *note)
{
    struct child child = {.pid_fd = -1, .lifeline_fd = -1};
    /* execve takes char *const[] for history's sake; nothing writes to them. */
    struct child_order order = {.program = program_of(launch->member),
                                .arguments = (char *const *)(uintptr_t)launch->order->arguments,
                                .environment =
                                    (char *const *)(uintptr_t)launch->environment.variables,
                                .bind = launch->has_bind ? &launch->bind : NULL,
                                .output_fd = -1};
    status result = sandbox_make(launch, &order.sandbox, note);

    if (result == STATUS_OK)
        result = child_start(&child, &order, note);
    sandbox_destroy(order.sandbox);
    if (result == STATUS_OK)
        launch->replica->parts[launch->part].child = child;
    return result;
}

static status part_start(struct local_member *member, const struct member_order *order,
                         struct local_replica *replica, uint32_t part, struct error_note *note)
{
    struct launch *launch = memory_allocate_array(1, sizeof *launch);
    status result;

    if (launch == NULL)
        return STATUS_NO_MEMORY;
    launch->member = member;
    launch->order = order;
    launch->replica = replica;
    launch->part = part;
    result = arena_create(LAUNCH_BYTES_MAX, &launch->memory);
    if (result == STATUS_OK)
        result = place_take(launch, note);
    if (result == STATUS_OK)
        result = environment_make(launch, note);
    if (result == STATUS_OK)
        result = order_run(launch, note);
    arena_destroy(launch->memory);
    memory_release(launch);
    return result;
}

static status order_check(const struct member_order *order, struct error_note *note)
{
    if (order->uid == 0 || order->part_count == 0 || order->part_count > LOCAL_PARTS_MAX ||
        order->arguments == NULL || order->arguments[0] == NULL) {
        error_note_set(note, "an order has a number, 1 to %u parts, and a program's arguments",
                       LOCAL_PARTS_MAX);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static struct local_replica *replica_of(const struct member_order *order)
{
    struct local_replica *replica =
        local_replica_create(order->uid, order->name, order->part_count);

    for (uint32_t i = 0; replica != NULL && i < order->part_count; i++) {
        local_part_place(&replica->parts[i], &order->parts[i]);
        if (order->core_milli > 0)
            replica->parts[i].bound_milli = order->core_milli;
    }
    return replica;
}

/* None or all: what has been started is ended. */
static void replica_undo(struct local_replica *replica)
{
    char text[64];

    local_replica_signal(replica, SIGKILL);
    for (uint32_t i = 0; i < replica->part_count; i++)
        if (replica->parts[i].child.pid != 0)
            (void)child_collect(&replica->parts[i].child, text, sizeof text);
    local_replica_free(replica);
}

static status replica_start(struct local_member *member, const struct member_order *order,
                            struct error_note *note)
{
    struct local_replica *replica = replica_of(order);
    status result = STATUS_OK;

    if (replica == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; result == STATUS_OK && i < order->part_count; i++)
        result = part_start(member, order, replica, i, note);
    if (result == STATUS_OK) {
        (void)pthread_mutex_lock(&member->lock);
        result = local_replica_insert(member, replica);
        (void)pthread_mutex_unlock(&member->lock);
        if (result != STATUS_OK)
            error_note_set(note, "%s", result == STATUS_FULL ? "too many replicas" : "epoll");
    }
    if (result != STATUS_OK)
        replica_undo(replica);
    else
        local_wake(member);
    return result;
}

/* In the words of member.h: a program, a sandbox or an order that is wrong stays so; a slice, a core or a process that cannot be had
 * here may be had elsewhere, or later. */
static status start_result(status result)
{
    switch (result) {
    case STATUS_OK:
    case STATUS_DENIED:
    case STATUS_INVALID:
    case STATUS_FULL:
        return result;
    case STATUS_NOT_FOUND:
    case STATUS_UNSUPPORTED:
        return STATUS_INVALID;
    default:
        return STATUS_FULL;
    }
}

status local_start(void *driver, const struct member_order *order, struct error_note *note)
{
    struct local_member *member = driver;
    status result = order_check(order, note);
    bool is_there;

    if (result != STATUS_OK)
        return result;
    (void)pthread_mutex_lock(&member->lock);
    is_there = local_replica_find(member, order->uid) != NULL;
    (void)pthread_mutex_unlock(&member->lock);
    return is_there ? STATUS_OK : start_result(replica_start(member, order, note));
}
