#include "config_pool_table.h"

#include "local_member.h"
#include "placement.h"
#include "setting_rows.h"

#define DAY    (86400 * SEC)
#define PRICES 1e9

static const char *const member_kind_words[] = {
    [MEMBER_LOCAL] = "local", [MEMBER_SLURM] = "slurm", [MEMBER_KUBERNETES] = "kubernetes", NULL};
static const char *const cpu_slices_words[] = {[CPU_SLICES_OFF] = "off",
                                               [CPU_SLICES_MACHINE] = "machine",
                                               [CPU_SLICES_NUMA] = "numa",
                                               [CPU_SLICES_CORES] = "cores",
                                               NULL};
static const char *const sandbox_words[] = {[LOCAL_SANDBOX_OFF] = "off",
                                            [LOCAL_SANDBOX_ON] = "on",
                                            [LOCAL_SANDBOX_REQUIRED] = "required",
                                            NULL};
static const char *const device_kind_words[] = {[SLICE_GPU] = "gpu", [SLICE_MIG] = "mig", NULL};
static const char *const vendor_words[] = {[SLICE_NVIDIA] = "nvidia",
                                           [SLICE_AMD] = "amd",
                                           [SLICE_INTEL] = "intel",
                                           [SLICE_GAUDI] = "gaudi",
                                           [SLICE_CPU] = "cpu",
                                           [SLICE_OTHER] = "other",
                                           NULL};
static const char *const policy_words[] = {[PLACEMENT_BALANCED] = "balanced",
                                           [PLACEMENT_CHEAPEST] = "cheapest",
                                           [PLACEMENT_NEAREST] = "nearest",
                                           [PLACEMENT_COMPLIANCE] = "compliance",
                                           NULL};
static const char *const domain_words[] = {
    [PLACEMENT_NVLINK] = "nvlink", [PLACEMENT_SWITCH] = "switch", [PLACEMENT_NODE] = "node",
    [PLACEMENT_LEAF] = "leaf",     [PLACEMENT_ZONE] = "zone",     NULL};

// clang-format off
/* --- members --- */

static const struct setting local_price_table[] = {
    {TEXT("product", config_device_price, product, ""), .reload = RELOAD_RESTART,
     .help = "Name of a device as it is told (GET /admin/pool/slices); \"\" for all others."},
    {FLOAT("price", config_device_price, price, "0", 0, PRICES), .reload = RELOAD_RESTART, .help = "Of one such device for an hour."},
    {.key = NULL}};

static const struct setting local_table[] = {
    {TEXT("node", config_member_local, node, ""), .reload = RELOAD_RESTART,
     .help = "Name of this machine in slices' names; \"\" for its host name."},
    {WORD("cpu_slices", config_member_local, cpu_slices, "machine", cpu_slices_words), .reload = RELOAD_RESTART,
     .help = "How its cores are cut: one slice for all of them, one a NUMA node (so that replicas' memory stays on it), sets of "
             "cores_each cores, or off: devices only."},
    {INT("cores_each", config_member_local, cores_each, "1", 1, 1024), .reload = RELOAD_RESTART, .unit = "cores",
     .help = "Cores of a slice with cpu_slices: cores."},
    {BYTES("memory", config_member_local, memory, "0", 0, 65536 * GIB), .reload = RELOAD_RESTART,
     .help = "Memory that replicas may have in all; 0 for what there is (control groups limit it further)."},
    {FLOAT("core_price", config_member_local, core_price, "0", 0, PRICES), .reload = RELOAD_RESTART, .help = "Of a core for an hour."},
    {BOOL("devices", config_member_local, devices, "true"), .reload = RELOAD_RESTART,
     .help = "GPUs and MIG instances (by NVML, or what the kernel shows of AMD's) are slices too."},
    {TEXT("nvml_library", config_member_local, nvml_library, ""), .reload = RELOAD_RESTART,
     .help = "Path of libnvidia-ml; \"\" for the driver's."},
    {DURATION("device_interval", config_member_local, device_interval_ns, "1s", 10 * MS, 3600 * SEC), .reload = RELOAD_RESTART,
     .help = "Time between readings of devices."},
    {.key = "prices", .kind = SETTING_LIST, .offset = offsetof(struct config_member_local, prices), .table = local_price_table,
     .item_bytes = sizeof(struct config_device_price), .max = 64, .reload = RELOAD_RESTART, .help = "Prices of devices."},
    {WORD("sandbox", config_member_local, sandbox, "on", sandbox_words), .reload = RELOAD_RESTART,
     .help = "Walls around replicas' processes (no new privileges, seccomp, Landlock); required refuses to start replicas where the "
             "kernel has no Landlock.",
     .danger = "off: a replica that a malicious model file has taken over can do what this user can."},
    {BOOL("limit_memory", config_member_local, limit_memory, "false"), .reload = RELOAD_RESTART,
     .help = "A replica's private memory ends at what it was given of its slice (placement.memory).",
     .danger = "A replica that needs more than was reckoned dies of it."},
    {.key = NULL}};

