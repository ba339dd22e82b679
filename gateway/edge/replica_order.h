#ifndef PENSTOCK_EDGE_REPLICA_ORDER_H
#define PENSTOCK_EDGE_REPLICA_ORDER_H

#include "edge.h"
#include "member.h"
#include "pool_members.h"
#include "replica_paths.h"

/* What a replica's order says: the program's arguments, its environment, the files that it opens. */

struct replica_order_texts {
    const char *config_file, *config_copy; /* the copy is what replicas on this machine read */
    bool has_model_path;                   /* the models' paths come from the command line */
};

/* What an order points to, until the next one is written. */
struct replica_order_memory {
    arena *texts;
    struct buffer environment;
};
NODISCARD status replica_order_memory_init(struct replica_order_memory *memory);
void replica_order_memory_deinit(struct replica_order_memory *memory);

/* Fills program, environment, files and name, for a replica on this machine or on another, on a slice of `vendor`'s. STATUS_OK, STATUS_NO_MEMORY, STATUS_TOO_LARGE,
 * and join_order's. Thread: control. */
NODISCARD status replica_order_write(struct edge *edge, struct edge_replica *replica, uint64_t uid,
                                     const struct config_member *member, enum slice_vendor vendor,
                                     const struct replica_order_texts *texts,
                                     struct replica_order_memory *memory, struct member_order *out);

#endif
