#ifndef PENSTOCK_TOP_FACTS_H
#define PENSTOCK_TOP_FACTS_H

#include <jansson.h>
#include <stdbool.h>

#include "status.h"
#include "top.h"

/* What the admin API has said in one reading. Answers are as they came: what is missing in them is shown as unknown, as the
 * gateway may be of another version. NULL: the gateway has no such thing. One owner. */

enum fact {
    FACT_REPLICAS,  /* /admin/replicas */
    FACT_HISTORY,   /* /admin/history, the last minutes */
    FACT_REQUESTS,  /* /admin/requests, those under way */
    FACT_ANOMALIES, /* /admin/anomalies */
    FACT_POOL,      /* /admin/pool */
    FACT_SLICES,    /* /admin/pool/slices, the first of them */
    FACT_CAPACITY,  /* /admin/capacity */
    FACT_COUNT
};

struct top_facts {
    json_t *items[FACT_COUNT]; /* owned */
};

/* Asks for everything. `*gateway_s` is the gateway's clock as the reading before has told it, 0 if there was none, and gets that of this
 * one: it need not be ours. NULL: the note says what is wrong. */
struct top_facts *top_facts_read(const struct top *top, double *gateway_s, struct error_note *note);
void top_facts_destroy(struct top_facts *facts); /* accepts NULL */

/* The rows of an answer: facts->items[fact][key], NULL if there are none. */
json_t *top_facts_rows(const struct top_facts *facts, enum fact fact, const char *key);
/* A member's text, "" if it is none, and its number, NAN if it is none. */
const char *fact_text(const json_t *object, const char *key);
double fact_number(const json_t *object, const char *key);

#endif
