/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "fail_nth.h"
#include "json.h"
#include "metrics.h"
#include "pool_admin.h"
#include "pool_metrics.h"
#include "pool_world.h"
#include "scripted_member.h"

#define S   WORLD_S
#define GIB WORLD_GIB

/* A pool of one member with four slices: one is good, one is cut and has a replica, one drains, one is of another product. */
struct stage {
    struct scripted_member member;
    struct scripted_bell bell;
    struct replica_fleet *fleet;
    struct quota_tree *quota;
    struct pool_admin admin;
    struct placement_request request;
    uint64_t now_ns;
    uint32_t started;
};

static const char *const quota_names[] = {"", "acme", "acme/search"};

static const char *model_name(const void *context, uint32_t model)
{
    (void)context;
    return model == 1 ? "smollm2" : "other";
}

static status on_compose(void *context, const struct placement_request *request, uint32_t member,
                         const struct placement_decision *decision, struct member_order *order)
{
    static const char *const arguments[] = {"penstock", NULL};

    (void)context;
    (void)request;
    (void)member;
    (void)decision;
    order->arguments = arguments;
    return STATUS_OK;
}

static void on_started(void *context, uint64_t uid, uint32_t member)
{
    (void)uid;
    (void)member;
    ((struct stage *)context)->started++;
}

static void on_told(void *context, const struct member_replica *replica)
{
    (void)context;
    (void)replica;
}

static void on_leave(void *context, uint64_t uid, uint64_t by_ns, const char *why)
{
    (void)context;
    (void)uid;
    (void)by_ns;
    (void)why;
}

static void on_ended(void *context, uint64_t uid, enum member_cause cause, const char *reason)
{
    (void)context;
    (void)uid;
    (void)cause;
    (void)reason;
}

static void on_refused(void *context, uint64_t uid, uint32_t member, status result, const char *why)
{
    (void)context;
    (void)uid;
    (void)member;
    (void)result;
    (void)why;
}

static bool on_adopt(void *context, uint32_t member, const struct member_replica *replica,
                     struct placement_request *request)
{
    (void)context;
    (void)member;
    (void)replica;
    (void)request;
    return false;
}

static struct slice_report gpu(const char *id, const char *product)
{
    static const char *const labels[] = {"eu", "unknown"};
    struct slice_report report = world_gpu();

    report.id = id;
    report.node = "n0";
    report.region = "eu-west";
    report.zone = "eu-west-1";
    report.product = product;
    report.labels = labels;
    report.label_count = 2;
    return report;
}

static void tell_slices(const struct member_sink *sink, void *context)
{
    struct slice_report reports[] = {gpu("n0/g0", "H100"), gpu("n0/g1", "H100"),
                                     gpu("n0/g2", "H100"), gpu("n0/g3", "L4")};

    (void)context;
    reports[1].step_milli = 250;
    reports[1].tenants_max = 4;
    reports[1].price_nano_hour = 1000000000;
    reports[2].health = SLICE_DRAINING;
    reports[2].reason = "maintenance";
    reports[3].is_preemptible = true;
    sink->list_begin(sink->context);
    for (uint32_t i = 0; i < 4; i++)
        sink->slice(sink->context, &reports[i]);
    sink->list_end(sink->context);
}

static void quota_open(struct stage *stage)
{
    struct quota_config config = {.weight = 1,
                                  .limit = {{QUOTA_UNLIMITED, QUOTA_UNLIMITED, QUOTA_UNLIMITED}}};
    uint32_t node;

    assert_int_equal(quota_tree_create(8, &stage->quota), STATUS_OK);
    config.guaranteed.of[QUOTA_COMPUTE] = 1000;
    assert_int_equal(quota_tree_add(stage->quota, QUOTA_ROOT, &config, &node), STATUS_OK);
    config.guaranteed.of[QUOTA_COMPUTE] = 250;
    config.limit.of[QUOTA_COMPUTE] = 3000;
    config.weight = 2;
    assert_int_equal(quota_tree_add(stage->quota, node, &config, &node), STATUS_OK);
}

