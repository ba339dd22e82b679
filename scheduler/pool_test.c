/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "fail_nth.h"
#include "pool.h"

#define S   1000000000ull
#define GIB (1ull << 30)

static const struct hash_key key = {1, 2};
static const struct pool_limits small = {
    .members_max = 4, .slices_max = 16, .bookings_max = 16, .parts_max = 24, .names_max = 128};
static const struct member_config member_a = {
    .name = "a", .interval_ns = 10 * S, .lost_after_ns = 60 * S};

static struct slice_report gpu(const char *id)
{
    return (struct slice_report){.id = id,
                                 .node = "n1",
                                 .zone = "z1",
                                 .region = "eu",
                                 .product = "H100",
                                 .kind = SLICE_GPU,
                                 .vendor = SLICE_NVIDIA,
                                 .compute_capability = 90,
                                 .numa = -1,
                                 .memory_bytes = 80 * GIB,
                                 .compute_milli = 1000,
                                 .price_nano_hour = 3000000000};
}

static struct slice_report cores(const char *id)
{
    struct slice_report report = gpu(id);

    report.kind = SLICE_CPU_SET;
    report.vendor = SLICE_CPU;
    report.compute_milli = 8000;
    report.step_milli = 1000;
    report.tenants_max = 3;
    report.memory_bytes = 32 * GIB;
    return report;
}

/* A pool with one member that has listed two GPUs and one set of cores. */
static struct pool *make(struct quota_tree *quota)
{
    struct slice_report reports[] = {gpu("g0"), gpu("g1"), cores("c0")};
    struct pool *pool;
    uint32_t member;

    assert_int_equal(pool_create(&small, &key, quota, &pool), STATUS_OK);
    assert_int_equal(pool_member_add(pool, &member_a, 0, &member), STATUS_OK);
    assert_int_equal(member, 0);
    pool_list_begin(pool, 0, 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(pool_slice_upsert(pool, 0, &reports[i], 0), STATUS_OK);
    assert_int_equal(pool_list_end(pool, 0, 0), 0);
    return pool;
}

static enum member_state state_of(const struct pool *pool, uint32_t member)
{
    struct member_info info;

