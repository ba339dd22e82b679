#include "unit_test.h"

#include "check.h"
#include "waiting_room.h"

/* The order of service, against a plain oracle, and what follows from it for tenants. */

static uint64_t random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static const struct waiting_room_policy wide = {
    .requests_max = 100000, .tokens_max = 1ull << 40, .prompt_weight = 1, .output_weight = 2};

static waiting_room *room_of(const struct waiting_room_policy *policy)
{
    waiting_room *room;

    assert_int_equal(waiting_room_create(policy, &room), STATUS_OK);
    return room;
}

static struct caller caller_of(const char *organisation, const char *team, const char *key)
{
    struct caller caller = caller_anonymous;

    caller.organisation = organisation;
    caller.team = team;
    caller.key_id = key;
    caller.priority_max = -WAITING_ROOM_BAND_HALF;
    return caller;
}

static void enter(waiting_room *room, struct waiting_ticket *ticket, const struct caller *caller,
                  int32_t priority, uint32_t prompt, uint32_t output, uint64_t deadline_ns)
{
    const struct admission_request request = {caller, priority, prompt, output, deadline_ns};
    struct waiting_ticket *pushed_out;

    assert_int_equal(waiting_room_enter(room, ticket, &request, &pushed_out), STATUS_OK);
    assert_null(pushed_out);
}

static void finish(waiting_room *room, struct waiting_ticket *ticket, uint32_t prompt,
                   uint32_t cached, uint32_t output)
{
    const struct request_usage usage = {.is_known = true,
                                        .prompt_tokens = prompt,
                                        .cached_tokens = cached,
                                        .completion_tokens = output};

    waiting_room_leave(room, ticket, &usage);
}

/* --- the oracle: the same rules with arrays and linear scans --- */

#define ORACLE_BANDS   3
#define ORACLE_CALLERS 12
#define ORACLE_TICKETS 80

/* Caller i is key i of team i / 2 of organisation i / 4. */
struct oracle_flow {
    uint64_t counter, born;
    uint32_t weight;
    bool exists;
};
struct oracle {
    struct oracle_flow flows[ORACLE_BANDS][3][ORACLE_CALLERS]; /* by level */
    uint64_t floors[ORACLE_BANDS][3][ORACLE_CALLERS];          /* of the parents */
    uint64_t born;
    struct {
        bool waits;
        uint32_t band, caller;
        uint64_t deadline, arrival, cost;
    } tickets[ORACLE_TICKETS];
};

static uint32_t group(uint32_t caller, uint32_t level)
{
    return level == 0 ? caller / 4 : level == 1 ? caller / 2 : caller;
}

static uint32_t parent_group(uint32_t caller, uint32_t level)
{
    return level == 0 ? 0 : group(caller, level - 1);
}

static bool oracle_waits(const struct oracle *oracle, uint32_t band, uint32_t level, uint32_t which)
{
    for (uint32_t i = 0; i < ORACLE_TICKETS; i++) {
        if (oracle->tickets[i].waits && oracle->tickets[i].band == band &&
            group(oracle->tickets[i].caller, level) == which)
            return true;
    }
    return false;
}

/* Of the siblings of caller's flow at a level that wait, the one with the smallest counter. */
static uint32_t oracle_least(const struct oracle *oracle, uint32_t band, uint32_t level,
                             uint32_t parent)
{
    uint32_t least = UINT32_MAX;

    for (uint32_t i = 0; i < ORACLE_CALLERS; i++) {
        uint32_t which = group(i, level);
        const struct oracle_flow *flow = &oracle->flows[band][level][which];
        const struct oracle_flow *best =
            least != UINT32_MAX ? &oracle->flows[band][level][least] : NULL;

        if (parent_group(i, level) != parent || !oracle_waits(oracle, band, level, which))
            continue;
        if (best == NULL || flow->counter < best->counter ||
            (flow->counter == best->counter && flow->born < best->born))
            least = which;
    }
    return least;
}

