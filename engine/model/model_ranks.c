/* The threads of the ranks beside the first.
 *
 * An order is a few pointers that all ranks read. The step thread writes it and moves `number` on; each rank, which has spun or
 * slept until then, carries it out and counts itself among those that are through. A step has two such counts, since what the
 * caller gave for it may be used anew as soon as all have launched it. The next order waits for the last one's end, so there
 * is one at a time.
 *
 *     step thread   post ---- own launch ---- launched == all? ---- own collect ---- done == all?
 *     rank              launch, ++launched, collect, ++done
 *
 * A rank that fails fails the group (communicator.h), so that nobody waits for it within a step; here it counts as the
 * others do. Nothing of a failed step is in use when its end has been waited for. */

#include "model_ranks.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "check.h"
#include "memory.h"
#include "model_private.h"
#include "rank_backend.h"
#include "ring.h"
#include "thread.h"

enum order_kind {
    ORDER_STEP,
    ORDER_COPY,
    ORDER_SAVE,
    ORDER_LOAD,
    ORDER_TOUCH,
    ORDER_SLEEP,
    ORDER_WAKE,
    ORDER_END
};

struct order {
    enum order_kind kind;
    const struct model_step *step;
    const uint32_t *from, *to;
    uint32_t number; /* of blocks, the block, or the level */
};

struct rank_thread {
    struct model_ranks *ranks;
    uint32_t rank;
    pthread_t thread;
    backend *b;             /* owned */
    model *m;               /* owned */
    status result;          /* of the last order; the step thread reads it behind its end */
    struct error_note note; /* of opening and waking */
};

struct model_ranks {
    const model_source *source; /* borrowed while opening */
    struct model_options options;
    communicator_group *group;   /* owned */
    struct rank_thread *threads; /* owned */
    uint32_t count;              /* of threads that were started; step thread */
    bool is_ending;              /* the last order was given */

    struct order order;              /* written before `number` moves */
    _Atomic uint32_t number;         /* of the order that is to be carried out */
    struct parking orders;           /* ranks */
    _Atomic uint32_t launched, done; /* ranks that have, since the order was given */
    struct parking reports;          /* step thread */
};

/* --- a rank's thread --- */

static status open_rank(struct rank_thread *t)
{
    const struct model_options *options = &t->ranks->options;
    status s =
        rank_backend_open(&options->rank_backend, t->rank, options->rank_count, &t->b, &t->note);
    if (s == STATUS_OK)
        s = model_open_rank(t->ranks->source, t->b, options, t->ranks->group, t->rank, &t->m,
                            &t->note);
    if (s != STATUS_OK)
        communicator_group_fail(t->ranks->group, s);
    return s;
}

static void report(struct model_ranks *ranks, _Atomic uint32_t *count)
{
    /* Release: what the rank has written is seen by the step thread when it sees the count. */
    atomic_fetch_add_explicit(count, 1, memory_order_release);
    parking_signal(&ranks->reports);
}

static status run_step(struct rank_thread *t, const struct model_step *whole)
{
    struct model_step step = {.tokens = whole->tokens,
                              .batch = whole->batch,
                              .logit_rows = whole->logit_rows,
                              .logit_row_count = whole->logit_row_count,
                              .hidden_rows = whole->hidden_rows,
                              .hidden_row_count = whole->hidden_row_count};
    struct model_result result;
    uint64_t ticket;
    status s = model_rank_launch(t->m, &step, &ticket);
    report(t->ranks, &t->ranks->launched);
    return s == STATUS_OK ? model_rank_collect(t->m, ticket, &result) : s;
}

static status carry_out(struct rank_thread *t, const struct order *order)
{
    switch (order->kind) {
    case ORDER_STEP:
        return run_step(t, order->step);
    case ORDER_COPY:
        model_kv_copy_blocks(t->m, order->from, order->to, order->number);
        break;
    case ORDER_SAVE:
        model_kv_save_blocks(t->m, order->from, order->to, order->number);
        break;
    case ORDER_LOAD:
        model_kv_load_blocks(t->m, order->from, order->to, order->number);
        break;
    case ORDER_TOUCH:
        model_kv_touch_block(t->m, order->number);
        break;
    case ORDER_SLEEP:
        alloc_guard_end();
        model_sleep(t->m, order->number);
        alloc_guard_begin();
        break;
    case ORDER_WAKE: {
        alloc_guard_end();
        status s = model_wake(t->m, &t->note);
        alloc_guard_begin();
        return s;
    }
    case ORDER_END:
        break;
    }
    return STATUS_OK;
}

