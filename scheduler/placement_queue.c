/* What waits
 *
 * A round goes through the requests in their order. The first that does not fit gets a hold: the slices on which it could start
 * first, and when. That moment is found in the book: replicas with a known end (batch work, what drains) are taken away in the order
 * of their ends, and the fewest endings after which the request fits are found by halving, as more room never hurts. Those
 * behind it see the held slices as taken, unless they are expected to end by then.
 *
 *      now -----------------------------> start_ns
 *      held slices   |  free to who ends by then  |  the one that waits
 *      other slices  |  free to anybody
 *
 * So a hold is never later in the next round, as long as nobody runs longer than was said: what was started beside it is off
 * its slices by then. A request for which no known ending makes room has no hold; it keeps its place in the order.
 *
 * If the hold would come later than victims could drain, or there are as many holds as there may be, the request may preempt; the
 * victims then drain in the book, and what they leave is claimed for it: nobody else takes it, until some time after
 * their deadline. Holds are found anew in each round and so are few; claims are found once and may be many, as a
 * tenant that comes back may have hundreds of replicas to start on what was borrowed of it. What is claimed counts as the tenant's
 * when it is asked what more it may reclaim. */
#include "placement_queue.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "placement_moves_internal.h"

struct waiting {
    struct placement_request request;
    uint64_t since_ns;
    enum placement_reason reason;
    bool is_owed;   /* within what its tenant is guaranteed, with those before it */
    uint32_t hold;  /* HOLD_NONE or an index */
    uint32_t claim; /* the same; nobody else is asked to end for it while it has one */
};

struct hold {
    uint64_t uid; /* whose */
    uint64_t start_ns;
    uint32_t slice_count;
    uint32_t slices[POOL_GANG_MAX];
};

/* What victims leave. */
struct claim {
    struct hold hold; /* uid 0: free */
    uint64_t until_ns;
    uint32_t tenant;
    struct quota_amount amount;
};

struct ending {
    uint64_t ends_ns;
    uint32_t row;
};

#define HOLD_NONE UINT32_MAX

#define REFUSED_MAX 8u

struct placement_queue {
    struct placement *placement; /* borrowed */
    struct waiting *waiting;     /* owned: [count_max], in order */
    uint32_t count, count_max;
    struct hold holds[PLACEMENT_HOLDS_MAX]; /* the first kept_count were asked for by a caller */
    uint32_t hold_count, kept_count;
    struct claim *claims;   /* owned: [PLACEMENT_CLAIMS_MAX] */
    uint32_t claim_count;   /* that are not free */
    uint32_t preempt_count; /* tried in this round */
    /* Those for whom nobody could be ended in this round, the last few: others like them need not be tried. */
    struct placement_request refused[REFUSED_MAX];
    uint32_t refused_count;
    uint32_t resume; /* where the last round stopped, having tried enough; 0: it came to the end */
    uint8_t *held;   /* owned: [slices_max] */
    struct ending *endings; /* owned: [bookings_max] */
    uint32_t ending_count;
    struct placement_decision decision;
    struct placement_preemption preemption;
};

status placement_queue_create(struct placement *placement, uint32_t count_max,
                              struct placement_queue **out)
{
    const struct pool_limits *limits = pool_limits_of(placement->pool);
    struct placement_queue *queue = memory_allocate_array(1, sizeof(*queue));

    if (queue == NULL)
        return STATUS_NO_MEMORY;
    queue->placement = placement;
    queue->count_max = count_max;
    queue->waiting = memory_allocate_array(count_max, sizeof(*queue->waiting));
    queue->claims = memory_allocate_array(PLACEMENT_CLAIMS_MAX, sizeof(*queue->claims));
    queue->held = memory_allocate_array(limits->slices_max, 1);
    queue->endings = memory_allocate_array(limits->bookings_max, sizeof(*queue->endings));
    if (queue->waiting == NULL || queue->claims == NULL || queue->held == NULL ||
        queue->endings == NULL) {
        placement_queue_destroy(queue);
        return STATUS_NO_MEMORY;
    }
    *out = queue;
    return STATUS_OK;
}

void placement_queue_destroy(struct placement_queue *queue)
{
    if (queue == NULL)
        return;
    memory_release(queue->endings);
    memory_release(queue->held);
    memory_release(queue->claims);
    memory_release(queue->waiting);
    memory_release(queue);
}

/* --- the order --- */

static bool goes_before(const struct waiting *a, const struct waiting *b)
{
    if (a->request.priority != b->request.priority)
        return a->request.priority > b->request.priority;
    if (a->is_owed != b->is_owed)
        return a->is_owed;
    if (a->since_ns != b->since_ns)
        return a->since_ns < b->since_ns;
    return a->request.uid < b->request.uid;
}