static void oracle_enter(struct oracle *oracle, uint32_t ticket, uint32_t band, uint32_t caller,
                         const uint32_t weights[3], uint64_t deadline, uint64_t arrival,
                         uint64_t cost)
{
    for (uint32_t level = 0; level < 3; level++) {
        struct oracle_flow *flow = &oracle->flows[band][level][group(caller, level)];

        if (!flow->exists)
            *flow = (struct oracle_flow){.exists = true, .born = oracle->born++};
        flow->weight = weights[level];
    }
    for (uint32_t level = 0; level < 3; level++) {
        uint32_t which = group(caller, level), parent = parent_group(caller, level);
        uint32_t least = oracle_least(oracle, band, level, parent);
        uint64_t to = least != UINT32_MAX ? oracle->flows[band][level][least].counter
                                          : oracle->floors[band][level][parent];
        struct oracle_flow *flow = &oracle->flows[band][level][which];

        if (!oracle_waits(oracle, band, level, which) && flow->counter < to)
            flow->counter = to;
    }
    oracle->tickets[ticket].waits = true;
    oracle->tickets[ticket].band = band;
    oracle->tickets[ticket].caller = caller;
    oracle->tickets[ticket].deadline = deadline;
    oracle->tickets[ticket].arrival = arrival;
    oracle->tickets[ticket].cost = cost;
}

static void oracle_charge(struct oracle *oracle, uint32_t band, uint32_t caller, int64_t cost)
{
    for (uint32_t level = 0; level < 3; level++) {
        struct oracle_flow *flow = &oracle->flows[band][level][group(caller, level)];
        int64_t amount = (cost < 0 ? -cost : cost) * 16384 / flow->weight;

        if (cost >= 0)
            flow->counter += (uint64_t)amount;
        else
            flow->counter -= (uint64_t)amount < flow->counter ? (uint64_t)amount : flow->counter;
    }
}

static void oracle_remove(struct oracle *oracle, uint32_t ticket)
{
    uint32_t band = oracle->tickets[ticket].band, caller = oracle->tickets[ticket].caller;

    oracle->tickets[ticket].waits = false;
    for (uint32_t level = 0; level < 3; level++) {
        uint32_t which = group(caller, level);

        if (!oracle_waits(oracle, band, level, which))
            oracle->floors[band][level][parent_group(caller, level)] =
                oracle->flows[band][level][which].counter;
    }
}

static uint32_t oracle_take(struct oracle *oracle)
{
    uint32_t band = 0, at = 0, best = UINT32_MAX;

    while (band < ORACLE_BANDS && oracle_least(oracle, band, 0, 0) == UINT32_MAX)
        band++;
    if (band == ORACLE_BANDS)
        return UINT32_MAX;
    for (uint32_t level = 0; level < 3; level++)
        at = oracle_least(oracle, band, level, at);
    for (uint32_t i = 0; i < ORACLE_TICKETS; i++) {
        if (!oracle->tickets[i].waits || oracle->tickets[i].band != band ||
            oracle->tickets[i].caller != at)
            continue;
        if (best == UINT32_MAX || oracle->tickets[i].deadline < oracle->tickets[best].deadline ||
            (oracle->tickets[i].deadline == oracle->tickets[best].deadline &&
             oracle->tickets[i].arrival < oracle->tickets[best].arrival))
            best = i;
    }
    oracle_charge(oracle, band, at, (int64_t)oracle->tickets[best].cost);
    oracle_remove(oracle, best);
    return best;
}

