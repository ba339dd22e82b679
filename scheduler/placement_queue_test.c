/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "fail_nth.h"
#include "placement_queue.h"
#include "pool_world.h"

#define S   WORLD_S
#define GIB WORLD_GIB

/* What a round did. */
struct seen {
    struct pool *pool;
    uint64_t now_ns;
    uint64_t placed[64];
    uint32_t placed_count;
    uint64_t victims[64];
    uint32_t victim_count;
};

static void on_placed(void *context, const struct placement_request *request,
                      const struct placement_decision *decision)
{
    struct seen *seen = context;

    assert_int_equal(decision->part_count, request->part_count);
    assert_true(seen->placed_count < 64);
    seen->placed[seen->placed_count++] = request->uid;
    assert_int_equal(pool_commit(seen->pool, request->uid, seen->now_ns), STATUS_OK);
}

static void on_preempt(void *context, const struct placement_request *request,
                       const struct placement_preemption *preemption)
{
    struct seen *seen = context;

    assert_true(preemption->victim_count > 0 && request->uid > 0);
    for (uint32_t i = 0; i < preemption->victim_count; i++)
        seen->victims[seen->victim_count++] = preemption->victims[i];
}

struct place {
    struct pool *pool;
    struct placement *placement;
    struct placement_queue *queue;
    struct seen seen;
    struct placement_queue_driver driver;
};

static void open_place(struct place *place, const struct world *world, struct quota_tree *quota)
{
    place->pool = world_create(world, quota);
    assert_int_equal(placement_create(place->pool, quota, &place->placement), STATUS_OK);
    assert_int_equal(placement_queue_create(place->placement, 256, &place->queue), STATUS_OK);
    place->seen = (struct seen){.pool = place->pool};
    place->driver = (struct placement_queue_driver){
        .placed = on_placed, .context = &place->seen, .drain_ns = 30 * S};
}

static void close_place(struct place *place)
{
    placement_queue_destroy(place->queue);
    placement_destroy(place->placement);
    assert_true(pool_is_consistent(place->pool));
    pool_destroy(place->pool);
}

static uint32_t round_at(struct place *place, uint64_t now_ns)
{
    place->seen.now_ns = now_ns;
    return placement_queue_round(place->queue, &place->driver, now_ns);
}

static void add(struct place *place, uint64_t uid, uint32_t parts, uint64_t run_ns,
                int32_t priority, uint64_t now_ns)
{
    struct placement_request request = {.uid = uid,
                                        .model = (uint32_t)uid,
                                        .priority = priority,
                                        .is_preemptible = true,
                                        .shape = {.memory_bytes = 10 * GIB},
                                        .part_count = parts,
                                        .domain_max = PLACEMENT_NODE,
                                        .run_ns = run_ns,
                                        .reserve_ns = 60 * S};

    assert_int_equal(placement_queue_add(place->queue, &request, now_ns), STATUS_OK);
}

static void the_important_then_the_old_go_first(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 3, .slice = world_gpu()};
    struct place place;
    struct placement_waiting waiting;

    (void)state;
    open_place(&place, &world, NULL);
    add(&place, 4, 1, POOL_NO_END, 0, 20);
    add(&place, 3, 1, POOL_NO_END, 0, 10);
    add(&place, 2, 1, POOL_NO_END, 7, 30);
    add(&place, 1, 1, POOL_NO_END, 0, 30);
    add(&place, 1, 1, POOL_NO_END, 99, 0); /* it waits already */
    assert_int_equal(placement_queue_count(place.queue), 4);
    assert_int_equal(round_at(&place, 100), 3);
    assert_int_equal(place.seen.placed[0], 2);
    assert_int_equal(place.seen.placed[1], 3);
    assert_int_equal(place.seen.placed[2], 4);
    assert_true(placement_queue_get(place.queue, 0, &waiting));
    assert_int_equal(waiting.request->uid, 1);
    assert_int_equal(waiting.reason, PLACEMENT_NO_ROOM);
    assert_int_equal(waiting.start_ns, POOL_NO_END);
    assert_false(placement_queue_get(place.queue, 1, &waiting));
    assert_true(placement_queue_remove(place.queue, 1));
    assert_false(placement_queue_remove(place.queue, 1));
    close_place(&place);
}