    assert_true(pool_member_get(pool, member, &info));
    return info.state;
}

static struct booking_part part(const struct pool *pool, uint32_t slice, uint64_t memory,
                                uint32_t compute)
{
    return (struct booking_part){.slice = slice,
                                 .version = pool_columns(pool)->version[slice],
                                 .memory_bytes = memory,
                                 .compute_milli = compute};
}

static status reserve(struct pool *pool, uint64_t uid, const struct booking_part *parts,
                      uint32_t count, uint64_t now_ns)
{
    struct booking_request request = {.uid = uid,
                                      .expires_ns = now_ns + 30 * S,
                                      .run_ns = POOL_NO_END,
                                      .part_count = count,
                                      .parts = parts};

    return pool_reserve(pool, &request, now_ns);
}

static status reserve_one(struct pool *pool, uint64_t uid, uint32_t slice, uint64_t memory,
                          uint32_t compute)
{
    struct booking_part one = part(pool, slice, memory, compute);

    return reserve(pool, uid, &one, 1, 0);
}

/* --- members --- */

static void a_silent_member_keeps_its_slices(void **state)
{
    struct pool *pool = make(NULL);

    (void)state;
    assert_int_equal(state_of(pool, 0), MEMBER_SYNCED);
    assert_int_equal(pool_tick(pool, 30 * S - 1), 30 * S);
    assert_int_equal(state_of(pool, 0), MEMBER_SYNCED);
    assert_int_equal(pool_tick(pool, 30 * S), 60 * S);
    assert_int_equal(state_of(pool, 0), MEMBER_STALE);
    pool_member_heard(pool, 0, 31 * S);
    assert_int_equal(state_of(pool, 0), MEMBER_SYNCED);
    assert_int_equal(pool_tick(pool, 91 * S), UINT64_MAX);
    assert_int_equal(state_of(pool, 0), MEMBER_LOST);
    assert_int_equal(pool_columns(pool)->presence[0], SLICE_PRESENT);
    assert_int_equal(pool_columns(pool)->count, 3);
    /* What is heard after a loss may have gaps: only a whole list makes it synced. */
    pool_member_heard(pool, 0, 92 * S);
    assert_int_equal(state_of(pool, 0), MEMBER_CONNECTING);
    pool_list_begin(pool, 0, 93 * S);
    assert_int_equal(pool_list_end(pool, 0, 94 * S), 3);
    assert_int_equal(state_of(pool, 0), MEMBER_SYNCED);
    assert_int_equal(pool_columns(pool)->presence[0], SLICE_ABSENT);
    pool_destroy(pool);
}

static void a_list_that_breaks_off_takes_nothing_away(void **state)
{
    struct pool *pool = make(NULL);
    struct slice_report report = gpu("g0");

    (void)state;
    pool_list_begin(pool, 0, 5 * S);
    assert_int_equal(pool_slice_upsert(pool, 0, &report, 5 * S), STATUS_OK);
    pool_list_begin(pool, 0, 6 * S); /* the connection broke, once more */
    (void)pool_tick(pool, 100 * S);  /* and for long */
    assert_int_equal(state_of(pool, 0), MEMBER_LOST);
    assert_int_equal(pool_list_end(pool, 0, 101 * S), 0);
    assert_int_equal(state_of(pool, 0), MEMBER_CONNECTING);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(pool_columns(pool)->presence[i], SLICE_PRESENT);
    pool_destroy(pool);
}

static void a_list_takes_away_what_it_does_not_name(void **state)
{
    struct pool *pool = make(NULL);
    struct slice_report report = gpu("g1");
    uint32_t slice = pool_slice_find(pool, 0, "g1");

    (void)state;
    pool_list_begin(pool, 0, S);
    assert_int_equal(pool_slice_upsert(pool, 0, &report, S), STATUS_OK);
    assert_int_equal(pool_list_end(pool, 0, S), 2);
    assert_int_equal(pool_slice_find(pool, 0, "g1"), slice);
    assert_int_equal(pool_slice_find(pool, 0, "g0"), POOL_SLICE_NONE);
    pool_destroy(pool);
}

static void a_gap_makes_a_member_connect_anew(void **state)
{
    struct pool *pool = make(NULL);

    (void)state;
    pool_list_begin(pool, 0, S);
    pool_member_resync(pool, 0, S);
    assert_int_equal(pool_list_end(pool, 0, S), 0);
    assert_int_equal(state_of(pool, 0), MEMBER_CONNECTING);
    assert_int_equal(reserve_one(pool, 7, 0, 80 * GIB, 1000), STATUS_NOT_FOUND);
    pool_destroy(pool);
}

static void members_come_and_go(void **state)
{
    struct member_config config = {.name = "b", .interval_ns = S, .lost_after_ns = 10 * S};
    struct pool *pool = make(NULL);
    struct slice_report report = gpu("g0");
    struct member_info info;
    uint32_t b, c;

    (void)state;
    assert_int_equal(pool_member_add(pool, &member_a, 0, &b), STATUS_INVALID);
    assert_int_equal(pool_member_add(pool, &config, 0, &b), STATUS_OK);
    assert_int_equal(pool_slice_upsert(pool, b, &report, 0), STATUS_OK);
    assert_int_not_equal(pool_slice_find(pool, b, "g0"), pool_slice_find(pool, 0, "g0"));
    assert_int_equal(reserve_one(pool, 7, 0, 80 * GIB, 1000), STATUS_OK);
    assert_int_equal(pool_member_remove(pool, 0), STATUS_AGAIN);
    assert_int_equal(pool_slice_upsert(pool, 0, &report, 0), STATUS_INVALID);
    assert_int_equal(pool_columns(pool)->presence[0], SLICE_GONE);
    assert_true(pool_release(pool, 7));
    assert_int_equal(pool_member_remove(pool, 0), STATUS_OK);
    assert_false(pool_member_get(pool, 0, &info));
    assert_int_equal(pool_member_find(pool, "b"), b);
    config.name = "c";
    config.lost_after_ns = 3 * S;
    assert_int_equal(pool_member_add(pool, &config, 0, &c), STATUS_INVALID);
    config.lost_after_ns = 4 * S;
    assert_int_equal(pool_member_add(pool, &config, 0, &c), STATUS_OK);
    assert_int_equal(c, 0);
    for (config.name = "d"; pool_member_add(pool, &config, 0, &c) == STATUS_OK;)
        config.name = c == 2 ? "e" : "f";
    assert_int_equal(c, 3);
    assert_int_equal(pool_member_add(pool, &config, 0, &c), STATUS_FULL);
    pool_destroy(pool);
}

/* --- slices --- */

static void a_bad_report_changes_nothing(void **state)
{
    struct pool *pool = make(NULL);
    uint64_t version = pool_columns(pool)->version[0];
    struct slice_report bad[7];
    char *name;

    (void)state;
    for (uint32_t i = 0; i < 7; i++)
        bad[i] = gpu("g0");
    bad[0].id = "";
    bad[1].memory_bytes = 0;
    bad[2].memory_bytes = SLICE_MEMORY_BYTES_MAX + 1;
    bad[3].step_milli = 300;
    bad[4].price_nano_hour = -1;
    bad[5].compute_milli = SLICE_COMPUTE_MILLI_MAX + 1;
    bad[6].kind = SLICE_KIND_COUNT;
    for (uint32_t i = 0; i < 7; i++)
        assert_int_equal(pool_slice_upsert(pool, 0, &bad[i], S), STATUS_INVALID);
    name = test_malloc(SLICE_NAME_BYTES_MAX + 2);
    memset(name, 'x', SLICE_NAME_BYTES_MAX + 1);
    name[SLICE_NAME_BYTES_MAX + 1] = '\0';
    bad[0] = gpu("g0");
    bad[0].reason = name;
    assert_int_equal(pool_slice_upsert(pool, 0, &bad[0], S), STATUS_TOO_LARGE);
    name[SLICE_NAME_BYTES_MAX] = '\0';
    assert_int_equal(pool_columns(pool)->version[0], version);
    assert_int_equal(pool_slice_upsert(pool, 0, &bad[0], S), STATUS_OK);
    test_free(name);
    pool_destroy(pool);
}

static void rows_and_names_are_bounded_and_used_again(void **state)
{
    struct pool *pool = make(NULL);
    uint32_t bound = 0;
    char id[16];

    (void)state;
    for (uint32_t round = 0; round < 100; round++) {
        for (uint32_t i = 3; i < small.slices_max; i++) {
            struct slice_report report = gpu(id);

            (void)snprintf(id, sizeof(id), "r%u-%u", round, i);
            assert_int_equal(pool_slice_upsert(pool, 0, &report, S), STATUS_OK);
        }
        (void)snprintf(id, sizeof(id), "r%u-more", round);
        assert_int_equal(
            pool_slice_upsert(
                pool, 0, &(struct slice_report){.id = id, .memory_bytes = 1, .compute_milli = 1},
                S),
            STATUS_FULL);
        for (uint32_t i = 3; i < small.slices_max; i++) {
            (void)snprintf(id, sizeof(id), "r%u-%u", round, i);
            assert_true(pool_slice_remove(pool, 0, id, S));
            assert_false(pool_slice_remove(pool, 0, id, S));
        }
        assert_true(round == 0 || pool_name_bound(pool) == bound);
        bound = pool_name_bound(pool);
        assert_int_equal(pool_columns(pool)->count, small.slices_max);
    }
    assert_true(pool_is_consistent(pool));
    pool_destroy(pool);
}

static void only_declared_labels_are_looked_at(void **state)
{
    struct pool *pool = make(NULL);
    const char *labels[] = {"eu", "hipaa", "nobody asks for this"};
    struct slice_report report = gpu("g0");
    uint64_t hipaa, again, us;
    char text[16];

    (void)state;
    assert_int_equal(pool_label_declare(pool, "us", &us), STATUS_OK);
    assert_int_equal(pool_label_declare(pool, "hipaa", &hipaa), STATUS_OK);
    assert_int_equal(pool_label_declare(pool, "hipaa", &again), STATUS_OK);
    assert_int_equal(hipaa, again);
    assert_int_equal(pool_label_declare(pool, "", &again), STATUS_INVALID);
    report.labels = labels;
    report.label_count = 3;
    assert_int_equal(pool_slice_upsert(pool, 0, &report, 0), STATUS_OK);
    assert_int_equal(pool_columns(pool)->labels[0], hipaa);
    for (uint32_t i = 2; i < SLICE_LABELS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "label %u", i);
        assert_int_equal(pool_label_declare(pool, text, &again), STATUS_OK);
    }
    assert_int_equal(pool_label_declare(pool, "one more", &again), STATUS_FULL);
    assert_string_equal(pool_label_text(pool, 1), "hipaa");
    assert_null(pool_label_text(pool, SLICE_LABELS_MAX));
    pool_destroy(pool);
}

