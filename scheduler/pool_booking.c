/* The book: reservations become bookings, bookings end. All checks are made before the first change, so each call does all of its
 * work or none. */
#include <string.h>

#include "check.h"
#include "pool_internal.h"

#define NONE POOL_SLICE_NONE

static const char *const PHASES[] = {
    [BOOKING_RESERVED] = "reserved",
    [BOOKING_COMMITTED] = "committed",
    [BOOKING_DRAINING] = "draining",
};
_Static_assert(ARRAY_COUNT(PHASES) == BOOKING_PHASE_COUNT, "a word for each");

const char *booking_phase_name(enum booking_phase phase)
{
    CHECK(phase < BOOKING_PHASE_COUNT);
    return PHASES[phase];
}

/* --- rows by uid --- */

/* Uids are random or counted; the multiplication spreads both (Fibonacci hashing, Knuth vol. 3, 6.4). */
static uint32_t *bucket_of(const struct pool *pool, uint64_t uid)
{
    return &pool->buckets[(uint32_t)(uid * 0x9E3779B97F4A7C15ull >> 32) & pool->bucket_mask];
}

static uint32_t find_row(const struct pool *pool, uint64_t uid)
{
    uint32_t row = uid != 0 ? *bucket_of(pool, uid) : NONE;

    while (row != NONE && pool->rows[row].booking.uid != uid)
        row = pool->rows[row].next;
    return row;
}

static uint32_t take_row(struct pool *pool)
{
    uint32_t row = pool->row_free;

    if (row != NONE)
        pool->row_free = pool->rows[row].next;
    else
        row = pool->row_bound++;
    pool->booking_count++;
    return row;
}

static void free_row(struct pool *pool, uint32_t row)
{
    uint32_t *link = bucket_of(pool, pool->rows[row].booking.uid);

    while (*link != row)
        link = &pool->rows[*link].next;
    *link = pool->rows[row].next;
    pool->rows[row] = (struct row){.next = pool->row_free};
    pool->row_models[row] = POOL_MODEL_NONE;
    pool->row_free = row;
    pool->booking_count--;
}

/* --- parts --- */

static uint32_t take_part(struct pool *pool)
{
    uint32_t part = pool->part_free;

    if (part != NONE)
        pool->part_free = pool->parts[part].row;
    else
        part = pool->part_bound++;
    pool->part_count++;
    return part;
}

/* Puts a part on its slice, in front of the others there. */
static uint32_t book_part(struct pool *pool, const struct booking_part *wanted, uint32_t row,
                          uint32_t next)
{
    struct pool_columns *columns = &pool->columns;
    uint32_t part = take_part(pool), slice = wanted->slice, first = pool->slice_part[slice];

    pool->parts[part] = (struct part){
        .of = *wanted, .row = row, .next = next, .slice_next = first, .slice_previous = NONE};
    if (first != NONE)
        pool->parts[first].slice_previous = part;
    pool->slice_part[slice] = part;
    columns->memory_booked[slice] += wanted->memory_bytes;
    columns->compute_booked[slice] += wanted->compute_milli;
    columns->tenants[slice]++;
    pool_slice_settle(pool, slice);
    pool->parts[part].of.version = columns->version[slice];
    return part;
}

static void unbook_part(struct pool *pool, uint32_t part)
{
    struct pool_columns *columns = &pool->columns;
    struct part gone = pool->parts[part];
    uint32_t slice = gone.of.slice;

    if (gone.slice_previous != NONE)
        pool->parts[gone.slice_previous].slice_next = gone.slice_next;
    else
        pool->slice_part[slice] = gone.slice_next;
    if (gone.slice_next != NONE)
        pool->parts[gone.slice_next].slice_previous = gone.slice_previous;
    columns->memory_booked[slice] -= gone.of.memory_bytes;
    columns->compute_booked[slice] -= gone.of.compute_milli;
    columns->tenants[slice]--;
    pool_slice_settle(pool, slice);
    pool->parts[part] = (struct part){.row = pool->part_free};
    pool->part_free = part;
    pool->part_count--;
    pool_slice_forget_if_empty(pool, slice);
}

/* --- reserve --- */

static bool names_a_slice_twice(const struct booking_request *request)
{
    for (uint32_t i = 0; i < request->part_count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (request->parts[i].slice == request->parts[j].slice)
                return true;
        }
    }
    return false;
}