static void a_waiting_gang_is_told_when_and_others_run_before_it(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 4, .slice = world_gpu()};
    struct place place;
    struct placement_waiting waiting;

    (void)state;
    open_place(&place, &world, NULL);
    add(&place, 1, 1, 100 * S, 0, 0);
    assert_int_equal(round_at(&place, 0), 1);
    add(&place, 2, 4, 50 * S, 0, 0);
    add(&place, 3, 1, 100 * S, 0, 1); /* ends when the gang starts */
    add(&place, 4, 1, 101 * S, 0, 2); /* would delay it */
    add(&place, 5, 1, POOL_NO_END, 0, 3);
    assert_int_equal(round_at(&place, 0), 1);
    assert_int_equal(place.seen.placed[1], 3);
    assert_true(placement_queue_get(place.queue, 0, &waiting));
    assert_true(waiting.has_hold);
    assert_int_equal(waiting.start_ns, 100 * S);
    assert_true(placement_queue_get(place.queue, 1, &waiting));
    assert_int_equal(waiting.request->uid, 4);
    assert_int_equal(waiting.reason, PLACEMENT_HELD);
    assert_true(pool_release(place.pool, 1));
    assert_true(pool_release(place.pool, 3));
    assert_int_equal(round_at(&place, 100 * S), 1);
    assert_int_equal(place.seen.placed[2], 2);
    close_place(&place);
}

static void a_hold_keeps_only_its_own_slices(void **state)
{
    struct world world = {.members = 1, .nodes = 2, .slices = 4, .slice = world_gpu()};
    struct place place;

    (void)state;
    open_place(&place, &world, NULL);
    for (uint64_t uid = 1; uid <= 2; uid++)
        add(&place, uid, 3, uid * 100 * S, 0, 0);
    assert_int_equal(round_at(&place, 0), 2);
    add(&place, 3, 4, 50 * S, 0, 0); /* where the first three end soonest */
    add(&place, 4, 1, POOL_NO_END, 0, 1);
    add(&place, 5, 1, POOL_NO_END, 0, 2);
    assert_int_equal(round_at(&place, 0), 1); /* the other node's free one */
    assert_int_equal(place.seen.placed[2], 4);
    assert_int_equal(pool_part(place.pool, pool_booking_find(place.pool, 4)->part_first)->slice / 4,
                     pool_part(place.pool, pool_booking_find(place.pool, 2)->part_first)->slice /
                         4);
    close_place(&place);
}

static void the_important_one_preempts_and_its_room_is_kept(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 4, .slice = world_gpu()};
    struct place place;
    struct placement_waiting waiting;

    (void)state;
    open_place(&place, &world, NULL);
    place.driver.preempt = on_preempt;
    for (uint64_t uid = 1; uid <= 4; uid++)
        add(&place, uid, 1, POOL_NO_END, 0, uid);
    assert_int_equal(round_at(&place, S), 4);
    add(&place, 9, 2, POOL_NO_END, 5, 2 * S);
    assert_int_equal(round_at(&place, 2 * S), 0);
    assert_int_equal(place.seen.victim_count, 2);
    assert_true(placement_queue_get(place.queue, 0, &waiting));
    assert_int_equal(waiting.start_ns, 32 * S);
    assert_int_equal(round_at(&place, 3 * S), 0); /* nobody else is asked meanwhile */
    assert_int_equal(place.seen.victim_count, 2);
    add(&place, 10, 1, POOL_NO_END, 0, 3 * S);
    assert_true(pool_release(place.pool, place.seen.victims[0]));
    assert_int_equal(round_at(&place, 4 * S), 0); /* the first room is not for who comes later */
    assert_true(pool_release(place.pool, place.seen.victims[1]));
    assert_int_equal(round_at(&place, 5 * S), 1);
    assert_int_equal(place.seen.placed[4], 9);
    close_place(&place);
}

