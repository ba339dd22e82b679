/* Reports into columns. Texts are taken up first, all or none, so that a report that cannot be kept changes nothing. */
#include <string.h>

#include "check.h"
#include "pool_internal.h"

enum {
    TEXT_ID,
    TEXT_NODE,
    TEXT_RACK,
    TEXT_NVLINK,
    TEXT_SWITCH,
    TEXT_PCIE_ROOT,
    TEXT_ZONE_HERE,
    TEXT_REGION,
    TEXT_ZONE,
    TEXT_PRODUCT,
    TEXT_PROFILE,
    TEXT_OWNER,
    TEXT_REASON,
    TEXT_COUNT
};

static void list_columns(const struct pool_columns *columns, uint32_t *out[TEXT_COUNT])
{
    out[TEXT_ID] = columns->id;
    out[TEXT_NODE] = columns->node;
    out[TEXT_RACK] = columns->rack;
    out[TEXT_NVLINK] = columns->nvlink;
    out[TEXT_SWITCH] = columns->pcie_switch;
    out[TEXT_PCIE_ROOT] = columns->pcie_root;
    out[TEXT_ZONE_HERE] = columns->zone_here;
    out[TEXT_REGION] = columns->region;
    out[TEXT_ZONE] = columns->zone;
    out[TEXT_PRODUCT] = columns->product;
    out[TEXT_PROFILE] = columns->profile;
    out[TEXT_OWNER] = columns->owner;
    out[TEXT_REASON] = columns->reason;
}

static uint32_t scope_of(uint32_t member, int text)
{
    if (text == TEXT_ID)
        return pool_id_scope_of(member);
    return text <= TEXT_ZONE_HERE ? pool_scope_of(member) : 0;
}

static void release_names(struct pool *pool, const uint32_t *names, int count)
{
    for (int i = 0; i < count; i++)
        name_table_release(pool->names, names[i]);
}

static status acquire_names(struct pool *pool, uint32_t member, const struct slice_report *report,
                            uint32_t names[TEXT_COUNT])
{
    const char *const texts[TEXT_COUNT] = {
        [TEXT_ID] = report->id,
        [TEXT_NODE] = report->node,
        [TEXT_RACK] = report->rack,
        [TEXT_NVLINK] = report->nvlink_domain,
        [TEXT_SWITCH] = report->switch_name,
        [TEXT_PCIE_ROOT] = report->pcie_root,
        [TEXT_ZONE_HERE] = report->zone,
        [TEXT_REGION] = report->region,
        [TEXT_ZONE] = report->zone,
        [TEXT_PRODUCT] = report->product,
        [TEXT_PROFILE] = report->profile,
        [TEXT_OWNER] = report->owner,
        [TEXT_REASON] = report->reason,
    };

    for (int i = 0; i < TEXT_COUNT; i++) {
        status result = name_table_acquire(pool->names, scope_of(member, i), texts[i], &names[i]);

        if (result != STATUS_OK) {
            release_names(pool, names, i);
            return result;
        }
    }
    return STATUS_OK;
}

static status acquire_texts(struct pool *pool, uint32_t member, const struct slice_report *report,
                            uint32_t names[TEXT_COUNT], struct pool_slice_labels *labels)
{
    status result = acquire_names(pool, member, report, names);

    if (result != STATUS_OK)
        return result;
    result = pool_labels_acquire(pool, report, labels);
    if (result != STATUS_OK)
        release_names(pool, names, TEXT_COUNT);
    return result;
}

static bool is_report_sane(const struct slice_report *report)
{
    return report->id != NULL && report->id[0] != '\0' && report->kind < SLICE_KIND_COUNT &&
           report->vendor < SLICE_VENDOR_COUNT && report->health < SLICE_HEALTH_COUNT &&
           report->label_count <= SLICE_LABELS_MAX && report->memory_bytes >= 1 &&
           report->memory_bytes <= SLICE_MEMORY_BYTES_MAX && report->compute_milli >= 1 &&
           report->compute_milli <= SLICE_COMPUTE_MILLI_MAX &&
           (report->step_milli == 0 || report->compute_milli % report->step_milli == 0) &&
           report->price_nano_hour >= 0 && report->price_nano_hour <= SLICE_PRICE_NANO_HOUR_MAX &&
           report->preemptions_hour >= 0;
}