static const struct setting slurm_device_table[] = {
    {TEXT("gres_type", config_slurm_device, gres_type, ""), .reload = RELOAD_RESTART, .help = "As in gpu:<type>; \"\" for untyped GPUs."},
    {TEXT("product", config_slurm_device, product, ""), .reload = RELOAD_RESTART, .help = "\"H100-80GB-HBM3\""},
    {TEXT("profile", config_slurm_device, profile, ""), .reload = RELOAD_RESTART, .help = "Of a MIG instance: \"1g.10gb\"."},
    {WORD("kind", config_slurm_device, kind, "gpu", device_kind_words), .reload = RELOAD_RESTART, .help = "A GPU, or an instance of one."},
    {WORD("vendor", config_slurm_device, vendor, "other", vendor_words), .reload = RELOAD_RESTART, .help = "Who has made it."},
    {INT("compute_capability", config_slurm_device, compute_capability, "0", 0, 1000), .reload = RELOAD_RESTART, .help = "90 for 9.0; 0 where there is none."},
    {INT("compute_milli", config_slurm_device, compute_milli, "1000", 1, 1000), .reload = RELOAD_RESTART,
     .help = "Share of a device that it is, in thousandths: 143 for a seventh."},
    {BYTES("memory", config_slurm_device, memory, NULL, MIB, 65536 * GIB), .reload = RELOAD_RESTART, .help = "Its memory."},
    {FLOAT("price", config_slurm_device, price, "0", 0, PRICES), .reload = RELOAD_RESTART, .help = "Of one for an hour."},
    {.key = NULL}};

static const struct setting slurm_table[] = {
    {TEXT("url", config_member_slurm, url, ""), .reload = RELOAD_RESTART, .help = "http://host:port or https://host:port of slurmrestd, without a path."},
    {FILE_PATH("unix_socket", config_member_slurm, unix_socket, ""), .reload = RELOAD_RESTART,
     .help = "Connects to slurmrestd through this socket, whatever host the url names."},
    {FILE_PATH("ca_file", config_member_slurm, ca_file, ""), .reload = RELOAD_RESTART,
     .help = "PEM file of authorities for slurmrestd's certificate; \"\" for the system's."},
    {TEXT("user", config_member_slurm, user, ""), .reload = RELOAD_RESTART, .help = "Slurm user that jobs are submitted as."},
    {FILE_PATH("key_file", config_member_slurm, key_file, ""), .reload = RELOAD_RESTART,
     .help = "The cluster's key (jwt_hs256.key), by which tokens of this user are made. Not with token_file.",
     .danger = "Whoever reads it is any user of the cluster."},
    {FILE_PATH("token_file", config_member_slurm, token_file, ""), .reload = RELOAD_RESTART,
     .help = "A file with a token as `scontrol token` prints it, read anew when it is refused. Without either: a socket that needs none."},
    {TEXT("partition", config_member_slurm, partition, ""), .reload = RELOAD_RESTART,
     .help = "Partition whose nodes are slices and whose jobs are replicas."},
    {TEXT("account", config_member_slurm, account, ""), .reload = RELOAD_RESTART, .help = "Account that jobs are charged to; \"\" for the user's own."},
    {TEXT("working_directory", config_member_slurm, working_directory, "/tmp"), .reload = RELOAD_RESTART,
     .help = "Working directory of replicas on their nodes; their output goes to penstock-<uid>.out there."},
    {FLOAT("core_price", config_member_slurm, core_price, "0", 0, PRICES), .reload = RELOAD_RESTART, .help = "Of a core for an hour, on nodes without GPUs."},
    {INT("cores_per_gpu", config_member_slurm, cores_per_gpu, "1", 1, 1024), .reload = RELOAD_RESTART, .unit = "cores",
     .help = "Cores of a job for each GPU, MIG instance or share of a GPU that it has."},
    {BYTES("host_memory", config_member_slurm, host_memory, "4GiB", MIB, 65536 * GIB), .reload = RELOAD_RESTART,
     .help = "Main memory of a job for each of them."},
    {BOOL("preemptible", config_member_slurm, preemptible, "false"), .reload = RELOAD_RESTART,
     .help = "The partition's jobs may be preempted: its slices are spot. A node's feature `spot` says so of one node."},
    {DURATION("poll", config_member_slurm, poll_ns, "1s", 10 * MS, 3600 * SEC), .reload = RELOAD_RESTART, .help = "Time between looks for changes."},
    {DURATION("list", config_member_slurm, list_ns, "10s", 10 * MS, 3600 * SEC), .reload = RELOAD_RESTART,
     .help = "Time between full lists at least.", .danger = "10,000 nodes are 13 MB and seconds of slurmrestd's work."},
    {DURATION("timeout", config_member_slurm, timeout_ns, "30s", 10 * MS, 600 * SEC), .reload = RELOAD_RESTART, .help = "Of a request to slurmrestd."},
    {DURATION("end_notice", config_member_slurm, end_notice_ns, "10m", 0, DAY), .reload = RELOAD_RESTART,
     .help = "A job whose time limit ends it within this time is replaced before."},
    {.key = "devices", .kind = SETTING_LIST, .offset = offsetof(struct config_member_slurm, devices), .table = slurm_device_table,
     .item_bytes = sizeof(struct config_slurm_device), .max = 64, .reload = RELOAD_RESTART, .help = "What Slurm does not know of its GPUs."},
    {.key = NULL}};