static void run_against_the_oracle(uint64_t seed)
{
    static const uint32_t organisation_weights[] = {100, 300, 50}, team_weights[] = {100, 250},
                          key_weights[] = {100, 400, 10};
    static struct waiting_ticket tickets[ORACLE_TICKETS];
    static struct oracle oracle;
    struct caller callers[ORACLE_CALLERS];
    static char names[3][ORACLE_CALLERS][16];
    waiting_room *room = room_of(&wide);
    uint64_t arrival = 0;

    memset(tickets, 0, sizeof(tickets));
    memset(&oracle, 0, sizeof(oracle));
    for (uint32_t i = 0; i < ORACLE_CALLERS; i++) {
        for (uint32_t level = 0; level < 3; level++)
            (void)snprintf(names[level][i], 16, "%u", group(i, level));
        callers[i] = caller_of(names[0][i], names[1][i], names[2][i]);
        callers[i].organisation_weight = organisation_weights[i / 4];
        callers[i].team_weight = team_weights[i / 2 % 2];
        callers[i].key_weight = key_weights[i % 3];
    }
    for (int step = 0; step < 4000; step++) {
        uint32_t i = (uint32_t)(random_next(&seed) % ORACLE_TICKETS);
        uint32_t caller = (uint32_t)(random_next(&seed) % ORACLE_CALLERS);
        uint32_t band = (uint32_t)(random_next(&seed) % ORACLE_BANDS);
        uint32_t prompt = (uint32_t)(random_next(&seed) % 500),
                 output = (uint32_t)(random_next(&seed) % 300);
        uint64_t deadline = random_next(&seed) % 5;
        const uint32_t weights[3] = {callers[caller].organisation_weight,
                                     callers[caller].team_weight, callers[caller].key_weight};

        if (tickets[i].state == TICKET_OUT) {
            enter(room, &tickets[i], &callers[caller], (int32_t)band - 1, prompt, output, deadline);
            oracle_enter(&oracle, i, band, caller, weights, deadline, arrival++,
                         waiting_room_cost(room, prompt, output));
        } else if (tickets[i].state == TICKET_TAKEN) {
            int64_t cost = (int64_t)waiting_room_cost(room, prompt, output);

            oracle_charge(&oracle, oracle.tickets[i].band, oracle.tickets[i].caller,
                          cost - (int64_t)oracle.tickets[i].cost);
            finish(room, &tickets[i], prompt + 10, 10, output);
        } else if (random_next(&seed) % 4 == 0) {
            waiting_room_leave(room, &tickets[i], NULL);
            oracle_remove(&oracle, i);
        } else {
            struct waiting_ticket *taken = waiting_room_take(room, false);
            uint32_t expected = oracle_take(&oracle);

            if (taken != &tickets[expected])
                fail_msg("step %d: ticket %ld instead of %u", step, (long)(taken - tickets),
                         expected);
        }
    }
    for (uint32_t i = 0; i < ORACLE_TICKETS; i++)
        waiting_room_leave(room, &tickets[i], NULL);
    assert_int_equal(waiting_room_count(room), 0);
    assert_int_equal(waiting_room_tokens(room), 0);
    waiting_room_destroy(room);
}

static void the_order_is_that_of_the_oracle(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        run_against_the_oracle(seed);
}

/* --- what follows --- */

#define TENANTS 8

/* Serves one slot at a time while every tenant always has `depth` requests waiting; each costs what
 * the tenant's are, times 0.5 to 1.5. Returns what each has been served. */
static void serve_backlog(struct caller *callers, uint32_t count, const uint32_t *sizes,
                          uint32_t depth, uint32_t served_count, double *served)
{
    static struct waiting_ticket tickets[TENANTS][64];
    waiting_room *room = room_of(&wide);
    uint64_t seed = 42;

    memset(tickets, 0, sizeof(tickets));
    for (uint32_t i = 0; i < count; i++) {
        served[i] = 0;
        for (uint32_t j = 0; j < depth; j++)
            enter(room, &tickets[i][j], &callers[i], 0, 10, 100, 0);
    }
    for (uint32_t n = 0; n < served_count; n++) {
        struct waiting_ticket *taken = waiting_room_take(room, false);
        uint32_t i = (uint32_t)((taken - &tickets[0][0]) / 64);
        uint32_t output = sizes[i] / 2 + (uint32_t)(random_next(&seed) % (sizes[i] + 1));

        served[i] += 10 + 2.0 * output;
        finish(room, taken, 10, 0, output);
        enter(room, taken, &callers[i], 0, 10, 100, 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < depth; j++)
            waiting_room_leave(room, &tickets[i][j], NULL);
    }
    waiting_room_destroy(room);
}

