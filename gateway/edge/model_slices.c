#include "model_slices.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "memory.h"

#define OVERHEAD_BYTES (64ull << 20) /* of a replica beside weights and cache */
#define START_S        5.0f          /* of a replica whose member nothing is known of yet */
#define NANO           1e9

/* --- labels and quotas --- */

static status labels_read(const struct setting_list *list, struct pool *pool, uint64_t *out)
{
    const char *const *labels = list->items;
    uint64_t bit;

    *out = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        status result = pool_label_declare(pool, labels[i], &bit);

        if (result != STATUS_OK)
            return result;
        *out |= bit;
    }
    return STATUS_OK;
}

static struct quota_amount amount_of(double devices, uint64_t memory, double price, uint64_t none)
{
    return (struct quota_amount){
        .of = {
            [QUOTA_COMPUTE] = devices > 0 ? (uint64_t)(devices * 1000) : none,
            [QUOTA_MEMORY] = memory > 0 ? memory : none,
            [QUOTA_MONEY] = price > 0 ? (uint64_t)(price * NANO) : none,
        }};
}

/* The node of the row of this name; QUOTA_ROOT for "". */
static uint32_t quota_find(const struct config_pool *pool, const char *name)
{
    for (uint32_t i = 0; i < pool->quotas.count; i++) {
        if (strcmp(config_quota_at(pool, i)->name, name) == 0)
            return i + 1;
    }
    return QUOTA_ROOT;
}

status model_slices_quotas(const struct config_pool *pool, struct quota_tree **out,
                           struct error_note *note)
{
    status result;

    *out = NULL;
    if (pool->quotas.count == 0)
        return STATUS_OK;
    result = quota_tree_create(pool->quotas.count + 1, out);
    for (uint32_t i = 0; i < pool->quotas.count && result == STATUS_OK; i++) {
        const struct config_pool_quota *row = config_quota_at(pool, i);
        const struct quota_config config = {
            amount_of(row->guaranteed_devices, row->guaranteed_memory, row->guaranteed_price, 0),
            amount_of(row->devices, row->memory, row->price, QUOTA_UNLIMITED),
            (uint32_t)row->weight, (int32_t)row->priority};
        uint32_t node;

        result = quota_tree_add(*out, quota_find(pool, row->parent), &config, &node);
        if (result != STATUS_OK)
            error_note_set(note,
                           "pool.quotas: '%s' is guaranteed more than its parent '%s' can give",
                           row->name, row->parent);
    }
    if (result != STATUS_OK) {
        quota_tree_destroy(*out);
        *out = NULL;
    }
    return result;
}

/* --- the shape --- */

static uint64_t folder_bytes(const char *path)
{
    DIR *folder = opendir(path);
    uint64_t bytes = 0;
    struct stat info;

    for (const struct dirent *entry = folder != NULL ? readdir(folder) : NULL; entry != NULL;
         entry = readdir(folder)) {
        if (fstatat(dirfd(folder), entry->d_name, &info, 0) == 0 && S_ISREG(info.st_mode))
            bytes += (uint64_t)info.st_size;
    }
    if (folder != NULL)
        (void)closedir(folder);
    return bytes;
}

/* Weights are about as large in memory as in their files; a model that lies elsewhere has none here. */
uint64_t model_slices_memory(const struct config_model *row)
{
    struct stat info;
    uint64_t bytes = OVERHEAD_BYTES + row->kv_cache_memory;

    if (row->placement.memory > 0)
        return row->placement.memory;
    if (stat(row->path, &info) == 0)
        bytes += S_ISDIR(info.st_mode) ? folder_bytes(row->path) : (uint64_t)info.st_size;
    return bytes;
}

typedef const char *word_name(uint32_t word);

static const char *vendor_name(uint32_t vendor)
{
    return slice_vendor_name((enum slice_vendor)vendor);
}

static const char *kind_name(uint32_t kind)
{
    return slice_kind_name((enum slice_kind)kind);
}

static uint32_t mask_of(const struct setting_list *list, word_name *name, uint32_t count)
{
    const char *const *words = list->items;
    uint32_t mask = 0;

    for (uint32_t i = 0; i < list->count; i++) {
        for (uint32_t word = 0; word < count; word++) {
            if (strcmp(words[i], name(word)) == 0)
                mask |= 1u << word;
        }
    }
    return mask;
}

static status name_take(struct pool *pool, const char *text, uint32_t *out)
{
    *out = 0;
    return text[0] == '\0' ? STATUS_OK : pool_name_acquire(pool, text, out);
}

static status shape_make(const struct config_model *row, uint32_t core_milli, struct pool *pool,
                         struct slice_shape *shape)
{
    const struct config_placement *placement = &row->placement;
    status result;