static void want(struct stage *stage, uint64_t uid)
{
    stage->request.uid = uid;
    assert_int_equal(replica_fleet_want(stage->fleet, &stage->request, stage->now_ns), STATUS_OK);
}

static void turn(struct stage *stage)
{
    (void)replica_fleet_turn(stage->fleet, stage->now_ns);
}

static void stage_open(struct stage *stage)
{
    struct replica_fleet_options options = {.limits = {.members_max = 4,
                                                       .slices_max = 16,
                                                       .bookings_max = 16,
                                                       .parts_max = 32,
                                                       .names_max = 256},
                                            .events = {on_compose, on_started, on_told, on_leave,
                                                       on_ended, on_refused, on_adopt, stage},
                                            .drain_ns = 30 * S,
                                            .wake = scripted_bell_ring,
                                            .wake_context = &stage->bell};
    struct replica_fleet_member member = {
        .config = {.name = "m0", .interval_ns = 10 * S, .lost_after_ns = 60 * S}};
    uint32_t number;
    uint64_t label;

    *stage = (struct stage){.now_ns = 1000 * S};
    scripted_init(&stage->member);
    scripted_bell_init(&stage->bell);
    quota_open(stage);
    options.quota = stage->quota;
    assert_int_equal(replica_fleet_create(&options, &stage->fleet), STATUS_OK);
    assert_int_equal(pool_label_declare(replica_fleet_pool(stage->fleet), "eu", &label), STATUS_OK);
    member.driver = scripted_driver(&stage->member);
    assert_int_equal(replica_fleet_member_add(stage->fleet, &member, stage->now_ns, &number),
                     STATUS_OK);
    scripted_tell(&stage->member, tell_slices, NULL);
    turn(stage);
    stage->request = (struct placement_request){
        .model = 1,
        .tenant = 2,
        .priority = 5,
        .shape = {.product = pool_name_find(replica_fleet_pool(stage->fleet), "H100"),
                  .memory_bytes = 10 * GIB,
                  .compute_milli = 500},
        .part_count = 1,
        .domain_max = PLACEMENT_NODE,
        .run_ns = POOL_NO_END};
    stage->admin = (struct pool_admin){.fleet = stage->fleet,
                                       .quota = stage->quota,
                                       .quota_names = quota_names,
                                       .model_name = model_name};
    want(stage, 0xabc);
    for (turn(stage); stage->started == 0; turn(stage))
        scripted_bell_await(&stage->bell);
    stage->now_ns += 2 * S;
}

static void stage_close(struct stage *stage)
{
    replica_fleet_destroy(stage->fleet);
    scripted_deinit(&stage->member);
    scripted_bell_deinit(&stage->bell);
}

/* --- reading what was written --- */

static json_t *parsed(struct buffer *out)
{
    static const struct json_limits limits = {16, 100000};
    struct error_note note;
    json_t *json = NULL;

    assert_int_equal(out->failed, STATUS_OK);
    if (json_load_limited(buffer_slice(out), &limits, &json, &note) != STATUS_OK)
        fail_msg("%s in %s", note.text, out->data);
    buffer_deinit(out);
    return json;
}

/* The value at "slices.ok.count" or "slices.0.replicas". */
static json_t *at(json_t *json, const char *path)
{
    char key[64];

    while (json != NULL && *path != '\0') {
        size_t bytes = strcspn(path, ".");

        assert_true(bytes < sizeof(key));
        memcpy(key, path, bytes);
        key[bytes] = '\0';
        json = json_is_array(json) ? json_array_get(json, strtoul(key, NULL, 10))
                                   : json_object_get(json, key);
        path += bytes + (path[bytes] == '.');
    }
    return json;
}

/* `expected` is JSON; numbers are compared by value. */
static void assert_json(json_t *json, const char *path, const char *expected)
{
    json_t *want_json = json_loads(expected, JSON_DECODE_ANY, NULL), *has = at(json, path);

    assert_non_null(want_json);
    if (has == NULL)
        fail_msg("%s is missing", path);
    if (json_is_number(has) && json_is_number(want_json)) {
        double difference = json_number_value(has) - json_number_value(want_json);

        if (difference > 1e-6 || difference < -1e-6)
            fail_msg("%s is %f, not %s", path, json_number_value(has), expected);
    } else if (!json_equal(has, want_json)) {
        char *text = json_dumps(has, JSON_ENCODE_ANY | JSON_COMPACT);

        fail_msg("%s is %s, not %s", path, text, expected);
    }
    json_decref(want_json);
}