static double jain(const double *values, uint32_t count)
{
    double sum = 0, squares = 0;

    for (uint32_t i = 0; i < count; i++) {
        sum += values[i];
        squares += values[i] * values[i];
    }
    return sum * sum / (count * squares);
}

static void equal_tenants_get_equal_shares_whatever_they_ask_for(void **state)
{
    static const uint32_t sizes[TENANTS] = {10, 20, 50, 100, 200, 400, 400, 1000};
    static const char *const names[TENANTS] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct caller callers[TENANTS];
    double served[TENANTS];

    (void)state;
    for (uint32_t i = 0; i < TENANTS; i++)
        callers[i] = caller_of(names[i], "", names[i]);
    serve_backlog(callers, TENANTS, sizes, 4, 5000, served);
    if (jain(served, TENANTS) < 0.99)
        fail_msg("Jain's index is %.4f", jain(served, TENANTS));
}

static void shares_follow_the_weights(void **state)
{
    static const uint32_t sizes[3] = {100, 100, 300}, weights[3] = {100, 200, 400};
    static const char *const names[3] = {"a", "b", "c"};
    struct caller callers[3];
    double served[3];

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        callers[i] = caller_of(names[i], "", "");
        callers[i].organisation_weight = weights[i];
    }
    serve_backlog(callers, 3, sizes, 4, 5000, served);
    for (uint32_t i = 1; i < 3; i++) {
        double ratio = served[i] / served[0], wanted = weights[i] / 100.0;

        if (ratio < wanted * 0.97 || ratio > wanted * 1.03)
            fail_msg("served %.3f times as much instead of %.1f", ratio, wanted);
    }
}

/* Three teams of one organisation, one of them with two keys, against one of another. */
static void an_organisation_gains_nothing_by_more_teams_and_keys(void **state)
{
    static const uint32_t sizes[5] = {100, 100, 100, 100, 100};
    struct caller callers[5] = {caller_of("a", "1", "1"), caller_of("a", "2", "2"),
                                caller_of("a", "3", "3"), caller_of("a", "3", "4"),
                                caller_of("b", "1", "5")};
    double served[5], all = 0;
    const double wanted[5] = {1 / 6.0, 1 / 6.0, 1 / 12.0, 1 / 12.0, 0.5};

    (void)state;
    serve_backlog(callers, 5, sizes, 4, 6000, served);
    for (uint32_t i = 0; i < 5; i++)
        all += served[i];
    for (uint32_t i = 0; i < 5; i++) {
        if (served[i] / all < wanted[i] * 0.95 || served[i] / all > wanted[i] * 1.05)
            fail_msg("key %u: %.4f instead of %.4f", i, served[i] / all, wanted[i]);
    }
}

/* Nobody saves up: after a long absence a tenant gets its share, not all that it has missed. */
static void who_comes_back_has_no_credit(void **state)
{
    static struct waiting_ticket flood[64], late[64];
    struct caller a = caller_of("a", "", ""), b = caller_of("b", "", "");
    waiting_room *room = room_of(&wide);
    uint32_t of_b = 0;

    (void)state;
    memset(flood, 0, sizeof(flood));
    memset(late, 0, sizeof(late));
    for (uint32_t i = 0; i < 64; i++)
        enter(room, &flood[i], &a, 0, 10, 100, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        struct waiting_ticket *taken = waiting_room_take(room, false);

        finish(room, taken, 10, 0, 100);
        enter(room, taken, &a, 0, 10, 100, 0);
    }
    for (uint32_t i = 0; i < 64; i++)
        enter(room, &late[i], &b, 0, 10, 100, 0);
    for (uint32_t i = 0; i < 20; i++) {
        struct waiting_ticket *taken = waiting_room_take(room, false);

        of_b += taken >= late && taken < late + 64;
    }
    assert_in_range(of_b, 9, 11);
    for (uint32_t i = 0; i < 64; i++) {
        waiting_room_leave(room, &flood[i], NULL);
        waiting_room_leave(room, &late[i], NULL);
    }
    waiting_room_destroy(room);
}

