/* The thread
 *
 *   loop: take -> cell: rates, untold, running ----(every SYNC_NS, or sooner when a share is half used)----> Redis
 *                  ^                                                                                           |
 *                  +---- rates := what all owe, and what is untold by now; running elsewhere <-----------------+
 *
 * Only cells that are in use are told of. A cell's word is set from Redis' while loops take from it; what such a take adds may
 * be lost to the word, but it is untold, and so in the next answer. After a connection of another generation, Redis may have
 * begun anew: then it is told at least what this gateway knows to be owed. */
#include "quota_share.h"

#include <stdio.h>

#include "check.h"
#include "clock.h"
#include "limit_store.h"
#include "log.h"
#include "memory.h"
#include "ring.h"
#include "thread.h"

#define AREA     "gateway/identity"
#define SYNC_NS  (50 * NS_PER_MS)
#define WANT_NS  (2 * NS_PER_MS) /* between two when somebody waits */
#define GREET_NS (1 * NS_PER_SECOND)
#define STALE_NS (1 * NS_PER_SECOND) /* without an answer for so long a take asks for one */
#define USED_NS  (2 * NS_PER_SECOND) /* after its last take a cell is told of for so long */
#define BATCH    256u                /* exchanges in a round trip */

_Static_assert((int)RATE_COUNT == (int)LIMIT_RATES, "a cell's rates are those of an exchange");

struct quota_share {
    limit_store *store;        /* owned; the thread's */
    struct quota_cells *cells; /* borrowed */
    double share;
    uint64_t renew_ns;      /* a third of a lease */
    _Atomic uint32_t parts; /* see quota_share_parts */
    _Atomic bool is_wanting;
    uint32_t gateway_count; /* the thread's, as all below */
    uint64_t greeted_ns;
    bool is_away;
    pthread_t thread;
    struct parking parking;
    bool is_running; /* main's */
    _Atomic bool is_stopping;

    struct quota_cell *batch_cells[BATCH];
    struct limit_exchange batch[BATCH];
    int64_t batch_taken_ns[BATCH][RATE_COUNT];
    uint32_t batch_count;
    status batch_result;
    struct error_note note;
};

/* --- loops --- */

uint32_t quota_share_parts(const struct quota_share *share)
{
    return atomic_load_explicit(&share->parts, memory_order_relaxed);
}

static void want(struct quota_share *share)
{
    if (!atomic_load_explicit(&share->is_wanting, memory_order_relaxed) &&
        !atomic_exchange(&share->is_wanting, true))
        parking_signal(&share->parking);
}

void quota_share_look(struct quota_share *share, struct quota_cell *cell, uint64_t now_ns)
{
    atomic_store_explicit(&cell->shared.used_ns, now_ns, memory_order_relaxed);
    if (quota_share_parts(share) == 0 &&
        now_ns - atomic_load_explicit(&cell->shared.heard_ns, memory_order_relaxed) > STALE_NS)
        want(share);
}

bool quota_share_may_take(struct quota_share *share, struct quota_cell *cell, unsigned kind,
                          uint64_t cost_ns, uint64_t period_ns)
{
    int64_t most_ns = (int64_t)((double)period_ns * share->share), before_ns;

    if (quota_share_parts(share) > 0)
        return true;
    before_ns = atomic_fetch_add(&cell->shared.untold_ns[kind], (int64_t)cost_ns);
    if (before_ns + (int64_t)cost_ns > most_ns / 2)
        want(share);
    return before_ns <= 0 || before_ns + (int64_t)cost_ns <= most_ns;
}

void quota_share_used(struct quota_share *share, struct quota_cell *cell, unsigned kind,
                      int64_t cost_ns)
{
    if (quota_share_parts(share) == 0)
        (void)atomic_fetch_add(&cell->shared.untold_ns[kind], cost_ns);
}

bool quota_share_may_run(struct quota_share *share, struct quota_cell *cell, int64_t running,
                         uint64_t limit)
{
    int64_t most = (int64_t)((double)limit * share->share);
    int64_t untold = running - atomic_load(&cell->shared.running_told);

    if (quota_share_parts(share) > 0)
        return running <= (int64_t)limit;
    if (untold > most / 2)
        want(share);
    return running + atomic_load(&cell->shared.running_elsewhere) <= (int64_t)limit &&
           untold <= (most > 1 ? most : 1);
}