static void a_label_declared_later_is_found_on_slices_that_were_reported_with_it(void **state)
{
    struct pool *pool = make(NULL);
    const char *labels[] = {"eu", "hipaa"};
    struct slice_report report = gpu("g0");
    const struct pool_columns *columns = pool_columns(pool);
    uint32_t bound = pool_name_bound(pool);
    uint64_t hipaa, eu, version;

    (void)state;
    report.labels = labels;
    report.label_count = 2;
    assert_int_equal(pool_slice_upsert(pool, 0, &report, 0), STATUS_OK);
    report.id = "g1";
    report.label_count = 1;
    assert_int_equal(pool_slice_upsert(pool, 0, &report, 0), STATUS_OK);
    assert_int_equal(columns->labels[0] | columns->labels[1], 0);
    version = columns->version[1];
    assert_int_equal(pool_label_declare(pool, "hipaa", &hipaa), STATUS_OK);
    assert_int_equal(columns->labels[0], hipaa);
    assert_int_equal(columns->labels[1], 0);
    assert_int_equal(columns->version[1], version); /* as it was */
    assert_int_equal(pool_label_declare(pool, "eu", &eu), STATUS_OK);
    assert_int_equal(columns->labels[0], hipaa | eu);
    assert_int_equal(columns->labels[1], eu);
    assert_true(columns->version[1] > version);
    report.label_count = 0; /* it has lost them */
    assert_int_equal(pool_slice_upsert(pool, 0, &report, 0), STATUS_OK);
    assert_int_equal(columns->labels[1], 0);
    /* Names are given back with the slices. */
    for (int i = 0; i < 1000; i++) {
        char text[24];

        (void)snprintf(text, sizeof(text), "label %d", i);
        labels[1] = text;
        report.label_count = 2;
        assert_int_equal(pool_slice_upsert(pool, 0, &report, 0), STATUS_OK);
    }
    assert_true(pool_slice_remove(pool, 0, "g1", 0) && pool_slice_remove(pool, 0, "g0", 0));
    assert_true(pool_name_bound(pool) <= bound + 4);
    pool_destroy(pool);
}

