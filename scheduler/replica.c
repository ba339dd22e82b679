/* Replica state machine
 *
 *              wanted             placed               answered
 *      STOPPED ------> PLACING ------------> STARTING -----------> READY
 *         ^            ^  |                   |  |                  |  |
 *         |            |  | unwanted          |  | ended            |  | silence > heartbeat_timeout,
 *         |            |  |          unwanted |  |                  |  | or ended
 *         |  wait over |  |                   |  +-> BACKING_OFF <--|--+ (FAILED in a crash loop;
 *         |            +--|-------------------|---------+           |     unwanted it goes to STOPPED)
 *         | ended         v                   v                     |
 *         +---------- STOPPING <-- slow -- DRAINING <-- unwanted ---+
 *
 * Invariants, checked in debug builds and by the random test:
 *   - at most one process exists: START is only returned when none does, and a state with a process
 * (PLACING, STARTING, READY, DRAINING, STOPPING) is left to one without only by `ended` or `start failed`. A killed process
 * counts until its end was seen: two processes on one slice would fight for its memory and its
 * socket.
 *   - READY is entered only by a probe's answer, never by the process merely existing.
 *   - every state but PLACING, READY, STOPPED and STOPPING has a deadline, so nothing waits for ever;
 * PLACING waits for room in the pool, however long that takes, STOPPING for the kernel or the cluster.
 *
 * READY also goes to ASLEEP, where it takes no requests until it is wanted again (then STARTING, with what it has kept) or must end
 * (DRAINING); its answers keep it alive there too.
 *
 * Back-off doubles from backoff_first to backoff_max with half of each wait random, so that
 * replicas which died together do not come back together. A replica that was ready for backoff_max
 * starts again at backoff_first: what it died of was not its start. REPLICA_CRASH_LOOP_COUNT ends
 * in a row are a crash loop. It is still tried, at the longest wait, so that mending the cause (a
 * full disk, a missing file) heals it without an operator's hand; but FAILED tells the front that
 * waiting for it is pointless.
 *
 * Why a kill is an action and not an event of its own: the caller cannot know that the process is
 * gone until it was reaped, and until then the slice is not free. */
#include "replica.h"

#include "check.h"

static const char *const state_names[REPLICA_STATE_COUNT] = {"stopped",  "placing",     "starting",
                                                             "ready",    "asleep",      "draining",
                                                             "stopping", "backing_off", "failed"};

const char *replica_state_name(enum replica_state state)
{
    CHECK(state < REPLICA_STATE_COUNT);
    return state_names[state];
}

static uint64_t later(uint64_t now_ns, uint64_t wait_ns)
{
    return wait_ns < UINT64_MAX - now_ns ? now_ns + wait_ns : UINT64_MAX;
}

/* xorshift64, Marsaglia 2003: enough for jitter. */
static uint64_t random_next(struct replica *replica)
{
    uint64_t x = replica->random;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    replica->random = x;
    return x;
}

void replica_init(struct replica *replica, uint64_t seed, uint64_t now_ns)
{
    *replica = (struct replica){
        .state = REPLICA_STOPPED,
        .deadline_ns = UINT64_MAX,
        .state_since_ns = now_ns,
        .random = seed != 0 ? seed : 1,
    };
}

/* How long a first start takes is not known: files of a gigabyte are laid out in this order of time. */
#define START_GUESS_NS (2ull * 1000 * 1000 * 1000)

uint64_t replica_expected_ns(const struct replica *replica, uint64_t now_ns)
{
    uint64_t took_ns = replica->start_took_ns > 0 ? replica->start_took_ns : START_GUESS_NS;
    uint64_t from_ns = now_ns;

    if (!replica->is_wanted)
        return UINT64_MAX;
    if (replica->state == REPLICA_READY)
        return now_ns;
    if (replica->state == REPLICA_STARTING)
        from_ns = replica->state_since_ns;
    else if (replica->state == REPLICA_BACKING_OFF || replica->state == REPLICA_FAILED)
        from_ns = replica->deadline_ns;
    from_ns = later(from_ns, took_ns);
    return from_ns > now_ns ? from_ns : now_ns;
}

