/* The waiting room
 *
 *   band -8 ... band 8
 *     `- organisation  --.  each level a tree by counter (rank_tree), in which
 *          `- team       |  only those stand in whom somebody waits
 *               `- key --'
 *                   `- tickets, by deadline and arrival
 *
 * Taking the next request walks from the first band that is not empty down the smallest counters:
 * O(log n) a level. What a request costs is added to the counters of its key, team and
 * organisation at once, so that a key with a hundred requests does not get them all before the
 * first of them has ended; what it really costs follows as it is delivered, and when it ends. */
#include "waiting_room.h"

#include <stddef.h>

#include "check.h"
#include "memory.h"
#include "room_flow.h"

struct waiting_room {
    struct waiting_room_policy policy;
    struct flow_table flows;
    uint64_t next_arrival;
    uint32_t count;
    uint64_t tokens;
};

/* --- life --- */

status waiting_room_create(const struct waiting_room_policy *policy, waiting_room **out)
{
    waiting_room *room = memory_allocate_array(1, sizeof(*room));

    if (room == NULL)
        return STATUS_NO_MEMORY;
    room->policy = *policy;
    if (flow_table_init(&room->flows) != STATUS_OK) {
        memory_release(room);
        return STATUS_NO_MEMORY;
    }
    *out = room;
    return STATUS_OK;
}

void waiting_room_destroy(waiting_room *room)
{
    if (room == NULL)
        return;
    flow_table_deinit(&room->flows);
    memory_release(room);
}

void waiting_room_set_policy(waiting_room *room, const struct waiting_room_policy *policy)
{
    room->policy = *policy;
}

/* --- figures --- */

int32_t waiting_room_band(const struct admission_request *request)
{
    int32_t priority = request->priority;

    if (priority < request->caller->priority_max)
        priority = request->caller->priority_max;
    if (priority < -WAITING_ROOM_BAND_HALF)
        return -WAITING_ROOM_BAND_HALF;
    return priority > WAITING_ROOM_BAND_HALF ? WAITING_ROOM_BAND_HALF : priority;
}

static uint32_t band_index(int32_t band)
{
    return (uint32_t)(band + WAITING_ROOM_BAND_HALF);
}

uint64_t waiting_room_cost(const waiting_room *room, uint32_t prompt_tokens, uint32_t output_tokens)
{
    double cost =
        room->policy.prompt_weight * prompt_tokens + room->policy.output_weight * output_tokens;

    return cost < 1 ? 1 : (uint64_t)cost;
}

uint32_t waiting_room_count(const waiting_room *room)
{
    return room->count;
}

uint64_t waiting_room_tokens(const waiting_room *room)
{
    return room->tokens;
}

uint32_t waiting_room_band_count(const waiting_room *room, int32_t band)
{
    return room->flows.bands[band_index(band)].waiting_count;
}

/* --- in and out --- */

static struct waiting_ticket *ticket_of(struct rank_node *node)
{
    return CONTAINER_OF(node, struct waiting_ticket, node);
}

static void stop_waiting(waiting_room *room, struct waiting_ticket *ticket)
{
    rank_tree_remove(&ticket->flow->waiting, &ticket->node);
    flow_waiting_remove(ticket->flow, ticket->charged, ticket->tokens);
    room->count--;
    room->tokens -= ticket->tokens;
}

static void forget(waiting_room *room, struct waiting_ticket *ticket)
{
    flow_release(&room->flows, ticket->flow);
    ticket->flow = NULL;
    ticket->state = TICKET_OUT;
}

/* The key whose turn it is. */
static struct room_flow *key_next(const waiting_room *room)
{
    const struct room_flow *band = room->flows.bands;
    struct room_flow *flow;

    while (band->waiting_count == 0)
        band++;
    flow = flow_of_node(rank_tree_first(&band->waiting));
    for (uint32_t level = 1; level < FLOW_LEVEL_COUNT; level++)
        flow = flow_of_node(rank_tree_first(&flow->waiting));
    return flow;
}

/* Which keys may have the next slot. */
struct wish {
    bool is_for_newcomers;
    waiting_ticket_test *may; /* NULL: any */
    const void *context;
};

static bool wish_is_met(const struct wish *wish, const struct room_flow *key)
{
    if (wish->is_for_newcomers && key->taken_count > 0)
        return false;
    return wish->may == NULL || wish->may(ticket_of(rank_tree_first(&key->waiting)), wish->context);
}

/* Of the children that wait, in their order, the first key that may have the slot. */
static struct room_flow *child_next(const struct room_flow *flow, uint32_t level,
                                    const struct wish *wish)
{
    for (struct rank_node *node = rank_tree_first(&flow->waiting); node != NULL;
         node = rank_tree_after(node)) {
        struct room_flow *child = flow_of_node(node);

        /* As deep as the hierarchy, and no deeper. */
        if (level + 1 < FLOW_LEVEL_COUNT)
            child = child_next(child, level + 1, wish);
        else if (!wish_is_met(wish, child))
            child = NULL;
        if (child != NULL)
            return child;
    }
    return NULL;
}