    *shape = (struct slice_shape){
        .vendors = mask_of(&placement->vendors, vendor_name, SLICE_VENDOR_COUNT),
        .kinds = mask_of(&placement->kinds, kind_name, SLICE_KIND_COUNT),
        .compute_capability_min = (uint16_t)(placement->compute_capability * 10 + 0.5),
        .takes_preemptible = placement->spot,
        .memory_bytes = model_slices_memory(row),
        .compute_milli =
            placement->cores > 0 ? (uint32_t)(placement->cores * 1000 + 0.5) : core_milli,
        .price_max_nano_hour = (int64_t)(placement->price_max * NANO),
    };
    /* Where nothing is said, what its kernels run on. */
    if (shape->kinds == 0 && shape->vendors == 0 && strcmp(row->backend, "cuda") == 0)
        shape->vendors = 1u << SLICE_NVIDIA;
    else if (shape->kinds == 0 && shape->vendors == 0)
        shape->kinds = 1u << SLICE_CPU_SET;
    result = name_take(pool, placement->region, &shape->region);
    if (result == STATUS_OK)
        result = name_take(pool, placement->product, &shape->product);
    if (result == STATUS_OK)
        result = name_take(pool, placement->organisation, &shape->organisation);
    if (result == STATUS_OK)
        result = labels_read(&placement->labels, pool, &shape->labels_required);
    if (result == STATUS_OK)
        result = labels_read(&placement->forbidden, pool, &shape->labels_forbidden);
    return result;
}

/* --- preferences --- */

static status tiers_make(struct model_slices *slices, const struct config_placement *placement,
                         const struct pool *pool)
{
    const char *const *names = placement->members.items;
    uint32_t count = placement->members.count > 0 ? placement->members.count : 1;

    slices->tiers = memory_allocate_array(count, sizeof(slices->tiers[0]));
    slices->members = memory_allocate_array(count, sizeof(slices->members[0]));
    if (slices->tiers == NULL || slices->members == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        slices->tiers[i].weights = placement_preset((enum placement_preset_kind)placement->policy);
        if (placement->members.count == 0)
            continue;
        slices->members[i] = pool_member_find(pool, names[i]);
        slices->tiers[i].members = &slices->members[i];
        slices->tiers[i].member_count = 1;
    }
    slices->request.tiers = slices->tiers;
    slices->request.tier_count = count;
    return STATUS_OK;
}

static status round_trips_make(struct model_slices *slices, const struct config_pool *config,
                               struct pool *pool)
{
    const struct config_round_trip *rows = config->round_trips.items;

    slices->round_trips =
        memory_allocate_array(config->round_trips.count + 1, sizeof(slices->round_trips[0]));
    if (slices->round_trips == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < config->round_trips.count; i++) {
        status result = pool_name_acquire(pool, rows[i].region, &slices->round_trips[i].name);

        if (result != STATUS_OK)
            return result;
        slices->round_trips[i].value = (float)rows[i].time_ns / (float)NS_PER_MS;
    }
    slices->request.round_trips_ms = slices->round_trips;
    slices->request.round_trip_count = config->round_trips.count;
    return STATUS_OK;
}

status model_slices_init(struct model_slices *slices, const struct config *config,
                         uint32_t model_index, uint32_t core_milli, uint32_t booked_milli,
                         struct pool *pool)
{
    const struct config_model *row = config_model_at(config, model_index);
    const struct config_placement *placement = &row->placement;
    status result;

    *slices =
        (struct model_slices){.request = {.model = model_index,
                                          .tenant = quota_find(&config->pool, placement->quota),
                                          .priority = (int32_t)placement->priority,
                                          .is_preemptible = placement->preemptible,
                                          .is_movable = placement->parts == 1,
                                          .part_count = (uint32_t)placement->parts,
                                          .domain_max = (enum placement_domain)placement->domain,
                                          .on_demand_min = (uint32_t)placement->on_demand_min,
                                          .run_ns = POOL_NO_END,
                                          .cold_start_s = START_S,
                                          .recover_s = START_S}};
    slices->core_milli = placement->cores > 0 ? 0 : core_milli;
    result = shape_make(row, booked_milli, pool, &slices->request.shape);
    if (result == STATUS_OK)
        result = tiers_make(slices, placement, pool);
    if (result == STATUS_OK)
        result = round_trips_make(slices, &config->pool, pool);
    return result;
}

void model_slices_deinit(struct model_slices *slices)
{
    memory_release(slices->round_trips);
    memory_release(slices->members);
    memory_release(slices->tiers);
}
