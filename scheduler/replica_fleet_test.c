/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

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

static struct seen *find(struct stage *stage, enum seen_kind kind, uint64_t uid)
{
    for (uint32_t i = 0; i < stage->seen_count; i++) {
        if (stage->seen[i].kind == kind && stage->seen[i].uid == uid)
            return &stage->seen[i];
    }
    return NULL;
}

static uint32_t count(struct stage *stage, enum seen_kind kind, uint64_t uid)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < stage->seen_count; i++)
        sum += stage->seen[i].kind == kind && stage->seen[i].uid == uid;
    return sum;
}

/* Whatever comes after a replica's end is wrong. */
static struct seen *note(struct stage *stage, enum seen_kind kind, uint64_t uid, const char *text)
{
    struct seen *seen = &stage->seen[stage->seen_count];

    assert_true(stage->seen_count < SEEN_MAX);
    assert_null(find(stage, ENDED, uid));
    *seen = (struct seen){.kind = kind, .uid = uid};
    (void)snprintf(seen->text, sizeof(seen->text), "%s", text);
    stage->seen_count++;
    return seen;
}

static status on_compose(void *context, const struct placement_request *request, uint32_t member,
                         const struct placement_decision *decision, struct member_order *order)
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

static void on_started(void *context, uint64_t uid, uint32_t member)
{
    struct stage *stage = context;

    assert_null(find(stage, STARTED, uid));
    note(stage, STARTED, uid, "")->member = member;
}

static void on_told(void *context, const struct member_replica *replica)
{
    note(context, TOLD, replica->uid, replica->reason)->phase = replica->phase;
}

static void on_leave(void *context, uint64_t uid, uint64_t by_ns, const char *why)
{
    struct stage *stage = context;

    note(stage, LEAVE, uid, why)->by_ns = by_ns;
    if (stage->on_leave != NULL)
        stage->on_leave(stage, uid);
}

static void on_ended(void *context, uint64_t uid, enum member_cause cause, const char *reason)
{
    note(context, ENDED, uid, reason)->cause = cause;
}

static void on_refused(void *context, uint64_t uid, uint32_t member, status result, const char *why)
{
    struct seen *seen = note(context, REFUSED, uid, why);

    seen->member = member;
    seen->result = result;
}

static bool on_adopt(void *context, uint32_t member, const struct member_replica *replica,
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

static void stage_open_beside(struct stage *stage, uint32_t member_count, bool may_preempt,
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

static void stage_open(struct stage *stage, uint32_t member_count, bool may_preempt)
{
    stage_open_beside(stage, member_count, may_preempt, 0);
}

static void stage_close(struct stage *stage)
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

static uint64_t turn(struct stage *stage)
{
    uint64_t next_ns = replica_fleet_turn(stage->fleet, stage->now_ns);

    assert_true(pool_is_consistent(replica_fleet_pool(stage->fleet)));
    assert_true(next_ns >= stage->now_ns);
    return next_ns;
}

/* Turns until the owner has seen it so many times. */
static struct seen *await_count(struct stage *stage, enum seen_kind kind, uint64_t uid,
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

static struct seen *await(struct stage *stage, enum seen_kind kind, uint64_t uid)
{
    return await_count(stage, kind, uid, 1);
}

/* --- what members tell --- */

static struct slice_report gpu(const char *id, const char *node)
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

static void tell_list(const struct member_sink *sink, void *context)
{
    const struct telling *telling = context;

    sink->list_begin(sink->context);
    for (uint32_t i = 0; i < telling->slice_count; i++)
        sink->slice(sink->context, &telling->slices[i]);
    sink->list_end(sink->context);
}

static void tell_slice(const struct member_sink *sink, void *context)
{
    sink->slice(sink->context, context);
}

static void tell_gone(const struct member_sink *sink, void *context)
{
    sink->slice_gone(sink->context, context);
}

static void tell_heard(const struct member_sink *sink, void *context)
{
    (void)context;
    sink->heard(sink->context);
}

static void tell_replica(const struct member_sink *sink, void *context)
{
    sink->replica(sink->context, context);
}

static void tell_listed(const struct member_sink *sink, void *context)
{
    (void)context;
    sink->replicas_listed(sink->context);
}

/* A list of `nodes` with so many whole devices each: "n0/g0" ... */
static void list(struct stage *stage, uint32_t member, uint32_t nodes, uint32_t slices)
{
    struct telling telling = {.slice_count = nodes * slices};

    for (uint32_t i = 0; i < telling.slice_count; i++) {
        (void)snprintf(telling.nodes[i], sizeof(telling.nodes[i]), "n%u", i / slices);
        (void)snprintf(telling.ids[i], sizeof(telling.ids[i]), "n%u/g%u", i / slices, i % slices);
        telling.slices[i] = gpu(telling.ids[i], telling.nodes[i]);
    }
    scripted_tell(&stage->members[member], tell_list, &telling);
}

static void say(struct stage *stage, uint32_t member, uint64_t uid, enum member_phase phase)
{
    struct member_replica replica = {.uid = uid, .phase = phase};

    scripted_tell(&stage->members[member], tell_replica, &replica);
}

static void listed(struct stage *stage, uint32_t member)
{
    scripted_tell(&stage->members[member], tell_listed, NULL);
}

static void say_of_slice(struct stage *stage, uint32_t member, const char *id,
                         enum slice_health health)
{
    struct slice_report report = gpu(id, "n0");

    report.health = health;
    report.reason = "xid 79";
    scripted_tell(&stage->members[member], tell_slice, &report);
}

/* --- what is wanted --- */

static struct placement_request request_of(uint64_t uid)
{
    return (struct placement_request){.uid = uid,
                                      .model = 1,
                                      .shape = {.memory_bytes = 10 * GIB},
                                      .part_count = 1,
                                      .domain_max = PLACEMENT_NODE,
                                      .run_ns = POOL_NO_END};
}

static void want(struct stage *stage, uint64_t uid)
{
    struct placement_request request = request_of(uid);

    assert_int_equal(replica_fleet_want(stage->fleet, &request, stage->now_ns), STATUS_OK);
}

/* One that runs on the only member. */
static void run_one(struct stage *stage, uint64_t uid)
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

static void stop(struct stage *stage, uint64_t uid, uint64_t grace_ns)
{
    replica_fleet_stop(stage->fleet, uid, grace_ns, stage->now_ns);
}

/* Until the worker has nothing more to do. */
static void await_backlog(struct stage *stage, uint32_t member)
{
    while (replica_fleet_member_backlog(stage->fleet, stage->numbers[member]) > 0) {
        scripted_bell_await(&stage->bell);
        turn(stage);
    }
    turn(stage);
}

/* --- a replica's way --- */

static void a_replica_is_placed_ordered_followed_and_ended(void **state)
{
    struct stage stage;
    struct scripted_call call;

    (void)state;
    stage_open(&stage, 1, false);
    want(&stage, 7);
    turn(&stage);
    assert_int_equal(placement_queue_count(replica_fleet_queue(stage.fleet)), 1);
    assert_int_equal(replica_fleet_member_of(stage.fleet, 7), POOL_MEMBER_NONE);
    list(&stage, 0, 1, 1);
    assert_int_equal(await(&stage, STARTED, 7)->member, stage.numbers[0]);
    assert_int_equal(placement_queue_count(replica_fleet_queue(stage.fleet)), 0);
    assert_int_equal(replica_fleet_member_of(stage.fleet, 7), stage.numbers[0]);
    assert_int_equal(booking(&stage, 7)->phase, BOOKING_COMMITTED);
    call = scripted_call_get(&stage.members[0], 0);
    assert_true(call.is_start);
    assert_int_equal(call.uid, 7);
    assert_int_equal(call.part_count, 1);
    assert_string_equal(call.slice_id, "n0/g0");
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    assert_int_equal(await(&stage, TOLD, 7)->phase, MEMBER_REPLICA_RUNNING);
    stop(&stage, 7, 5 * S);
    await_backlog(&stage, 0);
    call = scripted_call_get(&stage.members[0], 1);
    assert_false(call.is_start);
    assert_int_equal(call.grace_ns, 5 * S);
    assert_int_equal(booking(&stage, 7)->phase, BOOKING_DRAINING);
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    assert_int_equal(await(&stage, ENDED, 7)->cause, MEMBER_CAUSE_NONE);
    assert_null(booking(&stage, 7));
    assert_int_equal(replica_fleet_member_of(stage.fleet, 7), POOL_MEMBER_NONE);
    stage_close(&stage);
}

static void a_replica_may_be_there_before_its_order_is_answered(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    turn(&stage);
    assert_int_equal(count(&stage, STARTED, 7), 1);
    assert_int_equal(count(&stage, TOLD, 7), 1);
    scripted_let_go(&stage.members[0]);
    await_backlog(&stage, 0);
    assert_int_equal(count(&stage, STARTED, 7), 1);
    stage_close(&stage);
}

static void what_is_refused_for_want_of_room_goes_elsewhere(void **state)
{
    struct stage stage;
    struct seen *refused;
    char first[64];

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_FULL);
    list(&stage, 0, 1, 2);
    want(&stage, 7);
    (void)await(&stage, STARTED, 7);
    refused = find(&stage, REFUSED, 7);
    assert_non_null(refused);
    assert_int_equal(refused->result, STATUS_FULL);
    assert_string_equal(refused->text, "no room for 7");
    (void)snprintf(first, sizeof(first), "%s", scripted_call_get(&stage.members[0], 0).slice_id);
    assert_string_not_equal(first, scripted_call_get(&stage.members[0], 1).slice_id);
    assert_int_equal(placement_log_get(replica_fleet_log(stage.fleet), 0)->outcome,
                     PLACEMENT_PLACED);
    assert_string_equal(placement_log_get(replica_fleet_log(stage.fleet), 1)->why, "no room for 7");
    assert_int_equal(pool_booking_count(replica_fleet_pool(stage.fleet)), 1);
    stage_close(&stage);
}

static void a_slice_that_refused_is_asked_again_after_a_while(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_FULL);
    list(&stage, 0, 1, 1);
    want(&stage, 7);
    (void)await(&stage, REFUSED, 7);
    turn(&stage);
    assert_int_equal(scripted_call_count(&stage.members[0]), 1);
    assert_null(booking(&stage, 7));
    stage.now_ns += 11 * S;
    (void)await(&stage, STARTED, 7);
    stage_close(&stage);
}

static void a_refused_one_keeps_its_place_in_the_order(void **state)
{
    struct stage stage;
    struct placement_waiting waiting;

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_FULL);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    stage.now_ns += S;
    want(&stage, 8);
    turn(&stage);
    scripted_let_go(&stage.members[0]);
    (void)await(&stage, REFUSED, 7);
    assert_true(placement_queue_get(replica_fleet_queue(stage.fleet), 0, &waiting));
    assert_int_equal(waiting.request->uid, 7);
    stage_close(&stage);
}

