#include "room_flow.h"

#include <string.h>

#include "check.h"
#include "hash.h"
#include "memory.h"

#define FLOW_HEAD_COUNT 1024u /* about as many as flows, in a busy room */

/* --- making and finding --- */

status flow_table_init(struct flow_table *table)
{
    *table = (struct flow_table){0};
    table->heads = memory_allocate_array(FLOW_HEAD_COUNT, sizeof(struct room_flow *));
    return table->heads != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void flow_table_deinit(struct flow_table *table)
{
    for (uint32_t i = 0; table->heads != NULL && i < FLOW_HEAD_COUNT; i++) {
        struct room_flow *next;

        for (struct room_flow *flow = table->heads[i]; flow != NULL; flow = next) {
            next = flow->hash_next;
            memory_release(flow);
        }
    }
    memory_release(table->heads);
    *table = (struct flow_table){0};
}

/* A flow is known by the hash of its name under its parent: 128 bits under a fixed key tell any
 * names apart that an operator would give. */
static struct hash128 flow_id(const struct room_flow *parent, const char *name)
{
    const struct hash_key key = {(uint64_t)(uintptr_t)parent, 0x726f6f6d20666c6full};

    return hash128(&key, name, strlen(name));
}

static struct room_flow *child_find(const struct flow_table *table, const struct room_flow *parent,
                                    struct hash128 id)
{
    struct room_flow *flow = table->heads[id.low % FLOW_HEAD_COUNT];

    while (flow != NULL &&
           (flow->parent != parent || flow->id_low != id.low || flow->id_high != id.high))
        flow = flow->hash_next;
    return flow;
}

static struct room_flow *child_acquire(struct flow_table *table, struct room_flow *parent,
                                       const char *name, uint32_t weight)
{
    struct hash128 id = flow_id(parent, name);
    struct room_flow *flow = child_find(table, parent, id);

    if (flow == NULL) {
        flow = memory_allocate_array(1, sizeof(*flow));
        if (flow == NULL)
            return NULL;
        flow->parent = parent;
        flow->id_low = id.low;
        flow->id_high = id.high;
        flow->node.minor = table->next_minor++;
        flow->hash_next = table->heads[id.low % FLOW_HEAD_COUNT];
        table->heads[id.low % FLOW_HEAD_COUNT] = flow;
        parent->user_count++;
    }
    flow->weight = weight > 0 ? weight : 1; /* the latest word: a reload may change it */
    return flow;
}

static void names_of(const struct caller *caller, const char *names[FLOW_LEVEL_COUNT])
{
    names[0] = caller->organisation;
    names[1] = caller->team;
    names[2] = caller->key_id[0] != '\0' ? caller->key_id : caller->name;
}

static void idle_remove(struct flow_table *table, struct room_flow *flow)
{
    if (!flow->is_idle)
        return;
    *(flow->idle_before != NULL ? &flow->idle_before->idle_next : &table->idle_first) =
        flow->idle_next;
    *(flow->idle_next != NULL ? &flow->idle_next->idle_before : &table->idle_last) =
        flow->idle_before;
    flow->idle_next = flow->idle_before = NULL;
    flow->is_idle = false;
    table->idle_count--;
}

/* Frees a flow that nothing hangs on, and what of its parents then is so too. */
static void flow_free(struct flow_table *table, struct room_flow *flow)
{
    while (flow->parent != NULL && flow->user_count == 0) {
        struct room_flow *parent = flow->parent, **link;

        idle_remove(table, flow);
        link = &table->heads[flow->id_low % FLOW_HEAD_COUNT];
        while (*link != flow)
            link = &(*link)->hash_next;
        *link = flow->hash_next;
        memory_release(flow);
        parent->user_count--;
        flow = parent;
    }
}

struct room_flow *flow_acquire(struct flow_table *table, uint32_t band, const struct caller *caller)
{
    const uint32_t weights[FLOW_LEVEL_COUNT] = {caller->organisation_weight, caller->team_weight,
                                                caller->key_weight};
    const char *names[FLOW_LEVEL_COUNT];
    struct room_flow *flow = &table->bands[band];

    names_of(caller, names);
    for (uint32_t level = 0; level < FLOW_LEVEL_COUNT; level++) {
        struct room_flow *child = child_acquire(table, flow, names[level], weights[level]);

        if (child == NULL) {
            flow_free(table, flow);
            return NULL;
        }
        flow = child;
    }
    idle_remove(table, flow);
    flow->user_count++;
    return flow;
}

void flow_release(struct flow_table *table, struct room_flow *flow)
{
    CHECK(flow->user_count > 0);
    if (--flow->user_count > 0)
        return;
    flow->is_idle = true;
    flow->idle_before = table->idle_last;
    *(table->idle_last != NULL ? &table->idle_last->idle_next : &table->idle_first) = flow;
    table->idle_last = flow;
    if (++table->idle_count > FLOW_IDLE_MAX)
        flow_free(table, table->idle_first);
}

void flow_find(const struct flow_table *table, uint32_t band, const struct caller *caller,
               struct room_flow *path[FLOW_LEVEL_COUNT])
{
    const struct room_flow *flow = &table->bands[band];
    const char *names[FLOW_LEVEL_COUNT];

    names_of(caller, names);
    for (uint32_t level = 0; level < FLOW_LEVEL_COUNT; level++) {
        path[level] = flow != NULL ? child_find(table, flow, flow_id(flow, names[level])) : NULL;
        flow = path[level];
    }
}

/* --- waiting and counters --- */

static void stand(struct room_flow *flow)
{
    flow->node.major = flow->counter;
    rank_tree_insert(&flow->parent->waiting, &flow->node);
}

/* To the smallest counter of those that wait, or to that of the last one that did. */
static void lift(struct room_flow *flow)
{
    const struct rank_node *first = rank_tree_first(&flow->parent->waiting);
    uint64_t least = first != NULL ? first->major : flow->parent->floor;

    if (flow->counter < least)
        flow->counter = least;
}

void flow_waiting_add(struct room_flow *key, uint64_t cost, uint32_t tokens)
{
    for (struct room_flow *flow = key; flow != NULL; flow = flow->parent) {
        if (flow->waiting_count++ == 0 && flow->parent != NULL) {
            lift(flow);
            stand(flow);
        }
        flow->waiting_cost += cost;
        flow->waiting_tokens += tokens;
    }
}

void flow_waiting_remove(struct room_flow *key, uint64_t cost, uint32_t tokens)
{
    for (struct room_flow *flow = key; flow != NULL; flow = flow->parent) {
        CHECK(flow->waiting_count > 0);
        flow->waiting_cost -= cost;
        flow->waiting_tokens -= tokens;
        if (--flow->waiting_count > 0 || flow->parent == NULL)
            continue;
        rank_tree_remove(&flow->parent->waiting, &flow->node);
        flow->parent->floor = flow->counter;
    }
}

void flow_charge(struct room_flow *key, int64_t cost)
{
    for (struct room_flow *flow = key; flow->parent != NULL; flow = flow->parent) {
        bool is_waiting = rank_node_is_in(&flow->node);
        uint64_t amount = (uint64_t)(cost < 0 ? -cost : cost) * FLOW_SCALE / flow->weight;

        if (is_waiting)
            rank_tree_remove(&flow->parent->waiting, &flow->node);
        if (cost >= 0)
            flow->counter += amount;
        else
            flow->counter -= amount < flow->counter ? amount : flow->counter;
        if (is_waiting)
            stand(flow);
    }
}

/* An answer's weight in the average of its key: the last ten or so count. */
#define OUTPUT_WEIGHT 0.2f

void flow_note_output(struct room_flow *key, uint32_t tokens)
{
    float newest = tokens > 0 ? (float)tokens : 1.0f; /* 0 is for not known */

    key->output_tokens = key->output_tokens == 0.0f
                             ? newest
                             : key->output_tokens + OUTPUT_WEIGHT * (newest - key->output_tokens);
}
