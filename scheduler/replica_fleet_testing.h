#ifndef PENSTOCK_SCHEDULER_REPLICA_FLEET_TESTING_H
#define PENSTOCK_SCHEDULER_REPLICA_FLEET_TESTING_H

#include "unit_test.h"

/* For tests of the fleet: a stage with scripted members, and an owner that writes down what it is told. */

#include "fail_nth.h"
#include "pool_world.h"
#include "replica_fleet.h"
#include "scripted_member.h"
#include "slice_faults.h"

#define S           WORLD_S
#define GIB         WORLD_GIB
#define MEMBERS_MAX 3u
#define SEEN_MAX    65536u
#define DRAIN_NS    (30 * S)
#define INTERVAL_NS (10 * S)
#define STALE_NS    (30 * S)

/* --- an owner that writes down what it is told --- */

enum seen_kind { COMPOSED, STARTED, TOLD, LEAVE, ENDED, REFUSED, ADOPT };

struct seen {
    enum seen_kind kind;
    uint64_t uid, by_ns;
    uint32_t member, part_count;
    uint32_t slice; /* composed: of the first part */
    enum member_phase phase;
    enum member_cause cause;
    status result;
    char text[96];
};

struct stage {
    struct scripted_member members[MEMBERS_MAX];
    struct scripted_bell bell;
    struct replica_fleet *fleet;
    struct quota_tree *quota;
    uint32_t numbers[MEMBERS_MAX], member_count;
    uint64_t now_ns;
    struct seen *seen; /* [SEEN_MAX] */
    uint32_t seen_count;
    status compose_result;
    bool adopts;
    struct placement_request adopted; /* what is said of one that is adopted */
    /* What the owner does when it is told to leave; NULL: nothing. */
    void (*on_leave)(struct stage *stage, uint64_t uid);
};

static inline struct seen *find(struct stage *stage, enum seen_kind kind, uint64_t uid)
{
    for (uint32_t i = 0; i < stage->seen_count; i++) {
        if (stage->seen[i].kind == kind && stage->seen[i].uid == uid)
            return &stage->seen[i];
    }
    return NULL;
}

static inline uint32_t count(struct stage *stage, enum seen_kind kind, uint64_t uid)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < stage->seen_count; i++)
        sum += stage->seen[i].kind == kind && stage->seen[i].uid == uid;
    return sum;
}

/* Whatever comes after a replica's end is wrong. */
static inline struct seen *note(struct stage *stage, enum seen_kind kind, uint64_t uid,
                                const char *text)
{
    struct seen *seen = &stage->seen[stage->seen_count];

    assert_true(stage->seen_count < SEEN_MAX);
    assert_null(find(stage, ENDED, uid));
    *seen = (struct seen){.kind = kind, .uid = uid};
    (void)snprintf(seen->text, sizeof(seen->text), "%s", text);
    stage->seen_count++;
    return seen;
}

static inline status on_compose(void *context, const struct placement_request *request,
                                uint32_t member, const struct placement_decision *decision,
                                struct member_order *order)
{
    static const char *const arguments[] = {"penstock", "replica", NULL};
    struct stage *stage = context;
    struct seen *seen = note(stage, COMPOSED, request->uid, "");

    seen->member = member;
    seen->part_count = decision->part_count;
    seen->slice = decision->parts[0].booking.slice;
    order->name = "replica";
    order->arguments = arguments;
    return stage->compose_result;
}

static inline void on_started(void *context, uint64_t uid, uint32_t member)
{
    struct stage *stage = context;

    assert_null(find(stage, STARTED, uid));
    note(stage, STARTED, uid, "")->member = member;
}

static inline void on_told(void *context, const struct member_replica *replica)
{
    note(context, TOLD, replica->uid, replica->reason)->phase = replica->phase;
}

static inline void on_leave(void *context, uint64_t uid, uint64_t by_ns, const char *why)
{
    struct stage *stage = context;

    note(stage, LEAVE, uid, why)->by_ns = by_ns;
    if (stage->on_leave != NULL)
        stage->on_leave(stage, uid);
}

static inline void on_ended(void *context, uint64_t uid, enum member_cause cause,
                            const char *reason)
{
    note(context, ENDED, uid, reason)->cause = cause;
}

