#ifndef PENSTOCK_EDGE_ADMIN_H
#define PENSTOCK_EDGE_ADMIN_H

#include "edge.h"

/* What the admin listener answers. Loop thread. */
void admin_replicas(struct edge_record *record, struct text_slice rest);
/* Each model's version, and what becomes of the next one. */
void admin_rollouts(struct edge_record *record, struct text_slice rest);
/* What the router would be told of a body, and whom it would pick; nothing is sent. */
void admin_route(struct edge_record *record, struct text_slice rest);
/* What the ledger has: ?by=&from=&to=&format=&organisation=&team=&key=&model= (usage_query.h). */
void admin_usage(struct edge_record *record, struct text_slice rest);
/* What has happened to requests: ?state=live|ended&limit=&model=, and to one of them. */
void admin_requests(struct edge_record *record, struct text_slice rest);
void admin_request(struct edge_record *record, struct text_slice rest);
/* The last steps of a replica, "MODEL/INDEX/flight", as `penstock flight` reads them. */
void admin_flight(struct edge_record *record, struct text_slice rest);
void admin_config(struct edge_record *record, struct text_slice rest);

/* Sets the gauges that mirror the replicas' states; before each scrape. */
void admin_collect(void *context);

#endif
