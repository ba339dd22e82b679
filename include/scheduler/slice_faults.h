#ifndef PENSTOCK_SCHEDULER_SLICE_FAULTS_H
#define PENSTOCK_SCHEDULER_SLICE_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "slice.h"

/* Slices on which replicas die again and again while their member calls them sound: they are kept empty for a time, a longer one each
 * time (pool_slice_quarantine).
 *
 * What counts as a fault of a slice's, and what does not. A member that blames node or device is believed. A program that has failed may be
 * at fault itself, a broken model fails wherever it is put: it is held against the slice only while another replica of
 * the same model serves on another slice, which its caller looks at. And when many slices look bad at once the cause is elsewhere (a driver, an
 * image, the network): no more than a share of all are in quarantine, so that it never takes the whole pool out.
 *
 * A table of fixed size; the slice with the oldest fault goes when it is full, those in quarantine stay. Pure, one owner. */

#define SLICE_FAULTS_MAX 256u

/* Three strikes: what Hadoop's MapReduce takes as enough (mapreduce.job.maxtaskfailures.per.tracker), within the hour after which Spark forgets a
 * node's failures (spark.excludeOnFailure.timeout). A device's own fault is nearly proof: two do. */
#define SLICE_FAULT_STRIKES   3u
#define SLICE_FAULT_WINDOW_NS (3600 * NS_PER_SECOND)
/* Kubernetes tries what crashes at least every 5 minutes, which is thus the shortest time worth a quarantine; doubled each time, as it does, up to
 * a day, so that what a person does not look after is still tried. */
#define SLICE_FAULT_FIRST_NS (300 * NS_PER_SECOND)
#define SLICE_FAULT_MOST_NS  (86400 * NS_PER_SECOND)
/* Without a fault for as long after a quarantine the next is a first one again. */
#define SLICE_FAULT_MEMORY_NS SLICE_FAULT_MOST_NS
/* One in ten, as Envoy's outlier detection (max_ejection_percent), and at least one. */
#define SLICE_FAULT_SHARE 10u

enum slice_fault {
    SLICE_FAULT_PROGRAM, /* of a model that serves elsewhere */
    SLICE_FAULT_DEVICE,  /* its member blames node or device */
    SLICE_FAULT_COUNT
};

struct slice_fault_entry {
    uint32_t member; /* number in the pool */
    char id[SLICE_NAME_BYTES_MAX + 1];
    struct {
        uint64_t at_ns;
        enum slice_fault fault;
    } strikes[SLICE_FAULT_STRIKES]; /* the last ones, the newest first; since the last quarantine */
    uint32_t strike_count;
    uint32_t quarantine_count; /* in a row */
    uint64_t last_ns;          /* of the last fault, or of the end of the quarantine after it */
    uint64_t until_ns;         /* of the quarantine; 0: there was none */
    bool
        is_closed; /* the caller's: it has closed the slice, and the entry stays until it has opened it */
};

struct slice_faults {
    struct slice_fault_entry entries[SLICE_FAULTS_MAX];
    uint32_t count; /* the first ones */
};

/* A replica has died there. `slice_count`: how many slices the pool has. Returns until when the slice is in quarantine, in which it
 * may have been before; 0: it is not. */
uint64_t slice_faults_note(struct slice_faults *faults, uint32_t member, const char *id,
                           enum slice_fault fault, uint32_t slice_count, uint64_t now_ns);

/* 0: it is not in quarantine. */
uint64_t slice_faults_until(const struct slice_faults *faults, uint32_t member, const char *id,
                            uint64_t now_ns);

/* Forgets what is long ago. Returns when the next quarantine is over (UINT64_MAX: none is): until_ns of its entry is in the past from then on,
 * and the entry stays for SLICE_FAULT_MEMORY_NS. */
uint64_t slice_faults_sweep(struct slice_faults *faults, uint64_t now_ns);

#endif
