#ifndef PENSTOCK_EDGE_REQUEST_STORIES_H
#define PENSTOCK_EDGE_REQUEST_STORIES_H

#include "attempt.h"
#include "edge.h"
#include "request_story.h"
#include "router.h"

/* What the gateway writes into the stories of its requests (request_story.h). Every function does nothing where the record has no
 * story. Loop thread. */

struct replica_choice;

/* Its caller is known, and it is one that is passed on to a model: it has a story from now on, if there is memory. */
void request_stories_begin(struct edge_record *record);
/* It has gone to the proxy, within its limits. */
void request_stories_admit(const struct proxy *proxy);
/* It goes to a model: the first one, or the next one of its plan. */
void request_stories_model(const struct proxy *proxy);
/* Where it stands in the waiting room, if a sample is due. */
void request_stories_place(struct proxy *proxy, uint64_t now_ns);
/* An exchange with attempt->replica begins, and ends; the end's result, where it is known by then, was noted before. */
void request_stories_attempt(const struct proxy *proxy, struct attempt *attempt);
void request_stories_result(struct attempt *attempt, status result);
void request_stories_not_sent(struct attempt *attempt);
void request_stories_attempt_end(const struct proxy *proxy, struct attempt *attempt);
/* The head of the answer of proxy->attempt has come. */
void request_stories_head(const struct proxy *proxy);
/* The end, after its limits are settled and before its proxy is released: the sinks are told. */
void request_stories_end(struct edge_record *record, uint64_t now_ns);

/* What the router was told, and whom it picked (ROUTER_NONE: none); candidates as they were before any was taken out for its version
 * (decision_story.c). */
void request_stories_decide(struct request_story *story, const struct replica_choice *choice,
                            const struct router_candidate *candidates,
                            const struct router_request *request, uint32_t picked, uint64_t now_ns);

#endif
