/* WRAP: malloc calloc realloc aligned_alloc */
#include "replica_fleet_testing.h"

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
        cmocka_unit_test(whatever_happens_the_book_is_right_and_each_end_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
