/* The book of slices
 *
 * Memory. Slices are rows of columns, one allocation for all of them, so that the placement's scan over ten thousand slices
 * reads some thirty contiguous bytes a slice instead of a record of 300. Names are numbers of one table; a slice's id is a
 * name too (in its member's scope), and slice_of_id leads from its number to the row: no second hash table. Bookings are
 * rows with a hash of uids; their parts are linked twice, by booking and by slice.
 *
 *      names --- slice_of_id ---> columns[slice] <--- parts (by slice) ---> rows[booking] <--- buckets (uid)
 *
 * Invariants, which pool_is_consistent recomputes: what is booked of a slice is the sum of its parts; free is what neither
 * bookings nor others hold; a row that is present or has parts keeps its index; what quota nodes were charged
 * is what their bookings say.
 *
 * Never mistaken for empty. Only three things take a slice away: its member's word, the end of its member's complete list, and
 * the member's removal from the config. Silence changes the member's state and nothing else, and even a slice that is taken
 * away keeps its row while a booking stands on it. */
#include "pool.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "pool_internal.h"

/* --- columns --- */

#define COLUMN(name)                                                                               \
    {                                                                                              \
        offsetof(struct pool_columns, name), sizeof(*((struct pool_columns *)0)->name)             \
    }

static const struct {
    size_t offset, bytes;
} COLUMNS[] = {
    COLUMN(version),
    COLUMN(seen_ns),
    COLUMN(avoid_until_ns),
    COLUMN(price_nano_hour),
    COLUMN(labels),
    COLUMN(memory_booked),
    COLUMN(compute_booked),
    COLUMN(memory_foreign),
    COLUMN(memory_free),
    COLUMN(memory_bytes),
    COLUMN(compute_foreign),
    COLUMN(preemptions_hour),
    COLUMN(step_milli),
    COLUMN(compute_free),
    COLUMN(compute_milli),
    COLUMN(reason),
    COLUMN(owner),
    COLUMN(profile),
    COLUMN(product),
    COLUMN(pcie_root),
    COLUMN(pcie_switch),
    COLUMN(nvlink),
    COLUMN(rack),
    COLUMN(zone),
    COLUMN(region),
    COLUMN(traits),
    COLUMN(zone_here),
    COLUMN(node),
    COLUMN(id),
    COLUMN(numa),
    COLUMN(tenants_max),
    COLUMN(tenants),
    COLUMN(compute_capability),
    COLUMN(member),
    COLUMN(is_preemptible),
    COLUMN(is_quarantined),
    COLUMN(vendor),
    COLUMN(kind),
    COLUMN(health),
    COLUMN(presence),
};

/* Each column begins on a cache line. */
static size_t column_bytes(size_t item_bytes, uint32_t rows)
{
    return (item_bytes * rows + CACHE_LINE_BYTES - 1) & ~(size_t)(CACHE_LINE_BYTES - 1);
}

static status create_columns(struct pool *pool)
{
    size_t bytes = 0;
    char *at;

    for (size_t i = 0; i < ARRAY_COUNT(COLUMNS); i++)
        bytes += column_bytes(COLUMNS[i].bytes, pool->limits.slices_max);
    pool->column_memory = memory_allocate_aligned(CACHE_LINE_BYTES, bytes);
    if (pool->column_memory == NULL)
        return STATUS_NO_MEMORY;
    memset(pool->column_memory, 0, bytes);
    at = pool->column_memory;
    for (size_t i = 0; i < ARRAY_COUNT(COLUMNS); i++) {
        void *column = at;

        memcpy((char *)&pool->columns + COLUMNS[i].offset, &column, sizeof(column));
        at += column_bytes(COLUMNS[i].bytes, pool->limits.slices_max);
    }
    return STATUS_OK;
}

/* --- life --- */

static bool are_limits_sane(const struct pool_limits *limits)
{
    return limits->members_max >= 1 && limits->members_max <= POOL_MEMBERS_MAX &&
           limits->slices_max >= 1 && limits->slices_max <= 1u << 20 && limits->bookings_max >= 1 &&
           limits->bookings_max <= 1u << 24 && limits->parts_max >= 1 &&
           limits->parts_max <= 1u << 24 && limits->names_max >= 1 && limits->names_max <= 1u << 24;
}

