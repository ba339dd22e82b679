#ifndef PENSTOCK_SCHEDULER_MEMBER_EVENT_H
#define PENSTOCK_SCHEDULER_MEMBER_EVENT_H

#include "member_runner.h"

/* Copies of what drivers tell and are told, each in one block with its texts. NULL: out of memory. */

/* Texts that are NULL stay so in a slice, and are "" in a replica. */
struct member_event *member_event_slice(const struct slice_report *report);
struct member_event *member_event_replica(const struct member_replica *replica);
struct member_event *member_event_text(enum member_event_kind kind, uint64_t uid, status result,
                                       const char *text);

/* For memory_release. Lists that are NULL become empty ones. */
struct member_order *member_order_copy(const struct member_order *order);

#endif
