#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "placement_internal.h"
#include "placement_queue.h"
#include "pool.h"
#include "quota_tree.h"

/* Stateful: the input is a list of what happens to a small pool (members report, fall silent, leave; replicas are asked for, placed,
 * drained, released). After each the book is recomputed from its bookings, and compared with a shadow that knows only two rules: a
 * slice is there from its report until its member says that it is not, and a booking lasts from its reservation until
 * somebody releases it or its reservation's time is over. */

#define SECOND_NS     1000000000ull
#define MEMBERS       3u
#define NODES         2u
#define NODE_SLICES   4u
#define MEMBER_SLICES (NODES * NODE_SLICES)
#define SLICES_MAX    22u /* two less than all report together */
#define BOOKINGS_MAX  12u
#define PARTS_MAX     20u
#define UIDS          24u
#define GIB           (1ull << 30)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct shadow_member {
    bool is_added, is_listing;
    uint32_t number;
    bool has[MEMBER_SLICES], was_listed[MEMBER_SLICES];
};
struct shadow_booking {
    bool is_booked, is_reserved;
    uint32_t part_count;
    uint64_t expires_ns;
};

static struct pool *pool;
static struct quota_tree *quota;
static struct placement *placement;
static struct placement_queue *queue;
static struct shadow_member members[MEMBERS];
static struct shadow_booking bookings[UIDS + 1]; /* by uid */
static uint64_t now_ns, label;
static uint32_t tenants[3];

/* --- what must hold --- */

static void check_slices(const struct shadow_member *member)
{
    for (uint32_t i = 0; i < MEMBER_SLICES && member->is_added; i++) {
        char id[16];
        uint32_t slice;

        (void)snprintf(id, sizeof(id), "s%u", i);
        slice = pool_slice_find(pool, member->number, id);
        CHECK(member->has[i] ==
              (slice != POOL_SLICE_NONE && pool_columns(pool)->presence[slice] == SLICE_PRESENT));
        /* Gone, and still in the book: only while something stands there. */
        CHECK(member->has[i] || slice == POOL_SLICE_NONE ||
              pool_slice_part_first(pool, slice) != POOL_SLICE_NONE);
    }
}

static void check_bookings(void)
{
    uint32_t count = 0;

    for (uint64_t uid = 1; uid <= UIDS; uid++) {
        const struct booking *booking = pool_booking_find(pool, uid);

        CHECK((booking != NULL) == bookings[uid].is_booked);
        if (booking == NULL)
            continue;
        CHECK(booking->part_count == bookings[uid].part_count);
        CHECK((booking->phase == BOOKING_RESERVED) == bookings[uid].is_reserved);
        count++;
    }
    CHECK(count == pool_booking_count(pool));
}

/* Whatever a decision laid out by name it has wiped away. */
static void check_scratch(void)
{
    for (uint32_t i = 0; i <= placement->names_max; i++) {
        CHECK(placement->speeds[i] == UNKNOWN && placement->latencies[i] == UNKNOWN &&
              placement->warmths[i] == UNKNOWN);
        CHECK(placement->near_zone[i] == 0 && placement->near_node[i] == 0);
        CHECK(placement->node_slices[i] == 0 && placement->node_busy[i] == 0);
        CHECK(placement->domain_count[i] == 0 && placement->unit_count[i] == 0);
    }
    for (uint32_t i = 0; i < MEMBERS; i++)
        CHECK(placement->near_member[i] == 0);
}

static void check_everything(void)
{
    CHECK(pool_is_consistent(pool));
    for (uint32_t i = 0; i < MEMBERS; i++)
        check_slices(&members[i]);
    check_bookings();
    check_scratch();
}

/* --- members --- */

static void member_add(uint32_t number)
{
    struct shadow_member *member = &members[number];
    char name[8];
    struct member_config config = {
        .name = name, .interval_ns = 10 * SECOND_NS, .lost_after_ns = 60 * SECOND_NS};
    status result;

    if (member->is_added)
        return;
    (void)snprintf(name, sizeof(name), "m%u", number);
    result = pool_member_add(pool, &config, now_ns, &member->number);
    /* One that is still leaving has its name. */
    CHECK(result == STATUS_OK || result == STATUS_INVALID || result == STATUS_FULL);
    if (result == STATUS_OK)
        *member = (struct shadow_member){.is_added = true, .number = member->number};
}