/* --- a batch --- */

/* Whole microseconds are told; what is left waits. */
static void rate_fill(struct quota_share *share, struct quota_cell *cell, unsigned kind,
                      uint64_t now_ns)
{
    struct limit_exchange *item = &share->batch[share->batch_count];
    uint64_t word_ns = atomic_load_explicit(&cell->rates_ns[kind], memory_order_relaxed);
    int64_t untold_ns = atomic_load(&cell->shared.untold_ns[kind]);

    item->used_us[kind] = untold_ns / (int64_t)NS_PER_US;
    share->batch_taken_ns[share->batch_count][kind] = item->used_us[kind] * (int64_t)NS_PER_US;
    (void)atomic_fetch_sub(&cell->shared.untold_ns[kind],
                           share->batch_taken_ns[share->batch_count][kind]);
    item->owed_min_us[kind] = 0;
    /* The word has what is told now already. */
    if (cell->shared.generation != limit_store_generation(share->store) && word_ns > now_ns)
        item->owed_min_us[kind] = (int64_t)((word_ns - now_ns) / NS_PER_US) - item->used_us[kind];
    if (item->owed_min_us[kind] < 0)
        item->owed_min_us[kind] = 0;
}

static void answer_take(struct quota_share *share, uint32_t index, uint64_t now_ns)
{
    struct quota_cell *cell = share->batch_cells[index];
    const struct limit_exchange *item = &share->batch[index];

    for (unsigned kind = 0; kind < RATE_COUNT; kind++) {
        int64_t untold_ns = atomic_load(&cell->shared.untold_ns[kind]);
        uint64_t owed_ns = (uint64_t)item->owed_us[kind] * NS_PER_US;

        /* What nobody owes is left alone: the word has passed, and says so. */
        if (owed_ns > 0 || untold_ns > 0 ||
            atomic_load_explicit(&cell->rates_ns[kind], memory_order_relaxed) > now_ns)
            atomic_store_explicit(&cell->rates_ns[kind],
                                  now_ns + owed_ns + (uint64_t)(untold_ns > 0 ? untold_ns : 0),
                                  memory_order_relaxed);
    }
    atomic_store(&cell->shared.running_told, item->running);
    atomic_store(&cell->shared.running_elsewhere, item->running_elsewhere);
    atomic_store_explicit(&cell->shared.heard_ns, now_ns, memory_order_relaxed);
    cell->shared.generation = limit_store_generation(share->store);
}

static void batch_send(struct quota_share *share)
{
    uint32_t done = 0;
    uint64_t now_ns;

    if (share->batch_count == 0)
        return;
    if (share->batch_result == STATUS_OK)
        share->batch_result = limit_store_exchange(share->store, share->batch, share->batch_count,
                                                   &done, &share->note);
    now_ns = clock_now_ns();
    for (uint32_t i = 0; i < share->batch_count; i++) {
        if (i < done) {
            answer_take(share, i, now_ns);
            continue;
        }
        for (unsigned kind = 0; kind < RATE_COUNT; kind++)
            (void)atomic_fetch_add(&share->batch_cells[i]->shared.untold_ns[kind],
                                   share->batch_taken_ns[i][kind]);
    }
    share->batch_count = 0;
}

static bool is_active(struct quota_share *share, const struct quota_cell *cell, uint64_t now_ns)
{
    int64_t running = atomic_load_explicit(&cell->running, memory_order_relaxed);
    uint64_t heard_ns = atomic_load_explicit(&cell->shared.heard_ns, memory_order_relaxed);

    if (running != atomic_load(&cell->shared.running_told) ||
        (running > 0 && now_ns - heard_ns > share->renew_ns))
        return true;
    for (unsigned kind = 0; kind < RATE_COUNT; kind++) {
        int64_t untold_ns = atomic_load(&cell->shared.untold_ns[kind]);

        if (untold_ns >= (int64_t)NS_PER_US || untold_ns <= -(int64_t)NS_PER_US)
            return true;
    }
    return now_ns - atomic_load_explicit(&cell->shared.used_ns, memory_order_relaxed) < USED_NS;
}