static void an_order_that_a_member_will_not_have_keeps_the_model_off_it(void **state)
{
    struct stage stage;
    struct placement_request other = request_of(9);

    (void)state;
    stage_open(&stage, 2, false);
    scripted_answer_start(&stage.members[0], STATUS_INVALID);
    list(&stage, 0, 1, 2);
    want(&stage, 7);
    assert_int_equal(await(&stage, REFUSED, 7)->result, STATUS_INVALID);
    turn(&stage);
    assert_null(booking(&stage, 7));
    list(&stage, 1, 1, 1);
    assert_int_equal(await(&stage, STARTED, 7)->member, stage.numbers[1]);
    want(&stage, 8);
    turn(&stage);
    assert_null(booking(&stage, 8));
    other.model = 2; /* it has done nothing wrong */
    assert_int_equal(replica_fleet_want(stage.fleet, &other, stage.now_ns), STATUS_OK);
    assert_int_equal(await(&stage, STARTED, 9)->member, stage.numbers[0]);
    stage.now_ns += 61 * S;
    list(&stage, 0, 1, 2);
    assert_int_equal(await(&stage, STARTED, 8)->member, stage.numbers[0]);
    stage_close(&stage);
}

static void an_order_that_nobody_answers_is_tried_again(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_CLOSED);
    scripted_answer_start(&stage.members[0], STATUS_AGAIN);
    list(&stage, 0, 1, 1);
    want(&stage, 7);
    (void)await(&stage, STARTED, 7);
    assert_int_equal(scripted_call_count(&stage.members[0]), 3);
    assert_int_equal(count(&stage, COMPOSED, 7), 1);
    assert_int_equal(count(&stage, REFUSED, 7), 0);
    stage_close(&stage);
}

static void an_order_that_waits_long_keeps_its_slice(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    want(&stage, 8);
    turn(&stage);
    stage.now_ns += 3600 * S;
    list(&stage, 0, 1, 1);
    turn(&stage);
    assert_non_null(booking(&stage, 7));
    assert_null(booking(&stage, 8));
    scripted_let_go(&stage.members[0]);
    (void)await(&stage, STARTED, 7);
    stage_close(&stage);
}

static void an_order_that_cannot_be_written_ends_the_replica(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    stage.compose_result = STATUS_TOO_LARGE;
    list(&stage, 0, 1, 1);
    want(&stage, 7);
    turn(&stage);
    assert_int_equal(find(&stage, ENDED, 7)->cause, MEMBER_CAUSE_REFUSED);
    assert_null(booking(&stage, 7));
    assert_int_equal(scripted_call_count(&stage.members[0]), 0);
    stage_close(&stage);
}

static void a_failed_replica_is_stopped_so_that_nothing_of_it_is_left(void **state)
{
    struct stage stage;
    struct member_replica replica = {.uid = 7,
                                     .phase = MEMBER_REPLICA_FAILED,
                                     .cause = MEMBER_CAUSE_PROGRAM,
                                     .reason = "ended with code 3"};

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(find(&stage, ENDED, 7)->cause, MEMBER_CAUSE_PROGRAM);
    assert_string_equal(find(&stage, ENDED, 7)->text, "ended with code 3");
    scripted_await_calls(&stage.members[0], 2);
    assert_false(scripted_call_get(&stage.members[0], 1).is_start);
    assert_int_equal(scripted_call_get(&stage.members[0], 1).uid, 7);
    stage_close(&stage);
}