static uint32_t find(const struct placement_queue *queue, uint64_t uid)
{
    uint32_t i = 0;

    while (i < queue->count && queue->waiting[i].request.uid != uid)
        i++;
    return i;
}

status placement_queue_add(struct placement_queue *queue, const struct placement_request *request,
                           uint64_t now_ns)
{
    struct waiting added = {.request = *request,
                            .since_ns = now_ns,
                            .reason = PLACEMENT_FITS,
                            .hold = HOLD_NONE,
                            .claim = HOLD_NONE};
    uint32_t at = queue->count;

    if (request->uid == 0 || !placement_is_request_sane(queue->placement, request))
        return STATUS_INVALID;
    if (find(queue, request->uid) < queue->count)
        return STATUS_OK;
    if (queue->count == queue->count_max)
        return STATUS_FULL;
    while (at > 0 && goes_before(&added, &queue->waiting[at - 1])) {
        queue->waiting[at] = queue->waiting[at - 1];
        at--;
    }
    queue->waiting[at] = added;
    queue->count++;
    return STATUS_OK;
}

static void claim_free(struct placement_queue *queue, struct waiting *waiting)
{
    if (waiting->claim == HOLD_NONE)
        return;
    queue->claims[waiting->claim].hold.uid = 0;
    queue->claim_count--;
    waiting->claim = HOLD_NONE;
}

static void remove_at(struct placement_queue *queue, uint32_t at)
{
    claim_free(queue, &queue->waiting[at]);
    memmove(&queue->waiting[at], &queue->waiting[at + 1],
            (--queue->count - at) * sizeof(queue->waiting[0]));
}

bool placement_queue_remove(struct placement_queue *queue, uint64_t uid)
{
    uint32_t at = find(queue, uid);

    if (at == queue->count)
        return false;
    remove_at(queue, at);
    return true;
}

uint32_t placement_queue_count(const struct placement_queue *queue)
{
    return queue->count;
}

bool placement_queue_get(const struct placement_queue *queue, uint32_t i,
                         struct placement_waiting *out)
{
    const struct waiting *waiting;
    const struct hold *hold = NULL;

    if (i >= queue->count)
        return false;
    waiting = &queue->waiting[i];
    if (waiting->hold != HOLD_NONE)
        hold = &queue->holds[waiting->hold];
    else if (waiting->claim != HOLD_NONE)
        hold = &queue->claims[waiting->claim].hold;
    *out = (struct placement_waiting){.request = &waiting->request,
                                      .since_ns = waiting->since_ns,
                                      .has_hold = hold != NULL,
                                      .start_ns = hold != NULL ? hold->start_ns : POOL_NO_END,
                                      .reason = waiting->reason};
    return true;
}

/* --- holds --- */

static void mark(struct placement_queue *queue, const struct hold *hold, uint64_t uid,
                 uint64_t ends_ns)
{
    for (uint32_t i = 0;
         i < hold->slice_count && hold->uid != 0 && hold->uid != uid && ends_ns > hold->start_ns;
         i++)
        queue->held[hold->slices[i]] = 1;
}

/* Marks the slices of all holds of others that somebody who ends at `ends_ns` would delay. */
static const uint8_t *mark_held(struct placement_queue *queue, uint64_t uid, uint64_t ends_ns)
{
    if (queue->hold_count == 0 && queue->claim_count == 0)
        return NULL;
    memset(queue->held, 0, queue->placement->columns->count);
    for (uint32_t i = 0; i < queue->hold_count; i++)
        mark(queue, &queue->holds[i], uid, ends_ns);
    for (uint32_t i = 0; i < PLACEMENT_CLAIMS_MAX && queue->claim_count > 0; i++)
        mark(queue, &queue->claims[i].hold, uid, ends_ns);
    return queue->held;
}

static void write_hold(const struct placement_decision *decision, uint64_t uid, uint64_t start_ns,
                       struct hold *out)
{
    *out = (struct hold){.uid = uid, .start_ns = start_ns, .slice_count = decision->part_count};
    for (uint32_t i = 0; i < decision->part_count; i++)
        out->slices[i] = decision->parts[i].booking.slice;
}

static int compare_endings(const void *left, const void *right)
{
    const struct ending *a = left, *b = right;

    if (a->ends_ns != b->ends_ns)
        return a->ends_ns < b->ends_ns ? -1 : 1;
    return a->row < b->row ? -1 : a->row > b->row;
}