struct awaited_order {
    const struct model_ranks *ranks;
    uint32_t seen;
};

static bool has_order(void *context)
{
    const struct awaited_order *awaited = context;
    /* Acquire pairs with post's release. */
    return atomic_load_explicit(&awaited->ranks->number, memory_order_acquire) != awaited->seen;
}

static void *rank_run(void *context)
{
    struct rank_thread *t = context;
    struct model_ranks *ranks = t->ranks;
    struct awaited_order awaited = {ranks, 0};
    bool is_ending = false;
    t->result = open_rank(t);
    report(ranks, &ranks->done);
    alloc_guard_begin();
    for (; !is_ending; awaited.seen++) {
        parking_spin_until(&ranks->orders, has_order, &awaited);
        is_ending = ranks->order.kind == ORDER_END;
        t->result = carry_out(t, &ranks->order);
        report(ranks, &ranks->done);
    }
    alloc_guard_end();
    model_close(t->m);
    backend_close(t->b);
    return NULL;
}

/* --- the step thread --- */

struct awaited_count {
    const _Atomic uint32_t *count;
    uint32_t all;
};

static bool have_all(void *context)
{
    const struct awaited_count *awaited = context;
    return atomic_load_explicit(awaited->count, memory_order_acquire) == awaited->all;
}

static void wait_for(struct model_ranks *ranks, const _Atomic uint32_t *count)
{
    struct awaited_count awaited = {count, ranks->count};
    parking_spin_until(&ranks->reports, have_all, &awaited);
}

/* The ranks are through with the order before. */
static void post(struct model_ranks *ranks, const struct order *order)
{
    DCHECK(atomic_load(&ranks->done) == ranks->count);
    ranks->order = *order;
    atomic_store_explicit(&ranks->launched, 0, memory_order_relaxed);
    atomic_store_explicit(&ranks->done, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&ranks->number, 1, memory_order_release);
    parking_signal(&ranks->orders);
}

/* A rank that failed by itself, before those that could not go on without another. */
static const struct rank_thread *find_failed(const struct model_ranks *ranks)
{
    const struct rank_thread *found = NULL;
    for (uint32_t i = 0; i < ranks->count; i++) {
        const struct rank_thread *t = &ranks->threads[i];
        if (t->result != STATUS_OK && (found == NULL || found->result == STATUS_CLOSED))
            found = t;
    }
    return found;
}

status model_ranks_wait(struct model_ranks *ranks)
{
    wait_for(ranks, &ranks->done);
    const struct rank_thread *failed = find_failed(ranks);
    return failed != NULL ? failed->result : STATUS_OK;
}

static status wait_with_note(struct model_ranks *ranks, struct error_note *note)
{
    wait_for(ranks, &ranks->done);
    const struct rank_thread *failed = find_failed(ranks);
    if (failed == NULL)
        return STATUS_OK;
    error_note_set(note, "rank %" PRIu32 ": %s", failed->rank, failed->note.text);
    return failed->result;
}

void model_ranks_host_slots(const struct model_ranks *ranks, uint32_t *slots, uint64_t *block_ns)
{
    for (uint32_t i = 0; i < ranks->count; i++) {
        uint64_t own_ns;
        uint32_t own = model_host_slots(ranks->threads[i].m, &own_ns);
        *slots = own < *slots ? own : *slots;
        *block_ns = own_ns > *block_ns ? own_ns : *block_ns;
    }
}

void model_ranks_launch(struct model_ranks *ranks, const struct model_step *step)
{
    post(ranks, &(struct order){.kind = ORDER_STEP, .step = step});
}

void model_ranks_wait_launched(struct model_ranks *ranks)
{
    wait_for(ranks, &ranks->launched);
}

void model_ranks_kv_copy_blocks(struct model_ranks *ranks, const uint32_t *from, const uint32_t *to,
                                uint32_t count)
{
    post(ranks, &(struct order){.kind = ORDER_COPY, .from = from, .to = to, .number = count});
    wait_for(ranks, &ranks->done);
}