static bool has_same_parts(const struct pool *pool, const struct booking *booking,
                           const struct booking_request *request)
{
    uint32_t part = booking->part_first;

    if (booking->part_count != request->part_count)
        return false;
    for (uint32_t i = 0; i < request->part_count; i++, part = pool->parts[part].next) {
        const struct booking_part *has = &pool->parts[part].of, *wants = &request->parts[i];

        if (has->slice != wants->slice || has->memory_bytes != wants->memory_bytes ||
            has->compute_milli != wants->compute_milli)
            return false;
    }
    return true;
}

static bool takes_new(const struct pool *pool, uint32_t slice)
{
    const struct pool_columns *columns = &pool->columns;

    return columns->presence[slice] == SLICE_PRESENT && columns->health[slice] <= SLICE_DEGRADED &&
           !columns->is_quarantined[slice] &&
           pool->members[columns->member[slice]].state == MEMBER_SYNCED;
}

static bool has_room(const struct pool_columns *columns, const struct booking_part *part)
{
    uint32_t slice = part->slice, step = columns->step_milli[slice];

    /* What is not cut is given as a whole. */
    if (step == 0)
        return columns->tenants[slice] == 0 && columns->compute_foreign[slice] == 0 &&
               part->compute_milli == columns->compute_milli[slice] &&
               part->memory_bytes <= columns->memory_free[slice];
    return columns->tenants[slice] < columns->tenants_max[slice] &&
           part->compute_milli % step == 0 && part->compute_milli <= columns->compute_free[slice] &&
           part->memory_bytes <= columns->memory_free[slice];
}

static status check_part(const struct pool *pool, const struct booking_request *request,
                         const struct booking_part *part)
{
    const struct pool_columns *columns = &pool->columns;
    uint32_t slice = part->slice;

    if (slice >= columns->count || columns->presence[slice] == SLICE_ABSENT)
        return STATUS_NOT_FOUND;
    if (part->compute_milli == 0 || part->compute_milli > SLICE_COMPUTE_MILLI_MAX ||
        part->memory_bytes > SLICE_MEMORY_BYTES_MAX)
        return STATUS_INVALID;
    if (columns->tenants[slice] == UINT16_MAX)
        return STATUS_FULL;
    if (request->is_adopted)
        return STATUS_OK;
    if (!takes_new(pool, slice))
        return STATUS_NOT_FOUND;
    if (columns->version[slice] != part->version)
        return STATUS_AGAIN;
    return has_room(columns, part) ? STATUS_OK : STATUS_FULL;
}

static void amount_add(const struct pool *pool, struct quota_amount *sum,
                       const struct booking_part *part)
{
    sum->of[QUOTA_COMPUTE] += part->compute_milli;
    sum->of[QUOTA_MEMORY] += part->memory_bytes;
    sum->of[QUOTA_MONEY] +=
        (uint64_t)pool_part_price(pool, part->slice, part->memory_bytes, part->compute_milli);
}

static struct quota_amount amount_of(const struct pool *pool, const struct booking_request *request)
{
    struct quota_amount sum = {{0}};

    for (uint32_t i = 0; i < request->part_count; i++)
        amount_add(pool, &sum, &request->parts[i]);
    return sum;
}

static status check_request(const struct pool *pool, const struct booking_request *request)
{
    if (request->uid == 0 || request->part_count == 0 || request->part_count > POOL_GANG_MAX ||
        request->model == POOL_MODEL_NONE || names_a_slice_twice(request) ||
        (pool->quota != NULL && request->tenant >= quota_tree_count(pool->quota)))
        return STATUS_INVALID;
    if (pool->booking_count == pool->limits.bookings_max ||
        pool->limits.parts_max - pool->part_count < request->part_count)
        return STATUS_FULL;
    for (uint32_t i = 0; i < request->part_count; i++) {
        status result = check_part(pool, request, &request->parts[i]);

        if (result != STATUS_OK)
            return result;
    }
    return STATUS_OK;
}

static uint64_t sum_capped(uint64_t a, uint64_t b)
{
    return b < UINT64_MAX - a ? a + b : UINT64_MAX;
}

