#ifndef PENSTOCK_EDGE_ROUTE_PLAN_H
#define PENSTOCK_EDGE_ROUTE_PLAN_H

#include "config.h"

/* The models that a request may go to, in order: the version that it gets of the model it asks for, then the fallbacks. Made once,
 * when the request comes, so that a reload in between changes nothing for it. Pure. */

#define ROUTE_PLAN_MAX 32u

struct route_plan {
    uint16_t models[ROUTE_PLAN_MAX]; /* indices; [count]; never one twice, none without replicas */
    uint32_t count, at;              /* `at`: where the request is now */
    uint32_t causes;                 /* bits of enum fallback_cause: on what it goes on */
};

/* `model`: index of the one that is asked for. `number`: the same for a session's requests, so that they stay with their
 * version; any number else. A version that is not taken is the first fallback of the one that is; then come the model's own
 * fallbacks, each with all its versions. */
void route_plan_make(const struct config *config, uint32_t model, uint64_t number,
                     struct route_plan *out);

/* The cause of an answer of the gateway or of a server: its status, and its body where that tells more. 0: no failure that
 * another model would mend. */
uint32_t route_plan_cause(int http_status, struct text_slice body);

/* Goes on to the next model if the plan has one and the failure is one of its causes. */
bool route_plan_next(struct route_plan *plan, uint32_t cause);

#endif