/* The row of a slice that is new; POOL_SLICE_NONE: all are taken. */
static uint32_t take_row(struct pool *pool)
{
    if (pool->free_slice_count > 0)
        return pool->free_slices[--pool->free_slice_count];
    return pool->columns.count < pool->limits.slices_max ? pool->columns.count++ : POOL_SLICE_NONE;
}

static void clear_row(struct pool_columns *columns, uint32_t slice)
{
    columns->is_quarantined[slice] = false;
    columns->avoid_until_ns[slice] = 0;
    columns->tenants[slice] = 0;
    columns->memory_booked[slice] = 0;
    columns->compute_booked[slice] = 0;
}

static void set_names(struct pool *pool, uint32_t slice, const uint32_t names[TEXT_COUNT])
{
    uint32_t *columns[TEXT_COUNT];

    list_columns(&pool->columns, columns);
    for (int i = 0; i < TEXT_COUNT; i++)
        columns[i][slice] = names[i];
}

static void get_names(const struct pool *pool, uint32_t slice, uint32_t names[TEXT_COUNT])
{
    uint32_t *columns[TEXT_COUNT];

    list_columns(&pool->columns, columns);
    for (int i = 0; i < TEXT_COUNT; i++)
        names[i] = columns[i][slice];
}

static void set_values(struct pool *pool, uint32_t slice, const struct slice_report *report)
{
    struct pool_columns *columns = &pool->columns;

    columns->labels[slice] = pool_labels_bits(pool, &pool->slice_labels[slice]);
    columns->kind[slice] = (uint8_t)report->kind;
    columns->vendor[slice] = (uint8_t)report->vendor;
    columns->health[slice] = (uint8_t)report->health;
    columns->compute_capability[slice] = report->compute_capability;
    columns->numa[slice] = report->numa;
    columns->memory_bytes[slice] = report->memory_bytes;
    columns->memory_foreign[slice] = report->memory_foreign_bytes;
    columns->compute_milli[slice] = report->compute_milli;
    columns->compute_foreign[slice] = report->compute_foreign_milli;
    columns->step_milli[slice] = report->step_milli;
    columns->tenants_max[slice] = report->tenants_max > 0 ? report->tenants_max : 1;
    columns->price_nano_hour[slice] = report->price_nano_hour;
    columns->is_preemptible[slice] = report->is_preemptible;
    columns->preemptions_hour[slice] = report->preemptions_hour;
}

status pool_slice_upsert(struct pool *pool, uint32_t member, const struct slice_report *report,
                         uint64_t now_ns)
{
    uint32_t names[TEXT_COUNT], before[TEXT_COUNT], slice;
    struct pool_slice_labels labels;
    status result;

    pool_member_heard(pool, member, now_ns);
    if (!is_report_sane(report) || pool->members[member].is_leaving)
        return STATUS_INVALID;
    slice = pool_slice_find(pool, member, report->id);
    result = acquire_texts(pool, member, report, names, &labels);
    if (result != STATUS_OK)
        return result;
    if (slice == POOL_SLICE_NONE) {
        slice = take_row(pool);
        if (slice == POOL_SLICE_NONE) {
            release_names(pool, names, TEXT_COUNT);
            pool_labels_release(pool, &labels);
            return STATUS_FULL;
        }
        clear_row(&pool->columns, slice);
        pool->columns.member[slice] = (uint16_t)member;
        pool->slice_of_id[names[TEXT_ID]] = slice;
        pool->members[member].slice_count++;
    } else {
        get_names(pool, slice, before);
        release_names(pool, before, TEXT_COUNT);
        pool_labels_release(pool, &pool->slice_labels[slice]);
    }
    set_names(pool, slice, names);
    pool->slice_labels[slice] = labels;
    set_values(pool, slice, report);
    pool->columns.presence[slice] = SLICE_PRESENT;
    pool->columns.seen_ns[slice] = now_ns;
    pool->slice_listing[slice] = pool->members[member].listing;
    pool_slice_settle(pool, slice);
    return STATUS_OK;
}