bool replica_has_process(const struct replica *replica)
{
    return replica->state == REPLICA_PLACING || replica->state == REPLICA_ASLEEP ||
           replica->state == REPLICA_STARTING || replica->state == REPLICA_READY ||
           replica->state == REPLICA_DRAINING || replica->state == REPLICA_STOPPING;
}

static void enter(struct replica *replica, enum replica_state state, uint64_t now_ns,
                  uint64_t deadline_ns)
{
    replica->state = state;
    replica->state_since_ns = now_ns;
    replica->deadline_ns = deadline_ns;
}

static uint32_t start(struct replica *replica, uint64_t now_ns)
{
    DCHECK(!replica_has_process(replica));
    replica->restart_count += replica->generation > 0;
    replica->generation++;
    replica->ready_since_ns = 0;
    replica->is_waking = false;
    enter(replica, REPLICA_PLACING, now_ns, UINT64_MAX);
    return REPLICA_ACTION_START;
}

static uint32_t kill_it(struct replica *replica, uint64_t now_ns)
{
    enter(replica, REPLICA_STOPPING, now_ns, UINT64_MAX);
    return REPLICA_ACTION_KILL;
}

/* Half of the wait is certain, half is random. */
static uint64_t backoff_ns(struct replica *replica, const struct replica_policy *policy)
{
    uint64_t wait_ns = policy->backoff_first_ns;

    for (uint32_t i = 1; i < replica->failure_count && wait_ns < policy->backoff_max_ns; i++)
        wait_ns = wait_ns < UINT64_MAX / 2 ? wait_ns * 2 : UINT64_MAX;
    if (wait_ns > policy->backoff_max_ns || replica->failure_count >= REPLICA_CRASH_LOOP_COUNT)
        wait_ns = policy->backoff_max_ns;
    return wait_ns - wait_ns / 2 + random_next(replica) % (wait_ns / 2 + 1);
}

static void fail(struct replica *replica, const struct replica_policy *policy, uint64_t now_ns)
{
    bool lived_long =
        replica->ready_since_ns != 0 && now_ns - replica->ready_since_ns >= policy->backoff_max_ns;
    enum replica_state state;

    if (!replica->is_wanted) {
        enter(replica, REPLICA_STOPPED, now_ns, UINT64_MAX);
        return;
    }
    if (lived_long)
        replica->failure_count = 0;
    if (replica->failure_count < UINT32_MAX)
        replica->failure_count++;
    state =
        replica->failure_count >= REPLICA_CRASH_LOOP_COUNT ? REPLICA_FAILED : REPLICA_BACKING_OFF;
    enter(replica, state, now_ns, later(now_ns, backoff_ns(replica, policy)));
}

/* Another slice is looked for at once. */
static uint32_t lose(struct replica *replica, uint64_t now_ns)
{
    enter(replica, REPLICA_STOPPED, now_ns, UINT64_MAX);
    return replica->is_wanted ? start(replica, now_ns) : REPLICA_ACTION_NONE;
}

static uint32_t want(struct replica *replica, const struct replica_policy *policy, uint64_t now_ns)
{
    bool was_wanted = replica->is_wanted;

    replica->is_wanted = true;
    if (replica->state == REPLICA_STOPPED)
        return start(replica, now_ns);
    if (replica->state == REPLICA_ASLEEP) {
        replica->is_waking = true;
        enter(replica, REPLICA_STARTING, now_ns, later(now_ns, policy->start_timeout_ns));
        return REPLICA_ACTION_WAKE;
    }
    /* Asked for again: an operator's word ends a crash loop's wait. */
    if (!was_wanted || replica->state == REPLICA_FAILED)
        replica->failure_count = 0;
    if (replica->state == REPLICA_FAILED)
        return start(replica, now_ns);
    return REPLICA_ACTION_NONE;
}