static const struct setting kubernetes_price_table[] = {
    {TEXT("product", config_device_price, product, NULL), .reload = RELOAD_RESTART,
     .help = "As the node tells it (\"NVIDIA-H100-80GB-HBM3\"); \"cpu\" for all cores of a node."},
    {FLOAT("price", config_device_price, price, "0", 0, PRICES), .reload = RELOAD_RESTART, .help = "Of one for an hour."},
    {BOOL("preemptible", config_device_price, preemptible, "false"), .reload = RELOAD_RESTART, .help = "The price of spot nodes."},
    {.key = NULL}};

static const struct setting priority_class_table[] = {
    {INT("priority", config_priority_class, priority, "0", -2147483648.0, 2147483647.0), .reload = RELOAD_RESTART,
     .help = "Lowest placement.priority that has it."},
    {TEXT("class", config_priority_class, class_name, NULL), .reload = RELOAD_RESTART, .help = "Name of a PriorityClass."},
    {.key = NULL}};

static const struct setting kubernetes_table[] = {
    {FILE_PATH("kubeconfig", config_member_kubernetes, kubeconfig, ""), .reload = RELOAD_RESTART,
     .help = "\"\" for the service account of the pod that the gateway runs in."},
    {TEXT("context", config_member_kubernetes, context, ""), .reload = RELOAD_RESTART, .help = "Context of the kubeconfig; \"\" for its current one."},
    {TEXT("namespace", config_member_kubernetes, namespace_name, ""), .reload = RELOAD_RESTART,
     .help = "Namespace of replicas' pods and claims; \"\" for the context's."},
    {TEXT("image", config_member_kubernetes, image, ""), .reload = RELOAD_RESTART, .help = "Container image of replicas."},
    {TEXT("runtime_class", config_member_kubernetes, runtime_class, ""), .reload = RELOAD_RESTART,
     .help = "RuntimeClass of replicas' pods: \"nvidia\" where that is not the nodes' default."},
    {TEXT("volume_claim", config_member_kubernetes, volume_claim, ""), .reload = RELOAD_RESTART,
     .help = "PersistentVolumeClaim of the namespace that has the models; mounted read-only at volume_path."},
    {TEXT("volume_path", config_member_kubernetes, volume_path, "/models"), .reload = RELOAD_RESTART, .help = "Where volume_claim is mounted."},
    {BOOL("cpu_slices", config_member_kubernetes, cpu_slices, "false"), .reload = RELOAD_RESTART, .help = "Nodes' cores are slices too."},
    {TEXT("partition_profile", config_member_kubernetes, partition_profile, ""), .reload = RELOAD_RESTART,
     .help = "What devices with partitions are cut into, as \"1g.10gb\"; \"\" for the largest that fit."},
    {INT("cores_per_gpu", config_member_kubernetes, cores_per_gpu, "1", 0, 1024), .reload = RELOAD_RESTART, .unit = "cores",
     .help = "Cores that a pod asks for beside its GPU, MIG instance or device; 0 for none."},
    {BYTES("host_memory", config_member_kubernetes, host_memory, "4GiB", 0, 65536 * GIB), .reload = RELOAD_RESTART,
     .help = "Main memory that a pod asks for beside it; 0 for none."},
    {DURATION("heartbeat", config_member_kubernetes, heartbeat_ns, "10s", 100 * MS, 300 * SEC), .reload = RELOAD_RESTART,
     .help = "Silence after which the API server is asked whether it is there; below the member's silence."},
    {.key = "prices", .kind = SETTING_LIST, .offset = offsetof(struct config_member_kubernetes, prices), .table = kubernetes_price_table,
     .item_bytes = sizeof(struct config_device_price), .max = 64, .reload = RELOAD_RESTART,
     .help = "Prices where a node's label penstock/price says nothing."},
    {.key = "priority_classes", .kind = SETTING_LIST, .offset = offsetof(struct config_member_kubernetes, priority_classes),
     .table = priority_class_table, .item_bytes = sizeof(struct config_priority_class), .max = 32, .reload = RELOAD_RESTART,
     .help = "PriorityClass of pods by placement.priority: the highest that is not above it; below all, the cluster's default."},
    {.key = NULL}};