static json_t *pool_of(struct stage *stage)
{
    struct buffer out;

    buffer_init(&out, 1u << 20);
    pool_json_write(&stage->admin, stage->now_ns, &out);
    return parsed(&out);
}

static json_t *slices_of(struct stage *stage, uint32_t from, uint32_t count_max)
{
    const struct pool_page page = {from, count_max};
    struct buffer out;

    buffer_init(&out, 1u << 20);
    pool_slices_json_write(&stage->admin, &page, stage->now_ns, &out);
    return parsed(&out);
}

static json_t *placement_of(struct stage *stage, uint32_t from, uint32_t count_max)
{
    const struct pool_page page = {from, count_max};
    struct buffer out;

    buffer_init(&out, 1u << 20);
    assert_int_equal(
        placement_json_write(&stage->admin, &stage->request, &page, stage->now_ns, &out),
        STATUS_OK);
    return parsed(&out);
}

/* --- the pool --- */

static void the_pool_is_told_by_member_and_by_state(void **state)
{
    struct stage stage;
    json_t *json;

    (void)state;
    stage_open(&stage);
    json = pool_of(&stage);
    assert_int_equal(json_array_size(at(json, "members")), 1);
    assert_json(json, "members.0.name", "\"m0\"");
    assert_json(json, "members.0.state", "\"synced\"");
    assert_json(json, "members.0.listing", "false");
    assert_json(json, "members.0.heard_seconds", "2");
    assert_json(json, "members.0.synced_seconds", "2");
    assert_json(json, "members.0.trouble", "\"\"");
    assert_json(json, "members.0.backlog", "0");
    assert_json(json, "members.0.slices.draining",
                "{\"count\":1,\"replicas\":0,\"devices\":1.0,\"devices_booked\":0.0,"
                "\"memory_bytes\":85899345920,\"memory_booked_bytes\":0}");
    assert_json(json, "slices.ok",
                "{\"count\":3,\"replicas\":1,\"devices\":3.0,\"devices_booked\":0.5,"
                "\"memory_bytes\":257698037760,\"memory_booked_bytes\":10737418240}");
    assert_int_equal(json_object_size(at(json, "slices")), 2);
    assert_json(json, "capacity.devices", "3");
    assert_json(json, "capacity.memory_bytes", "257698037760");
    assert_json(json, "capacity.price_hour", "7");
    assert_json(json, "stranded_share", "null");
    assert_json(json, "replicas", "{\"reserved\":0,\"committed\":1,\"draining\":0}");
    assert_json(json, "waiting", "0");
    json_decref(json);
    stage_close(&stage);
}

static void quotas_are_told_with_what_is_borrowed(void **state)
{
    struct stage stage;
    json_t *json;

    (void)state;
    stage_open(&stage);
    json = pool_of(&stage);
    assert_int_equal(json_array_size(at(json, "quotas")), 3);
    assert_json(json, "quotas.0.parent", "null");
    assert_json(json, "quotas.2.name", "\"acme/search\"");
    assert_json(json, "quotas.2.parent", "\"acme\"");
    assert_json(json, "quotas.2.weight", "2");
    assert_json(json, "quotas.2.guaranteed.devices", "0.25");
    assert_json(json, "quotas.2.limit.devices", "3");
    assert_json(json, "quotas.2.limit.memory_bytes", "null");
    assert_json(json, "quotas.2.limit.price_hour", "null");
    assert_json(json, "quotas.2.used.devices", "0.5");
    assert_json(json, "quotas.2.used.memory_bytes", "10737418240");
    assert_json(json, "quotas.2.used.price_hour", "0.5");
    assert_json(json, "quotas.2.borrowed.devices", "0.25");
    assert_json(json, "quotas.1.borrowed.devices", "0");
    json_decref(json);
    stage_close(&stage);
}

