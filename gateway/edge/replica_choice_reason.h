#ifndef PENSTOCK_EDGE_REPLICA_CHOICE_REASON_H
#define PENSTOCK_EDGE_REPLICA_CHOICE_REASON_H

/* Why a request went to the replica that it went to. */
enum routing_reason {
    ROUTING_KEEPER,   /* it has what the request continues */
    ROUTING_ONLY_ONE, /* no other could take it */
    ROUTING_CACHE,    /* none has more of the prompt in its cache, and some have less */
    ROUTING_LOAD,     /* the first token should come first there, or it has the fewest requests */
    ROUTING_TURN,     /* one after the other (routing.policy: round_robin) */
    ROUTING_HASH,     /* where the session's number says (routing.policy: consistent_hash) */
    ROUTING_REASON_COUNT
};

#endif
