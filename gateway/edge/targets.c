#include "targets.h"

#include "check.h"
#include "join.h"
#include "memory.h"
#include "upstream.h"

#define IDLE_MAX 256u /* kept connections a loop and replica */

/* To a replica on another machine. */
struct linked_target {
    http_target *target;       /* owned; the link's remote outlives it */
    struct replica_link *link; /* counted */
    const struct edge_replica *replica;
    struct linked_target *next;
};

struct loop_targets {
    struct linked_target *linked; /* owned; all, also those that nobody sends to any more */
    struct slot_targets {
        http_target *fixed;           /* owned: the slot's socket, or a server that is not ours */
        struct linked_target *linked; /* the slot's link had this one when it was looked at */
    } slots[];                        /* [edge->replica_count] */
};

void targets_create(struct edge_loop *loop)
{
    const struct edge *edge = loop->edge;
    size_t bytes = sizeof(struct loop_targets) + edge->replica_count * sizeof(struct slot_targets);

    loop->targets = memory_allocate_array(1, bytes);
    CHECK(loop->targets != NULL);
    for (uint32_t id = 0; id < edge->replica_count; id++) {
        const struct edge_replica *replica = edge_replica_at(edge, id);
        const struct edge_upstream *upstream = replica->upstream;
        http_target **target = &loop->targets->slots[id].fixed;
        status result =
            upstream != NULL
                ? http_target_create_remote(loop->loop, upstream->remote, IDLE_MAX, target)
                : http_target_create(loop->loop, replica->address, IDLE_MAX, target);

        CHECK(result == STATUS_OK);
    }
}

static void linked_destroy(struct linked_target *linked)
{
    http_target_destroy(linked->target);
    replica_link_release(linked->link);
    memory_release(linked);
}

static struct linked_target *linked_create(struct edge_loop *loop,
                                           const struct edge_replica *replica)
{
    struct linked_target *linked = memory_allocate_array(1, sizeof(*linked));

    if (linked == NULL)
        return NULL;
    linked->replica = replica;
    linked->link = join_link(loop->edge, replica);
    if (linked->link != NULL && http_target_create_remote(loop->loop, linked->link->remote,
                                                          IDLE_MAX, &linked->target) == STATUS_OK)
        return linked;
    linked_destroy(linked);
    return NULL;
}

/* acquire, with the release in join.c: the link that has the number is there. */
static uint64_t link_number(const struct edge_replica *replica)
{
    return atomic_load_explicit(&replica->link, memory_order_acquire);
}

http_target *targets_get(struct edge_loop *loop, const struct edge_replica *replica)
{
    struct slot_targets *slot = &loop->targets->slots[replica->id];
    uint64_t number = link_number(replica);

    if (number == 0)
        return slot->fixed;
    if (slot->linked == NULL || slot->linked->link->number != number) {
        struct linked_target *linked = linked_create(loop, replica);

        /* The one before has exchanges, perhaps that which is on the stack now: it goes when control has told the loops. */
        slot->linked = linked;
        if (linked == NULL)
            return slot->fixed;
        linked->next = loop->targets->linked;
        loop->targets->linked = linked;
    }
    return slot->linked->target;
}

/* What ends may send again, and so make another one: they are ended when the list is as it should be. */
static void some_end(struct edge_loop *loop, bool is_all)
{
    struct linked_target **at = &loop->targets->linked, *ended = NULL, *linked;

    while ((linked = *at) != NULL) {
        struct slot_targets *slot = &loop->targets->slots[linked->replica->id];

        if (!is_all && linked->link->number == link_number(linked->replica)) {
            at = &linked->next;
            continue;
        }
        *at = linked->next;
        linked->next = ended;
        ended = linked;
        if (slot->linked == linked)
            slot->linked = NULL;
    }
    while ((linked = ended) != NULL) {
        ended = linked->next;
        linked_destroy(linked);
    }
}

void targets_prune(struct edge_loop *loop)
{
    some_end(loop, false);
}

void targets_close(struct edge_loop *loop)
{
    for (uint32_t id = 0; id < loop->edge->replica_count; id++) {
        http_target_destroy(loop->targets->slots[id].fixed);
        loop->targets->slots[id].fixed = NULL;
    }
    some_end(loop, true);
}

void targets_free(struct edge_loop *loop)
{
    memory_release(loop->targets);
}