/* --- slices that are to blame --- */

static void run_and_fail(struct stage *stage, uint64_t uid, enum member_cause cause)
{
    struct member_replica replica = {
        .uid = uid, .phase = MEMBER_REPLICA_FAILED, .cause = cause, .reason = "it fell over"};

    run_one(stage, uid);
    scripted_tell(&stage->members[0], tell_replica, &replica);
    (void)await(stage, ENDED, uid);
}

/* Its member is heard of all the while. */
static void pass(struct stage *stage, uint64_t time_ns)
{
    stage->now_ns += time_ns;
    scripted_tell(&stage->members[0], tell_heard, NULL);
    turn(stage);
}

static void a_slice_whose_device_fails_again_is_kept_empty_for_a_while(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_and_fail(&stage, 7, MEMBER_CAUSE_NODE);
    run_and_fail(&stage, 8, MEMBER_CAUSE_NODE);
    want(&stage, 9);
    turn(&stage);
    assert_null(find(&stage, COMPOSED, 9));
    list(&stage, 0, 1, 0); /* it goes, and comes back */
    turn(&stage);
    list(&stage, 0, 1, 1);
    turn(&stage);
    pass(&stage, SLICE_FAULT_FIRST_NS - 1 * S);
    assert_null(find(&stage, COMPOSED, 9));
    pass(&stage, 1 * S);
    (void)await(&stage, STARTED, 9);
    stage_close(&stage);
}

static void a_program_that_runs_elsewhere_is_held_against_the_slice(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 2);
    run_one(&stage, 1);
    for (uint64_t uid = 2; uid < 6; uid++) /* the model may be broken */
        run_and_fail(&stage, uid, MEMBER_CAUSE_PROGRAM);
    pass(&stage, 61 * S);
    for (uint64_t uid = 6; uid < 9; uid++)
        run_and_fail(&stage, uid, MEMBER_CAUSE_PROGRAM);
    want(&stage, 9);
    turn(&stage);
    assert_null(find(&stage, COMPOSED, 9));
    stop(&stage, 9, 0);
    stage_close(&stage);
}

/* --- stopping --- */

static void what_waits_for_a_slice_ends_at_once(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    want(&stage, 7);
    stop(&stage, 7, 10 * S);
    assert_int_equal(count(&stage, ENDED, 7), 0); /* in a turn, not within the call */
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 1);
    assert_int_equal(placement_queue_count(replica_fleet_queue(stage.fleet)), 0);
    stop(&stage, 7, 0);
    stop(&stage, 12345, 0);
    turn(&stage);
    stage_close(&stage);
}

static void what_is_stopped_before_it_is_begun_is_never_begun(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 2);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    want(&stage, 8);
    turn(&stage);
    assert_non_null(booking(&stage, 8));
    stop(&stage, 8, 10 * S);
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 8), 1);
    assert_null(booking(&stage, 8));
    scripted_let_go(&stage.members[0]);
    (void)await(&stage, STARTED, 7);
    assert_int_equal(scripted_call_count(&stage.members[0]), 1);
    stage_close(&stage);
}

static void one_that_hangs_is_asked_again_with_less_grace(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    stop(&stage, 7, 20 * S);
    await_backlog(&stage, 0);
    stage.now_ns += 21 * S;
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 0); /* its member is there and has not said so */
    assert_non_null(booking(&stage, 7));
    stop(&stage, 7, 0);
    await_backlog(&stage, 0);
    assert_int_equal(scripted_call_get(&stage.members[0], 2).grace_ns, 0);
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    (void)await(&stage, ENDED, 7);
    stage_close(&stage);
}

static void one_that_is_stopped_while_it_is_ordered_is_not_told_as_started(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    stop(&stage, 7, 0);
    scripted_let_go(&stage.members[0]);
    await_backlog(&stage, 0);
    assert_int_equal(scripted_call_count(&stage.members[0]), 2);
    assert_int_equal(count(&stage, STARTED, 7), 0);
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    (void)await(&stage, ENDED, 7);
    stage_close(&stage);
}

static void a_refusal_ends_what_was_stopped_meanwhile(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_FULL);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    stop(&stage, 7, 0);
    scripted_let_go(&stage.members[0]);
    assert_int_equal(await(&stage, ENDED, 7)->cause, MEMBER_CAUSE_REFUSED);
    assert_int_equal(count(&stage, REFUSED, 7), 0);
    assert_null(booking(&stage, 7));
    stage_close(&stage);
}

static void an_order_that_never_arrived_ends_when_its_member_has_heard_the_stop(void **state)
{
    struct stage stage;
    uint64_t next_ns;

    (void)state;
    stage_open(&stage, 1, false);
    scripted_answer_start(&stage.members[0], STATUS_TIMEOUT);
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    want(&stage, 7);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    stop(&stage, 7, 0);
    scripted_let_go(&stage.members[0]);
    await_backlog(&stage, 0);
    assert_int_equal(scripted_call_count(&stage.members[0]), 2);
    assert_non_null(booking(&stage, 7)); /* it may come up yet: the member is given some time */
    for (uint32_t i = 0; i < 3; i++) {
        stage.now_ns += INTERVAL_NS - 1;
        scripted_tell(&stage.members[0], tell_heard, NULL);
        next_ns = turn(&stage);
        assert_int_equal(count(&stage, ENDED, 7), 0);
    }
    assert_true(next_ns <= stage.now_ns + 3);
    stage.now_ns = next_ns;
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 1);
    assert_null(booking(&stage, 7));
    stage_close(&stage);
}

static void a_stop_that_has_no_memory_is_told_in_a_later_turn(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    fail_nth_begin(1);
    stop(&stage, 7, 20 * S);
    assert_true(fail_nth_end());
    assert_int_equal(scripted_call_count(&stage.members[0]), 1);
    turn(&stage);
    scripted_await_calls(&stage.members[0], 2);
    assert_int_equal(scripted_call_get(&stage.members[0], 1).grace_ns, 20 * S);
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    (void)await(&stage, ENDED, 7);
    stage_close(&stage);
}

/* --- members that go --- */

static void a_silent_member_keeps_its_slices_and_its_replica_is_given_up(void **state)
{
    struct stage stage;
    const struct booking *kept;

    (void)state;
    stage_open(&stage, 2, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    list(&stage, 1, 1, 1);
    turn(&stage);
    stage.now_ns += STALE_NS + S;
    scripted_tell(&stage.members[1], tell_heard, NULL);
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 0); /* silence ends nothing */
    scripted_hold_up(&stage.members[0]);          /* it does not answer the stop either */
    stop(&stage, 7, 0);
    want(&stage, 8);
    turn(&stage);
    assert_int_equal(find(&stage, ENDED, 7)->cause, MEMBER_CAUSE_NODE);
    kept = booking(&stage, 7);
    assert_non_null(kept);
    assert_int_equal(await(&stage, STARTED, 8)->member, stage.numbers[1]);
    /* It is back, has it still, and hears the stop. */
    list(&stage, 0, 1, 1);
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    turn(&stage);
    scripted_let_go(&stage.members[0]);
    await_backlog(&stage, 0);
    assert_false(scripted_call_get(&stage.members[0], 1).is_start);
    assert_non_null(booking(&stage, 7));
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    turn(&stage);
    assert_null(booking(&stage, 7));
    assert_int_equal(count(&stage, ENDED, 7), 1);
    assert_int_equal(count(&stage, TOLD, 7), 1);
    stage_close(&stage);
}

