#ifndef PENSTOCK_SCHEDULER_PLACEMENT_LOG_H
#define PENSTOCK_SCHEDULER_PLACEMENT_LOG_H

#include "placement.h"

/* The last decisions, for people: where a replica went, why there, and how many slices were passed over for which reason. A ring; texts
 * are copied, as slices come and go. Thread: the pool's. */
struct placement_log;

#define PLACEMENT_LOG_COUNT      64u
#define PLACEMENT_LOG_TEXT_BYTES 128u

enum placement_outcome {
    PLACEMENT_PLACED,
    PLACEMENT_REFUSED,   /* placed, but its member would not have it */
    PLACEMENT_PREEMPTED, /* had to leave for a more important one */
    PLACEMENT_OUTCOME_COUNT
};
const char *placement_outcome_name(enum placement_outcome outcome);

struct placement_log_entry {
    uint64_t at_ns, uid;
    uint32_t model, part_count, tier;
    enum placement_outcome outcome;
    enum placement_domain domain; /* gangs */
    /* Of the first part. */
    char slice[PLACEMENT_LOG_TEXT_BYTES]; /* "member/id", may be cut */
    float score, terms[PLACEMENT_TERM_COUNT];
    struct placement_weights weights;
    uint32_t passed_over[PLACEMENT_REASON_COUNT];
    char why[PLACEMENT_LOG_TEXT_BYTES]; /* refused: in its member's words; may be cut */
};

/* NULL: out of memory. */
struct placement_log *placement_log_create(void);
void placement_log_destroy(struct placement_log *log); /* accepts NULL */

/* It has been placed so. */
void placement_log_place(struct placement_log *log, const struct pool *pool,
                         const struct placement_request *request,
                         const struct placement_decision *decision, uint64_t now_ns);
/* Its last placement has come to nothing, or to an end; `why` is for people. */
void placement_log_mark(struct placement_log *log, uint64_t uid, enum placement_outcome outcome,
                        const char *why);

/* The i-th before the newest; NULL: there are fewer. Valid until the next placement. */
const struct placement_log_entry *placement_log_get(const struct placement_log *log, uint32_t i);
/* How often there was such an outcome, ever. */
uint64_t placement_log_total(const struct placement_log *log, enum placement_outcome outcome);

#endif
