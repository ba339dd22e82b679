/* Control thread
 *
 * One epoll set holds a socket for each probe under way, and an eventfd by which main, loops and the pool's members ask for
 * attention. Whatever happens becomes an event of the replica manager; what the manager wants done goes to the fleet (control_slots.c).
 * The thread sleeps until the earliest of: the manager's deadline, the fleet's, the next decision of a model's scaling, the next
 * probe, a probe's end.
 *
 * Replicas of this machine outlive a gateway that hands over to the next (upgrade.c): the next one adopts their processes, and starts
 * them again when they end; the old one, while it drains, only looks whether they answer. */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "control_internal.h"
#include "edge_admission.h"
#include "log.h"

#define TURN_NS_MAX     NS_PER_SECOND /* so that liveness has something to read */
#define EVENT_COUNT_MAX 64
#define KILLED_NS       (5 * NS_PER_SECOND) /* from a kill to its end, on any machine */

bool control_watch_add(const struct control *control, int descriptor, uint64_t data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};

    return epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

void control_wake_loops(struct edge *edge)
{
    for (uint32_t i = 0; i < http_server_loop_count(edge->server); i++) {
        struct edge_loop *state = http_loop_get(http_server_loop(edge->server, i), EDGE_LOOP_SLOT);

        atomic_store_explicit(&state->replicas_have_changed, true, memory_order_release);
        edge_loop_wake(edge, i);
    }
}

/* --- what others ask for --- */

static void stop_take(struct control *control, uint64_t drain_ns, uint64_t now_ns)
{
    if (control->end_by_ns == UINT64_MAX)
        control->end_by_ns = now_ns + drain_ns + CONTROL_KILL_GRACE_NS + KILLED_NS;
    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        if (control_slot_is_ours(control, &control->slots[id]))
            replica_manager_event(control->manager, id, REPLICA_UNWANTED, now_ns);
    }
}

static void requests_take(struct control *control, uint64_t now_ns)
{
    struct control_process *wanted =
        atomic_exchange_explicit(&control->wanted, NULL, memory_order_acquire);
    uint64_t drain_ns = atomic_load_explicit(&control->drain_timeout_ns, memory_order_acquire);
    uint64_t count;

    while (read(control->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        continue;
    replica_manager_set_drain_timeout(control->manager, drain_ns + CONTROL_KILL_GRACE_NS);
    control_slots_release(control);
    if (wanted != NULL) {
        control_slots_tell(control, wanted);
        (void)sem_post(&control->wanted_done);
    }
    if (atomic_exchange_explicit(&control->has_reload, false, memory_order_acquire))
        control_slots_reload(control);
    if (atomic_load_explicit(&control->is_stopping, memory_order_acquire))
        stop_take(control, drain_ns, now_ns);
}

/* --- turns --- */

/* All are gone. Clusters that do not answer are not waited for: replicas there end by themselves when their gateway is away
 * (pool.lost_timeout). */
static bool is_over(const struct control *control, uint64_t now_ns)
{
    if (!atomic_load_explicit(&control->is_stopping, memory_order_acquire))
        return false;
    if (now_ns >= control->end_by_ns) {
        log_warn("gateway/edge", "replicas on other machines are left behind: their members do not "
                                 "answer");
        return true;
    }
    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        if (control_slot_is_ours(control, &control->slots[id]) &&
            replica_has_process(replica_manager_get(control->manager, id)))
            return false;
    }
    return true;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int wait_ms(uint64_t now_ns, uint64_t until_ns)
{
    if (until_ns <= now_ns)
        return 0;
    return (int)((until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

/* All that is due; returns when to look again: at once after a change, which may have made more due. Models without slots are served
 * elsewhere. */
static uint64_t turn(struct control *control, uint64_t now_ns)
{
    uint64_t until_ns = now_ns + TURN_NS_MAX;

    control->has_changed = false;
    until_ns = earlier(until_ns, replica_manager_tick(control->manager, now_ns));
    for (uint32_t i = 0; i < control->edge->model_count; i++) {
        if (control->scalings[i].model != NULL)
            until_ns =
                earlier(until_ns, model_scaling_tick(&control->scalings[i], control, now_ns));
    }
    until_ns = earlier(until_ns, replica_fleet_turn(control->fleet, now_ns));
    /* Last: whoever starts by what was done above is to be asked soon, and not a whole turn later. */
    for (uint32_t id = 0; id < control->edge->replica_count; id++)
        until_ns = earlier(until_ns, control_probe_tick(control, id, now_ns));
    until_ns = earlier(until_ns, control_pool_metrics_tick(control, now_ns));
    until_ns = earlier(until_ns, history_sample_tick(&control->history_sample, control, now_ns));
    control_questions_answer(&control->questions, control);
    return control->has_changed ? now_ns : until_ns;
}

void *control_run(void *context)
{
    struct control *control = context;
    struct epoll_event events[EVENT_COUNT_MAX];
    uint64_t now_ns = clock_now_ns();

    while (!is_over(control, now_ns)) {
        uint64_t until_ns = turn(control, now_ns);
        int count =
            epoll_wait(control->epoll_fd, events, EVENT_COUNT_MAX, wait_ms(now_ns, until_ns));

        now_ns = clock_now_ns();
        atomic_store_explicit(&control->last_turn_ns, now_ns, memory_order_relaxed);
        for (int i = 0; i < count; i++) {
            if (events[i].data.u64 == CONTROL_WATCH_WAKE)
                requests_take(control, now_ns);
            else
                control_probe_end(control, (uint32_t)events[i].data.u64, now_ns);
        }
    }
    history_sample_end(&control->history_sample, control, now_ns);
    control_questions_close(&control->questions);
    return NULL;
}
