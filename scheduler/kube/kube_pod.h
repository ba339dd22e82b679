#ifndef PENSTOCK_SCHEDULER_KUBE_POD_H
#define PENSTOCK_SCHEDULER_KUBE_POD_H

#include "kube_view.h"

/* What we ask of a cluster for a replica: a Pod a part, and a ResourceClaim for a part on a device. No input or output. */

#define KUBE_GATE "penstock/gang"

/* "smollm2-1f-0123456789abcdef-0": the order's name, cut to fit a label's 63 bytes, its uid, the part. */
void kube_pod_name(const struct member_order *order, uint32_t part, char out[64]);
/* The Pod. STATUS_INVALID with a note: no image, no such slice; STATUS_NO_MEMORY. *out is the caller's. */
NODISCARD status kube_pod_build(const struct member_order *order, uint32_t part,
                                const struct kube_member_config *config,
                                const struct kube_slice *slice, json_t **out,
                                struct error_note *note);
/* The claim of a part on a device, owned by the pod (its uid), so that it goes with it. `version`: of resource.k8s.io. */
NODISCARD status kube_claim_build(const struct member_order *order, uint32_t part,
                                  const struct kube_member_config *config,
                                  const struct kube_slice *slice, const char *version,
                                  const char *pod_uid, json_t **out);

/* --- and what becomes of it --- */

/* How one pod stands, from its object; `node` is its node's (NULL: gone, or none yet). `is_asked`: we have asked it to end; `is_deleted`:
 * these are its last words. Texts are borrowed from the objects, or are in `out->text`. */
struct kube_pod_state {
    uint64_t uid;
    uint32_t parts; /* of its replica */
    enum member_phase phase;
    enum member_cause cause;
    const char *name, *node, *address, *order_name;
    struct member_part part;
    bool is_gated;
    uint64_t ends_ms; /* wall clock; 0: no end is set */
    char text[512];   /* reason */
};
/* False: no pod of ours (its uid cannot be read). Pure. */
bool kube_pod_read(const json_t *pod, const json_t *node, bool is_asked, bool is_deleted,
                   struct kube_pod_state *out);

#endif