static status create_arrays(struct pool *pool)
{
    const struct pool_limits *limits = &pool->limits;
    uint32_t buckets = 16;

    while (buckets < limits->bookings_max)
        buckets *= 2;
    pool->bucket_mask = buckets - 1;
    pool->members = memory_allocate_array(limits->members_max, sizeof(*pool->members));
    pool->slice_of_id = memory_allocate_array((size_t)limits->names_max + 1, sizeof(uint32_t));
    pool->slice_listing = memory_allocate_array(limits->slices_max, sizeof(uint32_t));
    pool->slice_part = memory_allocate_array(limits->slices_max, sizeof(uint32_t));
    pool->slice_labels = memory_allocate_array(limits->slices_max, sizeof(*pool->slice_labels));
    pool->free_slices = memory_allocate_array(limits->slices_max, sizeof(uint32_t));
    pool->rows = memory_allocate_array(limits->bookings_max, sizeof(*pool->rows));
    pool->row_models = memory_allocate_array(limits->bookings_max, sizeof(*pool->row_models));
    pool->buckets = memory_allocate_array(buckets, sizeof(*pool->buckets));
    pool->parts = memory_allocate_array(limits->parts_max, sizeof(*pool->parts));
    if (pool->members == NULL || pool->slice_of_id == NULL || pool->slice_listing == NULL ||
        pool->slice_part == NULL || pool->free_slices == NULL || pool->rows == NULL ||
        pool->buckets == NULL || pool->row_models == NULL || pool->parts == NULL ||
        pool->slice_labels == NULL)
        return STATUS_NO_MEMORY;
    memset(pool->buckets, 0xff, buckets * sizeof(*pool->buckets));
    memset(pool->row_models, 0xff, limits->bookings_max * sizeof(*pool->row_models));
    memset(pool->slice_part, 0xff, limits->slices_max * sizeof(*pool->slice_part));
    pool->row_free = pool->part_free = POOL_SLICE_NONE;
    return STATUS_OK;
}

status pool_create(const struct pool_limits *limits, const struct hash_key *key,
                   struct quota_tree *quota, struct pool **out)
{
    struct pool *pool;
    status result;

    if (!are_limits_sane(limits))
        return STATUS_INVALID;
    pool = memory_allocate_array(1, sizeof(*pool));
    if (pool == NULL)
        return STATUS_NO_MEMORY;
    pool->limits = *limits;
    pool->quota = quota;
    result = name_table_create(limits->names_max, key, &pool->names);
    if (result == STATUS_OK)
        result = create_columns(pool);
    if (result == STATUS_OK)
        result = create_arrays(pool);
    if (result != STATUS_OK) {
        pool_destroy(pool);
        return result;
    }
    *out = pool;
    return STATUS_OK;
}

void pool_destroy(struct pool *pool)
{
    if (pool == NULL)
        return;
    memory_release(pool->parts);
    memory_release(pool->buckets);
    memory_release(pool->row_models);
    memory_release(pool->rows);
    memory_release(pool->free_slices);
    memory_release(pool->slice_labels);
    memory_release(pool->slice_part);
    memory_release(pool->slice_listing);
    memory_release(pool->slice_of_id);
    memory_release(pool->members);
    memory_release(pool->column_memory);
    name_table_destroy(pool->names);
    memory_release(pool);
}

const struct pool_limits *pool_limits_of(const struct pool *pool)
{
    return &pool->limits;
}

/* --- names --- */

status pool_name_acquire(struct pool *pool, const char *text, uint32_t *out)
{
    return name_table_acquire(pool->names, 0, text, out);
}

void pool_name_release(struct pool *pool, uint32_t name)
{
    name_table_release(pool->names, name);
}

uint32_t pool_name_find(const struct pool *pool, const char *text)
{
    return name_table_find(pool->names, 0, text);
}

uint32_t pool_member_name_find(const struct pool *pool, uint32_t member, const char *text)
{
    CHECK(member < pool->limits.members_max);
    return name_table_find(pool->names, pool_scope_of(member), text);
}

const char *pool_name_text(const struct pool *pool, uint32_t name)
{
    return name_table_text(pool->names, name);
}

uint32_t pool_name_bound(const struct pool *pool)
{
    return name_table_bound(pool->names);
}

/* --- the whole --- */

const struct pool_columns *pool_columns(const struct pool *pool)
{
    return &pool->columns;
}