/* A tenant with one request at a time is next or next but one, however long the queue of others. */
static void a_flood_does_not_delay_others(void **state)
{
    static struct waiting_ticket flood[1000], one;
    struct caller a = caller_of("a", "", ""), b = caller_of("b", "", "");
    waiting_room *room = room_of(&wide);

    (void)state;
    memset(flood, 0, sizeof(flood));
    for (uint32_t i = 0; i < 1000; i++)
        enter(room, &flood[i], &a, 0, 10, 100, 0);
    for (uint32_t round = 0; round < 50; round++) {
        uint32_t before = 0;

        one = (struct waiting_ticket){0};
        enter(room, &one, &b, 0, 10, 100, 0);
        assert_true(waiting_room_place(room, &one).ahead <= 1);
        while (one.state == TICKET_WAITING) {
            struct waiting_ticket *taken = waiting_room_take(room, false);

            before++;
            finish(room, taken, 10, 0, 100);
            if (taken != &one)
                enter(room, taken, &a, 0, 10, 100, 0);
        }
        assert_true(before <= 2);
    }
    for (uint32_t i = 0; i < 1000; i++)
        waiting_room_leave(room, &flood[i], NULL);
    waiting_room_destroy(room);
}

static void a_lower_band_goes_first_and_callers_have_limits(void **state)
{
    static struct waiting_ticket tickets[4];
    struct caller any = caller_of("a", "", ""), plain = caller_of("b", "", "");
    waiting_room *room = room_of(&wide);
    struct admission_request request = {.caller = &plain, .priority = -5};

    (void)state;
    memset(tickets, 0, sizeof(tickets));
    plain.priority_max = 0;
    assert_int_equal(waiting_room_band(&request), 0);
    request.priority = 1000;
    assert_int_equal(waiting_room_band(&request), WAITING_ROOM_BAND_HALF);
    request = (struct admission_request){.caller = &any, .priority = -1000};
    assert_int_equal(waiting_room_band(&request), -WAITING_ROOM_BAND_HALF);

    enter(room, &tickets[0], &any, 3, 1, 1, 0);
    enter(room, &tickets[1], &plain, -5, 1, 1, 0);
    enter(room, &tickets[2], &any, -1, 1, 1, 0);
    enter(room, &tickets[3], &any, 1, 1, 1, 0);
    assert_int_equal(waiting_room_place(room, &tickets[0]).ahead, 3);
    assert_int_equal(waiting_room_place(room, &tickets[2]).ahead, 0);
    assert_int_equal(waiting_room_band_count(room, 0), 1);
    assert_ptr_equal(waiting_room_take(room, false), &tickets[2]);
    assert_ptr_equal(waiting_room_take(room, false), &tickets[1]);
    assert_ptr_equal(waiting_room_take(room, false), &tickets[3]);
    assert_ptr_equal(waiting_room_take(room, false), &tickets[0]);
    assert_null(waiting_room_take(room, false));
    for (uint32_t i = 0; i < 4; i++)
        waiting_room_leave(room, &tickets[i], NULL);
    waiting_room_destroy(room);
}