/* Linear in the keys that may not. */
static struct room_flow *key_next_of(const waiting_room *room, const struct wish *wish)
{
    struct room_flow *found = NULL;

    for (uint32_t band = 0; band < WAITING_ROOM_BAND_COUNT && found == NULL; band++)
        found = child_next(&room->flows.bands[band], 0, wish);
    return found;
}

struct waiting_ticket *waiting_room_take(waiting_room *room, bool is_for_newcomers)
{
    return waiting_room_take_if(room, is_for_newcomers, NULL, NULL);
}

struct waiting_ticket *waiting_room_take_if(waiting_room *room, bool is_for_newcomers,
                                            waiting_ticket_test *may, const void *context)
{
    const struct wish wish = {is_for_newcomers, may, context};
    struct waiting_ticket *ticket;
    struct room_flow *flow;

    if (room->count == 0)
        return NULL;
    flow = is_for_newcomers || may != NULL ? key_next_of(room, &wish) : key_next(room);
    if (flow == NULL)
        return NULL;
    ticket = ticket_of(rank_tree_first(&flow->waiting));
    /* Charged while it still waits: who stops waiting leaves its counter behind as the floor. */
    flow_charge(flow, (int64_t)ticket->charged);
    stop_waiting(room, ticket);
    flow->taken_count++;
    ticket->state = TICKET_TAKEN;
    return ticket;
}

/* Its charge is `cost` from now on. */
static void recharge(struct waiting_ticket *ticket, uint64_t cost)
{
    flow_charge(ticket->flow, (int64_t)cost - (int64_t)ticket->charged);
    ticket->charged = cost;
}

static uint32_t uncached_tokens(const struct request_usage *usage)
{
    return usage->prompt_tokens - usage->cached_tokens;
}

void waiting_room_deliver(waiting_room *room, struct waiting_ticket *ticket,
                          const struct admission_request *request,
                          const struct request_usage *usage)
{
    uint32_t output = usage->completion_tokens > request->output_tokens ? usage->completion_tokens
                                                                        : request->output_tokens;

    CHECK(ticket->state == TICKET_TAKEN);
    recharge(ticket, waiting_room_cost(room, uncached_tokens(usage), output));
}

uint32_t waiting_room_output_tokens(const waiting_room *room,
                                    const struct admission_request *request)
{
    struct room_flow *path[FLOW_LEVEL_COUNT];
    const struct room_flow *key;

    flow_find(&room->flows, band_index(waiting_room_band(request)), request->caller, path);
    key = path[FLOW_LEVEL_COUNT - 1];
    return key != NULL ? (uint32_t)key->output_tokens : 0;
}

void waiting_room_leave(waiting_room *room, struct waiting_ticket *ticket,
                        const struct request_usage *usage)
{
    if (ticket->state == TICKET_WAITING) {
        stop_waiting(room, ticket);
    } else if (ticket->state == TICKET_TAKEN && usage != NULL && usage->is_known) {
        recharge(ticket, waiting_room_cost(room, uncached_tokens(usage), usage->completion_tokens));
        flow_note_output(ticket->flow, usage->completion_tokens);
    }
    if (ticket->state == TICKET_TAKEN)
        ticket->flow->taken_count--;
    if (ticket->state != TICKET_OUT)
        forget(room, ticket);
}

void waiting_room_charge(waiting_room *room, const struct admission_request *request, uint64_t cost)
{
    struct room_flow *path[FLOW_LEVEL_COUNT];

    flow_find(&room->flows, band_index(waiting_room_band(request)), request->caller, path);
    /* Who has never waited is lifted when it does: there is nothing to charge it to. */
    if (path[FLOW_LEVEL_COUNT - 1] != NULL)
        flow_charge(path[FLOW_LEVEL_COUNT - 1], (int64_t)cost);
}

/* --- when it is full --- */

static bool fits(const waiting_room *room, uint32_t tokens)
{
    return room->count < room->policy.requests_max &&
           (room->tokens + tokens <= room->policy.tokens_max || room->count == 0);
}

/* The child in which the most waits, over its weight. Linear: only a full room looks. */
static struct room_flow *heaviest(const struct room_flow *flow)
{
    struct room_flow *most = NULL;

    for (struct rank_node *node = rank_tree_first(&flow->waiting); node != NULL;
         node = rank_tree_after(node)) {
        struct room_flow *child = flow_of_node(node);

        if (most == NULL || child->waiting_cost * most->weight > most->waiting_cost * child->weight)
            most = child;
    }
    return most;
}