static void a_given_up_replica_that_runs_still_is_stopped_again(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    stage.now_ns += STALE_NS + S;
    stop(&stage, 7, 0);
    await_backlog(&stage, 0); /* it has heard the stop, and lost it with its memory */
    assert_int_equal(count(&stage, ENDED, 7), 1);
    list(&stage, 0, 1, 1);
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    turn(&stage);
    scripted_await_calls(&stage.members[0], 3);
    assert_false(scripted_call_get(&stage.members[0], 2).is_start);
    stage_close(&stage);
}

static void a_replica_is_not_given_up_before_its_grace_is_over(void **state)
{
    struct stage stage;
    uint64_t next_ns;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    stage.now_ns += STALE_NS + S;
    turn(&stage);
    stop(&stage, 7, 20 * S);
    next_ns = turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 0);
    assert_true(next_ns <= stage.now_ns + 20 * S);
    stage.now_ns += 20 * S;
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 1);
    assert_non_null(booking(&stage, 7));
    stage_close(&stage);
}

static void the_trouble_of_a_member_is_told_until_it_has_listed(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    assert_string_equal(replica_fleet_member_trouble(stage.fleet, stage.numbers[0]), "");
    scripted_break(&stage.members[0], STATUS_DENIED);
    turn(&stage);
    assert_string_equal(replica_fleet_member_trouble(stage.fleet, stage.numbers[0]),
                        "denied: it broke off");
    list(&stage, 0, 1, 1);
    turn(&stage);
    assert_string_equal(replica_fleet_member_trouble(stage.fleet, stage.numbers[0]), "");
    stage_close(&stage);
}

static void a_list_without_a_replica_ends_it(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 2);
    run_one(&stage, 7);
    run_one(&stage, 8);
    listed(&stage, 0); /* may have been made before they came up */
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 0);
    stage.now_ns += 31 * S;
    say(&stage, 0, 8, MEMBER_REPLICA_RUNNING);
    listed(&stage, 0);
    turn(&stage);
    assert_int_equal(find(&stage, ENDED, 7)->cause, MEMBER_CAUSE_NODE);
    assert_null(booking(&stage, 7));
    assert_int_equal(count(&stage, ENDED, 8), 0);
    listed(&stage, 0);
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 8), 1);
    stage_close(&stage);
}

static void a_list_that_is_older_than_the_order_ends_nothing(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    want(&stage, 7);
    turn(&stage);
    stage.now_ns += 60 * S; /* it has waited for long before it was ordered */
    list(&stage, 0, 1, 1);
    scripted_hold_up(&stage.members[0]);
    turn(&stage);
    scripted_await_inside(&stage.members[0]);
    stop(&stage, 7, 50 * S);
    listed(&stage, 0);
    listed(&stage, 0);
    turn(&stage);
    assert_int_equal(count(&stage, ENDED, 7), 0);
    assert_non_null(booking(&stage, 7));
    stage_close(&stage);
}

static void what_comes_after_a_sign_of_life_is_looked_at_in_the_same_turn(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 0, 1);
    want(&stage, 7);
    turn(&stage);
    scripted_tell(&stage.members[0], tell_heard, NULL);
    say_of_slice(&stage, 0, "n0/g0", SLICE_OK);
    turn(&stage);
    assert_int_equal(count(&stage, COMPOSED, 7), 1);
    stage_close(&stage);
}

/* --- strangers --- */

static struct member_replica stranger(struct member_part *part)
{
    *part = (struct member_part){"n0/g0", 10 * GIB, 1000};
    return (struct member_replica){.uid = 70,
                                   .phase = MEMBER_REPLICA_RUNNING,
                                   .handle = "job 70",
                                   .parts = part,
                                   .part_count = 1};
}

static void await_stop_of_70(struct stage *stage)
{
    turn(stage);
    scripted_await_calls(&stage->members[0], 1);
    assert_false(scripted_call_get(&stage->members[0], 0).is_start);
    assert_int_equal(scripted_call_get(&stage->members[0], 0).uid, 70);
}

static void a_replica_that_nobody_knows_is_stopped(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    await_stop_of_70(&stage);
    assert_int_equal(count(&stage, ADOPT, 70), 1); /* its owner was asked */
    stage_close(&stage);
}

static void replicas_of_a_gateway_that_still_drains_are_let_be(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open_beside(&stage, 1, false, 1060 * S);
    list(&stage, 0, 1, 1);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    stage.now_ns = 1059 * S;
    scripted_tell(&stage.members[0], tell_heard, NULL);
    turn(&stage);
    assert_int_equal(scripted_call_count(&stage.members[0]), 0);
    stage.now_ns = 1060 * S;
    scripted_tell(&stage.members[0], tell_heard, NULL);
    await_stop_of_70(&stage);
    stage_close(&stage);
}

static void one_without_parts_cannot_be_booked_and_is_stopped(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    list(&stage, 0, 1, 1);
    say(&stage, 0, 70, MEMBER_REPLICA_RUNNING);
    await_stop_of_70(&stage);
    assert_int_equal(count(&stage, ADOPT, 70), 0);
    stage_close(&stage);
}

static void what_is_left_of_a_failed_stranger_is_stopped(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    say(&stage, 0, 71, MEMBER_REPLICA_ENDED);
    say(&stage, 0, 72, MEMBER_REPLICA_STOPPING);
    say(&stage, 0, 70, MEMBER_REPLICA_FAILED);
    await_stop_of_70(&stage);
    stage_close(&stage);
}

static void a_replica_from_before_is_adopted_with_its_parts(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    list(&stage, 0, 1, 1);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    want(&stage, 8);
    turn(&stage);
    assert_int_equal(count(&stage, ADOPT, 70), 1);
    assert_int_equal(count(&stage, TOLD, 70), 1);
    assert_int_equal(booking(&stage, 70)->part_count, 1);
    assert_int_equal(booking(&stage, 70)->phase, BOOKING_COMMITTED);
    assert_int_equal(replica_fleet_member_of(stage.fleet, 70), stage.numbers[0]);
    assert_null(booking(&stage, 8)); /* its slice is taken */
    stop(&stage, 70, 0);
    await_stop_of_70(&stage);
    say(&stage, 0, 70, MEMBER_REPLICA_ENDED);
    (void)await(&stage, ENDED, 70);
    (void)await(&stage, STARTED, 8);
    stage_close(&stage);
}