static void what_is_kept_for_one_is_given_to_nobody_else(void **state)
{
    struct world world = {.members = 1, .nodes = 2, .slices = 2, .slice = world_gpu()};
    static struct placement_repacking repacking;
    struct place place;
    struct placement_waiting waiting;
    struct placement_request gang = {.uid = 9,
                                     .shape = {.memory_bytes = GIB},
                                     .part_count = 2,
                                     .domain_max = PLACEMENT_NODE,
                                     .run_ns = POOL_NO_END,
                                     .reserve_ns = S};

    (void)state;
    open_place(&place, &world, NULL);
    for (uint64_t uid = 1; uid <= 4; uid++)
        add(&place, uid, 1, POOL_NO_END, 0, uid);
    assert_int_equal(round_at(&place, 1), 4);
    for (uint64_t uid = 1; uid <= 4; uid++) { /* one on each node stays, and may move */
        struct booking_part part =
            *pool_part(place.pool, pool_booking_find(place.pool, uid)->part_first);
        struct booking_request movable = {.uid = uid + 10,
                                          .is_movable = true,
                                          .shape = {.memory_bytes = GIB},
                                          .expires_ns = 9 * S,
                                          .run_ns = POOL_NO_END,
                                          .part_count = 1,
                                          .parts = &part};

        assert_true(pool_release(place.pool, uid));
        part.version = pool_columns(place.pool)->version[part.slice];
        if (part.slice % 2 == 0) {
            assert_int_equal(pool_reserve(place.pool, &movable, 1), STATUS_OK);
            assert_int_equal(pool_commit(place.pool, uid + 10, 1), STATUS_OK);
        }
    }
    assert_int_equal(placement_queue_add(place.queue, &gang, S), STATUS_OK);
    assert_int_equal(placement_repack(place.placement, &gang, 1, S, &repacking), STATUS_OK);
    assert_int_equal(repacking.move_count, 1);
    assert_int_equal(placement_queue_keep(place.queue, 77, &repacking.decision, 60 * S),
                     STATUS_NOT_FOUND);
    assert_int_equal(placement_queue_keep(place.queue, 9, &repacking.decision, 60 * S), STATUS_OK);
    assert_int_equal(placement_queue_keep(place.queue, 9, &repacking.decision, 60 * S), STATUS_OK);
    add(&place, 20, 1, POOL_NO_END, 0, 2 * S);
    add(&place, 21, 1, POOL_NO_END, 0, 2 * S);
    assert_int_equal(round_at(&place, 2 * S),
                     1); /* the mover's new place is not kept: it is for who comes first */
    assert_true(placement_queue_get(place.queue, 0, &waiting));
    assert_int_equal(waiting.start_ns, 60 * S);
    assert_true(pool_release(place.pool, repacking.moves[0].uid));
    assert_int_equal(round_at(&place, 3 * S), 1);
    assert_int_equal(place.seen.placed[5], 9);
    close_place(&place);
}

static void a_tenant_at_its_limit_may_end_its_own(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 4, .slice = world_gpu()};
    struct quota_config config = {.limit = {{1000, QUOTA_UNLIMITED, QUOTA_UNLIMITED}}, .weight = 1};
    struct quota_tree *quota;
    struct place place;
    struct placement_request request = {.uid = 1,
                                        .is_preemptible = true,
                                        .shape = {.memory_bytes = GIB},
                                        .part_count = 1,
                                        .run_ns = POOL_NO_END,
                                        .reserve_ns = S};

    (void)state;
    assert_int_equal(quota_tree_create(4, &quota), STATUS_OK);
    assert_int_equal(quota_tree_add(quota, QUOTA_ROOT, &config, &request.tenant), STATUS_OK);
    open_place(&place, &world, quota);
    place.driver.preempt = on_preempt;
    assert_int_equal(placement_queue_add(place.queue, &request, 0), STATUS_OK);
    assert_int_equal(round_at(&place, 0), 1);
    request.uid = 2;
    request.priority = 5;
    assert_int_equal(placement_queue_add(place.queue, &request, 0), STATUS_OK);
    assert_int_equal(round_at(&place, S), 0);
    assert_int_equal(place.seen.victim_count, 1);
    assert_int_equal(place.seen.victims[0], 1);
    assert_int_equal(round_at(&place, 2 * S), 0);
    assert_int_equal(place.seen.victim_count, 1);
    assert_true(pool_release(place.pool, 1));
    assert_int_equal(round_at(&place, 3 * S), 1);
    close_place(&place);
    quota_tree_destroy(quota);
}

