#ifndef PENSTOCK_EDGE_HEDGE_H
#define PENSTOCK_EDGE_HEDGE_H

#include "attempt.h"
#include "config.h"
#include "stored_replica.h"

/* A second copy of a streaming request, for classes that ask for it (models[].hedge): where no first byte has come in the time
 * that is set, another replica gets the request too; the first to answer has it, and the other is cancelled at
 * once. A copy is paid from the budget of retries, takes no slot of its own, and what the one that is cancelled has done
 * counts for nobody. Loop thread; part of struct proxy. */
struct hedge {
    uint64_t after_ns; /* 0: never */
    double quantile;   /* that the model's first tokens are tracked at; 0: none */
    bool is_sent;      /* once for a request */
    struct http_timer timer;
    struct attempt attempt;            /* its exchange; NULL: none is under way */
    char number[STORED_REPLICA_BYTES]; /* of its replica */
};

struct proxy;

/* What the model's class says of the request; called anew when it goes to another model. */
void hedge_init(struct proxy *proxy, const struct config_model *row);
/* The request has been sent; it may be sent to another replica too if nothing comes. */
void hedge_arm(struct proxy *proxy);
/* Nothing more is wanted of the copy. May be called at any time. */
void hedge_cancel(struct proxy *proxy);

/* An answer's head has come. A good one decides: its exchange is proxy->attempt's from now on. False: it is the copy's, and is
 * no good; the exchange is dead. */
bool hedge_meet_head(struct proxy *proxy, const http_exchange *exchange, int status_code);
/* True: the copy's exchange has ended, before it had an answer. */
bool hedge_meet_end(struct proxy *proxy, const http_exchange *exchange, status result);
/* The request's own exchange has ended without a good answer. True: the copy stands in for it. */
bool hedge_take_over(struct proxy *proxy);
/* The first event of an answer has come. */
void hedge_note_first(struct proxy *proxy, uint64_t now_ns);

#endif