void model_ranks_kv_save_blocks(struct model_ranks *ranks, const uint32_t *blocks,
                                const uint32_t *slots, uint32_t count)
{
    post(ranks, &(struct order){.kind = ORDER_SAVE, .from = blocks, .to = slots, .number = count});
    wait_for(ranks, &ranks->done);
}

void model_ranks_kv_load_blocks(struct model_ranks *ranks, const uint32_t *slots,
                                const uint32_t *blocks, uint32_t count)
{
    post(ranks, &(struct order){.kind = ORDER_LOAD, .from = slots, .to = blocks, .number = count});
    wait_for(ranks, &ranks->done);
}

void model_ranks_kv_touch_block(struct model_ranks *ranks, uint32_t block)
{
    post(ranks, &(struct order){.kind = ORDER_TOUCH, .number = block});
    wait_for(ranks, &ranks->done);
}

void model_ranks_sleep(struct model_ranks *ranks, uint32_t level)
{
    post(ranks, &(struct order){.kind = ORDER_SLEEP, .number = level});
    wait_for(ranks, &ranks->done);
}

status model_ranks_wake(struct model_ranks *ranks, struct error_note *note)
{
    post(ranks, &(struct order){.kind = ORDER_WAKE});
    return wait_with_note(ranks, note);
}

/* --- life --- */

static status start_threads(struct model_ranks *ranks)
{
    ranks->threads = memory_allocate_array(ranks->options.rank_count - 1, sizeof *ranks->threads);
    if (ranks->threads == NULL)
        return STATUS_NO_MEMORY;
    status s = communicator_group_create(ranks->options.rank_count, &ranks->group);
    for (uint32_t i = 0; i + 1 < ranks->options.rank_count && s == STATUS_OK; i++) {
        struct rank_thread *t = &ranks->threads[i];
        char name[16];
        *t = (struct rank_thread){.ranks = ranks, .rank = i + 1};
        (void)snprintf(name, sizeof name, "rank-%" PRIu32, t->rank);
        s = thread_start(&t->thread, name, rank_run, t);
        ranks->count += s == STATUS_OK;
    }
    return s;
}

status model_ranks_start(const model_source *source, const struct model_options *options,
                         struct model_ranks **out, struct error_note *note)
{
    struct model_ranks *ranks = memory_allocate_array(1, sizeof *ranks);
    if (ranks == NULL) {
        error_note_set(note, "no memory for ranks");
        return STATUS_NO_MEMORY;
    }
    ranks->source = source;
    ranks->options = *options;
    status s = start_threads(ranks);
    if (s != STATUS_OK) {
        error_note_set(note, "cannot start %" PRIu32 " ranks (%s)", options->rank_count,
                       status_name(s));
        model_ranks_close(ranks);
        return s;
    }
    *out = ranks;
    return STATUS_OK;
}

status model_ranks_wait_open(struct model_ranks *ranks, struct error_note *note)
{
    status s = wait_with_note(ranks, note);
    ranks->source = NULL;
    ranks->options.model_path = ranks->options.weight_cache = NULL;
    return s;
}

void model_ranks_end(struct model_ranks *ranks)
{
    wait_for(ranks, &ranks->done);
    post(ranks, &(struct order){.kind = ORDER_END});
    ranks->is_ending = true;
}

void model_ranks_close(struct model_ranks *ranks)
{
    if (ranks == NULL)
        return;
    if (!ranks
             ->is_ending) { /* some may still be opening, or even wait for one that will not come */
        if (ranks->group != NULL)
            communicator_group_fail(ranks->group, STATUS_CANCELLED);
        model_ranks_end(ranks);
    }
    for (uint32_t i = 0; i < ranks->count; i++) {
        int rc = pthread_join(ranks->threads[i].thread, NULL);
        CHECK(rc == 0);
    }
    communicator_group_destroy(ranks->group);
    memory_release(ranks->threads);
    memory_release(ranks);
}

communicator_group *model_ranks_group(struct model_ranks *ranks)
{
    return ranks->group;
}

uint64_t model_ranks_weight_bytes(const struct model_ranks *ranks)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < ranks->count; i++)
        sum += model_get_info(ranks->threads[i].m)->weight_bytes;
    return sum;
}

uint64_t model_ranks_kv_block_bytes(const struct model_ranks *ranks)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < ranks->count; i++)
        sum += model_get_info(ranks->threads[i].m)->kv_block_bytes;
    return sum;
}
