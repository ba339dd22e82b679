#ifndef PENSTOCK_SCHEDULER_KUBE_VIEW_H
#define PENSTOCK_SCHEDULER_KUBE_VIEW_H

#include <jansson.h>

#include "arena.h"
#include "buffer.h"
#include "kube_member.h"

/* From a cluster's objects to slices, whole each time: what is told on is the difference between two views. No input or output. */

#define KUBE_LABEL_POOL "penstock/pool"
#define KUBE_LABEL_UID  "penstock/uid"   /* 16 hexadecimal digits */
#define KUBE_NOTE_SLICE "penstock/slice" /* annotation: the slice's id */
#define KUBE_NOTE_PARTS "penstock/parts" /* annotation: of how many parts its replica is */
/* Annotations, so that who starts anew can book what runs: the order's name, and what of the slice. */
#define KUBE_NOTE_NAME    "penstock/name"
#define KUBE_NOTE_MEMORY  "penstock/memory"  /* bytes */
#define KUBE_NOTE_COMPUTE "penstock/compute" /* thousandths */
#define KUBE_SLICES_MAX   (1u << 20)

/* Objects by "namespace/name"; NULL: none. */
struct kube_objects {
    const json_t *nodes;
    const json_t *usages;  /* of pods: kube_pod_usage */
    const json_t *devices; /* ResourceSlices */
    const json_t *claims;
    const json_t *classes;
};

/* A slice and how a pod gets it. */
struct kube_slice {
    struct slice_report report;
    const char *resource;   /* "nvidia.com/gpu", "cpu"; "": a device */
    const char *class_name; /* of a device; "": nobody has declared one */
    const char *selector;   /* CEL that finds the device among its class */
    bool is_shared;         /* of a device: by capacity */
    uint64_t compute_units; /* what its capacity "compute" has in all; 0: none */
};

struct kube_view {
    arena *memory; /* owned */
    const struct kube_member_config *config;
    struct kube_slice *slices; /* owned */
    uint32_t count, capacity;
};

/* STATUS_OK; STATUS_NO_MEMORY, STATUS_TOO_LARGE. Destroyed by kube_view_destroy. */
NODISCARD status kube_view_create(const struct kube_member_config *config,
                                  const struct kube_objects *objects, struct kube_view **out);
void kube_view_destroy(struct kube_view *view); /* accepts NULL */
const struct kube_slice *kube_view_find(const struct kube_view *view, const char *id);
/* All of a report in bytes, so that two can be compared. */
void kube_slice_write(const struct kube_slice *slice, struct buffer *out);

/* What of a pod the view needs: {"node", "pool", "slice", "requests": {resource: thousandths}}; NULL when it holds nothing (ended, or on no
 * node). Takes the reference. Sidecars, initialising containers and overhead count as the scheduler counts them. */
json_t *kube_pod_usage(json_t *pod);

/* --- its parts --- */

/* What all slices of a node have from it. */
void kube_node_report(struct kube_view *view, const json_t *node, struct slice_report *report);
/* `usages`: an array of those of its pods. */
status kube_node_slices_add(struct kube_view *view, const json_t *node, const json_t *usages);
status kube_device_slices_add(struct kube_view *view, const struct kube_objects *objects);
/* A row, zeroed; NULL: no memory. */
struct kube_slice *kube_view_add(struct kube_view *view);
const char *kube_view_text(struct kube_view *view, const char *format, ...) PRINTF_LIKE(2, 3);
void kube_price_set(const struct kube_view *view, const char *product, struct slice_report *report);
/* "3g.40gb": sevenths and memory of a MIG instance. False: no such profile. */
bool kube_profile_read(const char *profile, uint32_t *compute_milli, uint64_t *memory_bytes);

#endif