static void who_is_at_its_limit_keeps_nobody_waiting(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 4, .slice = world_gpu()};
    struct quota_config config = {.limit = {{1000, QUOTA_UNLIMITED, QUOTA_UNLIMITED}}, .weight = 1};
    struct quota_tree *quota;
    struct place place;
    struct placement_request request;
    struct placement_waiting waiting;
    uint32_t a, b;

    (void)state;
    assert_int_equal(quota_tree_create(4, &quota), STATUS_OK);
    assert_int_equal(quota_tree_add(quota, QUOTA_ROOT, &config, &a), STATUS_OK);
    config.limit.of[QUOTA_COMPUTE] = QUOTA_UNLIMITED;
    assert_int_equal(quota_tree_add(quota, QUOTA_ROOT, &config, &b), STATUS_OK);
    open_place(&place, &world, quota);
    for (uint64_t uid = 1; uid <= 3; uid++) {
        request = (struct placement_request){.uid = uid,
                                             .tenant = uid < 3 ? a : b,
                                             .shape = {.memory_bytes = GIB},
                                             .part_count = 1,
                                             .run_ns = POOL_NO_END,
                                             .reserve_ns = S};
        assert_int_equal(placement_queue_add(place.queue, &request, uid), STATUS_OK);
    }
    assert_int_equal(round_at(&place, S), 2);
    assert_int_equal(place.seen.placed[1], 3);
    assert_true(placement_queue_get(place.queue, 0, &waiting));
    assert_int_equal(waiting.reason, PLACEMENT_QUOTA);
    assert_int_equal(quota_tree_fair(quota, a)->of[QUOTA_COMPUTE], 1000);
    close_place(&place);
    quota_tree_destroy(quota);
}

static void nobody_waits_behind_too_many_that_fit_nowhere(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 1, .slice = world_gpu()};
    struct placement_request never = {.shape = {.memory_bytes = 500 * GIB},
                                      .priority = 9,
                                      .part_count = 1,
                                      .run_ns = POOL_NO_END};
    struct place place;
    uint32_t placed = 0;

    (void)state;
    open_place(&place, &world, NULL);
    for (never.uid = 1; never.uid <= 2 * PLACEMENT_TRIES_MAX - 10; never.uid++)
        assert_int_equal(placement_queue_add(place.queue, &never, 0), STATUS_OK);
    add(&place, 999, 1, POOL_NO_END, 0, 0);
    for (uint32_t round = 0; round < 4; round++)
        placed += round_at(&place, round);
    assert_int_equal(placed, 1);
    assert_int_equal(place.seen.placed[0], 999);
    close_place(&place);
}

static void the_queue_is_bounded(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 1, .slice = world_gpu()};
    struct placement_request request = {.shape = {.memory_bytes = GIB}, .part_count = 1};
    struct placement_queue *queue;
    struct place place;

    (void)state;
    open_place(&place, &world, NULL);
    assert_int_equal(placement_queue_create(place.placement, 2, &queue), STATUS_OK);
    assert_int_equal(placement_queue_add(queue, &request, 0), STATUS_INVALID);
    for (request.uid = 1; request.uid <= 2; request.uid++)
        assert_int_equal(placement_queue_add(queue, &request, 0), STATUS_OK);
    assert_int_equal(placement_queue_add(queue, &request, 0), STATUS_FULL);
    placement_queue_destroy(queue);
    close_place(&place);
}