static void list_endings(struct placement_queue *queue)
{
    const struct pool *pool = queue->placement->pool;

    queue->ending_count = 0;
    for (uint32_t row = 0; row < pool_booking_bound(pool); row++) {
        const struct booking *booking = pool_booking_at(pool, row);

        if (booking != NULL && booking->ends_ns != POOL_NO_END)
            queue->endings[queue->ending_count++] =
                (struct ending){.ends_ns = booking->ends_ns, .row = row};
    }
    qsort(queue->endings, queue->ending_count, sizeof(*queue->endings), compare_endings);
}

/* Whether the request fits after the first `ended` endings, beside the holds before it. */
static bool fits_after(struct placement_queue *queue, const struct placement_request *request,
                       uint32_t ended, uint64_t now_ns)
{
    struct placement *placement = queue->placement;
    struct view *view = placement_what_if(placement, false);

    for (uint32_t i = 0; i < ended; i++)
        placement_view_end(placement, view,
                           pool_booking_at(placement->pool, queue->endings[i].row));
    view->held = mark_held(queue, request->uid, POOL_NO_END);
    return placement_choose_in(placement, view, request, now_ns, &queue->decision) == STATUS_OK;
}

/* The fewest endings after which it fits; ending_count + 1: not even after all. */
static uint32_t count_endings(struct placement_queue *queue,
                              const struct placement_request *request, uint64_t now_ns)
{
    uint32_t too_few = 0, enough = queue->ending_count;

    if (enough == 0 || !fits_after(queue, request, enough, now_ns))
        return queue->ending_count + 1;
    while (enough - too_few > 1) {
        uint32_t middle = too_few + (enough - too_few) / 2;

        if (fits_after(queue, request, middle, now_ns))
            enough = middle;
        else
            too_few = middle;
    }
    return enough;
}

/* Finds the start of a request that does not fit now. False: no known ending makes room. */
static bool find_start(struct placement_queue *queue, const struct placement_request *request,
                       uint64_t now_ns, struct hold *out)
{
    uint64_t start_ns;
    uint32_t ended;

    list_endings(queue);
    ended = count_endings(queue, request, now_ns);
    if (ended > queue->ending_count || !fits_after(queue, request, ended, now_ns))
        return false;
    start_ns = queue->endings[ended - 1].ends_ns;
    /* Somebody runs longer than was said: any moment now. */
    write_hold(&queue->decision, request->uid, start_ns > now_ns ? start_ns : now_ns, out);
    return true;
}

static uint64_t sum_capped(uint64_t a, uint64_t b)
{
    return b < UINT64_MAX - a ? a + b : UINT64_MAX;
}

/* What is claimed counts as held by who waits for it. */
static void charge_claims(const struct placement_queue *queue)
{
    for (uint32_t i = 0; i < PLACEMENT_CLAIMS_MAX && queue->placement->quota != NULL; i++) {
        if (queue->claims[i].hold.uid != 0)
            quota_tree_charge(queue->placement->quota, queue->claims[i].tenant,
                              &queue->claims[i].amount);
    }
}

static void credit_claims(const struct placement_queue *queue)
{
    for (uint32_t i = 0; i < PLACEMENT_CLAIMS_MAX && queue->placement->quota != NULL; i++) {
        if (queue->claims[i].hold.uid != 0)
            quota_tree_credit(queue->placement->quota, queue->claims[i].tenant,
                              &queue->claims[i].amount);
    }
}

static void claim_write(struct placement_queue *queue, struct waiting *waiting, uint64_t now_ns,
                        uint64_t drain_ns)
{
    uint64_t ends_ns = sum_capped(now_ns, drain_ns);
    struct claim *claim;

    waiting->claim = 0;
    while (queue->claims[waiting->claim].hold.uid != 0)
        waiting->claim++;
    claim = &queue->claims[waiting->claim];
    queue->claim_count++;
    write_hold(&queue->preemption.decision, waiting->request.uid, ends_ns, &claim->hold);
    /* Who is killed at the deadline is gone a little later. */
    claim->until_ns = sum_capped(ends_ns, drain_ns);
    claim->tenant = waiting->request.tenant;
    claim->amount = placement_estimate(&waiting->request);
}

static bool is_like(const struct placement_request *a, const struct placement_request *b)
{
    return a->tenant == b->tenant && a->model == b->model && a->priority == b->priority &&
           a->part_count == b->part_count && a->domain_max == b->domain_max &&
           a->on_demand_min == b->on_demand_min && a->tiers == b->tiers &&
           memcmp(&a->shape, &b->shape, sizeof(a->shape)) == 0;
}