uint32_t pool_slice_find(const struct pool *pool, uint32_t member, const char *id)
{
    uint32_t name;

    CHECK(member < pool->limits.members_max);
    name = name_table_find(pool->names, pool_id_scope_of(member), id);
    return name != NAME_NONE ? pool->slice_of_id[name] : POOL_SLICE_NONE;
}

bool pool_slice_remove(struct pool *pool, uint32_t member, const char *id, uint64_t now_ns)
{
    uint32_t slice = pool_slice_find(pool, member, id);

    pool_member_heard(pool, member, now_ns);
    if (slice == POOL_SLICE_NONE || pool->columns.presence[slice] != SLICE_PRESENT)
        return false;
    pool_slice_lose(pool, slice);
    return true;
}

void pool_slice_quarantine(struct pool *pool, uint32_t slice, bool is_quarantined)
{
    CHECK(slice < pool->columns.count && pool->columns.presence[slice] != SLICE_ABSENT);
    pool->columns.is_quarantined[slice] = is_quarantined;
    pool_slice_settle(pool, slice);
}

void pool_slice_avoid(struct pool *pool, uint32_t slice, uint64_t until_ns)
{
    CHECK(slice < pool->columns.count && pool->columns.presence[slice] != SLICE_ABSENT);
    pool->columns.avoid_until_ns[slice] = until_ns;
    pool_slice_settle(pool, slice);
}

static uint64_t rest(uint64_t whole, uint64_t booked, uint64_t foreign)
{
    whole -= booked < whole ? booked : whole;
    return whole - (foreign < whole ? foreign : whole);
}

static uint32_t traits_of(const struct pool_columns *columns, uint32_t slice)
{
    bool is_closed = columns->presence[slice] != SLICE_PRESENT ||
                     columns->health[slice] > SLICE_DEGRADED || columns->is_quarantined[slice];

    return SLICE_TRAIT_VENDOR(columns->vendor[slice]) | SLICE_TRAIT_KIND(columns->kind[slice]) |
           (is_closed ? SLICE_TRAIT_CLOSED : 0) |
           (columns->is_preemptible[slice] ? SLICE_TRAIT_PREEMPTIBLE : 0);
}

void pool_slice_settle(struct pool *pool, uint32_t slice)
{
    struct pool_columns *columns = &pool->columns;

    columns->memory_free[slice] = rest(columns->memory_bytes[slice], columns->memory_booked[slice],
                                       columns->memory_foreign[slice]);
    columns->compute_free[slice] =
        (uint32_t)rest(columns->compute_milli[slice], columns->compute_booked[slice],
                       columns->compute_foreign[slice]);
    columns->traits[slice] = traits_of(columns, slice);
    columns->version[slice] = ++pool->version;
}

void pool_slice_lose(struct pool *pool, uint32_t slice)
{
    pool->columns.presence[slice] = SLICE_GONE;
    pool_slice_settle(pool, slice);
    pool_slice_forget_if_empty(pool, slice);
}

void pool_slice_forget_if_empty(struct pool *pool, uint32_t slice)
{
    struct pool_columns *columns = &pool->columns;
    uint32_t names[TEXT_COUNT];

    if (columns->presence[slice] != SLICE_GONE || pool->slice_part[slice] != POOL_SLICE_NONE)
        return;
    get_names(pool, slice, names);
    release_names(pool, names, TEXT_COUNT);
    pool_labels_release(pool, &pool->slice_labels[slice]);
    columns->presence[slice] = SLICE_ABSENT;
    pool->members[columns->member[slice]].slice_count--;
    pool->free_slices[pool->free_slice_count++] = slice;
}
