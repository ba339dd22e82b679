#ifndef PENSTOCK_SCHEDULER_KUBE_MEMBER_H
#define PENSTOCK_SCHEDULER_KUBE_MEMBER_H

#include "member.h"

/* A Kubernetes cluster as a member of the pool. Slices come from nodes' allocatable resources (GPUs and MIG instances of device
 * plugins, cores) and from ResourceSlices; replicas are Pods in one namespace, pinned to their node or, by a ResourceClaim, to
 * their device. A replica's pod has no privilege: user 65532, no capabilities, a root file system that it
 * cannot write to, an empty /tmp (its HOME), no token of the cluster's. Beside its order's environment it has PENSTOCK_PART and PENSTOCK_PARTS,
 * PENSTOCK_ADDRESS (its IP) and PENSTOCK_NODE. Whether it is ready it says to the gateway itself; no probe asks. Written for resource.k8s.io/v1, v1beta2, v1beta1 or none, against what Kubernetes 1.36 was seen to answer.
 *
 * Nodes are read by these labels beside the well-known ones (topology.kubernetes.io/region and zone, nvidia.com/gpu.*, the clouds'
 * marks of spot): penstock/price (units an hour of one of its devices), penstock/owner, penstock/rack, and
 * penstock/label.<label> = "true" for residency and compliance. */

struct kube_member_price {
    const char *product; /* as reported; "cpu" for a node's cores */
    int64_t nano_hour;
    bool is_spot;
};

/* Pods of orders of this priority and above have this PriorityClass, up to the next row's. */
struct kube_member_priority {
    int32_t priority;
    const char *class_name;
};

/* Texts are borrowed until the driver is destroyed; of those that may be NULL, "" says the same. */
struct kube_member_config {
    const char *kubeconfig;     /* NULL: the service account of the pod we run in */
    const char *context;        /* NULL: the current one */
    const char *namespace_name; /* of replicas; NULL: the context's */
    const char *pool;           /* whose replicas these are: value of the label penstock/pool */
    const char *region, *zone, *owner; /* where nodes do not say; NULL */
    const char *const *labels;         /* of every slice, beside the nodes' own */
    uint32_t label_count;
    const struct kube_member_price *prices; /* where nodes do not say */
    uint32_t price_count;
    const char *image;         /* where an order names none; NULL */
    const char *runtime_class; /* of pods: "nvidia" where it is not the nodes' own; NULL */
    const char *volume_claim;  /* PersistentVolumeClaim with the models, read only; NULL */
    const char *volume_path;   /* where it is mounted */
    const struct kube_member_priority *priorities;
    uint32_t priority_count;
    uint32_t cores_per_device;     /* asked for beside each GPU, instance or device; 0: none */
    uint64_t host_memory_bytes;    /* the same, of main memory; 0: none */
    const char *partition_profile; /* what devices with partitions are cut into; NULL: left whole */
    bool has_cpu_slices;           /* nodes' cores too */
    uint64_t
        heartbeat_ns; /* silence after which it is asked whether it is there; below the pool's interval */
};

/* Reads nothing yet: `follow` opens the kubeconfig each time it begins. STATUS_OK, STATUS_INVALID (no pool's name, or one that is no
 * label's value), STATUS_NO_MEMORY. `out->destroy` frees it. */
NODISCARD status kube_member_create(const struct kube_member_config *config,
                                    struct member_driver *out, struct error_note *note);

#endif