static uint32_t unwant(struct replica *replica, const struct replica_policy *policy,
                       uint64_t now_ns)
{
    replica->is_wanted = false;
    replica->failure_count = 0;
    switch (replica->state) {
    case REPLICA_PLACING: /* it has nothing to finish */
        return kill_it(replica, now_ns);
    case REPLICA_STARTING:
    case REPLICA_READY:
    case REPLICA_ASLEEP:
        enter(replica, REPLICA_DRAINING, now_ns, later(now_ns, policy->drain_timeout_ns));
        return REPLICA_ACTION_DRAIN;
    case REPLICA_BACKING_OFF:
    case REPLICA_FAILED:
        enter(replica, REPLICA_STOPPED, now_ns, UINT64_MAX);
        return REPLICA_ACTION_NONE;
    default:
        return REPLICA_ACTION_NONE;
    }
}

uint32_t replica_leave(struct replica *replica, const struct replica_policy *policy, uint64_t by_ns,
                       uint64_t now_ns)
{
    uint32_t actions = unwant(replica, policy, now_ns);

    if (replica->state == REPLICA_DRAINING && by_ns < replica->deadline_ns)
        replica->deadline_ns = by_ns;
    return actions;
}

static uint32_t rest(struct replica *replica, const struct replica_policy *policy, uint64_t now_ns)
{
    if (replica->state != REPLICA_READY)
        return REPLICA_ACTION_NONE;
    replica->is_wanted = false;
    enter(replica, REPLICA_ASLEEP, now_ns, later(now_ns, policy->heartbeat_timeout_ns));
    return REPLICA_ACTION_SLEEP;
}

static void place(struct replica *replica, const struct replica_policy *policy, uint64_t now_ns)
{
    if (replica->state == REPLICA_PLACING)
        enter(replica, REPLICA_STARTING, now_ns, later(now_ns, policy->start_timeout_ns));
}

static void answer(struct replica *replica, const struct replica_policy *policy, uint64_t now_ns)
{
    if (replica->state == REPLICA_STARTING) {
        uint64_t took_ns = now_ns - replica->state_since_ns;
        enter(replica, REPLICA_READY, now_ns, 0);
        if (!replica->is_waking)
            replica->start_took_ns = took_ns;
        replica->is_waking = false;
        replica->ready_since_ns = now_ns > 0 ? now_ns : 1;
    }
    if (replica->state == REPLICA_READY || replica->state == REPLICA_ASLEEP)
        replica->deadline_ns = later(now_ns, policy->heartbeat_timeout_ns);
}

static uint32_t deadline_passed(struct replica *replica, uint64_t now_ns)
{
    switch (replica->state) {
    case REPLICA_STARTING:
    case REPLICA_READY:
    case REPLICA_ASLEEP:
    case REPLICA_DRAINING:
        return kill_it(replica, now_ns);
    case REPLICA_BACKING_OFF:
    case REPLICA_FAILED:
        return start(replica, now_ns);
    default:
        return REPLICA_ACTION_NONE;
    }
}

uint32_t replica_step(struct replica *replica, const struct replica_policy *policy,
                      enum replica_event event, uint64_t now_ns)
{
    switch (event) {
    case REPLICA_WANTED:
        return want(replica, policy, now_ns);
    case REPLICA_UNWANTED:
        return unwant(replica, policy, now_ns);
    case REPLICA_START_FAILED:
    case REPLICA_ENDED:
        if (replica_has_process(replica))
            fail(replica, policy, now_ns);
        return REPLICA_ACTION_NONE; /* such an end leads to a wait, never straight to a start */
    case REPLICA_LOST:
        return replica_has_process(replica) ? lose(replica, now_ns) : REPLICA_ACTION_NONE;
    case REPLICA_PLACED:
        place(replica, policy, now_ns);
        return REPLICA_ACTION_NONE;
    case REPLICA_ANSWERED:
        answer(replica, policy, now_ns);
        break;
    case REPLICA_REST:
        return rest(replica, policy, now_ns);
    case REPLICA_NOT_READY: /* so says who sleeps */
        if (replica->state == REPLICA_ASLEEP)
            answer(replica, policy, now_ns);
        break;
    case REPLICA_TICK:
        break;
    case REPLICA_EVENT_COUNT:
        CHECK(false);
    }
    return now_ns >= replica->deadline_ns ? deadline_passed(replica, now_ns) : REPLICA_ACTION_NONE;
}
