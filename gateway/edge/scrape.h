#ifndef PENSTOCK_EDGE_SCRAPE_H
#define PENSTOCK_EDGE_SCRAPE_H

#include "metrics.h"
#include "status.h"
#include "text_slice.h"

/* GET /metrics: a thread of its own makes the page, so that however long it is, no loop stands still for it. */

struct edge_record;
struct scraper;
struct scrape; /* one request's page; owned by the request */

/* `registry`: borrowed. STATUS_OK, STATUS_NO_MEMORY. Main. */
NODISCARD status scraper_create(metrics_registry *registry, struct scraper **out);
/* What still waits is not made any more. While the loops run, which take what has been made, and before anything ends that is
 * collected from (metrics_on_scrape). Main. */
void scraper_stop(struct scraper *scraper);
/* After the loops have ended. Stops it, if it runs. Accepts NULL. Main. */
void scraper_destroy(struct scraper *scraper);

/* The route. Loop. */
void admin_metrics(struct edge_record *record, struct text_slice rest);
/* The request is over. Accepts NULL. Loop. */
void scrape_release(struct scrape *scrape);

#endif
