#ifndef PENSTOCK_SCHEDULER_XID_H
#define PENSTOCK_SCHEDULER_XID_H

#include <stdint.h>

/* Error codes that NVIDIA's driver reports ("Xid"), and who is to blame. NVIDIA's catalogue: docs.nvidia.com/deploy/xid-errors. */
enum xid_verdict {
    XID_NOTED,   /* nothing to do: it is shown */
    XID_PROGRAM, /* the program that used the device did wrong, or was ended: the replica is to blame, not the slice */
    XID_WORN,    /* the device goes on; it may do so worse from now on */
    XID_BROKEN,  /* nothing may be placed there until it has been reset or replaced */
};

enum xid_verdict xid_judge(uint64_t xid);
/* A few words for people; never NULL. */
const char *xid_text(uint64_t xid);

#endif
