/* Groups of ranks: how they meet and how they fail; and which kind of communicator a backend gets.
 *
 * A group that has failed never meets again: those who wait are sent away, and counts stay as they are. */

#include "communicator.h"

#include <string.h>

#include "backend.h"
#include "check.h"
#include "communicator_group.h"
#include "log.h"
#include "memory.h"

#define AREA "kernels/communicator"

/* --- the group --- */

status communicator_group_create(uint32_t size, communicator_group **out)
{
    CHECK(size > 0 && size <= COMMUNICATOR_RANKS_MAX);
    communicator_group *group = memory_allocate_array(1, sizeof *group);
    if (group == NULL)
        return STATUS_NO_MEMORY;
    group->size = size;
    int rc = pthread_mutex_init(&group->lock, NULL);
    CHECK(rc == 0);
    *out = group;
    return STATUS_OK;
}

void communicator_group_destroy(communicator_group *group)
{
    if (group == NULL)
        return;
    for (uint32_t i = 0; i < group->size; i++)
        CHECK(group->members[i] == NULL);
    pthread_mutex_destroy(&group->lock);
    memory_release(group);
}

status communicator_group_status(const communicator_group *group)
{
    return (status)atomic_load_explicit(&group->failure, memory_order_acquire);
}

/* Devices are told under the lock, so that none is closed meanwhile; what they do there never comes back here. */
void communicator_group_fail(communicator_group *group, status why)
{
    CHECK(why != STATUS_OK);
    int expected = STATUS_OK;
    if (!atomic_compare_exchange_strong(&group->failure, &expected, (int)why))
        return;
    parking_signal(&group->parking);
    pthread_mutex_lock(&group->lock);
    for (uint32_t i = 0; i < group->size; i++) {
        communicator *c = group->members[i];
        if (c != NULL && c->operations->abort != NULL)
            c->operations->abort(c);
    }
    pthread_mutex_unlock(&group->lock);
}

struct waiting {
    const communicator_group *group;
    uint32_t meeting;
};

static bool is_over(void *context)
{
    const struct waiting *waiting = context;
    /* Acquire pairs with the release of the last to arrive. */
    return atomic_load_explicit(&waiting->group->meetings, memory_order_acquire) !=
               waiting->meeting ||
           communicator_group_status(waiting->group) != STATUS_OK;
}

status communicator_group_meet(communicator_group *group)
{
    uint32_t meeting = atomic_load_explicit(&group->meetings, memory_order_relaxed);
    if (communicator_group_status(group) != STATUS_OK)
        return communicator_group_status(group);
    /* Acquire and release: each arrival is seen by the last, who passes all of them on. */
    if (atomic_fetch_add_explicit(&group->arrived, 1, memory_order_acq_rel) + 1 == group->size) {
        atomic_store_explicit(&group->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&group->meetings, meeting + 1, memory_order_release);
        parking_signal(&group->parking);
    } else {
        struct waiting waiting = {group, meeting};
        parking_spin_until(&group->parking, is_over, &waiting);
    }
    return communicator_group_status(group);
}

/* --- a rank's end --- */

static status meet_to_open(communicator_group *group, struct error_note *note)
{
    status s = communicator_group_meet(group);
    if (s == STATUS_OK)
        return STATUS_OK;
    error_note_set(note, "another rank failed (%s)", status_name(s));
    return STATUS_CLOSED;
}

/* Rank 0 makes an id where the devices have a kind of their own. */
static void make_id(communicator_group *group, backend *b, uint32_t rank)
{
    struct error_note note;
    if (rank == 0 && b->operations->communicator_id != NULL) {
        group->has_id = b->operations->communicator_id(group->id, &note) == STATUS_OK;
        if (!group->has_id)
            log_warn(AREA, "ranks speak through the host: %s", note.text);
    }
}

static status create(const communicator_group *group, backend *b, uint32_t rank,
                     uint64_t floats_max, communicator **out, struct error_note *note)
{
    const struct communicator_place place = {group->id, rank, group->size, floats_max};
    if (group->has_id && b->operations->communicator_open != NULL)
        return b->operations->communicator_open(b, &place, out, note);
    status s = host_communicator_create(b, rank, floats_max, out);
    if (s != STATUS_OK)
        error_note_set(note, "no memory for what ranks exchange");
    return s;
}

static status join(communicator_group *group, backend *b, uint32_t rank, uint64_t floats_max,
                   communicator **out, struct error_note *note)
{
    communicator *c;
    make_id(group, b, rank);
    status s = meet_to_open(group, note); /* all learn whether there is an id */
    if (s == STATUS_OK)
        s = create(group, b, rank, floats_max, &c, note);
    if (s != STATUS_OK)
        return s;
    c->b = b;
    c->group = group;
    c->rank = rank;
    c->size = group->size;
    pthread_mutex_lock(&group->lock);
    CHECK(group->members[rank] == NULL);
    group->members[rank] = c;
    pthread_mutex_unlock(&group->lock);
    *out = c;
    return STATUS_OK;
}

status communicator_open(communicator_group *group, backend *b, uint32_t rank, uint64_t floats_max,
                         communicator **out, struct error_note *note)
{
    CHECK(rank < group->size);
    communicator *c = NULL;
    status s = join(group, b, rank, floats_max, &c, note);
    if (s == STATUS_OK)
        s = meet_to_open(group, note);
    if (s != STATUS_OK) {
        communicator_group_fail(group, s);
        communicator_close(c);
        return s;
    }
    *out = c;
    return STATUS_OK;
}

void communicator_close(communicator *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->group->lock);
    c->group->members[c->rank] = NULL;
    pthread_mutex_unlock(&c->group->lock);
    c->operations->destroy(c);
}

void communicator_all_reduce_sum(communicator *c, float *x, uint64_t count)
{
    if (communicator_group_status(c->group) == STATUS_OK)
        c->operations->all_reduce_sum(c, x, count);
}

void communicator_gather_columns(communicator *c, const struct column_share *share)
{
    if (communicator_group_status(c->group) == STATUS_OK)
        c->operations->gather_columns(c, share);
}

status communicator_barrier(communicator *c)
{
    return communicator_group_meet(c->group);
}

status communicator_check(communicator *c)
{
    status s = communicator_group_status(c->group);
    if (s == STATUS_OK && c->operations->check != NULL) {
        s = c->operations->check(c);
        if (s != STATUS_OK)
            communicator_group_fail(c->group, s);
    }
    return s;
}