const struct setting pool_member_table[] = {
    {TEXT("name", config_member, name, NULL), .reload = RELOAD_RESTART, .help = "Its name in metrics, logs and placement.members."},
    {WORD("kind", config_member, kind, "local", member_kind_words), .reload = RELOAD_RESTART,
     .help = "This machine, a Slurm cluster through slurmrestd, or a Kubernetes cluster."},
    {TEXT("region", config_member, region, ""), .reload = RELOAD_RESTART, .help = "Of its slices, where they do not say themselves."},
    {TEXT("zone", config_member, zone, ""), .reload = RELOAD_RESTART, .help = "The same: what fails together."},
    {TEXT("owner", config_member, owner, ""), .reload = RELOAD_RESTART,
     .help = "Organisation that it is kept for: only models with this placement.organisation may use it. \"\" for all."},
    {TEXTS("labels", config_member, labels, 64), .reload = RELOAD_RESTART, .help = "Residency and compliance of its slices: [eu, hipaa]."},
    {TEXT("program", config_member, program, ""), .reload = RELOAD_RESTART,
     .help = "Path of penstock on its machines or in its image; \"\" for \"penstock\" on their PATH."},
    {DURATION("silence", config_member, silence_ns, "15s", 100 * MS, 3600 * SEC), .reload = RELOAD_RESTART,
     .help = "It is heard more often than this. After three times as long nothing new is placed there."},
    {DURATION("lost_after", config_member, lost_after_ns, "2m", SEC, DAY), .reload = RELOAD_RESTART,
     .help = "Silence after which replicas there that do not answer either count as gone. Nothing else is started on their slices "
             "until it answers."},
    {.key = "local", .kind = SETTING_SECTION, .offset = offsetof(struct config_member, local), .table = local_table,
     .help = "With kind: local."},
    {.key = "slurm", .kind = SETTING_SECTION, .offset = offsetof(struct config_member, slurm), .table = slurm_table,
     .help = "With kind: slurm."},
    {.key = "kubernetes", .kind = SETTING_SECTION, .offset = offsetof(struct config_member, kubernetes), .table = kubernetes_table,
     .help = "With kind: kubernetes."},
    {.key = NULL}};

/* --- the pool --- */