static void what_is_stranded_is_told_for_what_is_asked_for(void **state)
{
    struct placement_stranded_shape mix = {
        .shape = {.memory_bytes = 10 * GIB, .compute_milli = 1000, .takes_preemptible = true},
        .share = 1};
    struct stage stage;
    json_t *json;

    (void)state;
    stage_open(&stage);
    stage.admin.mix = &mix;
    stage.admin.mix_count = 1;
    json = pool_of(&stage);
    assert_json(json, "stranded_share", "0.166667"); /* half of n0/g1, of three */
    json_decref(json);
    stage_close(&stage);
}

static void a_member_in_trouble_says_which(void **state)
{
    struct stage stage;
    json_t *json;

    (void)state;
    stage_open(&stage);
    scripted_break(&stage.member, STATUS_DENIED);
    stage.now_ns += 100 * S;
    turn(&stage);
    json = pool_of(&stage);
    assert_json(json, "members.0.state", "\"lost\"");
    assert_json(json, "members.0.trouble", "\"denied: it broke off\"");
    assert_json(json, "members.0.heard_seconds", "102");
    assert_json(json, "capacity.devices", "0");
    json_decref(json);
    stage_close(&stage);
}

/* --- slices --- */

static void a_slice_is_told_with_everything_that_is_known_of_it(void **state)
{
    struct stage stage;
    json_t *json;

    (void)state;
    stage_open(&stage);
    json = slices_of(&stage, 0, 100);
    assert_int_equal(json_array_size(at(json, "slices")), 4);
    assert_json(json, "next", "null");
    assert_json(json, "slices.1.slice", "\"m0/n0/g1\"");
    assert_json(json, "slices.1.member", "\"m0\"");
    assert_json(json, "slices.1.id", "\"n0/g1\"");
    assert_json(json, "slices.1.state", "\"ok\"");
    assert_json(json, "slices.1.kind", "\"gpu\"");
    assert_json(json, "slices.1.vendor", "\"nvidia\"");
    assert_json(json, "slices.1.product", "\"H100\"");
    assert_json(json, "slices.1.profile", "\"\"");
    assert_json(json, "slices.1.compute_capability", "9");
    assert_json(json, "slices.1.region", "\"eu-west\"");
    assert_json(json, "slices.1.zone", "\"eu-west-1\"");
    assert_json(json, "slices.1.numa", "-1");
    assert_json(json, "slices.1.labels", "[\"eu\"]");
    assert_json(json, "slices.1.price_hour", "1");
    assert_json(json, "slices.1.devices", "1");
    assert_json(json, "slices.1.devices_free", "0.5");
    assert_json(json, "slices.1.devices_booked", "0.5");
    assert_json(json, "slices.1.devices_step", "0.25");
    assert_json(json, "slices.1.memory_booked_bytes", "10737418240");
    assert_json(json, "slices.1.tenants", "1");
    assert_json(json, "slices.1.tenants_max", "4");
    assert_json(json, "slices.1.seen_seconds", "2");
    assert_json(json, "slices.1.replicas.0.uid", "\"0000000000000abc\"");
    assert_json(json, "slices.1.replicas.0.model", "\"smollm2\"");
    assert_json(json, "slices.1.replicas.0.phase", "\"committed\"");
    assert_json(json, "slices.1.replicas.0.priority", "5");
    assert_json(json, "slices.1.replicas.0.quota", "\"acme/search\"");
    assert_json(json, "slices.1.replicas.0.devices", "0.5");
    assert_json(json, "slices.1.replicas.0.ends_seconds", "null");
    assert_json(json, "slices.2.state", "\"draining\"");
    assert_json(json, "slices.2.reason", "\"maintenance\"");
    assert_json(json, "slices.2.replicas", "[]");
    assert_json(json, "slices.3.preemptible", "true");
    json_decref(json);
    stage_close(&stage);
}

