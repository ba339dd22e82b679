/* What runs here. A replica comes into the table when its processes run and is taken out by the watcher, which has told that it is
 * gone; its row stays the same meanwhile, and is what epoll hands back. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "local_internal.h"
#include "memory.h"

struct local_replica *local_replica_create(uint64_t uid, const char *name, uint32_t part_count)
{
    struct local_replica *replica = memory_allocate_array(1, sizeof *replica);

    if (replica == NULL)
        return NULL;
    replica->uid = uid;
    replica->phase = MEMBER_REPLICA_STARTING;
    replica->kill_ns = UINT64_MAX;
    (void)snprintf(replica->name, sizeof replica->name, "%s", name != NULL ? name : "");
    replica->part_count = part_count;
    replica->parts = memory_allocate_array(part_count, sizeof replica->parts[0]);
    if (replica->parts == NULL) {
        memory_release(replica);
        return NULL;
    }
    for (uint32_t i = 0; i < part_count; i++)
        replica->parts[i].child = (struct child){.pid_fd = -1, .lifeline_fd = -1};
    return replica;
}

void local_replica_free(struct local_replica *replica)
{
    if (replica == NULL)
        return;
    for (uint32_t i = 0; i < replica->part_count; i++)
        child_forget(&replica->parts[i].child);
    memory_release(replica->parts);
    memory_release(replica);
}

void local_part_place(struct local_part *part, const struct member_part *place)
{
    (void)snprintf(part->slice_id, sizeof part->slice_id, "%s", place->slice_id);
    part->memory_bytes = place->memory_bytes;
    part->compute_milli = part->bound_milli = place->compute_milli;
}

struct local_replica *local_replica_find(struct local_member *member, uint64_t uid)
{
    for (uint32_t row = 0; row < member->replica_bound; row++)
        if (member->replicas[row] != NULL && member->replicas[row]->uid == uid)
            return member->replicas[row];
    return NULL;
}

bool local_replica_is_gone(const struct local_replica *replica)
{
    for (uint32_t i = 0; i < replica->part_count; i++)
        if (replica->parts[i].child.pid != 0)
            return false;
    return true;
}

void local_replica_signal(struct local_replica *replica, int signal_number)
{
    for (uint32_t i = 0; i < replica->part_count; i++)
        child_signal(&replica->parts[i].child, signal_number);
}

static status part_watch(struct local_member *member, uint32_t row, uint32_t part)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)row << 32 | part};

    return epoll_ctl(member->epoll_fd, EPOLL_CTL_ADD,
                     member->replicas[row]->parts[part].child.pid_fd, &event) == 0
               ? STATUS_OK
               : STATUS_IO;
}

/* Nobody hears of what was watched, either. */
static void row_clear(struct local_member *member, uint32_t row)
{
    struct local_replica *replica = member->replicas[row];

    for (uint32_t i = 0; i < replica->part_count; i++)
        if (replica->parts[i].child.pid_fd >= 0)
            (void)epoll_ctl(member->epoll_fd, EPOLL_CTL_DEL, replica->parts[i].child.pid_fd, NULL);
    member->replicas[row] = NULL;
}

status local_replica_insert(struct local_member *member, struct local_replica *replica)
{
    status result = STATUS_OK;
    uint32_t row = 0;

    if (local_replica_find(member, replica->uid) != NULL)
        return STATUS_INVALID;
    while (row < LOCAL_REPLICAS_MAX && member->replicas[row] != NULL)
        row++;
    if (row == LOCAL_REPLICAS_MAX)
        return STATUS_FULL;
    member->replicas[row] = replica;
    for (uint32_t i = 0; result == STATUS_OK && i < replica->part_count; i++)
        result = part_watch(member, row, i);
    if (result != STATUS_OK) {
        row_clear(member, row);
        return result;
    }
    if (row >= member->replica_bound)
        member->replica_bound = row + 1;
    replica->pid = replica->parts[0].child.pid;
    replica->phase = MEMBER_REPLICA_RUNNING;
    replica->has_news = true;
    return STATUS_OK;
}

/* --- from any thread --- */