/* --- properties --- */

#define JOBS 120u

struct job {
    uint64_t arrives_ns, run_ns, started_ns,
        promised_ns; /* promised: when it was first in the queue */
    uint32_t parts;
};

struct load {
    struct job jobs[JOBS + 1];
    uint32_t started, ahead; /* ahead: started before one that came earlier */
};

static void make_jobs(struct load *load, uint64_t *seed)
{
    uint64_t now_ns = 0;

    for (uint32_t i = 1; i <= JOBS; i++) {
        now_ns += world_random(seed) % (40 * S);
        load->jobs[i] = (struct job){.arrives_ns = now_ns,
                                     .run_ns = (1 + world_random(seed) % 300) * S,
                                     .started_ns = POOL_NO_END,
                                     .promised_ns = POOL_NO_END,
                                     .parts = world_random(seed) % 4 == 0 ? 8 : 1};
    }
}

/* What ends by now ends, what comes by now waits; returns when the next thing happens. */
static uint64_t advance(struct place *place, struct load *load, uint64_t now_ns)
{
    uint64_t next_ns = POOL_NO_END;

    for (uint32_t i = 1; i <= JOBS; i++) {
        struct job *job = &load->jobs[i];
        uint64_t due_ns =
            job->started_ns != POOL_NO_END ? job->started_ns + job->run_ns : job->arrives_ns;

        if (due_ns == now_ns && job->started_ns != POOL_NO_END)
            assert_true(pool_release(place->pool, i));
        else if (due_ns == now_ns)
            add(place, i, job->parts, job->run_ns, 0, now_ns);
        if (due_ns > now_ns && due_ns < next_ns)
            next_ns = due_ns;
    }
    return next_ns;
}

static void note_starts(struct place *place, struct load *load, uint64_t now_ns)
{
    struct placement_waiting first;

    for (; load->started < place->seen.placed_count; load->started++) {
        uint64_t uid = place->seen.placed[load->started];

        load->jobs[uid].started_ns = now_ns;
        /* Nobody who came later may make it start after the moment that it was told. */
        assert_true(now_ns <= load->jobs[uid].promised_ns);
        for (uint64_t i = 1; i < uid; i++) {
            if (load->jobs[i].started_ns == POOL_NO_END && load->jobs[i].arrives_ns <= now_ns) {
                load->ahead++;
                break;
            }
        }
    }
    if (placement_queue_get(place->queue, 0, &first) && first.has_hold) {
        struct job *job = &load->jobs[first.request->uid];

        assert_true(job->promised_ns == POOL_NO_END || first.start_ns <= job->promised_ns);
        job->promised_ns = first.start_ns;
    }
    load->started = place->seen.placed_count = 0;
}

static void nobody_behind_delays_the_first_and_all_start(void **state)
{
    (void)state;
    for (uint64_t first = 1; first <= 30; first++) {
        struct world world = {.members = 1, .nodes = 3, .slices = 8, .slice = world_gpu()};
        struct place place;
        struct load load = {0};
        uint64_t seed = first, now_ns = 0, next_ns = 0;

        print_message("seed %llu\n", (unsigned long long)first);
        open_place(&place, &world, NULL);
        make_jobs(&load, &seed);
        for (next_ns = load.jobs[1].arrives_ns; next_ns != POOL_NO_END;) {
            now_ns = next_ns;
            next_ns = advance(&place, &load, now_ns);
            (void)round_at(&place, now_ns);
            pool_list_begin(place.pool, 0, now_ns); /* heard, nothing more */
            note_starts(&place, &load, now_ns);
            for (uint32_t i = 1; i <= JOBS; i++) {
                const struct job *job = &load.jobs[i];

                if (job->started_ns == now_ns && job->started_ns + job->run_ns < next_ns)
                    next_ns = job->started_ns + job->run_ns;
            }
        }
        for (uint32_t i = 1; i <= JOBS; i++)
            assert_true(load.jobs[i].started_ns != POOL_NO_END);
        assert_int_equal(placement_queue_count(place.queue), 0);
        assert_true(load.ahead > 0);
        close_place(&place);
    }
}