static void a_quarantined_slice_and_one_that_is_gone_say_so(void **state)
{
    struct stage stage;
    struct pool *pool;
    json_t *json;

    (void)state;
    stage_open(&stage);
    pool = replica_fleet_pool(stage.fleet);
    pool_slice_quarantine(pool, 0, true);
    pool_slice_avoid(pool, 3, stage.now_ns + 5 * S);
    assert_true(pool_slice_remove(pool, 0, "n0/g1", stage.now_ns));
    json = slices_of(&stage, 0, 100);
    assert_json(json, "slices.0.state", "\"quarantined\"");
    assert_json(json, "slices.0.health", "\"ok\"");
    assert_json(json, "slices.0.quarantined", "true");
    assert_json(json, "slices.1.state", "\"gone\"");
    assert_json(json, "slices.3.avoid_seconds", "5");
    json_decref(json);
    json = pool_of(&stage);
    assert_json(json, "slices.gone.replicas", "1");
    assert_json(json, "slices.quarantined.count", "1");
    json_decref(json);
    stage_close(&stage);
}

static void pages_follow_each_other_until_there_are_no_more(void **state)
{
    struct stage stage;
    json_t *json;

    (void)state;
    stage_open(&stage);
    assert_true(pool_slice_remove(replica_fleet_pool(stage.fleet), 0, "n0/g0", stage.now_ns));
    json = slices_of(&stage, 0, 2);
    assert_int_equal(json_array_size(at(json, "slices")), 2);
    assert_json(json, "slices.0.id", "\"n0/g1\""); /* a row that is free is passed over */
    assert_json(json, "next", "3");
    json_decref(json);
    json = slices_of(&stage, 3, 2);
    assert_int_equal(json_array_size(at(json, "slices")), 1);
    assert_json(json, "slices.0.id", "\"n0/g3\"");
    assert_json(json, "next", "null");
    json_decref(json);
    json = slices_of(&stage, 4000, POOL_PAGE_MAX);
    assert_json(json, "slices", "[]");
    assert_json(json, "next", "null");
    json_decref(json);
    stage_close(&stage);
}

/* --- a placement --- */

static void a_placement_says_where_and_why_not_elsewhere(void **state)
{
    struct stage stage;
    json_t *json;
    char cost[32];

    (void)state;
    (void)snprintf(cost, sizeof(cost), "%f",
                   (double)placement_preset(PLACEMENT_BALANCED).of[PLACEMENT_COST]);
    stage_open(&stage);
    json = placement_of(&stage, 0, 100);
    assert_json(json, "model", "\"smollm2\"");
    assert_json(json, "parts", "1");
    assert_json(json, "fits", "true");
    assert_json(json, "reason", "null");
    assert_json(json, "quota", "null");
    assert_json(json, "tier", "0");
    assert_json(json, "domain", "null");
    assert_int_equal(json_array_size(at(json, "chosen")), 1);
    assert_json(json, "chosen.0.slice", "\"m0/n0/g1\""); /* cheaper, and it fills what is cut */
    assert_json(json, "weights.cost", cost);
    assert_json(json, "passed_over", "{\"health\":1,\"kind\":1}");
    assert_json(json, "slice_count", "4");
    assert_json(json, "slices.0.slice", "\"m0/n0/g1\"");
    assert_json(json, "slices.0.reason", "null");
    assert_json(json, "slices.0.price_hour", "0.5");
    assert_true(json_number_value(at(json, "slices.0.score")) >=
                json_number_value(at(json, "slices.1.score")));
    assert_true(json_is_number(at(json, "slices.0.terms.spread")));
    assert_json(json, "slices.1.slice", "\"m0/n0/g0\"");
    assert_json(json, "slices.1.price_hour", "3");
    assert_json(json, "slices.2.slice", "\"m0/n0/g3\""); /* came further than health */
    assert_json(json, "slices.2.reason", "\"kind\"");
    assert_json(json, "slices.2.score", "null");
    assert_json(json, "slices.2.terms", "null");
    assert_json(json, "slices.2.preemptible", "true");
    assert_json(json, "slices.3.reason", "\"health\"");
    json_decref(json);
    stage_close(&stage);
}