/* The ticket that has to go for a newcomer; NULL: the newcomer itself. `path` is the newcomer's. */
static struct waiting_ticket *victim_find(waiting_room *room, uint32_t band, uint64_t cost,
                                          struct room_flow *const path[FLOW_LEVEL_COUNT])
{
    struct room_flow *flow;
    uint32_t lowest = WAITING_ROOM_BAND_COUNT - 1;
    bool is_own = true;

    while (lowest > 0 && room->flows.bands[lowest].waiting_count == 0)
        lowest--;
    flow = &room->flows.bands[lowest];
    if (flow->waiting_count == 0 || lowest < band)
        return NULL;
    if (lowest > band)
        is_own = false;
    for (uint32_t level = 0; level < FLOW_LEVEL_COUNT; level++) {
        struct room_flow *most = heaviest(flow), *own = path[level];
        uint64_t own_cost = (own != NULL ? own->waiting_cost : 0) + cost;
        uint32_t own_weight = own != NULL ? own->weight : most->weight;

        /* With it the newcomer would have as much as who has the most: it is its turn to go. */
        if (is_own && most != own && own_cost * most->weight >= most->waiting_cost * own_weight)
            return NULL;
        is_own = is_own && most == own;
        flow = most;
    }
    return is_own ? NULL : ticket_of(rank_tree_last(&flow->waiting));
}

/* Whether there is a place now; those who had to go for it are in `pushed_out`. */
static bool make_place(waiting_room *room, uint32_t band, uint64_t cost, uint32_t tokens,
                       const struct caller *caller, struct waiting_ticket **pushed_out)
{
    struct room_flow *path[FLOW_LEVEL_COUNT];

    if (fits(room, tokens))
        return true;
    while (!fits(room, tokens)) {
        struct waiting_ticket *victim;

        flow_find(&room->flows, band, caller, path);
        victim = victim_find(room, band, cost, path);
        if (victim == NULL)
            return false;
        stop_waiting(room, victim);
        forget(room, victim);
        victim->next = *pushed_out;
        *pushed_out = victim;
    }
    return true;
}

status waiting_room_enter(waiting_room *room, struct waiting_ticket *ticket,
                          const struct admission_request *request,
                          struct waiting_ticket **pushed_out)
{
    int32_t band = waiting_room_band(request);
    uint64_t cost = waiting_room_cost(room, request->prompt_tokens, request->output_tokens);

    CHECK(ticket->state == TICKET_OUT);
    *pushed_out = NULL;
    if (!make_place(room, band_index(band), cost, request->prompt_tokens, request->caller,
                    pushed_out))
        return STATUS_FULL;
    ticket->flow = flow_acquire(&room->flows, band_index(band), request->caller);
    if (ticket->flow == NULL)
        return STATUS_NO_MEMORY;
    ticket->state = TICKET_WAITING;
    ticket->band = band;
    ticket->tokens = request->prompt_tokens;
    ticket->charged = cost;
    ticket->node = (struct rank_node){
        .major = request->deadline_ns, .minor = room->next_arrival++, .cost = cost};
    rank_tree_insert(&ticket->flow->waiting, &ticket->node);
    flow_waiting_add(ticket->flow, cost, ticket->tokens);
    room->count++;
    room->tokens += ticket->tokens;
    return STATUS_OK;
}

/* --- where one stands --- */

/* Siblings of `flow`: while `ahead` of its own requests and the one in question are served, each of
 * them has as many served as its weight is to the flow's, if it has so many. */
static void siblings_add(const struct room_flow *flow, double *ahead, double *cost)
{
    double turns = *ahead + 1;

    for (struct rank_node *node = rank_tree_first(&flow->parent->waiting); node != NULL;
         node = rank_tree_after(node)) {
        const struct room_flow *other = flow_of_node(node);
        double served, behind;

        if (other == flow)
            continue;
        /* Of the last turn only who is before it by its counter is served. */
        behind = other->counter < flow->counter ||
                         (other->counter == flow->counter && other->node.minor < flow->node.minor)
                     ? turns
                     : turns - 1;
        served = behind * other->weight / flow->weight;
        if (served > other->waiting_count)
            served = other->waiting_count;
        *ahead += served;
        *cost += (double)other->waiting_cost * served / other->waiting_count;
    }
}

struct waiting_place waiting_room_place(const waiting_room *room,
                                        const struct waiting_ticket *ticket)
{
    uint32_t before;
    uint64_t before_cost;
    double ahead, cost;

    CHECK(ticket->state == TICKET_WAITING);
    rank_tree_before(&ticket->node, &before, &before_cost);
    ahead = before;
    cost = (double)before_cost;
    for (const struct room_flow *flow = ticket->flow; flow->parent != NULL; flow = flow->parent)
        siblings_add(flow, &ahead, &cost);
    for (uint32_t band = 0; band < band_index(ticket->band); band++) {
        ahead += room->flows.bands[band].waiting_count;
        cost += (double)room->flows.bands[band].waiting_cost;
    }
    return (struct waiting_place){(uint32_t)(ahead + 0.5), cost};
}