static void member_remove(uint32_t number)
{
    struct shadow_member *member = &members[number];

    if (!member->is_added)
        return;
    memset(member->has, 0, sizeof(member->has));
    member->is_listing = false;
    if (pool_member_remove(pool, member->number) == STATUS_OK)
        member->is_added = false;
    else
        check_slices(member);
}

static void slice_report(struct shadow_member *member, uint32_t which, uint8_t how)
{
    static const char *const labels[] = {"eu"};
    char id[16], node[16];
    struct slice_report report = {.id = id,
                                  .node = node,
                                  .nvlink_domain = node,
                                  .region = how & 1 ? "west" : "east",
                                  .zone = how & 2 ? "a" : "b",
                                  .product = how & 1 ? "large" : "small",
                                  .labels = labels,
                                  .label_count = how >> 7,
                                  .health = how % 11 == 0 ? SLICE_BAD : SLICE_OK,
                                  .memory_bytes = (how & 1 ? 80 : 40) * GIB,
                                  .memory_foreign_bytes = how % 13 == 0 ? 50 * GIB : 0,
                                  .compute_milli = how & 4 ? 4000 : 1000,
                                  .step_milli = how & 4 ? 500 : 0,
                                  .tenants_max = how & 4 ? 3 : 1,
                                  .price_nano_hour = 1000000 * (1 + how % 5),
                                  .is_preemptible = how & 8,
                                  .preemptions_hour = how & 8 ? 0.2f : 0};
    status result;

    (void)snprintf(id, sizeof(id), "s%u", which);
    (void)snprintf(node, sizeof(node), "n%u", which / NODE_SLICES);
    result = pool_slice_upsert(pool, member->number, &report, now_ns);
    CHECK(result == STATUS_OK || result == STATUS_FULL || result == STATUS_INVALID);
    if (result == STATUS_OK)
        member->has[which] = member->was_listed[which] = true;
}

static void slice_remove(struct shadow_member *member, uint32_t which)
{
    char id[16];

    (void)snprintf(id, sizeof(id), "s%u", which);
    CHECK(pool_slice_remove(pool, member->number, id, now_ns) == member->has[which]);
    member->has[which] = false;
}

static void list_end(struct shadow_member *member)
{
    struct member_info info;
    uint32_t gone = 0;

    CHECK(pool_member_get(pool, member->number, &info));
    for (uint32_t i = 0; i < MEMBER_SLICES && info.is_listing; i++) {
        gone += member->has[i] && !member->was_listed[i];
        member->has[i] = member->has[i] && member->was_listed[i];
    }
    CHECK(pool_list_end(pool, member->number, now_ns) == gone);
}

static void member_event(uint8_t kind, uint8_t argument)
{
    uint32_t number = argument % MEMBERS, which = argument / MEMBERS % MEMBER_SLICES;
    struct shadow_member *member = &members[number];

    member_add(number);
    if (!member->is_added)
        return;
    switch (kind) {
    case 0:
        pool_list_begin(pool, member->number, now_ns);
        memset(member->was_listed, 0, sizeof(member->was_listed));
        for (uint32_t i = 0; i < MEMBER_SLICES; i++)
            slice_report(member, i, (uint8_t)(argument + 16 * (i / NODE_SLICES)));
        list_end(member);
        break;
    case 1:
        pool_list_begin(pool, member->number, now_ns);
        memset(member->was_listed, 0, sizeof(member->was_listed));
        break;
    case 2:
        list_end(member);
        break;
    case 3:
        slice_report(member, which, (uint8_t)(argument * 7u));
        break;
    case 4:
        slice_remove(member, which);
        break;
    case 5:
        pool_member_resync(pool, member->number, now_ns);
        break;
    case 6:
        member_remove(number);
        break;
    default:
        pool_member_heard(pool, member->number, now_ns);
    }
}

/* --- replicas --- */

static struct placement_request request_of(uint8_t uid, uint8_t how)
{
    /* Read while it waits, too. */
    static struct placement_known known[3];