static void the_score_of_the_chosen_is_the_sum_of_its_terms(void **state)
{
    struct stage stage;
    json_t *json, *value;
    const char *term;
    double sum = 0;

    (void)state;
    stage_open(&stage);
    json = placement_of(&stage, 0, 100);
    json_object_foreach(at(json, "slices.0.terms"), term, value)
    {
        double part = json_number_value(value) *
                      json_number_value(json_object_get(at(json, "weights"), term));

        sum += strcmp(term, "risk") == 0 ? -part : part;
    }
    assert_true(sum - json_number_value(at(json, "slices.0.score")) < 1e-4);
    assert_true(json_number_value(at(json, "slices.0.score")) - sum < 1e-4);
    json_decref(json);
    stage_close(&stage);
}

static void what_fits_nowhere_says_for_which_reason(void **state)
{
    struct stage stage;
    json_t *json;

    (void)state;
    stage_open(&stage);
    stage.request.shape.memory_bytes = 75 * GIB;
    stage.request.shape.compute_milli = 0;
    want(&stage, 0xdef);
    turn(&stage);
    json = placement_of(&stage, 1, 2);
    assert_json(json, "fits", "false");
    assert_json(json, "reason", "\"no_room\"");
    assert_json(json, "chosen", "[]");
    assert_json(json, "from", "1");
    assert_int_equal(json_array_size(at(json, "slices")), 2);
    assert_json(json, "slice_count", "4");
    json_decref(json);
    stage_close(&stage);
}

static void a_limit_of_a_quota_is_named(void **state)
{
    struct stage stage;
    struct quota_config config = {.weight = 1, .limit = {{600, QUOTA_UNLIMITED, QUOTA_UNLIMITED}}};
    json_t *json;

    (void)state;
    stage_open(&stage);
    assert_int_equal(quota_tree_change(stage.quota, 2, &config), STATUS_OK);
    json = placement_of(&stage, 0, 100);
    assert_json(json, "fits", "false");
    assert_json(json, "reason", "\"quota\"");
    assert_json(json, "quota", "\"acme/search\"");
    json_decref(json);
    stage_close(&stage);
}

static void who_waits_and_what_was_decided_is_told(void **state)
{
    struct stage stage;
    json_t *json;

    (void)state;
    stage_open(&stage);
    stage.request.shape.product = 0;
    stage.request.shape.memory_bytes = 200 * GIB; /* no slice has that */
    want(&stage, 0xdef);
    turn(&stage);
    stage.now_ns += 3 * S;
    json = placement_of(&stage, 0, 100);
    assert_int_equal(json_array_size(at(json, "waiting")), 1);
    assert_json(json, "waiting.0.uid", "\"0000000000000def\"");
    assert_json(json, "waiting.0.model", "\"smollm2\"");
    assert_json(json, "waiting.0.priority", "5");
    assert_json(json, "waiting.0.waited_seconds", "3");
    assert_json(json, "waiting.0.reason", "\"too_small\"");
    assert_json(json, "waiting.0.hold", "false");
    assert_json(json, "waiting.0.starts_seconds", "null");
    assert_int_equal(json_array_size(at(json, "decisions")), 1);
    assert_json(json, "decisions.0.uid", "\"0000000000000abc\"");
    assert_json(json, "decisions.0.seconds_ago", "5");
    assert_json(json, "decisions.0.slice", "\"m0/n0/g1\"");
    assert_json(json, "decisions.0.outcome", "\"placed\"");
    assert_json(json, "decisions.0.passed_over", "{\"health\":1,\"kind\":1}");
    assert_true(json_number_value(at(json, "decisions.0.score")) > 0);
    assert_true(json_is_number(at(json, "decisions.0.terms.cost")));
    assert_true(json_is_number(at(json, "decisions.0.weights.cost")));
    json_decref(json);
    stage_close(&stage);
}