static void newcomers_are_keys_that_have_nothing_taken(void **state)
{
    static struct waiting_ticket tickets[4];
    struct caller a = caller_of("a", "", "1"), b = caller_of("a", "", "2");
    waiting_room *room = room_of(&wide);

    (void)state;
    memset(tickets, 0, sizeof(tickets));
    enter(room, &tickets[0], &a, 0, 1, 1, 0);
    enter(room, &tickets[1], &a, -1, 1, 1, 0);
    assert_ptr_equal(waiting_room_take(room, true), &tickets[1]);
    enter(room, &tickets[2], &b, 5, 1, 1, 0);
    /* The key has one taken in another band; a band is a queue of its own. */
    assert_ptr_equal(waiting_room_take(room, true), &tickets[0]);
    enter(room, &tickets[3], &a, 0, 1, 1, 0);
    assert_ptr_equal(waiting_room_take(room, true), &tickets[2]);
    assert_null(waiting_room_take(room, true));
    waiting_room_leave(room, &tickets[0], NULL);
    assert_ptr_equal(waiting_room_take(room, true), &tickets[3]);
    for (uint32_t i = 0; i < 4; i++)
        waiting_room_leave(room, &tickets[i], NULL);
    waiting_room_destroy(room);
}

static void answers_are_expected_to_be_as_long_as_the_keys_last_ones(void **state)
{
    struct caller teller = caller_of("a", "", "teller"), asker = caller_of("a", "", "asker");
    const struct admission_request request = {&teller, 0, 10, 100, 0},
                                   other = {&asker, 0, 10, 100, 0};
    struct waiting_ticket ticket = {0};
    waiting_room *room = room_of(&wide);

    (void)state;
    assert_int_equal(waiting_room_output_tokens(room, &request), 0);
    for (uint32_t i = 0; i < 30; i++) {
        enter(room, &ticket, &teller, 0, 10, 100, 0);
        assert_ptr_equal(waiting_room_take(room, false), &ticket);
        finish(room, &ticket, 10, 0, i < 15 ? 40 : 900);
        if (i == 0 || i == 14)
            assert_int_equal(waiting_room_output_tokens(room, &request), 40);
    }
    assert_in_range(waiting_room_output_tokens(room, &request), 850, 900);
    assert_int_equal(waiting_room_output_tokens(room, &other), 0);
    waiting_room_destroy(room);
}

static void a_stream_that_goes_on_is_charged_before_it_ends(void **state)
{
    const struct request_usage much = {
        .is_known = true, .prompt_tokens = 10, .completion_tokens = 500};
    struct caller a = caller_of("a", "", "a"), b = caller_of("b", "", "b");
    const struct admission_request request = {&a, 0, 10, 100, 0};
    struct waiting_ticket of_a[2] = {0}, of_b[6] = {0};
    waiting_room *room = room_of(&wide);

    (void)state;
    for (uint32_t i = 0; i < 2; i++)
        enter(room, &of_a[i], &a, 0, 10, 100, 0);
    for (uint32_t i = 0; i < 6; i++)
        enter(room, &of_b[i], &b, 0, 10, 100, 0);
    assert_ptr_equal(waiting_room_take(room, false), &of_a[0]);
    assert_ptr_equal(waiting_room_take(room, false), &of_b[0]);
    waiting_room_deliver(room, &of_a[0], &request, &much);
    assert_ptr_equal(waiting_room_take(room, false), &of_b[1]);
    /* What is charged at the end is only what was not: each of b's is 210, a's 1,010. */
    finish(room, &of_a[0], 10, 0, 500);
    for (uint32_t i = 2; i < 5; i++)
        assert_ptr_equal(waiting_room_take(room, false), &of_b[i]);
    assert_ptr_equal(waiting_room_take(room, false), &of_a[1]);
    assert_ptr_equal(waiting_room_take(room, false), &of_b[5]);
    waiting_room_destroy(room);
}

static void a_keys_requests_go_by_deadline_then_by_arrival(void **state)
{
    static struct waiting_ticket tickets[4];
    static const uint64_t deadlines[4] = {50, 20, 50, 10};
    static const uint32_t order[4] = {3, 1, 0, 2};
    struct caller a = caller_of("a", "", "");
    waiting_room *room = room_of(&wide);

    (void)state;
    memset(tickets, 0, sizeof(tickets));
    for (uint32_t i = 0; i < 4; i++)
        enter(room, &tickets[i], &a, 0, 1, 1, deadlines[i]);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(waiting_room_place(room, &tickets[order[i]]).ahead, i);
    for (uint32_t i = 0; i < 4; i++) {
        assert_ptr_equal(waiting_room_take(room, false), &tickets[order[i]]);
        waiting_room_leave(room, &tickets[order[i]], NULL);
    }
    waiting_room_destroy(room);
}

