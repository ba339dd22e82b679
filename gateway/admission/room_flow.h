#ifndef PENSTOCK_ADMISSION_ROOM_FLOW_H
#define PENSTOCK_ADMISSION_ROOM_FLOW_H

#include <stddef.h>

#include "waiting_room.h"

/* The tree of a band: organisations, their teams, their keys, each with its counter. A flow that
 * nobody waits in is kept for a while, so that leaving and coming back does not wipe out what was
 * served; the oldest go when there are more than FLOW_IDLE_MAX. One owner. */

#define FLOW_LEVEL_COUNT 3u /* organisation, team, key */
#define FLOW_IDLE_MAX    1024u
/* A token's cost in a counter, before it is divided by a weight of up to CALLER_WEIGHT_MAX: enough
 * that the quotient is never 0. 64 bits then last for 10^15 tokens of the smallest weight. */
#define FLOW_SCALE 16384u

struct room_flow {
    struct room_flow *parent; /* NULL: a band */
    struct rank_tree waiting; /* flows (or, in a key's, tickets) in which somebody waits */
    struct rank_node node;    /* in parent->waiting; major: the counter */
    uint64_t counter;
    uint64_t floor; /* counter of the last child that stopped waiting */
    uint32_t weight;
    uint32_t waiting_count;
    uint64_t waiting_cost, waiting_tokens;
    uint32_t taken_count; /* of a key's: tickets that are being served */
    float output_tokens;  /* of a key's: of its answers, a recent average; 0: not known */
    uint32_t user_count;  /* children that exist; of a key's: tickets */
    uint64_t id_low, id_high;
    struct room_flow *hash_next;
    struct room_flow *idle_next, *idle_before; /* keys that nobody uses, oldest first */
    bool is_idle;
};

struct flow_table {
    struct room_flow bands[WAITING_ROOM_BAND_COUNT];
    struct room_flow **heads; /* owned; [FLOW_HEAD_COUNT] */
    struct room_flow *idle_first, *idle_last;
    uint32_t idle_count;
    uint64_t next_minor; /* tells equal counters apart: by age */
};

NODISCARD status flow_table_init(struct flow_table *table);
void flow_table_deinit(struct flow_table *table);

/* The flow of the caller's key in a band, made if new, with one more user. NULL: no memory. */
struct room_flow *flow_acquire(struct flow_table *table, uint32_t band,
                               const struct caller *caller);
void flow_release(struct flow_table *table, struct room_flow *flow);

/* The same without making or using it; `path`: its organisation, team and key, NULL from where it
 * does not exist. */
void flow_find(const struct flow_table *table, uint32_t band, const struct caller *caller,
               struct room_flow *path[FLOW_LEVEL_COUNT]);

/* One more waits in the key's flow, or one less. */
void flow_waiting_add(struct room_flow *key, uint64_t cost, uint32_t tokens);
void flow_waiting_remove(struct room_flow *key, uint64_t cost, uint32_t tokens);

/* Adds to the counters of the key, its team and its organisation; takes off when negative. */
void flow_charge(struct room_flow *key, int64_t cost);

/* An answer of the key had so many tokens. */
void flow_note_output(struct room_flow *key, uint32_t tokens);

static inline struct room_flow *flow_of_node(struct rank_node *node)
{
    return (struct room_flow *)((char *)node - offsetof(struct room_flow, node));
}

#endif