const struct setting pool_quota_table[] = {
    {TEXT("name", config_pool_quota, name, NULL), .reload = RELOAD_RESTART, .help = "What placement.quota names."},
    {TEXT("parent", config_pool_quota, parent, ""), .reload = RELOAD_RESTART, .help = "\"\" for the whole pool."},
    {FLOAT("guaranteed_devices", config_pool_quota, guaranteed_devices, "0", 0, 1e6), .reload = RELOAD_RESTART, .unit = "devices",
     .help = "What it gets back from those who have borrowed it, whenever it asks. A core or a GPU is one device."},
    {FLOAT("devices", config_pool_quota, devices, "0", 0, 1e6), .reload = RELOAD_RESTART, .unit = "devices",
     .help = "The most it may have, borrowed ones too; 0 for no limit."},
    {BYTES("guaranteed_memory", config_pool_quota, guaranteed_memory, "0", 0, 1e18), .reload = RELOAD_RESTART, .help = "The same of memory."},
    {BYTES("memory", config_pool_quota, memory, "0", 0, 1e18), .reload = RELOAD_RESTART, .help = "The same of memory."},
    {FLOAT("guaranteed_price", config_pool_quota, guaranteed_price, "0", 0, PRICES), .reload = RELOAD_RESTART, .help = "The same of money an hour."},
    {FLOAT("price", config_pool_quota, price, "0", 0, PRICES), .reload = RELOAD_RESTART, .help = "The same of money an hour."},
    {INT("weight", config_pool_quota, weight, "1", 1, 1e6), .reload = RELOAD_RESTART, .help = "Its share of what is left over."},
    {INT("priority", config_pool_quota, priority, "0", -1e6, 1e6), .reload = RELOAD_RESTART, .help = "Higher ones share what is left over first."},
    {.key = NULL}};

const struct setting pool_round_trip_table[] = {
    {TEXT("region", config_round_trip, region, NULL), .reload = RELOAD_RESTART, .help = "A region of slices."},
    {DURATION("time", config_round_trip, time_ns, "50ms", 0, 10 * SEC), .reload = RELOAD_RESTART, .help = "A request's way there and back."},
    {.key = NULL}};

/* --- a model's wishes --- */

const struct setting model_placement_table[] = {
    {WORD("policy", config_placement, policy, "balanced", policy_words), .reload = RELOAD_RESTART,
     .help = "What counts among slices that will do: balanced, cheapest, nearest (pool.round_trips), or compliance: spread and "
             "soundness before price."},
    {TEXTS("members", config_placement, members, 64), .reload = RELOAD_RESTART,
     .help = "Only these members of the pool, an earlier one before a later one. Empty: all alike."},
    {TEXTS("labels", config_placement, labels, 32), .reload = RELOAD_RESTART, .help = "Slices must have all of these: [eu, hipaa]."},
    {TEXTS("forbidden", config_placement, forbidden, 32), .reload = RELOAD_RESTART, .help = "Slices may have none of these."},
    {TEXTS("vendors", config_placement, vendors, 8), .reload = RELOAD_RESTART, .help = "nvidia, amd, intel, gaudi, cpu, other. Empty: any."},
    {TEXTS("kinds", config_placement, kinds, 8), .reload = RELOAD_RESTART, .help = "gpu, mig, fraction, cpu_set, dra_device. Empty: any."},
    {TEXT("region", config_placement, region, ""), .reload = RELOAD_RESTART, .help = "Only in this region; \"\" for any."},
    {TEXT("product", config_placement, product, ""), .reload = RELOAD_RESTART, .help = "Only on this device; \"\" for any."},
    {TEXT("organisation", config_placement, organisation, ""), .reload = RELOAD_RESTART, .help = "Whose own slices it may have too."},
    {TEXT("quota", config_placement, quota, ""), .reload = RELOAD_RESTART, .help = "The row of pool.quotas that its replicas count for; \"\" for none."},
    {FLOAT("compute_capability", config_placement, compute_capability, "0", 0, 100), .reload = RELOAD_RESTART, .help = "Of NVIDIA's GPUs, at least: 9.0."},
    {FLOAT("cores", config_placement, cores, "0", 0, 1024), .reload = RELOAD_RESTART, .unit = "cores",
     .help = "Of a replica on a CPU slice, down to 0.1. 0: this machine's cores divided among all local replicas."},
    {BYTES("memory", config_placement, memory, "0", 0, 65536 * GIB), .reload = RELOAD_RESTART,
     .help = "Of a slice that a replica needs. 0: reckoned from its weights and its KV cache."},
    {FLOAT("price_max", config_placement, price_max, "0", 0, PRICES), .reload = RELOAD_RESTART, .help = "Of a replica for an hour, at most; 0 for any."},
    {BOOL("spot", config_placement, spot, "false"), .reload = RELOAD_RESTART, .help = "May be placed on slices that can be taken back."},
    {INT("on_demand_min", config_placement, on_demand_min, "0", 0, 64), .reload = RELOAD_RESTART, .unit = "replicas",
     .help = "So many stand on slices that cannot."},
    {INT("priority", config_placement, priority, "0", -1000000, 1000000), .reload = RELOAD_RESTART, .help = "The higher one gets a slice first."},
    {BOOL("preemptible", config_placement, preemptible, "false"), .reload = RELOAD_RESTART,
     .help = "Its replicas may be ended when a model of higher priority finds no slice."},
    {INT("parts", config_placement, parts, "1", 1, 256), .reload = RELOAD_RESTART, .unit = "slices",
     .help = "Slices of one replica: more than one is a gang, all or nothing."},
    {WORD("domain", config_placement, domain, "node", domain_words), .reload = RELOAD_RESTART,
     .help = "What a gang's slices must share at least."},
    {.key = NULL}};