static void one_that_is_told_before_its_slices_is_adopted_when_they_are_known(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(count(&stage, ADOPT, 70), 0);
    list(&stage, 0, 1, 1);
    turn(&stage);
    assert_int_equal(count(&stage, ADOPT, 70), 1);
    assert_non_null(booking(&stage, 70));
    assert_int_equal(scripted_call_count(&stage.members[0]), 0);
    stage_close(&stage);
}

static void one_whose_slices_are_not_in_the_list_is_stopped(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    part.slice_id = "n9/g9";
    scripted_tell(&stage.members[0], tell_replica, &replica);
    list(&stage, 0, 1, 1);
    await_stop_of_70(&stage);
    part.slice_id = "n8/g8"; /* and so is one that is told when the list is there */
    replica.uid = 71;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    scripted_await_calls(&stage.members[0], 2);
    assert_int_equal(scripted_call_get(&stage.members[0], 1).uid, 71);
    stage_close(&stage);
}

static void one_that_ended_before_its_slices_were_known_is_not_adopted(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    replica.phase = MEMBER_REPLICA_ENDED;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    list(&stage, 0, 1, 1);
    turn(&stage);
    assert_int_equal(stage.seen_count, 0);
    assert_null(booking(&stage, 70));
    stage_close(&stage);
}

static void an_adopted_one_that_cannot_be_booked_is_ended_and_stopped(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    part.compute_milli = 0; /* no replica has nothing */
    list(&stage, 0, 1, 1);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    await_stop_of_70(&stage);
    assert_int_equal(find(&stage, ENDED, 70)->cause, MEMBER_CAUSE_REFUSED);
    stage_close(&stage);
}

static void one_that_is_adopted_on_a_broken_slice_is_to_leave(void **state)
{
    struct stage stage;
    struct member_part part;
    struct member_replica replica = stranger(&part);

    (void)state;
    stage_open(&stage, 1, false);
    stage.adopts = true;
    list(&stage, 0, 1, 1);
    say_of_slice(&stage, 0, "n0/g0", SLICE_BAD);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 70), 1);
    stage_close(&stage);
}

static void a_replica_that_another_member_has_is_stopped_there(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 2, false);
    list(&stage, 0, 1, 1);
    list(&stage, 1, 0, 1);
    run_one(&stage, 7);
    say(&stage, 1, 7, MEMBER_REPLICA_RUNNING);
    say(&stage, 1, 7, MEMBER_REPLICA_ENDED);
    turn(&stage);
    scripted_await_calls(&stage.members[1], 1);
    assert_false(scripted_call_get(&stage.members[1], 0).is_start);
    assert_int_equal(count(&stage, ENDED, 7), 0);
    assert_int_equal(count(&stage, TOLD, 7), 1);
    stage_close(&stage);
}

static void a_forgotten_replica_is_left_alone(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    replica_fleet_forget(stage.fleet, 7);
    stop(&stage, 7, 0);
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    say_of_slice(&stage, 0, "n0/g0", SLICE_DRAINING);
    turn(&stage);
    assert_non_null(booking(&stage, 7)); /* it runs, whoever has it */
    say(&stage, 0, 7, MEMBER_REPLICA_FAILED);
    turn(&stage);
    assert_null(booking(&stage, 7));
    assert_int_equal(count(&stage, ENDED, 7), 0);
    assert_int_equal(count(&stage, LEAVE, 7), 0);
    assert_int_equal(count(&stage, TOLD, 7), 1);
    assert_int_equal(scripted_call_count(&stage.members[0]), 1);
    stage_close(&stage);
}

static void one_that_is_handed_over_is_followed(void **state)
{
    struct stage stage;
    struct placement_request request = request_of(7);
    struct booking_part part = {.memory_bytes = 10 * GIB, .compute_milli = 1000};

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    turn(&stage);
    part.slice = pool_slice_find(replica_fleet_pool(stage.fleet), stage.numbers[0], "n0/g0");
    assert_int_equal(
        replica_fleet_adopt(stage.fleet, &request, stage.numbers[0], &part, stage.now_ns),
        STATUS_OK);
    assert_int_equal(
        replica_fleet_adopt(stage.fleet, &request, stage.numbers[0], &part, stage.now_ns),
        STATUS_INVALID);
    say(&stage, 0, 7, MEMBER_REPLICA_RUNNING);
    turn(&stage);
    assert_int_equal(count(&stage, TOLD, 7), 1);
    assert_int_equal(count(&stage, STARTED, 7), 0); /* its owner knows */
    stage_close(&stage);
}

/* --- leaving --- */

static void a_notice_is_told_once_and_again_when_it_comes_nearer(void **state)
{
    struct stage stage;
    struct member_replica replica = {
        .uid = 7, .phase = MEMBER_REPLICA_RUNNING, .reason = "spot: taken back"};
    struct seen *leave;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    run_one(&stage, 7);
    replica.ends_notice_ns = stage.now_ns + 100 * S;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    leave = find(&stage, LEAVE, 7);
    assert_int_equal(leave->by_ns, replica.ends_notice_ns);
    assert_string_equal(leave->text, "spot: taken back");
    replica.ends_notice_ns += 50 * S; /* later is no news */
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    replica.ends_notice_ns = stage.now_ns + 10 * S;
    scripted_tell(&stage.members[0], tell_replica, &replica);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 2);
    stage_close(&stage);
}

static void all_on_a_slice_that_is_drained_or_broken_are_to_leave_once(void **state)
{
    static const enum slice_health health[] = {SLICE_DRAINING, SLICE_BAD};
    struct stage stage;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        stage_open(&stage, 1, false);
        list(&stage, 0, 1, 2);
        run_one(&stage, 7);
        run_one(&stage, 8);
        say_of_slice(&stage, 0, scripted_call_get(&stage.members[0], 0).slice_id, health[i]);
        say_of_slice(&stage, 0, scripted_call_get(&stage.members[0], 0).slice_id, health[i]);
        turn(&stage);
        assert_int_equal(count(&stage, LEAVE, 7), 1);
        assert_int_equal(find(&stage, LEAVE, 7)->by_ns, stage.now_ns + DRAIN_NS);
        assert_non_null(strstr(find(&stage, LEAVE, 7)->text, "xid 79"));
        assert_int_equal(count(&stage, LEAVE, 8), 0);
        stage_close(&stage);
    }
}

static void those_on_a_slice_that_is_gone_are_to_leave(void **state)
{
    struct stage stage;
    char id[64];

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 2);
    run_one(&stage, 7);
    run_one(&stage, 8);
    (void)snprintf(id, sizeof(id), "%s", scripted_call_get(&stage.members[0], 0).slice_id);
    scripted_tell(&stage.members[0], tell_gone, id);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    assert_int_equal(count(&stage, LEAVE, 8), 0);
    list(&stage, 0, 0, 1); /* and now a list without any */
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    assert_int_equal(count(&stage, LEAVE, 8), 1);
    say(&stage, 0, 7, MEMBER_REPLICA_FAILED);
    say(&stage, 0, 8, MEMBER_REPLICA_FAILED);
    turn(&stage);
    assert_int_equal(pool_booking_count(replica_fleet_pool(stage.fleet)), 0);
    stage_close(&stage);
}