    known[0] = (struct placement_known){pool_name_find(pool, "large"), 3};
    known[1] = (struct placement_known){pool_name_find(pool, "west"), 40};
    known[2] = (struct placement_known){
        members[0].is_added ? pool_member_name_find(pool, members[0].number, "n0") : NAME_NONE, 2};
    return (struct placement_request){.uid = 1 + uid % UIDS,
                                      .model = how % 4,
                                      .tenant = tenants[how % 3],
                                      .priority = how >> 6,
                                      .is_preemptible = how & 1,
                                      .is_movable = true,
                                      .shape = {.memory_bytes = (how & 2 ? 30 : 4) * GIB,
                                                .compute_milli = how & 4 ? 700 : 0,
                                                .takes_preemptible = how & 8,
                                                .labels_required = how % 7 == 0 ? label : 0},
                                      .part_count = how % 5 == 0 ? 2 + how % 4 : 1,
                                      .domain_max =
                                          (enum placement_domain)(how % PLACEMENT_DOMAIN_COUNT),
                                      .on_demand_min = how >> 7,
                                      .run_ns = how & 16 ? POOL_NO_END : (1 + how % 9u) * SECOND_NS,
                                      .reserve_ns = (1 + how % 20u) * SECOND_NS,
                                      .speeds = &known[0],
                                      .round_trips_ms = &known[1],
                                      .cold_starts_s = &known[2],
                                      .speed_count = 1,
                                      .round_trip_count = 1,
                                      .cold_start_count = 1,
                                      .cold_start_s = 20};
}

static void note_booked(const struct placement_request *request, uint32_t part_count)
{
    bookings[request->uid] = (struct shadow_booking){.is_booked = true,
                                                     .is_reserved = true,
                                                     .part_count = part_count,
                                                     .expires_ns = now_ns + request->reserve_ns};
}

/* Every part lies on another slice, which is there and had the room before it was booked. */
static void check_decision(const struct placement_decision *decision)
{
    const struct pool_columns *columns = pool_columns(pool);

    for (uint32_t i = 0; i < decision->part_count; i++) {
        uint32_t slice = decision->parts[i].booking.slice;

        CHECK(columns->presence[slice] == SLICE_PRESENT && columns->health[slice] == SLICE_OK);
        CHECK(columns->tenants[slice] <= columns->tenants_max[slice]);
        CHECK(columns->memory_booked[slice] + columns->memory_foreign[slice] <=
              columns->memory_bytes[slice]);
        CHECK(columns->compute_booked[slice] <= columns->compute_milli[slice]);
        for (uint32_t k = 0; k < i; k++)
            CHECK(decision->parts[k].booking.slice != slice);
    }
}

static void reserve(uint8_t uid, uint8_t how)
{
    static struct placement_decision first, second;
    struct placement_request request = request_of(uid, how);
    bool was_booked = bookings[request.uid].is_booked;
    status chosen, result;
    uint32_t parts = request.part_count;

    for (uint32_t i = 1; i <= UIDS; i++)
        parts += bookings[i].is_booked ? bookings[i].part_count : 0;
    chosen = placement_choose(placement, &request, now_ns, &first);
    result = placement_reserve(placement, &request, now_ns, &second);
    if (was_booked) {
        CHECK(result == STATUS_OK && second.part_count == bookings[request.uid].part_count);
        return;
    }
    /* What was chosen can be had, unless the book itself is full. */
    if (pool_booking_count(pool) < BOOKINGS_MAX && parts <= PARTS_MAX)
        CHECK(result == chosen);
    if (result == STATUS_OK) {
        CHECK(first.part_count == request.part_count && second.part_count == request.part_count);
        for (uint32_t i = 0; i < first.part_count; i++)
            CHECK(first.parts[i].booking.slice == second.parts[i].booking.slice);
        check_decision(&second);
        note_booked(&request, second.part_count);
    }
}

/* A replica that was found running: it stands where it stands, room or not. */
static void adopt(uint8_t uid, uint8_t where)
{
    struct placement_request request = request_of(uid, where);
    struct booking_part part = {
        .slice = where % SLICES_MAX, .memory_bytes = 4 * GIB, .compute_milli = 500};
    struct booking_request booking = {.uid = request.uid,
                                      .model = request.model,
                                      .tenant = request.tenant,
                                      .is_adopted = true,
                                      .expires_ns = now_ns + request.reserve_ns,
                                      .run_ns = POOL_NO_END,
                                      .part_count = 1,
                                      .parts = &part};

    if (!bookings[request.uid].is_booked && pool_reserve(pool, &booking, now_ns) == STATUS_OK)
        note_booked(&request, 1);
}