/* Whatever is asked, a tenant within its guarantee has it when the victims have drained: one reclaim period. */
static void a_guarantee_is_kept_within_one_period(void **state)
{
    (void)state;
    for (uint64_t first = 1; first <= 20; first++) {
        struct world world = {.members = 2, .nodes = 2, .slices = 8, .slice = world_gpu()};
        struct quota_config config = {
            .guaranteed = {{8000}},
            .limit = {{QUOTA_UNLIMITED, QUOTA_UNLIMITED, QUOTA_UNLIMITED}},
            .weight = 1};
        struct quota_tree *quota;
        struct place place;
        uint32_t tenants[4];
        uint64_t seed = first;

        print_message("seed %llu\n", (unsigned long long)first);
        assert_int_equal(quota_tree_create(8, &quota), STATUS_OK);
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(quota_tree_add(quota, QUOTA_ROOT, &config, &tenants[i]), STATUS_OK);
        open_place(&place, &world, quota);
        place.driver.preempt = on_preempt;
        for (uint64_t uid = 1; uid <= 60; uid++) { /* three of them take everything */
            struct placement_request request = {.uid = uid,
                                                .tenant = tenants[world_random(&seed) % 3],
                                                .priority = (int32_t)(world_random(&seed) % 3),
                                                .shape = {.memory_bytes = GIB},
                                                .part_count = 1,
                                                .run_ns = POOL_NO_END,
                                                .reserve_ns = S};

            assert_int_equal(placement_queue_add(place.queue, &request, uid), STATUS_OK);
        }
        place.driver.preempt = NULL;
        assert_int_equal(round_at(&place, S), 32);
        while (placement_queue_count(place.queue) > 0) {
            struct placement_waiting waiting;

            assert_true(placement_queue_get(place.queue, 0, &waiting));
            assert_true(placement_queue_remove(place.queue, waiting.request->uid));
        }
        place.driver.preempt = on_preempt;
        place.driver.drain_ns = 5 * S;
        for (uint64_t uid = 101; uid <= 108; uid++) { /* the fourth comes for what it is promised */
            struct placement_request request = {.uid = uid,
                                                .tenant = tenants[3],
                                                .shape = {.memory_bytes = GIB},
                                                .part_count = 1,
                                                .run_ns = POOL_NO_END,
                                                .reserve_ns = S};

            assert_int_equal(placement_queue_add(place.queue, &request, uid), STATUS_OK);
            assert_int_equal(round_at(&place, uid * 10 * S), 0);
            for (uint32_t i = 0; i < place.seen.victim_count; i++)
                assert_true(pool_release(place.pool, place.seen.victims[i]));
            assert_int_equal(place.seen.victim_count, 1);
            place.seen.victim_count = 0;
            for (uint32_t member = 0; member < 2; member++)
                pool_member_heard(place.pool, member, uid * 10 * S);
            assert_int_equal(round_at(&place, uid * 10 * S + 5 * S), 1);
        }
        assert_int_equal(quota_tree_used(quota, tenants[3])->of[QUOTA_COMPUTE], 8000);
        close_place(&place);
        quota_tree_destroy(quota);
    }
}

/* One has borrowed everything, still asks, and stands in front. The other comes for all that it is promised, for its fair share of the
 * rest, and for more. */