static void what_others_hold_is_not_free(void **state)
{
    struct pool *pool = make(NULL);
    struct slice_report report = cores("c0");

    (void)state;
    report.memory_foreign_bytes = 2 * GIB;
    report.compute_foreign_milli = 500;
    assert_int_equal(pool_slice_upsert(pool, 0, &report, S), STATUS_OK);
    assert_int_equal(reserve_one(pool, 7, 2, 10 * GIB, 2000), STATUS_OK);
    assert_int_equal(pool_columns(pool)->memory_free[2], 20 * GIB);
    assert_int_equal(pool_columns(pool)->compute_free[2], 5500);
    report.memory_bytes =
        8 * GIB; /* smaller than what is booked: nothing is free, nothing breaks */
    assert_int_equal(pool_slice_upsert(pool, 0, &report, S), STATUS_OK);
    assert_int_equal(pool_columns(pool)->memory_free[2], 0);
    assert_true(pool_is_consistent(pool));
    assert_true(pool_release(pool, 7));
    assert_int_equal(pool_columns(pool)->memory_free[2], 6 * GIB);
    pool_destroy(pool);
}

/* --- bookings --- */

static void a_whole_slice_is_given_once(void **state)
{
    struct pool *pool = make(NULL);

    (void)state;
    assert_int_equal(reserve_one(pool, 1, 0, 80 * GIB, 500), STATUS_FULL); /* it is not cut */
    assert_int_equal(reserve_one(pool, 1, 0, 80 * GIB, 1000), STATUS_OK);
    assert_int_equal(reserve_one(pool, 2, 0, GIB, 1000), STATUS_FULL);
    assert_int_equal(pool_commit(pool, 1, S), STATUS_OK);
    assert_int_equal(pool_commit(pool, 1, 99 * S), STATUS_OK);
    assert_true(pool_release(pool, 1));
    assert_false(pool_release(pool, 1));
    assert_int_equal(reserve_one(pool, 2, 0, GIB, 1000), STATUS_OK);
    pool_destroy(pool);
}

static void fractions_share_memory_compute_and_places(void **state)
{
    struct pool *pool = make(NULL);

    (void)state;
    assert_int_equal(reserve_one(pool, 1, 2, 10 * GIB, 1500), STATUS_FULL); /* half a step */
    assert_int_equal(reserve_one(pool, 1, 2, 10 * GIB, 2000), STATUS_OK);
    assert_int_equal(reserve_one(pool, 2, 2, 23 * GIB, 1000), STATUS_FULL);
    assert_int_equal(reserve_one(pool, 2, 2, 10 * GIB, 7000), STATUS_FULL);
    assert_int_equal(reserve_one(pool, 2, 2, 10 * GIB, 1000), STATUS_OK);
    assert_int_equal(reserve_one(pool, 3, 2, 1 * GIB, 1000), STATUS_OK);
    assert_int_equal(reserve_one(pool, 4, 2, 1 * GIB, 1000),
                     STATUS_FULL); /* three replicas at once */
    assert_true(pool_is_consistent(pool));
    pool_destroy(pool);
}

static void the_same_uid_books_once(void **state)
{
    struct pool *pool = make(NULL);
    struct booking_part one = part(pool, 0, 80 * GIB, 1000), other = part(pool, 1, 80 * GIB, 1000);

    (void)state;
    assert_int_equal(reserve(pool, 1, &one, 1, 0), STATUS_OK);
    assert_int_equal(reserve(pool, 1, &one, 1, 0), STATUS_OK);
    assert_int_equal(reserve(pool, 1, &other, 1, 0), STATUS_INVALID);
    assert_int_equal(reserve(pool, 0, &other, 1, 0), STATUS_INVALID);
    assert_int_equal(pool_booking_count(pool), 1);
    pool_destroy(pool);
}

static void a_version_that_has_passed_is_refused(void **state)
{
    struct pool *pool = make(NULL);
    struct booking_part seen = part(pool, 0, 80 * GIB, 1000);
    struct slice_report report = gpu("g0");

    (void)state;
    assert_int_equal(pool_slice_upsert(pool, 0, &report, S), STATUS_OK);
    assert_int_equal(reserve(pool, 1, &seen, 1, 0), STATUS_AGAIN);
    seen = part(pool, 0, 80 * GIB, 1000);
    assert_int_equal(reserve(pool, 1, &seen, 1, 0), STATUS_OK);
    pool_destroy(pool);
}