static void leave_by_forgetting(struct stage *stage, uint64_t uid)
{
    replica_fleet_stop(stage->fleet, uid, 0, stage->now_ns);
    replica_fleet_forget(stage->fleet, uid + 1);
    want(stage, uid + 100);
}

static void an_owner_may_change_everything_when_it_is_told_to_leave(void **state)
{
    struct stage stage;
    struct slice_report report = gpu("n0/g0", "n0");

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 0, 1);
    report.step_milli = 100;
    report.tenants_max = 10;
    scripted_tell(&stage.members[0], tell_slice, &report);
    turn(&stage);
    for (uint64_t uid = 1; uid <= 6; uid++) {
        struct placement_request request = request_of(uid);

        request.shape.compute_milli = 100;
        request.shape.memory_bytes = GIB;
        assert_int_equal(replica_fleet_want(stage.fleet, &request, stage.now_ns), STATUS_OK);
        (void)await(&stage, STARTED, uid);
    }
    stage.on_leave = leave_by_forgetting;
    report.health = SLICE_DRAINING;
    scripted_tell(&stage.members[0], tell_slice, &report);
    turn(&stage);
    for (uint64_t uid = 1; uid <= 6; uid++)
        assert_true(count(&stage, LEAVE, uid) <= 1);
    for (uint64_t uid = 1; uid <= 6; uid++) { /* each is told, or forgotten */
        if (count(&stage, LEAVE, uid) == 0)
            assert_int_equal(count(&stage, LEAVE, uid - 1), 1);
    }
    stage_close(&stage);
}

/* --- the more important, and gangs --- */

static void stop_at_once(struct stage *stage, uint64_t uid)
{
    replica_fleet_stop(stage->fleet, uid, 0, stage->now_ns);
}

static void a_more_important_one_takes_the_place_of_another(void **state)
{
    struct stage stage;
    struct placement_request low = request_of(7), high = request_of(8);

    (void)state;
    stage_open(&stage, 1, true);
    stage.on_leave = stop_at_once;
    list(&stage, 0, 1, 1);
    low.is_preemptible = true;
    low.tenant = high.tenant = 0;
    high.priority = 10;
    assert_int_equal(replica_fleet_want(stage.fleet, &low, stage.now_ns), STATUS_OK);
    (void)await(&stage, STARTED, 7);
    assert_int_equal(replica_fleet_want(stage.fleet, &high, stage.now_ns), STATUS_OK);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    assert_int_equal(find(&stage, LEAVE, 7)->by_ns, stage.now_ns + DRAIN_NS);
    assert_null(booking(&stage, 8));
    await_backlog(&stage, 0);
    say(&stage, 0, 7, MEMBER_REPLICA_ENDED);
    (void)await(&stage, STARTED, 8);
    assert_int_equal(count(&stage, LEAVE, 7), 1);
    assert_int_equal(placement_log_total(replica_fleet_log(stage.fleet), PLACEMENT_PREEMPTED), 1);
    stage_close(&stage);
}

static void nobody_is_preempted_where_that_is_not_allowed(void **state)
{
    struct stage stage;
    struct placement_request low = request_of(7), high = request_of(8);

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 1, 1);
    low.is_preemptible = true;
    high.priority = 10;
    assert_int_equal(replica_fleet_want(stage.fleet, &low, stage.now_ns), STATUS_OK);
    (void)await(&stage, STARTED, 7);
    assert_int_equal(replica_fleet_want(stage.fleet, &high, stage.now_ns), STATUS_OK);
    turn(&stage);
    assert_int_equal(count(&stage, LEAVE, 7), 0);
    stage_close(&stage);
}

static void a_gang_has_all_its_slices_or_none(void **state)
{
    struct stage stage;
    struct placement_request gang = request_of(7);

    (void)state;
    stage_open(&stage, 1, false);
    gang.part_count = 4;
    list(&stage, 0, 1, 3);
    assert_int_equal(replica_fleet_want(stage.fleet, &gang, stage.now_ns), STATUS_OK);
    turn(&stage);
    assert_int_equal(pool_booking_count(replica_fleet_pool(stage.fleet)), 0);
    list(&stage, 0, 1, 4);
    (void)await(&stage, STARTED, 7);
    assert_int_equal(booking(&stage, 7)->part_count, 4);
    assert_int_equal(find(&stage, COMPOSED, 7)->part_count, 4);
    assert_int_equal(scripted_call_get(&stage.members[0], 0).part_count, 4);
    say(&stage, 0, 7, MEMBER_REPLICA_FAILED);
    (void)await(&stage, ENDED, 7);
    assert_int_equal(pool_booking_count(replica_fleet_pool(stage.fleet)), 0);
    stage_close(&stage);
}

static void others_are_moved_to_make_room_for_a_gang(void **state)
{
    struct stage stage;
    struct placement_request gang = request_of(70);
    uint32_t moved_count = 0;
    uint64_t moved = 0;

    (void)state;
    stage_open(&stage, 1, false);
    list(&stage, 0, 2, 2); /* one on each node: no node has two */
    for (uint64_t uid = 1; uid <= 2; uid++) {
        struct placement_request single = request_of(uid);
        struct booking_part part = {.memory_bytes = 10 * GIB, .compute_milli = 1000};

        turn(&stage);
        single.is_movable = true;
        part.slice = pool_slice_find(replica_fleet_pool(stage.fleet), stage.numbers[0],
                                     uid == 1 ? "n0/g0" : "n1/g0");
        assert_int_equal(
            replica_fleet_adopt(stage.fleet, &single, stage.numbers[0], &part, stage.now_ns),
            STATUS_OK);
    }
    gang.part_count = 2;
    assert_int_equal(replica_fleet_want(stage.fleet, &gang, stage.now_ns), STATUS_OK);
    turn(&stage);
    for (uint64_t uid = 1; uid <= 2; uid++) {
        if (count(&stage, LEAVE, uid) > 0) {
            moved_count++;
            moved = uid;
        }
    }
    assert_int_equal(moved_count, 1);
    /* Another is started first; it does not take what is kept for the gang. */
    want(&stage, 71);
    (void)await(&stage, STARTED, 71);
    stop(&stage, moved, 0);
    say(&stage, 0, moved, MEMBER_REPLICA_ENDED);
    (void)await(&stage, STARTED, 70);
    assert_int_equal(booking(&stage, 70)->part_count, 2);
    stage_close(&stage);
}

/* --- want of memory and room --- */

static void there_is_room_for_as_many_as_were_agreed(void **state)
{
    struct stage stage;
    struct placement_request request = request_of(1);

    (void)state;
    stage_open(&stage, 1, false);
    for (uint64_t uid = 1; uid <= 32; uid++)
        want(&stage, uid);
    request.uid = 33;
    assert_int_equal(replica_fleet_want(stage.fleet, &request, stage.now_ns), STATUS_FULL);
    request.uid = 5;
    assert_int_equal(replica_fleet_want(stage.fleet, &request, stage.now_ns), STATUS_INVALID);
    request.uid = 0;
    assert_int_equal(replica_fleet_want(stage.fleet, &request, stage.now_ns), STATUS_INVALID);
    stage_close(&stage);
}