static inline void on_refused(void *context, uint64_t uid, uint32_t member, status result,
                              const char *why)
{
    struct seen *seen = note(context, REFUSED, uid, why);

    seen->member = member;
    seen->result = result;
}

static inline bool on_adopt(void *context, uint32_t member, const struct member_replica *replica,
                            struct placement_request *request)
{
    struct stage *stage = context;

    assert_int_equal(request->uid, replica->uid);
    note(stage, ADOPT, replica->uid, "")->member = member;
    if (!stage->adopts)
        return false;
    *request = stage->adopted;
    request->uid = replica->uid;
    request->part_count = replica->part_count;
    return true;
}

/* --- the stage --- */

static inline void stage_open_beside(struct stage *stage, uint32_t member_count, bool may_preempt,
                                     uint64_t strangers_until_ns)
{
    struct replica_fleet_options options = {.limits = {.members_max = 8,
                                                       .slices_max = 64,
                                                       .bookings_max = 32,
                                                       .parts_max = 128,
                                                       .names_max = 1024},
                                            .events = {on_compose, on_started, on_told, on_leave,
                                                       on_ended, on_refused, on_adopt, stage},
                                            .drain_ns = DRAIN_NS,
                                            .may_preempt = may_preempt,
                                            .strangers_until_ns = strangers_until_ns,
                                            .wake = scripted_bell_ring,
                                            .wake_context = &stage->bell};

    *stage = (struct stage){.member_count = member_count, .now_ns = 1000 * S};
    stage->adopted = (struct placement_request){
        .model = 1, .shape = {.memory_bytes = 10 * GIB}, .run_ns = POOL_NO_END};
    stage->seen = calloc(SEEN_MAX, sizeof(*stage->seen));
    assert_non_null(stage->seen);
    scripted_bell_init(&stage->bell);
    assert_int_equal(replica_fleet_create(&options, &stage->fleet), STATUS_OK);
    for (uint32_t i = 0; i < member_count; i++) {
        char name[16];
        struct replica_fleet_member member = {
            .config = {.name = name, .interval_ns = INTERVAL_NS, .lost_after_ns = 100 * S}};

        (void)snprintf(name, sizeof(name), "m%u", i);
        scripted_init(&stage->members[i]);
        member.driver = scripted_driver(&stage->members[i]);
        assert_int_equal(
            replica_fleet_member_add(stage->fleet, &member, stage->now_ns, &stage->numbers[i]),
            STATUS_OK);
    }
}

static inline void stage_open(struct stage *stage, uint32_t member_count, bool may_preempt)
{
    stage_open_beside(stage, member_count, may_preempt, 0);
}

static inline void stage_close(struct stage *stage)
{
    assert_true(pool_is_consistent(replica_fleet_pool(stage->fleet)));
    for (uint32_t i = 0; i < stage->member_count; i++)
        scripted_let_go(&stage->members[i]);
    replica_fleet_destroy(stage->fleet);
    for (uint32_t i = 0; i < stage->member_count; i++)
        scripted_deinit(&stage->members[i]);
    scripted_bell_deinit(&stage->bell);
    free(stage->seen);
}

static inline uint64_t turn(struct stage *stage)
{
    uint64_t next_ns = replica_fleet_turn(stage->fleet, stage->now_ns);

    assert_true(pool_is_consistent(replica_fleet_pool(stage->fleet)));
    assert_true(next_ns >= stage->now_ns);
    return next_ns;
}

/* Turns until the owner has seen it so many times. */
static inline struct seen *await_count(struct stage *stage, enum seen_kind kind, uint64_t uid,
                                       uint32_t times)
{
    for (turn(stage); count(stage, kind, uid) < times; turn(stage))
        scripted_bell_await(&stage->bell);
    for (uint32_t i = stage->seen_count; i-- > 0;) {
        if (stage->seen[i].kind == kind && stage->seen[i].uid == uid)
            return &stage->seen[i];
    }
    return NULL;
}

static inline struct seen *await(struct stage *stage, enum seen_kind kind, uint64_t uid)
{
    return await_count(stage, kind, uid, 1);
}

/* --- what members tell --- */

