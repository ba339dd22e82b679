#ifndef PENSTOCK_SCHEDULER_SLURM_MEMBER_H
#define PENSTOCK_SCHEDULER_SLURM_MEMBER_H

#include "member.h"

/* A Slurm cluster as a member of the pool, through slurmrestd. Of its API's versions those from v0.0.38 (Slurm 22.05) on are
 * spoken; the highest that both sides know is taken.
 *
 * Slices. Each GPU of a node's GRES is one, "n0/gpu:h100/2". Where the node has shards too it can be cut. The numbers at the end are
 * places and not the devices' own: Slurm picks the device of a job by itself. A node without GPUs is one slice of its cores,
 * "n3/cpu". What Slurm does not know of a device (memory, product, price) comes from the config.
 *
 * Node features say the rest: region_<r>, zone_<z>, rack_<r>, nvlink (the node is a domain), nvlink_<domain>,
 * owner_<organisation>, spot; all others are labels as they are. Before v0.0.39 the API refuses lists of nodes: there a job
 * can be pinned only to nodes that carry the feature node_<name>.
 *
 * Replicas are batch jobs, gangs are one job over several nodes, with as many parts on each. A job's comment says whose replica it is and
 * which slices it has, so that who starts anew finds it again. A job that Slurm puts back into its queue is cancelled and told as failed: its
 * one-time token is spent. Jobs may run as long as the partition lets them. */

struct slurm_device {
    const char *gres_type; /* as in gpu:<type>; "": untyped */
    const char *product, *profile;
    enum slice_kind
        kind; /* SLICE_GPU, SLICE_MIG; with shards SLICE_FRACTION stands for the former */
    enum slice_vendor vendor;
    uint16_t compute_capability;
    uint32_t compute_milli;
    uint64_t memory_bytes;
    int64_t price_nano_hour;
};

/* Everything is borrowed until destroy; texts may be NULL where it says so. */
struct slurm_member_config {
    const char *pool;                  /* what our jobs are marked with: [A-Za-z0-9._-]+ */
    const char *url;                   /* http(s)://host:port, no path */
    const char *unix_socket, *ca_file; /* or NULL */
    const char *user;
    /* One of them: the cluster's HS256 key, tokens are minted from it; or a file with a token, read anew for each
     * connection and whenever it is refused; both NULL: none is sent (a local socket). */
    const char *key_file, *token_file;
    const char *partition;
    const char *account; /* or NULL */
    const char *
        working_directory; /* of jobs, on their nodes; their output goes to penstock-<uid>.out there */
    const char *region, *zone, *owner; /* of nodes without such a feature; or NULL */
    const char *const *labels;         /* of all nodes, beside their own */
    uint32_t label_count;
    const struct slurm_device *devices;
    uint32_t device_count;
    int64_t core_price_nano_hour;
    uint32_t cores_per_gpu;     /* for each part that has a GPU or a share of one; at least 1 */
    uint64_t host_memory_bytes; /* the same, of main memory; at least 1 MiB */
    bool is_preemptible;        /* the partition's jobs may be preempted */
    uint64_t poll_ns;           /* between looks for changes */
    uint64_t
        list_ns; /* between full lists at least: 10,000 nodes are 13 MB and seconds of slurmrestd's */
    uint64_t timeout_ns;    /* of a request */
    uint64_t end_notice_ns; /* a job that Slurm ends within this time, by its limit, is told so */
};

#define SLURM_POLL_NS_DEFAULT       (1000000000ull)
#define SLURM_LIST_NS_DEFAULT       (10000000000ull)
#define SLURM_TIMEOUT_NS_DEFAULT    (30000000000ull)
#define SLURM_END_NOTICE_NS_DEFAULT (600000000000ull)

/* Makes no connection. STATUS_OK, STATUS_INVALID (a note), STATUS_NO_MEMORY. */
NODISCARD status slurm_member_create(const struct slurm_member_config *config,
                                     struct member_driver *out, struct error_note *note);

#endif