static void a_tenant_that_comes_back_gets_its_share_at_once_and_no_more(void **state)
{
    struct world world = {.members = 1, .nodes = 4, .slices = 8, .slice = world_gpu()};
    struct quota_config config = {.guaranteed = {{8000}},
                                  .limit = {{QUOTA_UNLIMITED, QUOTA_UNLIMITED, QUOTA_UNLIMITED}},
                                  .weight = 1};
    struct quota_tree *quota;
    struct place place;
    uint32_t tenants[2];
    struct placement_request request = {
        .shape = {.memory_bytes = GIB}, .part_count = 1, .run_ns = POOL_NO_END, .reserve_ns = S};
    struct placement_waiting waiting;
    (void)state;

    assert_int_equal(quota_tree_create(3, &quota), STATUS_OK);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(quota_tree_add(quota, QUOTA_ROOT, &config, &tenants[i]), STATUS_OK);
    open_place(&place, &world, quota);
    place.driver.preempt = on_preempt;
    for (uint64_t uid = 1; uid <= 72; uid++) { /* 32 run, 40 wait for more */
        request.uid = uid;
        request.tenant = tenants[0];
        assert_int_equal(placement_queue_add(place.queue, &request, uid), STATUS_OK);
    }
    assert_int_equal(round_at(&place, S), 32);
    place.seen.placed_count = 0;
    for (uint64_t uid = 101; uid <= 120; uid++) {
        request.uid = uid;
        request.tenant = tenants[1];
        assert_int_equal(placement_queue_add(place.queue, &request, 2 * S), STATUS_OK);
    }
    assert_int_equal(round_at(&place, 2 * S), 0);
    assert_int_equal(place.seen.victim_count, 16);
    assert_true(placement_queue_get(place.queue, 0, &waiting));
    assert_true(waiting.has_hold && waiting.request->uid == 101);
    assert_int_equal(waiting.start_ns, 32 * S);
    assert_int_equal(round_at(&place, 3 * S), 0); /* nobody more, while they drain */
    assert_int_equal(place.seen.victim_count, 16);
    for (uint32_t i = 0; i < 16;
         i++) { /* what one leaves is nobody's but whose it was claimed for */
        assert_true(pool_release(place.pool, place.seen.victims[i]));
        assert_int_equal(round_at(&place, 4 * S + i), 1);
    }
    for (uint32_t i = 0; i < 16; i++)
        assert_true(place.seen.placed[i] > 100);
    assert_int_equal(quota_tree_used(quota, tenants[1])->of[QUOTA_COMPUTE], 16000);
    assert_int_equal(round_at(&place, 100 * S),
                     0); /* beyond that, who stood in front is in front */
    assert_int_equal(place.seen.victim_count, 16);
    assert_true(placement_queue_get(place.queue, 0, &waiting));
    assert_int_equal(waiting.request->uid, 33);
    close_place(&place);
    quota_tree_destroy(quota);
}

static void every_failed_allocation_is_survived(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 1, .slice = world_gpu()};
    struct place place;

    (void)state;
    open_place(&place, &world, NULL);
    for (unsigned long n = 1;; n++) {
        struct placement_queue *queue = NULL;
        status result;

        fail_nth_begin(n);
        result = placement_queue_create(place.placement, 8, &queue);
        if (!fail_nth_end()) {
            assert_int_equal(result, STATUS_OK);
            placement_queue_destroy(queue);
            break;
        }
        assert_int_equal(result, STATUS_NO_MEMORY);
    }
    close_place(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_important_then_the_old_go_first),
        cmocka_unit_test(a_waiting_gang_is_told_when_and_others_run_before_it),
        cmocka_unit_test(a_hold_keeps_only_its_own_slices),
        cmocka_unit_test(the_important_one_preempts_and_its_room_is_kept),
        cmocka_unit_test(what_is_kept_for_one_is_given_to_nobody_else),
        cmocka_unit_test(a_tenant_at_its_limit_may_end_its_own),
        cmocka_unit_test(who_is_at_its_limit_keeps_nobody_waiting),
        cmocka_unit_test(nobody_waits_behind_too_many_that_fit_nowhere),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(nobody_behind_delays_the_first_and_all_start),
        cmocka_unit_test(a_guarantee_is_kept_within_one_period),
        cmocka_unit_test(a_tenant_that_comes_back_gets_its_share_at_once_and_no_more),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
