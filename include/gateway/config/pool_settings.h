#ifndef PENSTOCK_CONFIG_POOL_SETTINGS_H
#define PENSTOCK_CONFIG_POOL_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "settings.h"

/* The pool's part of the config: members, quotas, and what a model asks of slices. Prices are of an hour, in the ledger's unit. */

enum config_member_kind { MEMBER_LOCAL, MEMBER_SLURM, MEMBER_KUBERNETES };

struct config_device_price {
    const char *product; /* "": of all others */
    double price;
    bool preemptible; /* Kubernetes: the price of spot nodes */
};

enum config_cpu_slices { CPU_SLICES_OFF, CPU_SLICES_MACHINE, CPU_SLICES_NUMA, CPU_SLICES_CORES };

struct config_member_local {
    const char *node;
    int cpu_slices; /* enum config_cpu_slices */
    int64_t cores_each;
    uint64_t memory;
    double core_price;
    bool devices;
    const char *nvml_library;
    uint64_t device_interval_ns;
    struct setting_list prices; /* struct config_device_price */
    int sandbox;                /* enum local_sandbox */
    bool limit_memory;
};

struct config_slurm_device {
    const char *gres_type, *product, *profile;
    int kind, vendor; /* slice_kind, slice_vendor */
    int64_t compute_capability, compute_milli;
    uint64_t memory;
    double price;
};

struct config_member_slurm {
    const char *url, *unix_socket, *ca_file, *user, *key_file, *token_file;
    const char *partition, *account, *working_directory;
    double core_price;
    int64_t cores_per_gpu;
    uint64_t host_memory;
    bool preemptible;
    uint64_t poll_ns, list_ns, timeout_ns, end_notice_ns;
    struct setting_list devices; /* struct config_slurm_device */
};

struct config_priority_class {
    int64_t priority;
    const char *class_name;
};

struct config_member_kubernetes {
    const char *kubeconfig, *context, *namespace_name, *image, *runtime_class;
    const char *volume_claim, *volume_path;
    bool cpu_slices;
    const char *partition_profile;
    int64_t cores_per_gpu;
    uint64_t host_memory;
    uint64_t heartbeat_ns;
    struct setting_list prices;           /* struct config_device_price */
    struct setting_list priority_classes; /* struct config_priority_class */
};

struct config_member {
    const char *name;
    int kind; /* enum config_member_kind */
    const char *region, *zone, *owner;
    struct setting_list labels; /* const char * */
    const char *program;        /* path of penstock on its machines; "": as here */
    uint64_t silence_ns, lost_after_ns;
    struct config_member_local local;
    struct config_member_slurm slurm;
    struct config_member_kubernetes kubernetes;
};

struct config_pool_quota {
    const char *name, *parent;          /* "": the whole pool */
    double guaranteed_devices, devices; /* 0 devices: no limit */
    uint64_t guaranteed_memory, memory;
    double guaranteed_price, price; /* an hour */
    int64_t weight, priority;
};

struct config_round_trip {
    const char *region;
    uint64_t time_ns;
};

struct config_pool {
    const char *name;
    const char *listen;          /* where replicas on other machines register; "": there are none */
    const char *advertise;       /* "host:port" under which they reach it; "": listen itself */
    uint64_t lost_timeout_ns;    /* how long such a replica goes on without its gateway */
    struct setting_list members; /* struct config_member */
    struct setting_list quotas;  /* struct config_pool_quota */
    struct setting_list round_trips; /* struct config_round_trip */
    uint64_t drain_time_ns;
    bool preempt;
};
static inline const struct config_member *config_member_at(const struct config_pool *pool,
                                                           uint32_t index)
{
    return &((const struct config_member *)pool->members.items)[index];
}
static inline const struct config_pool_quota *config_quota_at(const struct config_pool *pool,
                                                              uint32_t index)
{
    return &((const struct config_pool_quota *)pool->quotas.items)[index];
}

struct config_placement {
    int policy;                    /* enum placement_preset_kind */
    struct setting_list members;   /* const char *: in this order; empty: all alike */
    struct setting_list labels;    /* const char *: all are required */
    struct setting_list forbidden; /* const char *: none may be there */
    struct setting_list vendors;   /* const char *; empty: any */
    struct setting_list kinds;     /* const char *; empty: any */
    const char *region, *product;  /* "": any */
    const char *organisation;      /* whose slices it may have beside everybody's */
    const char *quota;             /* "": of nobody */
    double compute_capability;     /* 9.0; 0: any */
    double cores;                  /* CPU slices; 0: its share of this machine */
    uint64_t memory;               /* 0: as reckoned from its weights and KV cache */
    double price_max;              /* 0: any */
    bool spot;
    int64_t on_demand_min;
    int64_t priority;
    bool preemptible;
    int64_t parts;
    int domain; /* enum placement_domain */
};

struct config_scale_schedule {
    struct setting_list days; /* const char *: "monday" ... */
    const char *from, *to;    /* "08:00" */
    int64_t min, max;
};

struct config_autoscale {
    int64_t min, max; /* max 0: off */
    int64_t warm_spares, sleeping;
    uint64_t first_token_ns, inter_token_ns; /* what must hold for 99 of 100 requests */
    double load;
    uint64_t idle_ns, down_ns;
    double on_demand_share, spot_extra;
    uint64_t spot_notice_ns;
    struct setting_list schedules; /* struct config_scale_schedule */
};

#endif