static void cell_take(void *context, struct quota_cell *cell)
{
    struct quota_share *share = context;
    uint64_t now_ns = clock_now_ns();
    struct limit_exchange *item = &share->batch[share->batch_count];

    if (share->batch_result != STATUS_OK || !is_active(share, cell, now_ns))
        return;
    memcpy(item->name, cell->shared.name, sizeof(item->name));
    for (unsigned kind = 0; kind < RATE_COUNT; kind++)
        rate_fill(share, cell, kind, now_ns);
    item->running = atomic_load_explicit(&cell->running, memory_order_relaxed);
    share->batch_cells[share->batch_count++] = cell;
    if (share->batch_count == BATCH)
        batch_send(share);
}

/* --- rounds --- */

static void cell_forget(void *context, struct quota_cell *cell)
{
    (void)context;
    for (unsigned kind = 0; kind < RATE_COUNT; kind++)
        atomic_store(&cell->shared.untold_ns[kind],
                     0); /* the word has it, and is told as a whole */
    atomic_store(&cell->shared.running_elsewhere, 0);
}

/* Told once for each time. */
static void presence_set(struct quota_share *share, bool is_away)
{
    uint32_t parts = share->gateway_count > 0 ? share->gateway_count : 1;

    if (is_away && !share->is_away)
        log_warn(AREA,
                 "%s; until it is back, this gateway goes on with one of %u parts of each "
                 "limit",
                 share->note.text, parts);
    else if (!is_away && share->is_away)
        log_info(AREA, "Redis answers: limits are shared");
    if (!is_away && share->is_away)
        quota_cells_each(share->cells, cell_forget, share);
    share->is_away = is_away;
    atomic_store(&share->parts, is_away ? parts : 0);
}

static void round_make(struct quota_share *share)
{
    uint64_t now_ns = clock_now_ns();

    (void)atomic_exchange(&share->is_wanting, false);
    share->batch_result = STATUS_OK;
    if (share->is_away || now_ns - share->greeted_ns >= GREET_NS) {
        share->batch_result = limit_store_greet(share->store, &share->gateway_count, &share->note);
        share->greeted_ns = now_ns;
    }
    if (share->batch_result == STATUS_OK && share->is_away)
        presence_set(share, false);
    if (share->batch_result == STATUS_OK) {
        quota_cells_each(share->cells, cell_take, share);
        batch_send(share);
    }
    presence_set(share, share->batch_result != STATUS_OK);
}

static void *share_run(void *context)
{
    struct quota_share *share = context;
    bool is_last = false;

    while (!is_last) {
        uint32_t ticket;

        is_last = atomic_load_explicit(&share->is_stopping, memory_order_acquire);
        round_make(share);
        ticket = parking_prepare(&share->parking);
        if (is_last || atomic_load_explicit(&share->is_stopping, memory_order_acquire))
            parking_cancel(&share->parking);
        else
            parking_wait(&share->parking, ticket,
                         atomic_load(&share->is_wanting) ? WANT_NS : SYNC_NS);
    }
    if (!share->is_away)
        limit_store_leave(share->store);
    return NULL;
}

/* --- life --- */

status quota_share_create(const struct config_state *config, struct quota_cells *cells,
                          struct quota_share **out, struct error_note *note)
{
    struct quota_share *share = memory_allocate_array(1, sizeof(*share));
    status result;

    if (share == NULL)
        return STATUS_NO_MEMORY;
    share->cells = cells;
    share->share = config->share;
    share->renew_ns = config->lease_ns / 3;
    share->is_away = true; /* until it has answered; not told of before it has been asked */
    atomic_init(&share->parts, 1);
    result = limit_store_open(config, &share->store, note);
    if (result == STATUS_OK)
        *out = share;
    else
        quota_share_destroy(share);
    return result;
}

status quota_share_start(struct quota_share *share)
{
    status result;

    round_make(share);
    if (share->is_away)
        log_warn(AREA, "%s; limits are this gateway's own until it answers", share->note.text);
    result = thread_start(&share->thread, "limits", share_run, share);
    share->is_running = result == STATUS_OK;
    return result;
}

void quota_share_stop(struct quota_share *share)
{
    if (!share->is_running)
        return;
    atomic_store_explicit(&share->is_stopping, true, memory_order_release);
    parking_signal(&share->parking);
    (void)pthread_join(share->thread, NULL);
    share->is_running = false;
}

void quota_share_destroy(struct quota_share *share)
{
    if (share == NULL)
        return;
    limit_store_close(share->store);
    memory_release(share);
}