static const struct setting schedule_table[] = {
    {TEXTS("days", config_scale_schedule, days, 7), .reload = RELOAD_RESTART, .help = "monday to sunday. Empty: every day."},
    {TEXT("from", config_scale_schedule, from, NULL), .reload = RELOAD_RESTART, .help = "\"08:00\" by this machine's clock."},
    {TEXT("to", config_scale_schedule, to, NULL), .reload = RELOAD_RESTART, .help = "\"20:00\"; before `from`: over midnight."},
    {INT("min", config_scale_schedule, min, "0", 0, 64), .reload = RELOAD_RESTART, .unit = "replicas", .help = "As autoscale.min, meanwhile."},
    {INT("max", config_scale_schedule, max, "0", 0, 64), .reload = RELOAD_RESTART, .unit = "replicas", .help = "As autoscale.max, meanwhile; 0 for that."},
    {.key = NULL}};

const struct setting model_autoscale_table[] = {
    {INT("max", config_autoscale, max, "0", 0, 64), .reload = RELOAD_RESTART, .unit = "replicas",
     .help = "The most there may be; 0 switches it off: there are always as many as `replicas` says."},
    {INT("min", config_autoscale, min, "0", 0, 64), .reload = RELOAD_RESTART, .unit = "replicas",
     .help = "The fewest. 0: none without load; the first request then waits for a start."},
    {INT("warm_spares", config_autoscale, warm_spares, "0", 0, 64), .reload = RELOAD_RESTART, .unit = "replicas",
     .help = "Ready replicas beyond what the load needs, while there is load."},
    {INT("sleeping", config_autoscale, sleeping, "0", 0, 64), .reload = RELOAD_RESTART, .unit = "replicas",
     .help = "On this machine: put to sleep instead of ended. They keep their weights in memory, give their cores to others, and are "
             "awake at once when they are needed and cores are free.",
     .danger = "Each keeps the memory that it was given."},
    {DURATION("first_token", config_autoscale, first_token_ns, "2s", 0, 3600 * SEC), .reload = RELOAD_RESTART,
     .help = "What a replica's capacity is measured against: 99 of 100 first tokens come within this time. 0s: no matter."},
    {DURATION("inter_token", config_autoscale, inter_token_ns, "200ms", 0, 60 * SEC), .reload = RELOAD_RESTART,
     .help = "The same of the time between tokens."},
    {FLOAT("load", config_autoscale, load, "1", 0.05, 1), .reload = RELOAD_RESTART, .help = "Share of the measured capacity that is planned for."},
    {DURATION("idle", config_autoscale, idle_ns, "5m", SEC, 7 * DAY), .reload = RELOAD_RESTART, .help = "Without a request, before the last one ends (min: 0)."},
    {DURATION("down", config_autoscale, down_ns, "0s", 0, DAY), .reload = RELOAD_RESTART,
     .help = "The need must have been lower for so long. 0s: as long as a start takes, at least a minute."},
    {FLOAT("on_demand_share", config_autoscale, on_demand_share, "0", 0, 1), .reload = RELOAD_RESTART,
     .help = "Of the replicas, that are never on spot (placement.spot)."},
    {FLOAT("spot_extra", config_autoscale, spot_extra, "0", 0, 1), .reload = RELOAD_RESTART, .help = "Share of replicas on spot that run in addition."},
    {DURATION("spot_notice", config_autoscale, spot_notice_ns, "30s", 0, 3600 * SEC), .reload = RELOAD_RESTART,
     .help = "That spot slices give: with time for a start there are no extra ones."},
    {.key = "schedules", .kind = SETTING_LIST, .offset = offsetof(struct config_autoscale, schedules), .table = schedule_table,
     .item_bytes = sizeof(struct config_scale_schedule), .max = 16, .reload = RELOAD_RESTART, .help = "Other bounds at times."},
    {.key = NULL}};
// clang-format on