static void a_request_that_makes_no_sense_writes_nothing(void **state)
{
    const struct pool_page page = {0, 1};
    struct stage stage;
    struct buffer out;
    status result;

    (void)state;
    stage_open(&stage);
    buffer_init(&out, 1u << 20);
    stage.request.part_count = 0;
    assert_int_equal(placement_json_write(&stage.admin, &stage.request, &page, stage.now_ns, &out),
                     STATUS_INVALID);
    assert_int_equal(out.bytes, 0);
    stage.request.part_count = 1;
    for (unsigned long n = 1; n <= 3; n++) {
        fail_nth_begin(n);
        result = placement_json_write(&stage.admin, &stage.request, &page, stage.now_ns, &out);
        assert_true(fail_nth_end());
        assert_int_equal(result, STATUS_NO_MEMORY);
        assert_int_equal(out.bytes, 0);
    }
    buffer_deinit(&out);
    stage_close(&stage);
}

/* --- metrics --- */

static void metrics_say_the_same(void **state)
{
    static struct pool_metrics metrics;
    static const char *const lines[] = {
        "\npenstock_pool_slices{member=\"m0\",state=\"ok\"} 3\n",
        "\npenstock_pool_slices{member=\"m0\",state=\"draining\"} 1\n",
        "\npenstock_pool_slices{member=\"m0\",state=\"quarantined\"} 0\n",
        "\npenstock_pool_member_state{member=\"m0\",state=\"synced\"} 1\n",
        "\npenstock_pool_member_state{member=\"m0\",state=\"lost\"} 0\n",
        "\npenstock_pool_member_silence_seconds{member=\"m0\"} 2\n",
        "\npenstock_pool_member_backlog{member=\"m0\"} 0\n",
        "\npenstock_pool_devices 3\n",
        "\npenstock_pool_devices_booked 0.5\n",
        "\npenstock_pool_memory_booked_bytes 10737418240\n",
        "\npenstock_placement_waiting{reason=\"new\"} 1\n",
        "\npenstock_placement_waiting{reason=\"no_room\"} 0\n",
        "\npenstock_placement_decisions_total{outcome=\"placed\"} 1\n",
        "\npenstock_placement_decisions_total{outcome=\"refused\"} 0\n",
        "\npenstock_pool_quota_devices{quota=\"acme/search\",amount=\"guaranteed\"} 0.25\n",
        "\npenstock_pool_quota_devices{quota=\"acme/search\",amount=\"borrowed\"} 0.25\n"};
    struct stage stage;
    metrics_registry *registry;
    struct buffer out;

    (void)state;
    stage_open(&stage);
    want(&stage, 0xdef);
    assert_int_equal(metrics_registry_create(&registry), STATUS_OK);
    assert_int_equal(pool_metrics_init(&metrics, registry), STATUS_OK);
    for (uint32_t i = 0; i < 2; i++) /* once more changes nothing */
        pool_metrics_collect(&metrics, &stage.admin, stage.now_ns);
    buffer_init(&out, 1u << 20);
    metrics_write(registry, METRICS_TEXT, &out);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (strstr(out.data, lines[i]) == NULL)
            fail_msg("no%sin %s", lines[i], out.data);
    }
    buffer_deinit(&out);
    assert_int_equal(pool_metrics_init(&metrics, registry), STATUS_INVALID);
    metrics_registry_destroy(registry);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pool_is_told_by_member_and_by_state),
        cmocka_unit_test(quotas_are_told_with_what_is_borrowed),
        cmocka_unit_test(what_is_stranded_is_told_for_what_is_asked_for),
        cmocka_unit_test(a_member_in_trouble_says_which),
        cmocka_unit_test(a_slice_is_told_with_everything_that_is_known_of_it),
        cmocka_unit_test(a_quarantined_slice_and_one_that_is_gone_say_so),
        cmocka_unit_test(pages_follow_each_other_until_there_are_no_more),
        cmocka_unit_test(a_placement_says_where_and_why_not_elsewhere),
        cmocka_unit_test(the_score_of_the_chosen_is_the_sum_of_its_terms),
        cmocka_unit_test(what_fits_nowhere_says_for_which_reason),
        cmocka_unit_test(a_limit_of_a_quota_is_named),
        cmocka_unit_test(who_waits_and_what_was_decided_is_told),
        cmocka_unit_test(a_request_that_makes_no_sense_writes_nothing),
        cmocka_unit_test(metrics_say_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