static void a_gang_is_all_or_nothing(void **state)
{
    struct pool *pool = make(NULL);
    struct booking_part parts[] = {part(pool, 0, 80 * GIB, 1000), part(pool, 1, 80 * GIB, 1000),
                                   part(pool, 2, 64 * GIB, 1000)};
    struct booking_part twice[] = {parts[0], parts[0]};

    (void)state;
    assert_int_equal(reserve(pool, 1, parts, 3, 0), STATUS_FULL);
    assert_int_equal(pool_columns(pool)->tenants[0], 0);
    assert_int_equal(reserve(pool, 1, twice, 2, 0), STATUS_INVALID);
    parts[2].memory_bytes = GIB;
    assert_int_equal(reserve(pool, 1, parts, 3, 0), STATUS_OK);
    assert_int_equal(pool_columns(pool)->tenants[2], 1);
    assert_true(pool_is_consistent(pool));
    assert_true(pool_release(pool, 1));
    assert_int_equal(pool_columns(pool)->tenants[0], 0);
    pool_destroy(pool);
}

static void a_reservation_that_is_not_committed_ends(void **state)
{
    struct pool *pool = make(NULL);

    (void)state;
    assert_int_equal(reserve_one(pool, 1, 0, 80 * GIB, 1000), STATUS_OK);
    assert_int_equal(reserve_one(pool, 2, 1, 80 * GIB, 1000), STATUS_OK);
    assert_int_equal(pool_commit(pool, 2, 5 * S), STATUS_OK);
    (void)pool_tick(pool, 30 * S - 1);
    assert_non_null(pool_booking_find(pool, 1));
    (void)pool_tick(pool, 30 * S);
    assert_null(pool_booking_find(pool, 1));
    assert_int_equal(pool_commit(pool, 1, 30 * S), STATUS_NOT_FOUND);
    assert_int_equal(pool_booking_find(pool, 2)->phase, BOOKING_COMMITTED);
    assert_int_equal(pool_drain(pool, 2, 40 * S), STATUS_OK);
    assert_int_equal(pool_booking_find(pool, 2)->ends_ns, 40 * S);
    assert_int_equal(pool_drain(pool, 1, 40 * S), STATUS_NOT_FOUND);
    pool_destroy(pool);
}

static void who_sleeps_keeps_memory_and_leaves_compute_to_others(void **state)
{
    struct quota_config config = {.limit = {{QUOTA_UNLIMITED, QUOTA_UNLIMITED, QUOTA_UNLIMITED}},
                                  .weight = 1};
    struct quota_tree *quota;
    struct pool *pool;
    uint32_t node;

    (void)state;
    assert_int_equal(quota_tree_create(4, &quota), STATUS_OK);
    assert_int_equal(quota_tree_add(quota, QUOTA_ROOT, &config, &node), STATUS_OK);
    pool = make(quota);
    assert_int_equal(reserve_one(pool, 1, 2, 10 * GIB, 8000), STATUS_OK);
    assert_int_equal(pool_rest(pool, 1), STATUS_NOT_FOUND); /* it does not run yet */
    assert_int_equal(pool_commit(pool, 1, S), STATUS_OK);
    assert_int_equal(reserve_one(pool, 2, 2, 10 * GIB, 8000), STATUS_FULL);
    assert_int_equal(pool_rest(pool, 1), STATUS_OK);
    assert_int_equal(pool_rest(pool, 1), STATUS_OK);
    assert_true(pool_is_consistent(pool));
    assert_int_equal(pool_columns(pool)->compute_free[2], 8000);
    assert_true(pool_columns(pool)->memory_free[2] == 22 * GIB);
    assert_int_equal(pool_booking_find(pool, 1)->amount.of[QUOTA_COMPUTE], 0);
    assert_int_equal(reserve_one(pool, 2, 2, 10 * GIB, 8000), STATUS_OK);
    assert_int_equal(pool_rouse(pool, 1), STATUS_FULL);
    assert_true(pool_booking_find(pool, 1)->is_resting);
    assert_true(pool_release(pool, 2));
    assert_int_equal(pool_rouse(pool, 1), STATUS_OK);
    assert_int_equal(pool_rouse(pool, 1), STATUS_OK);
    assert_int_equal(pool_columns(pool)->compute_free[2], 0);
    assert_int_equal(pool_booking_find(pool, 1)->amount.of[QUOTA_COMPUTE], 8000);
    assert_true(pool_is_consistent(pool));
    assert_true(pool_release(pool, 1));
    assert_true(pool_is_consistent(pool));
    pool_destroy(pool);
    quota_tree_destroy(quota);
}

static void who_has_a_whole_device_gives_nothing_back_by_sleeping(void **state)
{
    struct pool *pool = make(NULL);

    (void)state;
    assert_int_equal(reserve_one(pool, 1, 0, 80 * GIB, 1000), STATUS_OK);
    assert_int_equal(pool_commit(pool, 1, S), STATUS_OK);
    assert_int_equal(pool_rest(pool, 1), STATUS_UNSUPPORTED);
    assert_int_equal(pool_columns(pool)->compute_free[0], 0);
    pool_destroy(pool);
}