static void write_booking(struct pool *pool, const struct booking_request *request,
                          const struct quota_amount *amount, uint64_t now_ns)
{
    uint32_t row = take_row(pool), *bucket = bucket_of(pool, request->uid), first = NONE;

    pool->rows[row] = (struct row){
        .booking = {.uid = request->uid,
                    .model = request->model,
                    .tenant = request->tenant,
                    .priority = request->priority,
                    .phase = BOOKING_RESERVED,
                    .is_preemptible = request->is_preemptible,
                    .is_movable = request->is_movable,
                    .shape = request->shape,
                    .expires_ns = request->expires_ns,
                    .run_ns = request->run_ns,
                    .started_ns = now_ns,
                    .ends_ns = sum_capped(now_ns, request->run_ns),
                    .amount = *amount,
                    .part_count = request->part_count},
        .next = *bucket,
    };
    *bucket = row;
    pool->row_models[row] = request->model;
    for (uint32_t i = request->part_count; i-- > 0;)
        first = book_part(pool, &request->parts[i], row, first);
    pool->rows[row].booking.part_first = first;
    if (pool->quota != NULL)
        quota_tree_charge(pool->quota, request->tenant, amount);
}

status pool_reserve(struct pool *pool, const struct booking_request *request, uint64_t now_ns)
{
    uint32_t row = find_row(pool, request->uid);
    struct quota_amount amount;
    status result;

    if (row != NONE)
        return has_same_parts(pool, &pool->rows[row].booking, request) ? STATUS_OK : STATUS_INVALID;
    result = check_request(pool, request);
    if (result != STATUS_OK)
        return result;
    amount = amount_of(pool, request);
    if (pool->quota != NULL && !request->is_adopted &&
        !quota_tree_allows(pool->quota, request->tenant, &amount, NULL))
        return STATUS_DENIED;
    write_booking(pool, request, &amount, now_ns);
    return STATUS_OK;
}

status pool_commit(struct pool *pool, uint64_t uid, uint64_t now_ns)
{
    uint32_t row = find_row(pool, uid);
    struct booking *booking = row != NONE ? &pool->rows[row].booking : NULL;

    if (booking == NULL)
        return STATUS_NOT_FOUND;
    if (booking->phase != BOOKING_RESERVED)
        return STATUS_OK;
    if (now_ns >= booking->expires_ns) {
        (void)pool_release(pool, uid);
        return STATUS_NOT_FOUND;
    }
    booking->phase = BOOKING_COMMITTED;
    booking->started_ns = now_ns;
    booking->ends_ns = sum_capped(now_ns, booking->run_ns);
    return STATUS_OK;
}

/* --- rest --- */

static void part_resize(struct pool *pool, struct part *part, uint32_t compute_milli)
{
    struct pool_columns *columns = &pool->columns;
    uint32_t slice = part->of.slice;

    columns->compute_booked[slice] += compute_milli;
    columns->compute_booked[slice] -= part->of.compute_milli;
    part->of.compute_milli = compute_milli;
    pool_slice_settle(pool, slice);
    part->of.version = columns->version[slice];
}

/* What the parts come to now, in place of what was charged. */
static void charge_again(struct pool *pool, struct booking *booking)
{
    struct quota_amount amount = {{0}};

    for (uint32_t i = booking->part_first; i != NONE; i = pool->parts[i].next)
        amount_add(pool, &amount, &pool->parts[i].of);
    if (pool->quota != NULL) {
        quota_tree_credit(pool->quota, booking->tenant, &booking->amount);
        quota_tree_charge(pool->quota, booking->tenant, &amount);
    }
    booking->amount = amount;
}

static struct booking *find_running(struct pool *pool, uint64_t uid)
{
    uint32_t row = find_row(pool, uid);

    return row != NONE && pool->rows[row].booking.phase == BOOKING_COMMITTED
               ? &pool->rows[row].booking
               : NULL;
}

status pool_rest(struct pool *pool, uint64_t uid)
{
    struct booking *booking = find_running(pool, uid);

    if (booking == NULL)
        return STATUS_NOT_FOUND;
    if (booking->is_resting)
        return STATUS_OK;
    for (uint32_t i = booking->part_first; i != NONE; i = pool->parts[i].next) {
        if (pool->columns.step_milli[pool->parts[i].of.slice] == 0)
            return STATUS_UNSUPPORTED;
    }
    for (uint32_t i = booking->part_first; i != NONE; i = pool->parts[i].next) {
        pool->parts[i].rested_milli = pool->parts[i].of.compute_milli;
        part_resize(pool, &pool->parts[i], 0);
    }
    booking->is_resting = true;
    charge_again(pool, booking);
    return STATUS_OK;
}

status pool_rouse(struct pool *pool, uint64_t uid)
{
    struct booking *booking = find_running(pool, uid);

    if (booking == NULL)
        return STATUS_NOT_FOUND;
    if (!booking->is_resting)
        return STATUS_OK;
    for (uint32_t i = booking->part_first; i != NONE; i = pool->parts[i].next) {
        if (pool->parts[i].rested_milli > pool->columns.compute_free[pool->parts[i].of.slice])
            return STATUS_FULL;
    }
    for (uint32_t i = booking->part_first; i != NONE; i = pool->parts[i].next)
        part_resize(pool, &pool->parts[i], pool->parts[i].rested_milli);
    booking->is_resting = false;
    charge_again(pool, booking);
    return STATUS_OK;
}