static bool was_refused(const struct placement_queue *queue,
                        const struct placement_request *request)
{
    for (uint32_t i = 0; i < REFUSED_MAX && i < queue->refused_count; i++) {
        if (is_like(&queue->refused[i], request))
            return true;
    }
    return false;
}

/* Ends others for it. False: nobody can be. */
static bool preempt(struct placement_queue *queue, struct waiting *waiting,
                    const struct placement_queue_driver *driver, uint64_t now_ns)
{
    struct pool *pool = queue->placement->pool;
    const uint8_t *held;
    status result;

    if (waiting->claim != HOLD_NONE || queue->claim_count == PLACEMENT_CLAIMS_MAX ||
        queue->preempt_count == PLACEMENT_PREEMPTS_MAX || was_refused(queue, &waiting->request))
        return false;
    queue->preempt_count++;
    held = mark_held(queue, waiting->request.uid, POOL_NO_END);
    charge_claims(queue);
    result = placement_preempt_beside(queue->placement, held, &waiting->request, driver->min_run_ns,
                                      now_ns, &queue->preemption);
    credit_claims(queue);
    if (result != STATUS_OK || queue->preemption.victim_count == 0) {
        queue->refused[queue->refused_count++ % REFUSED_MAX] = waiting->request;
        return false;
    }
    claim_write(queue, waiting, now_ns, driver->drain_ns);
    for (uint32_t i = 0; i < queue->preemption.victim_count; i++) {
        result =
            pool_drain(pool, queue->preemption.victims[i], sum_capped(now_ns, driver->drain_ns));
        CHECK(result == STATUS_OK);
    }
    driver->preempt(driver->context, &waiting->request, &queue->preemption);
    return true;
}

static void hold_for(struct placement_queue *queue, struct waiting *waiting,
                     const struct placement_queue_driver *driver, uint64_t now_ns)
{
    struct hold *hold = &queue->holds[queue->hold_count];
    bool is_found = false;

    if (waiting->claim != HOLD_NONE)
        return;
    /* A kept one has its slices; until they are free there is nothing to do for it. */
    for (uint32_t i = 0; i < queue->kept_count; i++) {
        if (queue->holds[i].uid == waiting->request.uid) {
            waiting->hold = i;
            return;
        }
    }
    if (queue->hold_count < PLACEMENT_HOLDS_MAX)
        is_found = find_start(queue, &waiting->request, now_ns, hold);
    if (driver->preempt != NULL &&
        (!is_found || hold->start_ns > sum_capped(now_ns, driver->drain_ns)) &&
        preempt(queue, waiting, driver, now_ns))
        return;
    if (is_found)
        waiting->hold = queue->hold_count++;
}

static void drop_kept(struct placement_queue *queue, uint32_t i)
{
    memmove(&queue->holds[i], &queue->holds[i + 1],
            (--queue->kept_count - i) * sizeof(queue->holds[0]));
}

/* What a caller keeps lasts; everything else is found anew in each round. */
static void begin_holds(struct placement_queue *queue, uint64_t now_ns)
{
    for (uint32_t i = 0; i < queue->kept_count;) {
        if (queue->holds[i].start_ns <= now_ns || find(queue, queue->holds[i].uid) == queue->count)
            drop_kept(queue, i);
        else
            i++;
    }
    queue->hold_count = queue->kept_count;
    for (uint32_t i = 0; i < queue->count; i++) {
        struct waiting *waiting = &queue->waiting[i];

        waiting->hold = HOLD_NONE;
        if (waiting->claim != HOLD_NONE && queue->claims[waiting->claim].until_ns <= now_ns)
            claim_free(queue, waiting);
    }
}

status placement_queue_keep(struct placement_queue *queue, uint64_t uid,
                            const struct placement_decision *decision, uint64_t until_ns)
{
    if (find(queue, uid) == queue->count)
        return STATUS_NOT_FOUND;
    for (uint32_t i = 0; i < queue->kept_count; i++) {
        if (queue->holds[i].uid == uid)
            drop_kept(queue, i--);
    }
    if (queue->kept_count == PLACEMENT_HOLDS_MAX)
        return STATUS_FULL;
    write_hold(decision, uid, until_ns, &queue->holds[queue->kept_count++]);
    /* Those that were found are found anew in the next round. */
    queue->hold_count = queue->kept_count;
    for (uint32_t i = 0; i < queue->count; i++)
        queue->waiting[i].hold = HOLD_NONE;
    return STATUS_OK;
}

/* --- a round --- */