static void commit(uint64_t uid)
{
    struct shadow_booking *booking = &bookings[uid];
    bool is_late = booking->is_reserved && now_ns >= booking->expires_ns;

    CHECK((pool_commit(pool, uid, now_ns) == STATUS_OK) == (booking->is_booked && !is_late));
    booking->is_booked = booking->is_booked && !is_late;
    booking->is_reserved = false;
}

static void drain(uint64_t uid, uint8_t seconds)
{
    CHECK((pool_drain(pool, uid, now_ns + seconds * SECOND_NS) == STATUS_OK) ==
          bookings[uid].is_booked);
    bookings[uid].is_reserved = false;
}

static void release(uint64_t uid)
{
    CHECK(pool_release(pool, uid) == bookings[uid].is_booked);
    bookings[uid].is_booked = bookings[uid].is_reserved = false;
}

static void pass_time(uint8_t seconds)
{
    uint64_t next_ns;

    now_ns += seconds * SECOND_NS;
    next_ns = pool_tick(pool, now_ns);
    CHECK(next_ns > now_ns);
    for (uint32_t uid = 1; uid <= UIDS; uid++) {
        if (bookings[uid].is_reserved && now_ns >= bookings[uid].expires_ns)
            bookings[uid] = (struct shadow_booking){0};
    }
}

/* --- what waits, and who goes for it --- */

static void placed(void *context, const struct placement_request *request,
                   const struct placement_decision *decision)
{
    (void)context;
    CHECK(!bookings[request->uid].is_booked && decision->part_count == request->part_count);
    check_decision(decision);
    note_booked(request, decision->part_count);
    if (request->uid % 2 == 0)
        commit(request->uid);
}

static void check_victims(const struct placement_preemption *preemption)
{
    for (uint32_t i = 0; i < preemption->victim_count; i++) {
        CHECK(preemption->victims[i] <= UIDS && bookings[preemption->victims[i]].is_booked &&
              !bookings[preemption->victims[i]].is_reserved);
        for (uint32_t k = 0; k < i; k++)
            CHECK(preemption->victims[k] != preemption->victims[i]);
    }
}

static void preempted(void *context, const struct placement_request *request,
                      const struct placement_preemption *preemption)
{
    (void)context;
    (void)request;
    check_victims(preemption);
}

static void wait_for(uint8_t uid, uint8_t how)
{
    struct placement_request request = request_of(uid, how);

    /* Who has a place does not wait: the gateway asks once for a uid. */
    if (!bookings[request.uid].is_booked) {
        status result = placement_queue_add(queue, &request, now_ns);

        CHECK(result == STATUS_OK || result == STATUS_FULL);
    }
}

static void round_once(bool may_preempt)
{
    struct placement_queue_driver driver = {
        .placed = placed, .preempt = may_preempt ? preempted : NULL, .drain_ns = 5 * SECOND_NS};
    uint32_t before = placement_queue_count(queue);

    for (uint64_t uid = 1; uid <= UIDS; uid++) {
        if (bookings[uid].is_booked)
            before -= placement_queue_remove(queue, uid);
    }
    CHECK(before - placement_queue_round(queue, &driver, now_ns) == placement_queue_count(queue));
}

/* Decides only: the book stays as it is, which check_everything sees. */
static void look_for_room(uint8_t uid, uint8_t how)
{
    static struct placement_preemption preemption;
    static struct placement_repacking repacking;
    struct placement_request request = request_of(uid, how);

    if (bookings[request.uid].is_booked)
        return;
    request.priority += 2;
    if (placement_preempt(placement, &request, 0, now_ns, &preemption) == STATUS_OK)
        check_victims(&preemption);
    if (placement_repack(placement, &request, 8, now_ns, &repacking) != STATUS_OK ||
        repacking.move_count == 0)
        return;
    for (uint32_t i = 0; i < repacking.move_count; i++) {
        CHECK(bookings[repacking.moves[i].uid].is_booked);
        CHECK(repacking.moves[i].from.slice != repacking.moves[i].to.slice);
    }
    if (placement_queue_add(queue, &request, now_ns) == STATUS_OK) {
        status result = placement_queue_keep(queue, request.uid, &repacking.decision,
                                             now_ns + (how % 8u) * SECOND_NS);

        CHECK(result == STATUS_OK || result == STATUS_FULL);
    }
}