status pool_drain(struct pool *pool, uint64_t uid, uint64_t ends_ns)
{
    uint32_t row = find_row(pool, uid);

    if (row == NONE)
        return STATUS_NOT_FOUND;
    pool->rows[row].booking.phase = BOOKING_DRAINING;
    pool->rows[row].booking.ends_ns = ends_ns;
    return STATUS_OK;
}

bool pool_release(struct pool *pool, uint64_t uid)
{
    uint32_t row = find_row(pool, uid), next;

    if (row == NONE)
        return false;
    if (pool->quota != NULL)
        quota_tree_credit(pool->quota, pool->rows[row].booking.tenant,
                          &pool->rows[row].booking.amount);
    for (uint32_t part = pool->rows[row].booking.part_first; part != NONE; part = next) {
        next = pool->parts[part].next;
        unbook_part(pool, part);
    }
    free_row(pool, row);
    return true;
}

uint64_t pool_expire(struct pool *pool, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t row = 0; row < pool->row_bound; row++) {
        const struct booking *booking = &pool->rows[row].booking;

        if (booking->uid == 0 || booking->phase != BOOKING_RESERVED)
            continue;
        if (now_ns >= booking->expires_ns)
            (void)pool_release(pool, booking->uid);
        else if (booking->expires_ns < next_ns)
            next_ns = booking->expires_ns;
    }
    return next_ns;
}

/* --- looking --- */

const struct booking *pool_booking_find(const struct pool *pool, uint64_t uid)
{
    uint32_t row = find_row(pool, uid);

    return row != NONE ? &pool->rows[row].booking : NULL;
}

uint32_t pool_booking_bound(const struct pool *pool)
{
    return pool->row_bound;
}

const struct booking *pool_booking_at(const struct pool *pool, uint32_t row)
{
    CHECK(row < pool->row_bound);
    return pool->rows[row].booking.uid != 0 ? &pool->rows[row].booking : NULL;
}

const uint32_t *pool_booking_models(const struct pool *pool)
{
    return pool->row_models;
}

uint32_t pool_booking_row(const struct pool *pool, const struct booking *booking)
{
    uint32_t row = find_row(pool, booking->uid);

    CHECK(row != NONE);
    return row;
}

uint32_t pool_booking_count(const struct pool *pool)
{
    return pool->booking_count;
}

const struct booking_part *pool_part(const struct pool *pool, uint32_t part)
{
    CHECK(part < pool->part_bound);
    return &pool->parts[part].of;
}

uint32_t pool_part_next(const struct pool *pool, uint32_t part)
{
    CHECK(part < pool->part_bound);
    return pool->parts[part].next;
}

uint32_t pool_slice_part_first(const struct pool *pool, uint32_t slice)
{
    CHECK(slice < pool->columns.count);
    return pool->slice_part[slice];
}

uint32_t pool_slice_part_next(const struct pool *pool, uint32_t part)
{
    CHECK(part < pool->part_bound);
    return pool->parts[part].slice_next;
}

uint32_t pool_part_row(const struct pool *pool, uint32_t part)
{
    CHECK(part < pool->part_bound);
    return pool->parts[part].row;
}

/* --- sizes and prices --- */

void pool_part_size(const struct pool *pool, uint32_t slice, const struct slice_shape *shape,
                    uint64_t *memory_bytes, uint32_t *compute_milli)
{
    CHECK(slice < pool->columns.count);
    pool_size_part(&pool->columns, slice, shape, memory_bytes, compute_milli);
}

int64_t pool_part_price(const struct pool *pool, uint32_t slice, uint64_t memory_bytes,
                        uint32_t compute_milli)
{
    const struct pool_columns *columns = &pool->columns;
    uint64_t price = (uint64_t)columns->price_nano_hour[slice], memory, compute;

    if (memory_bytes >= columns->memory_bytes[slice] ||
        compute_milli >= columns->compute_milli[slice])
        return (int64_t)price;
    memory = (uint64_t)((unsigned __int128)price * memory_bytes / columns->memory_bytes[slice]);
    compute = (uint64_t)((unsigned __int128)price * compute_milli / columns->compute_milli[slice]);
    return (int64_t)(memory > compute ? memory : compute);
}