/* What is foretold is what happens, when all cost the same and nobody comes. */
static void places_are_what_comes(void **state)
{
    static struct waiting_ticket tickets[60];
    struct caller callers[6] = {caller_of("a", "1", "1"), caller_of("a", "1", "2"),
                                caller_of("a", "2", "3"), caller_of("b", "1", "4"),
                                caller_of("c", "1", "5"), caller_of("c", "2", "6")};
    static const uint32_t counts[6] = {20, 3, 10, 7, 15, 5};
    waiting_room *room = room_of(&wide);
    uint32_t foretold[60], count = 0;

    (void)state;
    memset(tickets, 0, sizeof(tickets));
    for (uint32_t i = 0; i < 6; i++) {
        for (uint32_t j = 0; j < counts[i]; j++)
            enter(room, &tickets[count++], &callers[i], 0, 10, 100, 0);
    }
    for (uint32_t i = 0; i < count; i++)
        foretold[i] = waiting_room_place(room, &tickets[i]).ahead;
    for (uint32_t i = 0; i < count; i++) {
        long at = waiting_room_take(room, false) - tickets;
        uint32_t difference = foretold[at] > i ? foretold[at] - i : i - foretold[at];

        if (difference > 3)
            fail_msg("ticket %ld: %u were foretold, %u came before it", at, foretold[at], i);
    }
    for (uint32_t i = 0; i < count; i++)
        waiting_room_leave(room, &tickets[i], NULL);
    waiting_room_destroy(room);
}

/* --- bounds --- */

static void a_full_room_pushes_out_the_last_of_whoever_has_most(void **state)
{
    const struct waiting_room_policy narrow = {4, 1000, 1, 2};
    static struct waiting_ticket tickets[8];
    struct caller a = caller_of("a", "", ""), b = caller_of("b", "", "");
    waiting_room *room = room_of(&narrow);
    const struct admission_request of_a = {&a, 0, 10, 10, 0}, of_b = {&b, 0, 10, 10, 0};
    struct waiting_ticket *pushed_out;

    (void)state;
    memset(tickets, 0, sizeof(tickets));
    for (uint32_t i = 0; i < 4; i++)
        enter(room, &tickets[i], &a, 0, 10, 10, i);
    assert_int_equal(waiting_room_enter(room, &tickets[4], &of_a, &pushed_out), STATUS_FULL);
    assert_null(pushed_out);
    assert_int_equal(waiting_room_enter(room, &tickets[4], &of_b, &pushed_out), STATUS_OK);
    assert_ptr_equal(pushed_out, &tickets[3]);
    assert_null(pushed_out->next);
    assert_int_equal(tickets[3].state, TICKET_OUT);
    /* Two each now would be reached by one more of b: 3 + 2. */
    assert_int_equal(waiting_room_enter(room, &tickets[5], &of_b, &pushed_out), STATUS_OK);
    assert_ptr_equal(pushed_out, &tickets[2]);
    assert_int_equal(waiting_room_enter(room, &tickets[6], &of_b, &pushed_out), STATUS_FULL);
    assert_null(pushed_out);
    for (uint32_t i = 0; i < 8; i++)
        waiting_room_leave(room, &tickets[i], NULL);
    waiting_room_destroy(room);
}

