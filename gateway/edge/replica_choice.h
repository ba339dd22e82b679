#ifndef PENSTOCK_EDGE_REPLICA_CHOICE_H
#define PENSTOCK_EDGE_REPLICA_CHOICE_H

#include "edge.h"
#include "replica_choice_reason.h"
#include "route_body.h"
#include "router.h"

/* Which replica a request goes to: what is known of the request that bears on it, and the pick.
 * Loop thread; in the request's memory. */

/* A replica that has just failed is left alone for so long, unless it restarts. */
#define REPLICA_CHOICE_AVOID_NS (250 * NS_PER_MS)

struct replica_choice {
    struct edge_model *model;
    struct edge_replica *keeper; /* has the response that is asked for; NULL: any replica will do */
    enum router_policy policy;
    uint32_t version; /* that the replica must have; 0: any */
    bool has_group;   /* of a session: x-session-id, prompt_cache_key, user */
    uint64_t group;
    /* What the prompt is made of, and the names of its beginnings; no bytes, no names: nothing is known */
    uint64_t text_bytes;
    uint64_t *names; /* [name_count], in the request's memory */
    uint32_t name_count;
    /* What was reckoned when it was picked: the tokens to read, and whether no prompt was before it */
    uint32_t reading_tokens;
    bool is_read_alone;
    /* Of the last pick: why it was this one, and how much of the prompt its cache has */
    enum routing_reason reason;
    uint32_t prompt_tokens, matched_tokens;
    uint64_t picked_ns;
    struct request_story *story; /* where the decision is told; NULL: nowhere */
    /* the replica that failed last; NULL: none */
    const struct edge_replica *avoid;
    uint32_t avoid_generation;
    uint64_t avoid_until_ns;
};

/* The number of the session that the request is of: its x-session-id, prompt_cache_key or user. False: it is of none. */
bool replica_choice_session(const struct edge_record *record, const struct route_target *target,
                            uint64_t *number);

/* Takes from the request what the choice needs, once its model is known: also anew, when it goes to another one. `name` is what the
 * replica will read as the model's. The names of its beginnings are made only where there is more than one replica to choose
 * from. */
void replica_choice_learn(struct replica_choice *choice, const struct edge_record *record,
                          const struct route_target *target, struct text_slice name,
                          enum router_policy policy);

/* What the router is told of each replica of the model, and of the request; `out` has REPLICA_CHOICE_MAX. */
#define REPLICA_CHOICE_MAX                                                                         \
    96u /* slots of a model (config_model_slots) by the settings table's limit of 64 replicas */
void replica_choice_look(const struct replica_choice *choice, uint64_t now_ns,
                         struct router_candidate *out, struct router_request *request);

/* The replica that is to have the request now; the pick counts on it that the prompt will be read there. NULL: none can
 * take it now. A replica that has just failed counts as not ready until it has
 * restarted or the time is over: its death may not have been noticed yet. */
struct edge_replica *replica_choice_pick(struct replica_choice *choice, uint64_t now_ns);

/* The picked replica's first event has come: of a server elsewhere, what is learned of its pace. */
void replica_choice_first_event(const struct replica_choice *choice, struct edge_replica *replica,
                                uint64_t now_ns);

/* `replica` has failed in its `generation`: the next pick leaves it alone for a time. */
void replica_choice_avoid(struct replica_choice *choice, const struct edge_replica *replica,
                          uint32_t generation, uint64_t now_ns);

/* Whether a replica will be ready one day: a model whose replicas are all in a crash loop is told
 * apart, so that its clients do not wait for nothing. */
bool replica_choice_has_hope(const struct replica_choice *choice);

/* How long until a replica of the model should be ready: what a client that is refused is told to wait. */
uint64_t replica_choice_retry_ms(const struct replica_choice *choice, uint64_t now_ns);

#endif