static void a_fleet_is_made_with_all_its_memory_or_not_at_all(void **state)
{
    struct replica_fleet_options options = {
        .limits = {
            .members_max = 2, .slices_max = 4, .bookings_max = 4, .parts_max = 8, .names_max = 64}};
    struct replica_fleet *fleet = NULL;
    unsigned long n = 1;
    status result;

    (void)state;
    for (;; n++) {
        struct quota_tree *quota;

        assert_int_equal(quota_tree_create(4, &quota), STATUS_OK);
        options.quota = quota;
        fail_nth_begin(n);
        result = replica_fleet_create(&options, &fleet);
        if (!fail_nth_end())
            break;
        assert_int_equal(result, STATUS_NO_MEMORY);
    }
    assert_int_equal(result, STATUS_OK);
    assert_true(n > 5);
    replica_fleet_destroy(fleet);
    replica_fleet_destroy(NULL);
}

static void a_member_that_cannot_be_followed_is_not_in_the_pool(void **state)
{
    struct stage stage;
    struct scripted_member driver;
    struct replica_fleet_member member = {
        .config = {.name = "late", .interval_ns = INTERVAL_NS, .lost_after_ns = 100 * S}};
    uint32_t number;

    (void)state;
    stage_open(&stage, 1, false);
    for (unsigned long n = 1;; n++) {
        status result;

        scripted_init(&driver);
        member.driver = scripted_driver(&driver);
        fail_nth_begin(n);
        result = replica_fleet_member_add(stage.fleet, &member, stage.now_ns, &number);
        if (!fail_nth_end()) {
            assert_int_equal(result, STATUS_OK);
            break;
        }
        assert_int_not_equal(result, STATUS_OK);
        assert_true(driver.is_destroyed);
        assert_int_equal(pool_member_find(replica_fleet_pool(stage.fleet), "late"),
                         POOL_MEMBER_NONE);
        scripted_deinit(&driver);
    }
    turn(&stage);
    stage_close(&stage);
    scripted_deinit(&driver);
}

/* --- whatever happens --- */

#define PLAY_UIDS  400u
#define PLAY_STEPS 1500u

/* What the members really have: written by what their drivers were asked and what they tell. */
struct play {
    struct stage stage;
    uint64_t seed;
    uint32_t calls_seen[MEMBERS_MAX];
    uint64_t next_uid;
    uint8_t there[PLAY_UIDS]; /* 1 + the member that has it; 0: nobody */
    bool is_wanted[PLAY_UIDS], is_stopped[PLAY_UIDS];
    bool is_silent[MEMBERS_MAX];
};

static uint32_t draw(struct play *play, uint32_t bound)
{
    return (uint32_t)(world_random(&play->seed) % bound);
}

/* What the workers have done since the last look. */
static void play_look(struct play *play)
{
    for (uint32_t m = 0; m < MEMBERS_MAX; m++) {
        uint32_t until = scripted_call_count(&play->stage.members[m]);

        for (; play->calls_seen[m] < until; play->calls_seen[m]++) {
            struct scripted_call call =
                scripted_call_get(&play->stage.members[m], play->calls_seen[m]);

            if (call.is_start && call.result == STATUS_OK)
                play->there[call.uid] = (uint8_t)(m + 1);
        }
    }
}

/* Nothing that a member has is without its slices in the book, and nothing is where it was not ordered. */
static void play_check(struct play *play)
{
    for (uint64_t uid = 1; uid < play->next_uid; uid++) {
        if (play->there[uid] == 0)
            continue;
        assert_non_null(booking(&play->stage, uid));
        assert_int_equal(replica_fleet_member_of(play->stage.fleet, uid),
                         play->stage.numbers[play->there[uid] - 1]);
    }
}

static void play_settle(struct play *play)
{
    for (uint32_t m = 0; m < MEMBERS_MAX; m++) {
        scripted_let_go(&play->stage.members[m]);
        await_backlog(&play->stage, m);
    }
    play_look(play);
    play_check(play);
}

static void play_want(struct play *play)
{
    struct placement_request request = request_of(play->next_uid);

    if (play->next_uid == PLAY_UIDS)
        return;
    request.model = draw(play, 4);
    request.priority = (int32_t)draw(play, 3);
    request.is_preemptible = draw(play, 2) == 0;
    request.is_movable = draw(play, 2) == 0;
    request.part_count = draw(play, 8) == 0 ? 2 : 1;
    if (replica_fleet_want(play->stage.fleet, &request, play->stage.now_ns) != STATUS_OK)
        return;
    play->is_wanted[play->next_uid++] = true;
}

static void play_list(struct play *play, uint32_t m)
{
    list(&play->stage, m, 2, 2 + draw(play, 3));
    play->is_silent[m] = false;
}

/* A word of a replica that the member has. */
static void play_say(struct play *play, uint64_t uid)
{
    static const enum member_phase phases[] = {MEMBER_REPLICA_RUNNING,  MEMBER_REPLICA_STARTING,
                                               MEMBER_REPLICA_STOPPING, MEMBER_REPLICA_ENDED,
                                               MEMBER_REPLICA_FAILED,   MEMBER_REPLICA_PENDING};
    struct member_replica replica = {.uid = uid, .phase = phases[draw(play, 6)]};
    uint32_t m = play->there[uid] - 1u;

    if (play->there[uid] == 0)
        return;
    if (draw(play, 8) == 0)
        replica.ends_notice_ns = play->stage.now_ns + draw(play, 100) * S;
    if (replica.phase == MEMBER_REPLICA_ENDED || replica.phase == MEMBER_REPLICA_FAILED)
        play->there[uid] = 0;
    scripted_tell(&play->stage.members[m], tell_replica, &replica);
}

static void play_stop(struct play *play, uint64_t uid)
{
    stop(&play->stage, uid, draw(play, 3) * 10 * S);
    play->is_stopped[uid] = true;
}

/* All that the member has, each by its name, as a list that is complete. */
static void play_replicas(struct play *play, uint32_t m)
{
    for (uint64_t uid = 1; uid < play->next_uid; uid++) {
        if (play->there[uid] == m + 1)
            say(&play->stage, m, uid, MEMBER_REPLICA_RUNNING);
    }
    listed(&play->stage, m);
}

static void play_step(struct play *play)
{
    uint32_t m = draw(play, MEMBERS_MAX);
    uint64_t uid = play->next_uid > 1 ? 1 + draw(play, (uint32_t)play->next_uid - 1) : 0;
    char id[32];

    (void)snprintf(id, sizeof(id), "n%u/g%u", draw(play, 2), draw(play, 4));
    switch (draw(play, 12)) {
    case 0:
    case 1:
    case 2:
        play_want(play);
        break;
    case 3:
        play_list(play, m);
        break;
    case 4:
        scripted_tell(&play->stage.members[m], tell_gone, id);
        break;
    case 5:
        say_of_slice(&play->stage, m, id, (enum slice_health)draw(play, SLICE_HEALTH_COUNT));
        break;
    case 6:
    case 7:
        if (uid != 0)
            play_say(play, uid);
        break;
    case 8:
        if (uid != 0)
            play_stop(play, uid);
        break;
    case 9:
        play->stage.now_ns += draw(play, 20) * S;
        break;
    case 10:
        scripted_tell(&play->stage.members[m], tell_heard, NULL);
        break;
    default:
        if (play->stage.members[m].start_answer_count < SCRIPTED_ANSWERS)
            scripted_answer_start(&play->stage.members[m],
                                  draw(play, 2) == 0 ? STATUS_FULL : STATUS_INVALID);
    }
}

