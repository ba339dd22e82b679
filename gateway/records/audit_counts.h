#ifndef PENSTOCK_RECORDS_AUDIT_COUNTS_H
#define PENSTOCK_RECORDS_AUDIT_COUNTS_H

#include "request_record.h"
#include "status.h"

/* What requests give the audit log cause for, such as refused keys: counted for each action, actor and object, so that a
 * flood of them becomes one line a minute for each address, and no more lines than AUDIT_COUNTS_MAX. Owned by the writer
 * thread. */

#define AUDIT_COUNTS_MAX 256u /* and one that takes all others */

struct audit_count {
    const char *action;
    char actor[2 * RECORD_TEXT_BYTES + 80], object[64];
    uint64_t count;
};

struct audit_counts {
    struct audit_count items[AUDIT_COUNTS_MAX + 1];
    uint32_t used;
};

/* record->audit_action is set. */
void audit_counts_add(struct audit_counts *counts, const struct request_record *record);

/* Hands each over and forgets it, until `take` fails: that one and the rest are kept. Returns its status. */
NODISCARD status audit_counts_flush(struct audit_counts *counts,
                                    status (*take)(void *context, const struct audit_count *count),
                                    void *context);

#endif