static void a_slice_that_goes_keeps_its_bookings(void **state)
{
    struct pool *pool = make(NULL);
    struct slice_report report = gpu("g0");

    (void)state;
    assert_int_equal(reserve_one(pool, 1, 0, 80 * GIB, 1000), STATUS_OK);
    assert_true(pool_slice_remove(pool, 0, "g0", S));
    assert_int_equal(pool_columns(pool)->presence[0], SLICE_GONE);
    assert_int_equal(reserve_one(pool, 2, 0, 80 * GIB, 1000), STATUS_NOT_FOUND);
    assert_int_equal(pool_slice_upsert(pool, 0, &report, S),
                     STATUS_OK); /* it was a moment's matter */
    assert_int_equal(pool_slice_find(pool, 0, "g0"), 0);
    assert_int_equal(reserve_one(pool, 2, 0, 80 * GIB, 1000), STATUS_FULL);
    assert_true(pool_slice_remove(pool, 0, "g0", S));
    assert_true(pool_release(pool, 1));
    assert_int_equal(pool_columns(pool)->presence[0], SLICE_ABSENT);
    assert_true(pool_is_consistent(pool));
    pool_destroy(pool);
}

static void what_is_found_running_is_booked_as_it_is(void **state)
{
    struct pool *pool = make(NULL);
    struct booking_part one = part(pool, 0, 200 * GIB, 1000);
    struct booking_request request = {.uid = 5,
                                      .is_adopted = true,
                                      .expires_ns = 9 * S,
                                      .run_ns = POOL_NO_END,
                                      .part_count = 1,
                                      .parts = &one};

    (void)state;
    pool_member_resync(pool, 0, 0);
    assert_int_equal(reserve_one(pool, 4, 0, 80 * GIB, 1000), STATUS_NOT_FOUND);
    one.version = 0;
    assert_int_equal(pool_reserve(pool, &request, 0), STATUS_OK);
    request.uid = 6;
    assert_int_equal(pool_reserve(pool, &request, 0), STATUS_OK);
    assert_int_equal(pool_columns(pool)->tenants[0], 2);
    assert_int_equal(pool_columns(pool)->memory_free[0], 0);
    assert_true(pool_is_consistent(pool));
    pool_destroy(pool);
}

static void quarantine_and_bad_health_take_nothing_new(void **state)
{
    struct pool *pool = make(NULL);
    struct slice_report report = gpu("g1");
    char text[32];

    (void)state;
    pool_slice_quarantine(pool, 0, true);
    assert_int_equal(reserve_one(pool, 1, 0, 80 * GIB, 1000), STATUS_NOT_FOUND);
    assert_int_equal(pool_capacity(pool).of[QUOTA_COMPUTE], 9000);
    pool_slice_quarantine(pool, 0, false);
    assert_int_equal(reserve_one(pool, 1, 0, 80 * GIB, 1000), STATUS_OK);
    report.health = SLICE_DRAINING;
    assert_int_equal(pool_slice_upsert(pool, 0, &report, S), STATUS_OK);
    assert_int_equal(reserve_one(pool, 2, 1, 80 * GIB, 1000), STATUS_NOT_FOUND);
    pool_slice_write(pool, 1, text, sizeof(text));
    assert_string_equal(text, "a/g1");
    pool_destroy(pool);
}

static void the_book_is_bounded(void **state)
{
    struct pool_limits limits = small;
    struct slice_report report = cores("c");
    struct booking_part parts[4];
    struct pool *pool;
    uint32_t member;
    char id[8];

    (void)state;
    limits.parts_max = 4;
    limits.bookings_max = 2;
    assert_int_equal(pool_create(&limits, &key, NULL, &pool), STATUS_OK);
    assert_int_equal(pool_member_add(pool, &member_a, 0, &member), STATUS_OK);
    pool_list_begin(pool, 0, 0);
    for (uint32_t i = 0; i < 4; i++) {
        (void)snprintf(id, sizeof(id), "c%u", i);
        report.id = id;
        assert_int_equal(pool_slice_upsert(pool, 0, &report, 0), STATUS_OK);
    }
    (void)pool_list_end(pool, 0, 0);
    for (uint32_t i = 0; i < 4; i++)
        parts[i] = part(pool, i, GIB, 1000);
    assert_int_equal(reserve(pool, 1, parts, 3, 0), STATUS_OK);
    assert_int_equal(reserve(pool, 2, &parts[2], 2, 0), STATUS_FULL); /* parts */
    assert_int_equal(reserve(pool, 2, &parts[3], 1, 0), STATUS_OK);
    parts[0] = part(pool, 0, GIB, 1000);
    assert_int_equal(reserve(pool, 3, parts, 1, 0), STATUS_FULL); /* bookings */
    limits.members_max = POOL_MEMBERS_MAX + 1;
    pool_destroy(pool);
    assert_int_equal(pool_create(&limits, &key, NULL, &pool), STATUS_INVALID);
}