/* In the end everybody is stopped, and all members say so. */
static void play_end(struct play *play)
{
    for (uint32_t m = 0; m < MEMBERS_MAX; m++)
        play_list(play, m);
    play_settle(play);
    for (uint64_t uid = 1; uid < play->next_uid; uid++)
        stop(&play->stage, uid, 0);
    play_settle(play);
    for (uint64_t uid = 1; uid < play->next_uid; uid++) {
        uint32_t m = play->there[uid] - 1u;

        if (play->there[uid] == 0)
            continue;
        play->there[uid] = 0;
        say(&play->stage, m, uid, MEMBER_REPLICA_ENDED);
    }
    play_settle(play);
    assert_int_equal(pool_booking_count(replica_fleet_pool(play->stage.fleet)), 0);
    for (uint64_t uid = 1; uid < play->next_uid; uid++)
        assert_int_equal(count(&play->stage, ENDED, uid), 1);
}

static void whatever_happens_the_book_is_right_and_each_end_is_told_once(void **state)
{
    static struct play play;

    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        play = (struct play){.seed = seed, .next_uid = 1};
        print_message("seed %u\n", (unsigned)seed);
        stage_open(&play.stage, MEMBERS_MAX, seed % 2 == 0);
        for (uint32_t m = 0; m < MEMBERS_MAX; m++)
            play_list(&play, m);
        for (uint32_t i = 0; i < PLAY_STEPS; i++) {
            if (draw(&play, 10) == 0)
                scripted_hold_up(&play.stage.members[draw(&play, MEMBERS_MAX)]);
            play_step(&play);
            if (draw(&play, 2) == 0)
                turn(&play.stage);
            if (draw(&play, 15) == 0)
                play_settle(&play);
            if (draw(&play, 60) == 0) {
                play_settle(&play);
                play_replicas(&play, draw(&play, MEMBERS_MAX));
            }
        }
        play_end(&play);
        stage_close(&play.stage);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replica_is_placed_ordered_followed_and_ended),
        cmocka_unit_test(a_replica_may_be_there_before_its_order_is_answered),
        cmocka_unit_test(what_is_refused_for_want_of_room_goes_elsewhere),
        cmocka_unit_test(a_slice_that_refused_is_asked_again_after_a_while),
        cmocka_unit_test(a_refused_one_keeps_its_place_in_the_order),
        cmocka_unit_test(an_order_that_a_member_will_not_have_keeps_the_model_off_it),
        cmocka_unit_test(an_order_that_nobody_answers_is_tried_again),
        cmocka_unit_test(an_order_that_waits_long_keeps_its_slice),
        cmocka_unit_test(an_order_that_cannot_be_written_ends_the_replica),
        cmocka_unit_test(a_failed_replica_is_stopped_so_that_nothing_of_it_is_left),
        cmocka_unit_test(a_slice_whose_device_fails_again_is_kept_empty_for_a_while),
        cmocka_unit_test(a_program_that_runs_elsewhere_is_held_against_the_slice),
        cmocka_unit_test(what_waits_for_a_slice_ends_at_once),
        cmocka_unit_test(what_is_stopped_before_it_is_begun_is_never_begun),
        cmocka_unit_test(one_that_hangs_is_asked_again_with_less_grace),
        cmocka_unit_test(one_that_is_stopped_while_it_is_ordered_is_not_told_as_started),
        cmocka_unit_test(a_refusal_ends_what_was_stopped_meanwhile),
        cmocka_unit_test(an_order_that_never_arrived_ends_when_its_member_has_heard_the_stop),
        cmocka_unit_test(a_stop_that_has_no_memory_is_told_in_a_later_turn),
        cmocka_unit_test(a_silent_member_keeps_its_slices_and_its_replica_is_given_up),
        cmocka_unit_test(a_given_up_replica_that_runs_still_is_stopped_again),
        cmocka_unit_test(a_replica_is_not_given_up_before_its_grace_is_over),
        cmocka_unit_test(the_trouble_of_a_member_is_told_until_it_has_listed),
        cmocka_unit_test(a_list_without_a_replica_ends_it),
        cmocka_unit_test(a_list_that_is_older_than_the_order_ends_nothing),
        cmocka_unit_test(what_comes_after_a_sign_of_life_is_looked_at_in_the_same_turn),
        cmocka_unit_test(a_replica_that_nobody_knows_is_stopped),
        cmocka_unit_test(one_without_parts_cannot_be_booked_and_is_stopped),
        cmocka_unit_test(replicas_of_a_gateway_that_still_drains_are_let_be),
        cmocka_unit_test(what_is_left_of_a_failed_stranger_is_stopped),
        cmocka_unit_test(a_replica_from_before_is_adopted_with_its_parts),
        cmocka_unit_test(one_that_is_told_before_its_slices_is_adopted_when_they_are_known),
        cmocka_unit_test(one_whose_slices_are_not_in_the_list_is_stopped),
        cmocka_unit_test(one_that_ended_before_its_slices_were_known_is_not_adopted),
        cmocka_unit_test(an_adopted_one_that_cannot_be_booked_is_ended_and_stopped),
        cmocka_unit_test(one_that_is_adopted_on_a_broken_slice_is_to_leave),
        cmocka_unit_test(a_replica_that_another_member_has_is_stopped_there),
        cmocka_unit_test(a_forgotten_replica_is_left_alone),
        cmocka_unit_test(one_that_is_handed_over_is_followed),
        cmocka_unit_test(a_notice_is_told_once_and_again_when_it_comes_nearer),
        cmocka_unit_test(all_on_a_slice_that_is_drained_or_broken_are_to_leave_once),
        cmocka_unit_test(those_on_a_slice_that_is_gone_are_to_leave),
        cmocka_unit_test(an_owner_may_change_everything_when_it_is_told_to_leave),
        cmocka_unit_test(a_more_important_one_takes_the_place_of_another),
        cmocka_unit_test(nobody_is_preempted_where_that_is_not_allowed),
        cmocka_unit_test(a_gang_has_all_its_slices_or_none),
        cmocka_unit_test(others_are_moved_to_make_room_for_a_gang),
        cmocka_unit_test(there_is_room_for_as_many_as_were_agreed),
        cmocka_unit_test(a_fleet_is_made_with_all_its_memory_or_not_at_all),
        cmocka_unit_test(a_member_that_cannot_be_followed_is_not_in_the_pool),
        cmocka_unit_test(whatever_happens_the_book_is_right_and_each_end_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