static void plan(uint8_t uid, uint8_t how)
{
    struct placement_request one = request_of(uid, how), other = request_of(how, uid);
    uint32_t slices[2][6 * 6];
    struct placement_plan_item items[] = {
        {.request = &one, .replicas = 6, .slices = slices[0]},
        {.request = &other, .replicas = 6, .slices = slices[1]},
    };

    placement_plan(placement, items, 2, how & 1, now_ns);
    for (int k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < items[k].placed * items[k].request->part_count; i++)
            CHECK(pool_columns(pool)->presence[slices[k][i]] == SLICE_PRESENT);
    }
}

static void run_operation(uint8_t operation, uint8_t subject, uint8_t argument)
{
    uint64_t uid = 1 + subject % UIDS;

    switch (operation % 16) {
    case 0:
    case 1:
    case 2:
        member_event(subject % 8, argument);
        break;
    case 3:
        member_event(0, argument);
        break;
    case 4:
    case 5:
        reserve(subject, argument);
        break;
    case 6:
        commit(uid);
        break;
    case 7:
        drain(uid, argument);
        break;
    case 8:
        release(uid);
        break;
    case 9:
        pass_time(argument);
        break;
    case 10:
    case 11:
        wait_for(subject, argument);
        break;
    case 12:
        round_once(argument & 1);
        break;
    case 13:
        look_for_room(subject, argument);
        break;
    case 14:
        plan(subject, argument);
        break;
    default:
        if (subject & 1)
            adopt(subject, argument);
        else if (subject % 20u < pool_columns(pool)->count &&
                 pool_columns(pool)->presence[subject % 20u] != SLICE_ABSENT)
            pool_slice_quarantine(pool, subject % 20u, argument & 1);
    }
}

/* --- a world --- */

static void create(void)
{
    static const struct hash_key key = {1, 2};
    const struct pool_limits limits = {.members_max = MEMBERS,
                                       .slices_max = SLICES_MAX,
                                       .bookings_max = BOOKINGS_MAX,
                                       .parts_max = PARTS_MAX,
                                       .names_max = 120};
    struct quota_config config = {
        .weight = 1, .limit = {{9000, QUOTA_UNLIMITED, QUOTA_UNLIMITED}}, .guaranteed = {{4000}}};
    status result = quota_tree_create(4, &quota);

    CHECK(result == STATUS_OK);
    for (uint32_t i = 0; i < 3; i++) {
        result = quota_tree_add(quota, i == 2 ? tenants[1] : QUOTA_ROOT, &config, &tenants[i]);
        CHECK(result == STATUS_OK);
        config.guaranteed.of[QUOTA_COMPUTE] = 2000;
    }
    result = pool_create(&limits, &key, quota, &pool);
    CHECK(result == STATUS_OK);
    result = pool_label_declare(pool, "eu", &label);
    CHECK(result == STATUS_OK);
    result = placement_create(pool, quota, &placement);
    CHECK(result == STATUS_OK);
    result = placement_queue_create(placement, 8, &queue);
    CHECK(result == STATUS_OK);
    memset(members, 0, sizeof(members));
    memset(bookings, 0, sizeof(bookings));
    now_ns = SECOND_NS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    create();
    bytes = bytes < 900 ? bytes : 900;
    for (size_t at = 0; at + 2 < bytes; at += 3) {
        run_operation(data[at], data[at + 1], data[at + 2]);
        check_everything();
    }
    for (uint64_t uid = 1; uid <= UIDS; uid++)
        release(uid);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        member_remove(i);
        CHECK(!members[i].is_added);
    }
    check_everything();
    placement_queue_destroy(queue);
    placement_destroy(placement);
    pool_destroy(pool);
    quota_tree_destroy(quota);
    return 0;
}