void pool_slice_write(const struct pool *pool, uint32_t slice, char *out, uint32_t bytes)
{
    const struct pool_columns *columns = &pool->columns;

    CHECK(slice < columns->count && columns->presence[slice] != SLICE_ABSENT);
    (void)snprintf(out, bytes, "%s/%s",
                   name_table_text(pool->names, pool->members[columns->member[slice]].name),
                   name_table_text(pool->names, columns->id[slice]));
}

struct quota_amount pool_capacity(const struct pool *pool)
{
    const struct pool_columns *columns = &pool->columns;
    struct quota_amount sum = {{0}};

    for (uint32_t i = 0; i < columns->count; i++) {
        if (columns->presence[i] != SLICE_PRESENT || columns->health[i] > SLICE_DEGRADED ||
            columns->is_quarantined[i] || pool->members[columns->member[i]].state == MEMBER_LOST)
            continue;
        sum.of[QUOTA_COMPUTE] += columns->compute_milli[i];
        sum.of[QUOTA_MEMORY] += columns->memory_bytes[i];
        sum.of[QUOTA_MONEY] += (uint64_t)columns->price_nano_hour[i];
    }
    return sum;
}

uint64_t pool_tick(struct pool *pool, uint64_t now_ns)
{
    uint64_t due_ns = pool_expire(pool, now_ns), next_ns = pool_members_tick(pool, now_ns);
    struct quota_amount capacity;

    if (pool->quota != NULL) {
        capacity = pool_capacity(pool);
        quota_tree_set_capacity(pool->quota, &capacity);
    }
    return next_ns < due_ns ? next_ns : due_ns;
}

/* --- consistency --- */

static bool is_slice_consistent(const struct pool *pool, uint32_t slice)
{
    const struct pool_columns *columns = &pool->columns;
    uint64_t memory = 0, compute = 0;
    uint32_t tenants = 0;

    for (uint32_t part = pool->slice_part[slice]; part != POOL_SLICE_NONE;
         part = pool->parts[part].slice_next) {
        memory += pool->parts[part].of.memory_bytes;
        compute += pool->parts[part].of.compute_milli;
        tenants++;
        if (pool->parts[part].of.slice != slice ||
            pool->rows[pool->parts[part].row].booking.uid == 0)
            return false;
    }
    if (columns->presence[slice] == SLICE_ABSENT)
        return tenants == 0;
    return memory == columns->memory_booked[slice] && compute == columns->compute_booked[slice] &&
           tenants == columns->tenants[slice] &&
           columns->memory_free[slice] <= columns->memory_bytes[slice] &&
           columns->compute_free[slice] <= columns->compute_milli[slice] &&
           pool->slice_of_id[columns->id[slice]] == slice;
}

static bool are_bookings_consistent(const struct pool *pool)
{
    uint32_t bookings = 0, parts = 0;

    for (uint32_t row = 0; row < pool->row_bound; row++) {
        const struct booking *booking = &pool->rows[row].booking;
        uint32_t count = 0;

        if (booking->uid == 0)
            continue;
        for (uint32_t part = booking->part_first; part != POOL_SLICE_NONE;
             part = pool->parts[part].next) {
            if (pool->parts[part].row != row)
                return false;
            count++;
        }
        if (count != booking->part_count || pool_booking_find(pool, booking->uid) != booking)
            return false;
        bookings++;
        parts += count;
    }
    return bookings == pool->booking_count && parts == pool->part_count;
}

/* What the root holds is what all bookings were charged. */
static bool is_quota_consistent(const struct pool *pool)
{
    struct quota_amount sum = {{0}};

    if (pool->quota == NULL)
        return true;
    for (uint32_t row = 0; row < pool->row_bound; row++) {
        for (int r = 0; r < QUOTA_RESOURCE_COUNT && pool->rows[row].booking.uid != 0; r++)
            sum.of[r] += pool->rows[row].booking.amount.of[r];
    }
    return memcmp(&sum, quota_tree_used(pool->quota, QUOTA_ROOT), sizeof(sum)) == 0;
}

bool pool_is_consistent(const struct pool *pool)
{
    for (uint32_t slice = 0; slice < pool->columns.count; slice++) {
        if (!is_slice_consistent(pool, slice))
            return false;
    }
    return are_bookings_consistent(pool) && is_quota_consistent(pool);
}
