#ifndef PENSTOCK_SCHEDULER_SLICE_H
#define PENSTOCK_SCHEDULER_SLICE_H

#include <stdbool.h>
#include <stdint.h>

/* A slice is the smallest thing a replica can be bound to: a whole GPU, a MIG instance, a fraction that its member cuts
 * itself, a set of CPU cores, a device of Kubernetes' dynamic resource allocation. What can be cut further is one slice
 * with a step: a whole and its parts are never listed side by side.
 *
 * This header has what members report (texts, borrowed for the call), what a replica asks of a slice (its shape), and the words
 * for both. The record that the pool keeps of a report is in columns (pool.h). */

/* Bits of masks too (1u << kind). */
enum slice_kind {
    SLICE_GPU,
    SLICE_MIG,
    SLICE_FRACTION,
    SLICE_CPU_SET,
    SLICE_DRA_DEVICE,
    SLICE_KIND_COUNT
};

enum slice_vendor {
    SLICE_NVIDIA,
    SLICE_AMD,
    SLICE_INTEL,
    SLICE_GAUDI,
    SLICE_CPU,
    SLICE_OTHER,
    SLICE_VENDOR_COUNT
};

enum slice_health {
    SLICE_OK,
    SLICE_DEGRADED, /* works, with faults lately: the last choice */
    SLICE_DRAINING, /* what runs may end in peace; nothing new */
    SLICE_BAD,      /* quarantined, or its node is down */
    SLICE_UNKNOWN,  /* the member cannot tell: nothing new */
    SLICE_HEALTH_COUNT
};

/* Lower-case words for people and for JSON; never NULL. */
const char *slice_kind_name(enum slice_kind kind);
const char *slice_vendor_name(enum slice_vendor vendor);
const char *slice_health_name(enum slice_health health);

/* The longest of any name or id, without its NUL: three of Kubernetes' names of 253 and separators fit no better in
 * practice, its drivers' "driver/pool/device" are below 200. */
#define SLICE_NAME_BYTES_MAX 511u
#define SLICE_LABELS_MAX     64u
/* Of a slice; sums over all of a pool fit into 64 bits. */
#define SLICE_MEMORY_BYTES_MAX    (1ull << 46)
#define SLICE_COMPUTE_MILLI_MAX   (1u << 24)
#define SLICE_PRICE_NANO_HOUR_MAX (1ll << 46) /* 70,000 units an hour */

/* What a member tells of a slice. NULL or "" where a text is not known. Names of nodes, switches, domains and racks are the
 * member's own: two members' "rack1" are two racks. Regions, zones, products and profiles mean the same everywhere. */
struct slice_report {
    const char *
        id; /* stable in the member: "node/GPU-uuid", "node/numa0", "driver/pool/device"; not empty */
    const char *node, *region, *zone;
    const char *rack;          /* what shares a leaf switch */
    const char *nvlink_domain; /* what NVLink joins; may span nodes */
    const char *switch_name;   /* PCIe switch in its node */
    const char *pcie_root;
    const char *product; /* "H100-80GB-HBM3" */
    const char *profile; /* MIG: "1g.10gb" */
    const char *owner;   /* the organisation it is kept for; NULL: anybody's */
    const char *reason;  /* of its health */
    const char *const *
        labels; /* residency ("eu", "de"), compliance ("hipaa"); those that nobody declared are kept, not looked at */
    uint32_t label_count; /* at most SLICE_LABELS_MAX */
    enum slice_kind kind;
    enum slice_vendor vendor;
    enum slice_health health;
    uint16_t compute_capability;   /* 90: 9.0; 0 where there is none */
    int16_t numa;                  /* -1: not known */
    uint64_t memory_bytes;         /* what replicas may use in all */
    uint64_t memory_foreign_bytes; /* of it, what others than our replicas hold now */
    /* Thousandths of a device: a GPU has 1000, a MIG instance of 1/7 has 143, a set of 8 cores 8000. */
    uint32_t compute_milli;
    uint32_t compute_foreign_milli;
    uint32_t
        step_milli; /* fractions are multiples of it; 0: cannot be cut, one replica has it all */
    uint16_t tenants_max;    /* replicas at once; 0 counts as 1 */
    int64_t price_nano_hour; /* of the whole, in thousand-millionths of the ledger's unit an hour */
    bool is_preemptible;     /* spot: its owner may take it back */
    float preemptions_hour;  /* how often that happens, an hour */
};

/* What one part of a replica asks of one slice; hard conditions all. Names are ids of the pool's table (pool_name_find). */
struct slice_shape {
    uint32_t vendors;      /* mask of 1u << vendor; 0: any */
    uint32_t kinds;        /* mask of 1u << kind; 0: any */
    uint32_t product;      /* 0: any */
    uint32_t region;       /* 0: any */
    uint32_t organisation; /* who asks: slices with another owner are closed to it */
    uint16_t compute_capability_min;
    bool takes_preemptible; /* may stand on spot */
    uint64_t memory_bytes;
    uint32_t compute_milli; /* rounded up to the slice's step; 0: the whole slice */
    uint64_t labels_required, labels_forbidden; /* bits of pool_label_declare */
    int64_t price_max_nano_hour;                /* of this part; 0: no cap */
};

#endif