static void bookings_are_charged_to_the_quota(void **state)
{
    struct quota_config config = {.limit = {{1000, QUOTA_UNLIMITED, QUOTA_UNLIMITED}}, .weight = 1};
    struct quota_tree *quota;
    struct pool *pool;
    struct booking_part one;
    struct booking_request request = {
        .uid = 1, .expires_ns = S, .run_ns = POOL_NO_END, .part_count = 1, .parts = &one};

    (void)state;
    assert_int_equal(quota_tree_create(8, &quota), STATUS_OK);
    assert_int_equal(quota_tree_add(quota, QUOTA_ROOT, &config, &request.tenant), STATUS_OK);
    pool = make(quota);
    one = part(pool, 2, 4 * GIB, 1000);
    assert_int_equal(pool_reserve(pool, &request, 0), STATUS_OK);
    /* An eighth of the price of 8 cores with 32 GiB. */
    assert_int_equal(quota_tree_used(quota, request.tenant)->of[QUOTA_MONEY], 375000000);
    one = part(pool, 2, 4 * GIB, 1000);
    request.uid = 2;
    assert_int_equal(pool_reserve(pool, &request, 0), STATUS_DENIED);
    assert_true(pool_is_consistent(pool));
    (void)pool_tick(pool, S);
    assert_int_equal(quota_tree_used(quota, request.tenant)->of[QUOTA_MONEY], 0);
    assert_int_equal(quota_tree_config(quota, QUOTA_ROOT)->guaranteed.of[QUOTA_COMPUTE], 10000);
    request.tenant = 8;
    assert_int_equal(pool_reserve(pool, &request, 0), STATUS_INVALID);
    pool_destroy(pool);
    quota_tree_destroy(quota);
}

/* --- properties --- */

static uint64_t next(uint64_t *seed) /* SplitMix64 */
{
    uint64_t value = *seed += 0x9E3779B97F4A7C15ull;

    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ value >> 27) * 0x94D049BB133111EBull;
    return value ^ value >> 31;
}

/* Any status will do: what must hold is checked afterwards. */
static void whatever(status result)
{
    assert_true(result < STATUS_COUNT);
}

static void report_any(struct pool *pool, uint64_t *seed, uint64_t now_ns)
{
    static const char *const ids[] = {"a", "b", "c", "d", "e", "f"};
    struct slice_report report =
        next(seed) % 2 == 0 ? gpu(ids[next(seed) % 6]) : cores(ids[next(seed) % 6]);

    report.memory_bytes = (1 + next(seed) % 64) * GIB;
    report.memory_foreign_bytes = next(seed) % 4 == 0 ? next(seed) % (8 * GIB) : 0;
    report.health = next(seed) % 8 == 0 ? SLICE_BAD : SLICE_OK;
    whatever(pool_slice_upsert(pool, (uint32_t)(next(seed) % 2), &report, now_ns));
}

static void reserve_any(struct pool *pool, uint64_t *seed, uint64_t now_ns)
{
    const struct pool_columns *columns = pool_columns(pool);
    struct booking_part parts[3];
    uint32_t count = 1 + (uint32_t)(next(seed) % 3);
    struct booking_request request = {.uid = 1 + next(seed) % 40,
                                      .expires_ns = now_ns + next(seed) % (60 * S),
                                      .run_ns = POOL_NO_END,
                                      .part_count = count,
                                      .parts = parts};

    for (uint32_t i = 0; i < count; i++) {
        uint32_t slice = (uint32_t)(next(seed) % 16);

        parts[i] =
            (struct booking_part){.slice = slice,
                                  .version = slice < columns->count ? columns->version[slice] : 0,
                                  .memory_bytes = (next(seed) % 24) * GIB,
                                  .compute_milli = (uint32_t)(next(seed) % 5) * 1000};
    }
    whatever(pool_reserve(pool, &request, now_ns));
}

static void do_any(struct pool *pool, uint64_t *seed, uint64_t now_ns)
{
    static const char *const ids[] = {"a", "b", "c", "d", "e", "f"};
    uint32_t member = (uint32_t)(next(seed) % 2);
    uint64_t uid = 1 + next(seed) % 40;

    switch (next(seed) % 12) {
    case 0:
        pool_list_begin(pool, member, now_ns);
        break;
    case 1:
        (void)pool_list_end(pool, member, now_ns);
        break;
    case 2:
        (void)pool_slice_remove(pool, member, ids[next(seed) % 6], now_ns);
        break;
    case 3:
        whatever(pool_commit(pool, uid, now_ns));
        break;
    case 4:
    case 5:
        (void)pool_release(pool, uid);
        break;
    case 6:
        (void)pool_tick(pool, now_ns);
        break;
    case 7:
    case 8:
        report_any(pool, seed, now_ns);
        break;
    default:
        reserve_any(pool, seed, now_ns);
    }
}

/* What was free when it was given out is given out once: a slice that did not shrink is never booked beyond what it has. */
static void no_slice_is_overbooked(const struct pool *pool)
{
    const struct pool_columns *columns = pool_columns(pool);

    for (uint32_t i = 0; i < columns->count; i++) {
        if (columns->presence[i] != SLICE_ABSENT)
            assert_true(columns->memory_booked[i] <= columns->memory_bytes[i] &&
                        columns->compute_booked[i] <= columns->compute_milli[i] &&
                        columns->tenants[i] <= columns->tenants_max[i]);
    }
}