status local_stop(void *driver, uint64_t uid, uint64_t grace_ns, struct error_note *note)
{
    struct local_member *member = driver;
    struct local_replica *replica;
    uint64_t now_ns = clock_now_ns();

    (void)note;
    (void)pthread_mutex_lock(&member->lock);
    replica = local_replica_find(member, uid);
    if (replica != NULL && !replica->is_released && !local_replica_is_gone(replica)) {
        if (grace_ns == 0)
            local_replica_signal(replica, SIGKILL);
        else if (!replica->is_stopping)
            local_replica_signal(replica, SIGTERM);
        if (grace_ns != 0 && grace_ns < UINT64_MAX - now_ns && now_ns + grace_ns < replica->kill_ns)
            replica->kill_ns = now_ns + grace_ns;
        replica->has_news |= !replica->is_stopping;
        replica->is_stopping = true;
        replica->phase = MEMBER_REPLICA_STOPPING;
    }
    (void)pthread_mutex_unlock(&member->lock);
    local_wake(member);
    return STATUS_OK;
}

void local_member_signal(void *driver, uint64_t uid, int signal_number)
{
    struct local_member *member = driver;
    struct local_replica *replica;

    (void)pthread_mutex_lock(&member->lock);
    replica = local_replica_find(member, uid);
    if (replica != NULL && !replica->is_released)
        local_replica_signal(replica, signal_number);
    (void)pthread_mutex_unlock(&member->lock);
}

bool local_member_release(void *driver, uint64_t uid)
{
    struct local_member *member = driver;
    struct local_replica *replica;

    (void)pthread_mutex_lock(&member->lock);
    replica = local_replica_find(member, uid);
    if (replica != NULL) {
        replica->is_released = true;
        replica->kill_ns = UINT64_MAX;
    }
    (void)pthread_mutex_unlock(&member->lock);
    return replica != NULL;
}

/* False: no descriptor is free. */
static bool descriptor_copy(int descriptor, int *out)
{
    if (out == NULL)
        return true;
    *out = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    return *out >= 0;
}

status local_member_process(void *driver, uint64_t uid, uint32_t part, pid_t *pid, int *pid_fd,
                            int *lifeline_fd)
{
    struct local_member *member = driver;
    const struct local_replica *replica;
    const struct child *child;
    status result = STATUS_NOT_FOUND;

    (void)pthread_mutex_lock(&member->lock);
    replica = local_replica_find(member, uid);
    if (replica != NULL && part < replica->part_count && replica->parts[part].child.pid != 0) {
        child = &replica->parts[part].child;
        *pid = child->pid;
        result = descriptor_copy(child->pid_fd, pid_fd) ? STATUS_OK : STATUS_IO;
        if (result == STATUS_OK && !descriptor_copy(child->lifeline_fd, lifeline_fd)) {
            if (pid_fd != NULL)
                (void)close(*pid_fd);
            result = STATUS_IO;
        }
    }
    (void)pthread_mutex_unlock(&member->lock);
    return result;
}

/* --- taking over --- */

/* What it was bound to is what it has. */
static void part_fill(const struct local_member *member, const struct local_adopted_part *adopted,
                      struct local_part *part)
{
    const struct member_part *place = &adopted->place;
    const struct cpu_slice *slice = local_slice_cores(member, place->slice_id);

    local_part_place(part, place);
    if (slice != NULL && sched_getaffinity(adopted->pid, sizeof part->cores, &part->cores) == 0)
        CPU_AND(&part->cores, &part->cores, &slice->bind.cores);
    else
        CPU_ZERO(&part->cores);
    child_adopt(&part->child, adopted->pid, adopted->pid_fd, adopted->lifeline_fd);
}

static void descriptors_close(const struct local_adoption *adoption)
{
    for (uint32_t i = 0; i < adoption->part_count; i++) {
        (void)close(adoption->parts[i].pid_fd);
        (void)close(adoption->parts[i].lifeline_fd);
    }
}

status local_member_adopt(void *driver, const struct local_adoption *adoption)
{
    struct local_member *member = driver;
    struct local_replica *replica;
    status result;

    CHECK(adoption->part_count > 0 && adoption->part_count <= LOCAL_PARTS_MAX);
    replica = local_replica_create(adoption->uid, adoption->name, adoption->part_count);
    if (replica == NULL) {
        descriptors_close(adoption);
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < adoption->part_count; i++)
        part_fill(member, &adoption->parts[i], &replica->parts[i]);
    (void)pthread_mutex_lock(&member->lock);
    result = local_replica_insert(member, replica);
    (void)pthread_mutex_unlock(&member->lock);
    if (result != STATUS_OK)
        local_replica_free(replica);
    local_wake(member);
    return result == STATUS_INVALID ? STATUS_OK : result; /* it is there already */
}