/* What the tenants ask for beside what they hold: the quota tree's fair shares follow from it. */
static void tell_quota(const struct placement_queue *queue)
{
    static const struct quota_amount nothing;
    struct quota_tree *quota = queue->placement->quota;

    for (uint32_t node = 0; node < quota_tree_count(quota); node++) {
        if (quota_tree_is_leaf(quota, node))
            quota_tree_set_waiting(quota, node, &nothing);
    }
    for (uint32_t i = 0; i < queue->count; i++) {
        const struct placement_request *request = &queue->waiting[i].request;
        struct quota_amount amount;

        if (!quota_tree_is_leaf(quota, request->tenant))
            continue;
        amount = placement_estimate(request);
        quota_tree_add_waiting(quota, request->tenant, &amount);
    }
    quota_tree_divide(quota);
}

/* Puts those in front, of equal priority, who ask for no more than their tenants are guaranteed: each with those before it. */
static void order_by_guarantee(struct placement_queue *queue)
{
    struct quota_tree *quota = queue->placement->quota;

    for (uint32_t i = 0; i < queue->count; i++) {
        struct waiting *waiting = &queue->waiting[i];
        struct quota_amount amount = placement_estimate(&waiting->request);

        waiting->is_owed = quota_tree_is_owed(quota, waiting->request.tenant, &amount);
        if (waiting->is_owed)
            quota_tree_charge(quota, waiting->request.tenant, &amount);
    }
    for (uint32_t i = 0; i < queue->count; i++) {
        struct quota_amount amount = placement_estimate(&queue->waiting[i].request);

        if (queue->waiting[i].is_owed)
            quota_tree_credit(quota, queue->waiting[i].request.tenant, &amount);
    }
    /* Most stand right already. */
    for (uint32_t i = 1; i < queue->count; i++) {
        struct waiting moved = queue->waiting[i];
        uint32_t at = i;

        for (; at > 0 && goes_before(&moved, &queue->waiting[at - 1]); at--)
            queue->waiting[at] = queue->waiting[at - 1];
        if (at != i)
            queue->waiting[at] = moved;
    }
}

/* The reasons are in the order in which slices are judged: the last is of those that came furthest. */
static enum placement_reason main_reason(const struct placement_decision *decision)
{
    uint32_t reason = PLACEMENT_REASON_COUNT - 1;

    while (reason > PLACEMENT_ABSENT && decision->passed_over[reason] == 0)
        reason--;
    return (enum placement_reason)reason;
}

/* Whether an ending somewhere could help: not if every slice is wrong in itself (as far as the last entry of the list
 * tells). */
static bool can_pass(const struct waiting *waiting)
{
    return waiting->reason >= PLACEMENT_NO_ROOM || waiting->request.tier_count > 1;
}

static status try_now(struct placement_queue *queue, struct waiting *waiting, uint64_t now_ns)
{
    struct placement *placement = queue->placement;
    status result;

    placement->now.held =
        mark_held(queue, waiting->request.uid, sum_capped(now_ns, waiting->request.run_ns));
    result = placement_choose_in(placement, &placement->now, &waiting->request, now_ns,
                                 &queue->decision);
    placement->now.held = NULL;
    if (result == STATUS_OK)
        result = placement_book(placement, &waiting->request, &queue->decision, now_ns);
    return result;
}

uint32_t placement_queue_round(struct placement_queue *queue,
                               const struct placement_queue_driver *driver, uint64_t now_ns)
{
    uint32_t placed = 0, in_vain = 0, i;

    begin_holds(queue, now_ns);
    queue->preempt_count = queue->refused_count = 0;
    if (queue->placement->quota != NULL) {
        tell_quota(queue);
        order_by_guarantee(queue);
    }
    for (i = 0; i < queue->count && in_vain < PLACEMENT_TRIES_MAX;) {
        struct waiting *waiting = &queue->waiting[i];
        status result = try_now(queue, waiting, now_ns);

        if (result == STATUS_OK) {
            struct placement_request request = waiting->request;

            remove_at(queue, i);
            placed++;
            driver->placed(driver->context, &request, &queue->decision);
            continue;
        }
        waiting->reason = main_reason(&queue->decision);
        /* Who is at its tenant's limit waits for its own (or ends it), and nobody is kept waiting for it. */
        if (result == STATUS_FULL && can_pass(waiting))
            hold_for(queue, waiting, driver, now_ns);
        else if (result == STATUS_DENIED && driver->preempt != NULL)
            (void)preempt(queue, waiting, driver, now_ns);
        i++;
        /* Half for those in front, half in turns: nobody is behind too many that fit nowhere. */
        if (++in_vain == PLACEMENT_TRIES_MAX / 2 && queue->resume > i)
            i = queue->resume;
    }
    queue->resume = i < queue->count ? i : 0;
    return placed;
}