static struct pool *make_two(struct quota_tree *quota)
{
    struct member_config b = member_a;
    struct pool *pool;
    uint32_t member;

    assert_int_equal(pool_create(&small, &key, quota, &pool), STATUS_OK);
    assert_int_equal(pool_member_add(pool, &member_a, 0, &member), STATUS_OK);
    b.name = "b";
    assert_int_equal(pool_member_add(pool, &b, 0, &member), STATUS_OK);
    return pool;
}

static void sums_hold_after_any_operations(void **state)
{
    (void)state;
    for (uint64_t first = 1; first <= 100; first++) {
        struct quota_tree *quota;
        struct pool *pool;
        uint64_t seed = first, now_ns = 0;

        print_message("seed %llu\n", (unsigned long long)first);
        assert_int_equal(quota_tree_create(4, &quota), STATUS_OK);
        pool = make_two(quota);
        for (uint32_t step = 0; step < 500; step++) {
            now_ns += next(&seed) % (3 * S);
            do_any(pool, &seed, now_ns);
            assert_true(pool_is_consistent(pool));
        }
        for (uint64_t uid = 1; uid <= 40; uid++)
            (void)pool_release(pool, uid);
        assert_int_equal(pool_booking_count(pool), 0);
        assert_int_equal(quota_tree_used(quota, QUOTA_ROOT)->of[QUOTA_COMPUTE], 0);
        assert_int_equal(pool_member_remove(pool, 0), STATUS_OK);
        assert_int_equal(pool_member_remove(pool, 1), STATUS_OK);
        assert_true(pool_is_consistent(pool));
        pool_destroy(pool);
        quota_tree_destroy(quota);
    }
}

static void nothing_is_booked_twice(void **state)
{
    (void)state;
    for (uint64_t first = 1; first <= 100; first++) {
        struct pool *pool = make(NULL);
        uint64_t seed = first;

        print_message("seed %llu\n", (unsigned long long)first);
        for (uint32_t step = 0; step < 300; step++) {
            if (next(&seed) % 3 == 0)
                (void)pool_release(pool, 1 + next(&seed) % 40);
            else
                reserve_any(pool, &seed, 0);
            no_slice_is_overbooked(pool);
            assert_true(pool_is_consistent(pool));
        }
        pool_destroy(pool);
    }
}

static status make_and_report(void)
{
    struct slice_report report = gpu("g0");
    const char *labels[] = {"eu", "hipaa"};
    struct pool *pool = NULL;
    uint32_t member;
    status result = pool_create(&small, &key, NULL, &pool);

    report.labels = labels;
    report.label_count = 2;
    if (result == STATUS_OK)
        result = pool_member_add(pool, &member_a, 0, &member);
    if (result == STATUS_OK)
        result = pool_slice_upsert(pool, 0, &report, 0);
    if (pool != NULL)
        assert_true(pool_is_consistent(pool));
    pool_destroy(pool);
    return result;
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        status result;

        fail_nth_begin(n);
        result = make_and_report();
        if (!fail_nth_end()) {
            assert_int_equal(result, STATUS_OK);
            return;
        }
        assert_int_equal(result, STATUS_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_member_keeps_its_slices),
        cmocka_unit_test(a_list_that_breaks_off_takes_nothing_away),
        cmocka_unit_test(a_list_takes_away_what_it_does_not_name),
        cmocka_unit_test(a_gap_makes_a_member_connect_anew),
        cmocka_unit_test(members_come_and_go),
        cmocka_unit_test(a_bad_report_changes_nothing),
        cmocka_unit_test(rows_and_names_are_bounded_and_used_again),
        cmocka_unit_test(only_declared_labels_are_looked_at),
        cmocka_unit_test(a_label_declared_later_is_found_on_slices_that_were_reported_with_it),
        cmocka_unit_test(what_others_hold_is_not_free),
        cmocka_unit_test(a_whole_slice_is_given_once),
        cmocka_unit_test(fractions_share_memory_compute_and_places),
        cmocka_unit_test(the_same_uid_books_once),
        cmocka_unit_test(a_version_that_has_passed_is_refused),
        cmocka_unit_test(a_gang_is_all_or_nothing),
        cmocka_unit_test(a_reservation_that_is_not_committed_ends),
        cmocka_unit_test(who_sleeps_keeps_memory_and_leaves_compute_to_others),
        cmocka_unit_test(who_has_a_whole_device_gives_nothing_back_by_sleeping),
        cmocka_unit_test(a_slice_that_goes_keeps_its_bookings),
        cmocka_unit_test(what_is_found_running_is_booked_as_it_is),
        cmocka_unit_test(quarantine_and_bad_health_take_nothing_new),
        cmocka_unit_test(the_book_is_bounded),
        cmocka_unit_test(bookings_are_charged_to_the_quota),
        cmocka_unit_test(sums_hold_after_any_operations),
        cmocka_unit_test(nothing_is_booked_twice),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