static inline struct slice_report gpu(const char *id, const char *node)
{
    struct slice_report report = world_gpu();

    report.id = id;
    report.node = report.nvlink_domain = node;
    return report;
}

struct telling {
    struct slice_report slices[16];
    char ids[16][32], nodes[16][16];
    uint32_t slice_count;
    struct member_replica replica;
};

static inline void tell_list(const struct member_sink *sink, void *context)
{
    const struct telling *telling = context;

    sink->list_begin(sink->context);
    for (uint32_t i = 0; i < telling->slice_count; i++)
        sink->slice(sink->context, &telling->slices[i]);
    sink->list_end(sink->context);
}

static inline void tell_slice(const struct member_sink *sink, void *context)
{
    sink->slice(sink->context, context);
}

static inline void tell_gone(const struct member_sink *sink, void *context)
{
    sink->slice_gone(sink->context, context);
}

static inline void tell_heard(const struct member_sink *sink, void *context)
{
    (void)context;
    sink->heard(sink->context);
}

static inline void tell_replica(const struct member_sink *sink, void *context)
{
    sink->replica(sink->context, context);
}

static inline void tell_listed(const struct member_sink *sink, void *context)
{
    (void)context;
    sink->replicas_listed(sink->context);
}

/* A list of `nodes` with so many whole devices each: "n0/g0" ... */
static inline void list(struct stage *stage, uint32_t member, uint32_t nodes, uint32_t slices)
{
    struct telling telling = {.slice_count = nodes * slices};

    for (uint32_t i = 0; i < telling.slice_count; i++) {
        (void)snprintf(telling.nodes[i], sizeof(telling.nodes[i]), "n%u", i / slices);
        (void)snprintf(telling.ids[i], sizeof(telling.ids[i]), "n%u/g%u", i / slices, i % slices);
        telling.slices[i] = gpu(telling.ids[i], telling.nodes[i]);
    }
    scripted_tell(&stage->members[member], tell_list, &telling);
}

static inline void say(struct stage *stage, uint32_t member, uint64_t uid, enum member_phase phase)
{
    struct member_replica replica = {.uid = uid, .phase = phase};

    scripted_tell(&stage->members[member], tell_replica, &replica);
}

static inline void listed(struct stage *stage, uint32_t member)
{
    scripted_tell(&stage->members[member], tell_listed, NULL);
}

static inline void say_of_slice(struct stage *stage, uint32_t member, const char *id,
                                enum slice_health health)
{
    struct slice_report report = gpu(id, "n0");

    report.health = health;
    report.reason = "xid 79";
    scripted_tell(&stage->members[member], tell_slice, &report);
}

/* --- what is wanted --- */

static inline struct placement_request request_of(uint64_t uid)
{
    return (struct placement_request){.uid = uid,
                                      .model = 1,
                                      .shape = {.memory_bytes = 10 * GIB},
                                      .part_count = 1,
                                      .domain_max = PLACEMENT_NODE,
                                      .run_ns = POOL_NO_END};
}

static inline void want(struct stage *stage, uint64_t uid)
{
    struct placement_request request = request_of(uid);

    assert_int_equal(replica_fleet_want(stage->fleet, &request, stage->now_ns), STATUS_OK);
}

/* One that runs on the only member. */
static inline void run_one(struct stage *stage, uint64_t uid)
{
    want(stage, uid);
    (void)await(stage, STARTED, uid);
    say(stage, 0, uid, MEMBER_REPLICA_RUNNING);
    (void)await(stage, TOLD, uid);
}

static const struct booking *booking(struct stage *stage, uint64_t uid)
{
    return pool_booking_find(replica_fleet_pool(stage->fleet), uid);
}

static inline void stop(struct stage *stage, uint64_t uid, uint64_t grace_ns)
{
    replica_fleet_stop(stage->fleet, uid, grace_ns, stage->now_ns);
}

/* Until the worker has nothing more to do. */
static inline void await_backlog(struct stage *stage, uint32_t member)
{
    while (replica_fleet_member_backlog(stage->fleet, stage->numbers[member]) > 0) {
        scripted_bell_await(&stage->bell);
        turn(stage);
    }
    turn(stage);
}

#endif
