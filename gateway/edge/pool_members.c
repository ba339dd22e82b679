#include "pool_members.h"

#include "check.h"
#include "clock.h"
#include "device_metrics.h"
#include "kube_member.h"
#include "local_member.h"
#include "slurm_member.h"

#define MEMORY_BYTES_MAX (16u << 20)
#define NANO             1e9

static int64_t nano(double price)
{
    return (int64_t)(price * NANO + 0.5);
}

/* NULL where nothing is said. */
static const char *said(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

/* --- this machine --- */

static status local_prices(arena *memory, const struct setting_list *list,
                           struct local_member_config *out)
{
    const struct config_device_price *rows = list->items;
    struct local_price *prices = arena_allocate_array(memory, list->count + 1, sizeof(*prices));

    if (prices == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < list->count; i++)
        prices[i] = (struct local_price){rows[i].product, nano(rows[i].price)};
    out->prices = prices;
    out->price_count = list->count;
    return STATUS_OK;
}

static struct cpu_slices_options cpu_options(const struct config_member_local *row)
{
    static const enum cpu_cut cuts[] = {[CPU_SLICES_MACHINE] = CPU_CUT_MACHINE,
                                        [CPU_SLICES_NUMA] = CPU_CUT_NODES,
                                        [CPU_SLICES_CORES] = CPU_CUT_CORES};

    return (struct cpu_slices_options){.cut = cuts[row->cpu_slices],
                                       .cores_each = (uint32_t)row->cores_each,
                                       .memory_bytes_max = row->memory};
}

static status local_create(struct pool_members *members, const struct config_member *row,
                           const char *pool, metrics_registry *registry, struct member_driver *out,
                           struct error_note *note)
{
    const struct config_member_local *local = &row->local;
    struct local_member_config config = {
        .pool = pool,
        .node = said(local->node),
        .region = said(row->region),
        .zone = said(row->zone),
        .owner = said(row->owner),
        .labels = row->labels.items,
        .label_count = row->labels.count,
        .has_cpu_slices = local->cpu_slices != CPU_SLICES_OFF,
        .cpu = cpu_options(local),
        .core_price_nano_hour = nano(local->core_price),
        .has_devices = local->devices,
        .nvml_library = said(local->nvml_library),
        .device_interval_ns = local->device_interval_ns,
        .sandbox = (enum local_sandbox)local->sandbox,
        .limits_memory = local->limit_memory,
        .program = said(row->program),
    };
    status result = local_prices(members->memory, &local->prices, &config);

    if (result == STATUS_OK && local->devices)
        result = device_metrics_create(registry, row->name, &members->metrics);
    config.metrics = members->metrics;
    if (result == STATUS_OK)
        result = local_member_create(&config, out, note);
    if (result == STATUS_OK)
        members->local_driver = out->driver;
    return result;
}

/* --- clusters --- */

static status slurm_create(struct pool_members *members, const struct config_member *row,
                           const char *pool, struct member_driver *out, struct error_note *note)
{
    const struct config_member_slurm *slurm = &row->slurm;
    const struct config_slurm_device *rows = slurm->devices.items;
    struct slurm_device *devices =
        arena_allocate_array(members->memory, slurm->devices.count + 1, sizeof(*devices));
    struct slurm_member_config *config = arena_allocate(members->memory, sizeof(*config));

    if (devices == NULL || config == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < slurm->devices.count; i++)
        devices[i] = (struct slurm_device){
            .gres_type = rows[i].gres_type,
            .product = rows[i].product,
            .profile = rows[i].profile,
            .kind = (enum slice_kind)rows[i].kind,
            .vendor = (enum slice_vendor)rows[i].vendor,
            .compute_capability = (uint16_t)rows[i].compute_capability,
            .compute_milli = (uint32_t)rows[i].compute_milli,
            .memory_bytes = rows[i].memory,
            .price_nano_hour = nano(rows[i].price),
        };
    *config = (struct slurm_member_config){
        .pool = pool,
        .url = slurm->url,
        .unix_socket = said(slurm->unix_socket),
        .ca_file = said(slurm->ca_file),
        .user = slurm->user,
        .key_file = said(slurm->key_file),
        .token_file = said(slurm->token_file),
        .partition = slurm->partition,
        .account = said(slurm->account),
        .working_directory = slurm->working_directory,
        .region = said(row->region),
        .zone = said(row->zone),
        .owner = said(row->owner),
        .labels = row->labels.items,
        .label_count = row->labels.count,
        .devices = devices,
        .device_count = slurm->devices.count,
        .core_price_nano_hour = nano(slurm->core_price),
        .cores_per_gpu = (uint32_t)slurm->cores_per_gpu,
        .host_memory_bytes = slurm->host_memory,
        .is_preemptible = slurm->preemptible,
        .poll_ns = slurm->poll_ns,
        .list_ns = slurm->list_ns,
        .timeout_ns = slurm->timeout_ns,
        .end_notice_ns = slurm->end_notice_ns,
    };
    return slurm_member_create(config, out, note);
}

static status kubernetes_create(struct pool_members *members, const struct config_member *row,
                                const char *pool, struct member_driver *out,
                                struct error_note *note)
{
    const struct config_member_kubernetes *kubernetes = &row->kubernetes;
    const struct config_device_price *rows = kubernetes->prices.items;
    struct kube_member_price *prices =
        arena_allocate_array(members->memory, kubernetes->prices.count + 1, sizeof(*prices));
    const struct config_priority_class *classes = kubernetes->priority_classes.items;
    struct kube_member_priority *priorities = arena_allocate_array(
        members->memory, kubernetes->priority_classes.count + 1, sizeof(*priorities));
    struct kube_member_config *config = arena_allocate(members->memory, sizeof(*config));

    if (prices == NULL || priorities == NULL || config == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < kubernetes->priority_classes.count; i++)
        priorities[i] =
            (struct kube_member_priority){(int32_t)classes[i].priority, classes[i].class_name};
    for (uint32_t i = 0; i < kubernetes->prices.count; i++)
        prices[i] =
            (struct kube_member_price){rows[i].product, nano(rows[i].price), rows[i].preemptible};
    *config = (struct kube_member_config){
        .kubeconfig = said(kubernetes->kubeconfig),
        .context = said(kubernetes->context),
        .namespace_name = said(kubernetes->namespace_name),
        .pool = pool,
        .region = said(row->region),
        .zone = said(row->zone),
        .owner = said(row->owner),
        .labels = row->labels.items,
        .label_count = row->labels.count,
        .prices = prices,
        .price_count = kubernetes->prices.count,
        .image = said(kubernetes->image),
        .runtime_class = said(kubernetes->runtime_class),
        .volume_claim = said(kubernetes->volume_claim),
        .volume_path = kubernetes->volume_path,
        .priorities = priorities,
        .priority_count = kubernetes->priority_classes.count,
        .cores_per_device = (uint32_t)kubernetes->cores_per_gpu,
        .host_memory_bytes = kubernetes->host_memory,
        .partition_profile = said(kubernetes->partition_profile),
        .has_cpu_slices = kubernetes->cpu_slices,
        .heartbeat_ns = kubernetes->heartbeat_ns,
    };
    return kube_member_create(config, out, note);
}

/* --- all --- */

/* A config that names no members means this machine. */
static const struct config_member here = {
    .name = "local",
    .kind = MEMBER_LOCAL,
    .region = "",
    .zone = "",
    .owner = "",
    .program = "",
    .silence_ns = 15000000000ull,
    .lost_after_ns = 120000000000ull,
    .local = {.node = "",
              .cpu_slices = CPU_SLICES_MACHINE,
              .cores_each = 1,
              .devices = true,
              .nvml_library = "",
              .device_interval_ns = 1000000000ull,
              .sandbox = LOCAL_SANDBOX_ON},
};

static status driver_create(struct pool_members *members, const struct config_member *row,
                            const char *pool, metrics_registry *registry, struct member_driver *out,
                            struct error_note *note)
{
    switch ((enum config_member_kind)row->kind) {
    case MEMBER_LOCAL:
        return local_create(members, row, pool, registry, out, note);
    case MEMBER_SLURM:
        return slurm_create(members, row, pool, out, note);
    case MEMBER_KUBERNETES:
        return kubernetes_create(members, row, pool, out, note);
    }
    return STATUS_INVALID;
}

static status member_add(struct pool_members *members, const struct config_member *row,
                         const char *pool, struct replica_fleet *fleet, metrics_registry *registry,
                         struct error_note *note)
{
    struct replica_fleet_member member = {
        .config = {row->name, row->silence_ns, row->lost_after_ns}};
    status result = driver_create(members, row, pool, registry, &member.driver, note);
    uint32_t number;

    if (result == STATUS_OK)
        result = replica_fleet_member_add(fleet, &member, clock_now_ns(), &number);
    if (result != STATUS_OK)
        error_note_prefix(note, "pool member %s", row->name);
    else if (row->kind == MEMBER_LOCAL)
        members->local = number;
    CHECK(result != STATUS_OK ||
          &members->rows[number] == row); /* members are numbered in their order */
    return result;
}

status pool_members_create(struct pool_members *members, const struct config *config,
                           struct replica_fleet *fleet, metrics_registry *registry,
                           struct error_note *note)
{
    bool is_here = config->pool.members.count == 0;
    status result = arena_create(MEMORY_BYTES_MAX, &members->memory);

    members->local = POOL_MEMBER_NONE;
    members->rows = is_here ? &here : config->pool.members.items;
    members->count = is_here ? 1 : config->pool.members.count;
    for (uint32_t i = 0; i < members->count && result == STATUS_OK; i++)
        result = member_add(members, &members->rows[i], config->pool.name, fleet, registry, note);
    return result;
}

void pool_members_deinit(struct pool_members *members)
{
    device_metrics_destroy(members->metrics);
    arena_destroy(members->memory);
}