static void a_full_room_gives_up_its_lowest_band_first(void **state)
{
    const struct waiting_room_policy narrow = {2, 1000, 1, 2};
    static struct waiting_ticket tickets[4];
    struct caller a = caller_of("a", "", ""), b = caller_of("b", "", "");
    waiting_room *room = room_of(&narrow);
    const struct admission_request high = {&a, 0, 10, 10, 0}, low = {&b, 6, 10, 10, 0};
    struct waiting_ticket *pushed_out;

    (void)state;
    memset(tickets, 0, sizeof(tickets));
    enter(room, &tickets[0], &a, 0, 10, 10, 0);
    enter(room, &tickets[1], &b, 5, 10, 10, 0);
    assert_int_equal(waiting_room_enter(room, &tickets[2], &low, &pushed_out), STATUS_FULL);
    assert_int_equal(waiting_room_enter(room, &tickets[2], &high, &pushed_out), STATUS_OK);
    assert_ptr_equal(pushed_out, &tickets[1]);
    for (uint32_t i = 0; i < 4; i++)
        waiting_room_leave(room, &tickets[i], NULL);
    waiting_room_destroy(room);
}

static void tokens_are_bounded_but_one_may_always_wait(void **state)
{
    const struct waiting_room_policy narrow = {100, 100, 1, 2};
    static struct waiting_ticket tickets[3];
    struct caller a = caller_of("a", "", "");
    waiting_room *room = room_of(&narrow);
    const struct admission_request fits = {&a, 0, 100, 1, 0}, more = {&a, 0, 1, 1, 0},
                                   large = {&a, 0, 5000, 1, 0};
    struct waiting_ticket *pushed_out;

    (void)state;
    memset(tickets, 0, sizeof(tickets));
    assert_int_equal(waiting_room_enter(room, &tickets[0], &fits, &pushed_out), STATUS_OK);
    assert_int_equal(waiting_room_enter(room, &tickets[1], &more, &pushed_out), STATUS_FULL);
    waiting_room_leave(room, &tickets[0], NULL);
    assert_int_equal(waiting_room_enter(room, &tickets[0], &large, &pushed_out), STATUS_OK);
    assert_int_equal(waiting_room_enter(room, &tickets[1], &more, &pushed_out), STATUS_FULL);
    waiting_room_leave(room, &tickets[0], NULL);
    waiting_room_destroy(room);
}

/* Names of flows come from outside: what is kept of them is bounded. */
static void flows_that_nobody_uses_are_forgotten(void **state)
{
    struct waiting_ticket ticket = {0};
    waiting_room *room = room_of(&wide);
    char name[16];

    (void)state;
    for (uint32_t i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof(name), "%u", i);
        struct caller caller = caller_of(name, name, name);

        enter(room, &ticket, &caller, (int32_t)(i % 3), 10, 10, 0);
        assert_ptr_equal(waiting_room_take(room, false), &ticket);
        finish(room, &ticket, 10, 0, 5);
    }
    waiting_room_destroy(room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_that_of_the_oracle),
        cmocka_unit_test(equal_tenants_get_equal_shares_whatever_they_ask_for),
        cmocka_unit_test(shares_follow_the_weights),
        cmocka_unit_test(an_organisation_gains_nothing_by_more_teams_and_keys),
        cmocka_unit_test(who_comes_back_has_no_credit),
        cmocka_unit_test(a_flood_does_not_delay_others),
        cmocka_unit_test(a_lower_band_goes_first_and_callers_have_limits),
        cmocka_unit_test(newcomers_are_keys_that_have_nothing_taken),
        cmocka_unit_test(answers_are_expected_to_be_as_long_as_the_keys_last_ones),
        cmocka_unit_test(a_stream_that_goes_on_is_charged_before_it_ends),
        cmocka_unit_test(a_keys_requests_go_by_deadline_then_by_arrival),
        cmocka_unit_test(places_are_what_comes),
        cmocka_unit_test(a_full_room_pushes_out_the_last_of_whoever_has_most),
        cmocka_unit_test(a_full_room_gives_up_its_lowest_band_first),
        cmocka_unit_test(tokens_are_bounded_but_one_may_always_wait),
        cmocka_unit_test(flows_that_nobody_uses_are_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
