/* Runs a launch: its blocks in an order of chance, usually one at a time, and each block's threads as fibers.
 *
 * A stack that runs threads (a carrier) starts them one after another, as plain calls, for as long as they end without
 * waiting. When a thread waits, its carrier is its own until it has ended; the next ready thread goes on, on its carrier or
 * on a free one if it has not begun. Ready threads are a queue. Nothing is locked or preempted: threads change only where
 * kernels wait, and what would depend on more than that (two threads at the same shared memory) the shadow reports whatever
 * the order was. When nothing is ready and threads are left, they wait for what cannot come: that is reported too.
 *
 * Blocks meet only in global memory, through atomics and fences: once a kernel has used one, two of its blocks are under
 * way at a time, and threads change at each. */

#include <stdlib.h>
#include <string.h>

#include <mutex>
#include <numeric>

#include "fiber.h"
#include "shared_memory.h"

struct emulated_thread *emulated_current;
struct emulated_launch emulated_current_launch;

static const uint32_t blocks_max = 2;
static const uint32_t queue_size = blocks_max * EMULATED_THREADS_MAX;

static bool checks_default()
{
    const char *text = getenv("PENSTOCK_EMULATOR_CHECKS");
    return text == nullptr || strcmp(text, "off") != 0;
}

static uint64_t seed_default()
{
    const char *text = getenv("PENSTOCK_EMULATOR_SEED");
    return text == nullptr ? 1 : strtoull(text, nullptr, 0);
}

bool emulated_is_checking = checks_default();
static uint64_t seed = seed_default();
static uint64_t chance = seed;
static std::mutex launching;

static struct fiber main_fiber;
static struct fiber carriers[queue_size], *carriers_free[queue_size];
static uint32_t carrier_count, carrier_free_count;
static struct emulated_thread *queue[queue_size];
static uint32_t queue_first, queue_count;
static struct emulated_thread *thread_to_start; /* handed to the carrier that is switched to */
static struct emulated_block *blocks[blocks_max];
static uint32_t last_epoch;
static bool order_matters; /* this kernel uses atomics or fences */

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t chance_next(void)
{
    uint64_t z = chance += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void emulator_seed_set(uint64_t value)
{
    seed = value;
    chance = value;
}

uint64_t emulator_seed(void)
{
    return seed;
}

void emulator_checks_set(bool is_checking)
{
    emulated_is_checking = is_checking;
}

/* --- the queue of ready threads --- */

static void queue_push(struct emulated_thread *thread)
{
    queue[(queue_first + queue_count++) % queue_size] = thread;
}

static struct emulated_thread *queue_pop(void)
{
    if (queue_count == 0)
        return nullptr;
    struct emulated_thread *thread = queue[queue_first];
    queue_first = (queue_first + 1) % queue_size;
    queue_count--;
    return thread;
}

/* The numbers below a count, each once, in one of many orders: an odd step modulo a power of two meets all. */
struct shuffled {
    uint32_t mask, step, next;

    explicit shuffled(uint32_t count) : mask(1)
    {
        while (mask < count)
            mask *= 2;
        mask--;
        uint64_t bits = chance_next();
        next = static_cast<uint32_t>(bits) & mask;
        step = static_cast<uint32_t>(bits >> 32) | 1;
    }

    uint32_t take(uint32_t count)
    {
        do
            next = (next + step) & mask;
        while (next >= count);
        return next;
    }
};

/* --- carriers --- */

static void carrier_main(void *context);

static struct fiber *carrier_take(void)
{
    if (carrier_free_count > 0)
        return carriers_free[--carrier_free_count];
    struct fiber *carrier = &carriers[carrier_count];
    fiber_init(carrier, carrier_main, carrier, carrier_count++);
    return carrier;
}

/* Leaves the stack that runs for the next ready thread, or for the launching stack when there is none. */
static void go_on(struct fiber *running, struct emulated_thread *next)
{
    struct fiber *to = &main_fiber;
    if (next != nullptr) {
        emulated_current = next;
        if (next->is_started) {
            to = next->carrier;
        } else {
            thread_to_start = next;
            to = carrier_take();
        }
    }
    fiber_switch(running, to);
}

void emulated_suspend(enum emulated_wait wait, uint32_t line)
{
    struct emulated_thread *thread = emulated_current;
    thread->wait = wait;
    thread->line = line;
    go_on(thread->carrier, queue_pop());
    emulated_current = thread;
}

static void thread_release(struct emulated_thread *thread)
{
    thread->wait = WAIT_NONE;
    queue_push(thread);
}

void emulated_release_warp(struct emulated_thread *thread)
{
    struct emulated_thread *lanes = thread - thread->lane;
    struct shuffled order(EMULATED_WARP);
    for (uint32_t i = 0; i < EMULATED_WARP; i++) {
        struct emulated_thread *other = lanes + order.take(EMULATED_WARP);
        if (other != thread && other->wait == WAIT_WARP)
            thread_release(other);
    }
}

void emulated_order_point(void)
{
    order_matters = true;
    if (!emulated_is_checking || queue_count == 0 || chance_next() % 2 == 0)
        return;
    struct emulated_thread *thread = emulated_current, *next = queue_pop();
    queue_push(thread);
    go_on(thread->carrier, next);
    emulated_current = thread;
}

/* --- barriers --- */

static void barrier_finish(struct emulated_block *block)
{
    if (block->live_count < block->thread_count)
        emulated_report(EMULATOR_DIVERGENCE, UINT32_MAX, block->barrier_line,
                        "%u of %u threads had ended before the barrier of line %u",
                        block->thread_count - block->live_count, block->thread_count,
                        block->barrier_line);
    block->at_barrier = 0;
    block->epoch = ++last_epoch;
    struct shuffled order(block->thread_count);
    for (uint32_t i = 0; i < block->thread_count; i++) {
        struct emulated_thread *thread = &block->threads[order.take(block->thread_count)];
        if (thread->wait == WAIT_BARRIER)
            thread_release(thread);
    }
}

void emulated_barrier(uint32_t line)
{
    struct emulated_thread *thread = emulated_current;
    struct emulated_block *block = thread->block;
    if (block->at_barrier == 0)
        block->barrier_line = line;
    if (block->barrier_line != line)
        emulated_report(EMULATOR_DIVERGENCE, UINT32_MAX, line,
                        "this thread is at the barrier of line %u, others at that of %u", line,
                        block->barrier_line);
    if (++block->at_barrier == block->live_count)
        barrier_finish(block);
    else
        emulated_suspend(WAIT_BARRIER, line);
}

/* --- threads --- */

static void thread_end(struct emulated_thread *thread)
{
    struct emulated_block *block = thread->block;
    if (!thread->copies.empty())
        emulated_report(EMULATOR_COPY_PENDING, UINT32_MAX, thread->copies.front().to,
                        "the thread ends before it waited for %zu copies", thread->copies.size());
    thread->wait = WAIT_NONE;
    block->live_count--;
    if (block->at_barrier > 0 && block->at_barrier == block->live_count)
        barrier_finish(block);
    if (block->live_count == 0 && !block->waited_previous)
        emulated_report(EMULATOR_WAIT_PREVIOUS, UINT32_MAX, 0,
                        "no thread of the block called k_wait_previous");
}

static void carrier_main(void *context)
{
    struct fiber *carrier = static_cast<fiber *>(context);
    for (;;) {
        struct emulated_thread *thread = thread_to_start;
        while (thread != nullptr && !thread->is_started) {
            thread->is_started = true;
            thread->carrier = carrier;
            emulated_current = thread;
            emulated_current_launch.body(emulated_current_launch.arguments);
            thread_end(thread);
            thread = queue_pop();
        }
        carriers_free[carrier_free_count++] = carrier;
        go_on(carrier, thread);
    }
}

/* --- blocks --- */

static struct emulated_block *block_place(uint32_t place)
{
    if (blocks[place] == nullptr) {
        struct emulated_block *block = new emulated_block();
        block->threads = new emulated_thread[EMULATED_THREADS_MAX]();
        block->warps = new emulated_warp[EMULATED_THREADS_MAX / EMULATED_WARP]();
        shared_memory_init(block);
        blocks[place] = block;
    }
    return blocks[place];
}

static void block_begin(struct emulated_block *block, uint64_t number)
{
    const struct emulated_launch *launch = &emulated_current_launch;
    block->x = static_cast<uint32_t>(number % launch->grid_x);
    block->y = static_cast<uint32_t>(number / launch->grid_x % launch->grid_y);
    block->z = static_cast<uint32_t>(number / launch->grid_x / launch->grid_y);
    block->thread_count = block->live_count = launch->threads;
    block->at_barrier = 0;
    block->epoch = block->first_epoch = ++last_epoch;
    block->waited_previous = false;
    shared_memory_begin(block, launch->shared_bytes);
    for (uint32_t i = 0; i < (launch->threads + EMULATED_WARP - 1) / EMULATED_WARP; i++) {
        block->warps[i].arrived = 0;
        block->warps[i].epoch = 0;
    }
    for (uint32_t i = 0; i < launch->threads; i++) {
        struct emulated_thread *thread = &block->threads[i];
        thread->block = block;
        thread->warp = &block->warps[i / EMULATED_WARP];
        thread->index = i;
        thread->lane = static_cast<uint16_t>(i % EMULATED_WARP);
        thread->is_started = false;
        thread->wait = WAIT_NONE;
        thread->copy_group = 0;
        thread->copies.clear();
    }
}

/* Threads of all blocks under way: half of the time warp after warp, half of the time across all. */
static void queue_fill(uint32_t block_count)
{
    uint32_t threads = emulated_current_launch.threads, count = block_count * threads;
    queue_first = queue_count = 0;
    if (chance_next() % 2 == 0) {
        struct shuffled order(count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t at = order.take(count);
            queue_push(&blocks[at / threads]->threads[at % threads]);
        }
        return;
    }
    uint32_t block_warps = (threads + EMULATED_WARP - 1) / EMULATED_WARP,
             warps = block_count * block_warps;
    struct shuffled order(warps), lanes(EMULATED_WARP);
    for (uint32_t i = 0; i < warps * EMULATED_WARP; i++) {
        uint32_t warp = i % EMULATED_WARP == 0 ? order.take(warps) : order.next;
        uint32_t at = warp % block_warps * EMULATED_WARP + lanes.take(EMULATED_WARP);
        if (at < threads)
            queue_push(&blocks[warp / block_warps]->threads[at]);
    }
}

/* Nothing is ready and threads are left: says who waits where, and gives their stacks up. */
static void report_stuck(uint32_t block_count)
{
    bool is_told = false;
    for (uint32_t b = 0; b < block_count; b++)
        for (uint32_t i = 0; i < blocks[b]->thread_count; i++) {
            struct emulated_thread *thread = &blocks[b]->threads[i];
            if (thread->wait == WAIT_NONE)
                continue;
            emulated_current = thread;
            if (!is_told)
                emulated_report(
                    EMULATOR_DIVERGENCE, UINT32_MAX, thread->line,
                    "it waits at line %u (%s), which not all threads reach", thread->line,
                    thread->wait == WAIT_BARRIER ? "a barrier" : "an operation of its warp");
            is_told = true;
            fiber_restart(thread->carrier, 0);
            carriers_free[carrier_free_count++] = thread->carrier;
        }
}

static void blocks_run(uint32_t block_count)
{
    queue_fill(block_count);
    while (queue_count > 0)
        go_on(&main_fiber, queue_pop());
    uint32_t live = 0;
    for (uint32_t b = 0; b < block_count; b++)
        live += blocks[b]->live_count;
    if (live > 0)
        report_stuck(block_count);
    emulated_current = nullptr;
}

/* --- launches --- */

static bool launch_is_legal(const struct emulated_launch *launch)
{
    bool is_legal = launch->threads > 0 && launch->threads <= EMULATED_THREADS_MAX &&
                    launch->grid_x <= INT32_MAX && launch->grid_y <= UINT16_MAX &&
                    launch->grid_z <= UINT16_MAX && launch->shared_bytes <= EMULATED_SHARED_MAX;
    if (!is_legal)
        emulated_report(EMULATOR_LAUNCH, UINT32_MAX, 0,
                        "no device takes %u x %u x %u blocks of %u threads with %u bytes",
                        launch->grid_x, launch->grid_y, launch->grid_z, launch->threads,
                        launch->shared_bytes);
    return is_legal;
}

/* A step through all `count` blocks that meets each once. */
static uint64_t block_step(uint64_t count)
{
    uint64_t step = count == 1 ? 1 : 1 + chance_next() % (count - 1);
    while (std::gcd(step, count) != 1)
        step++;
    return step;
}

static void epochs_begin_again(void)
{
    last_epoch = 0;
    for (struct emulated_block *block : blocks)
        if (block != nullptr)
            shared_memory_forget(block);
}

void emulated_launch_run(const struct emulated_launch *launch)
{
    std::lock_guard<std::mutex> lock(launching);
    emulated_current_launch = *launch;
    if (!launch_is_legal(launch))
        return;
    fiber_init_main(&main_fiber);
    order_matters = false;
    if (last_epoch > UINT32_MAX / 2)
        epochs_begin_again();
    uint64_t count = static_cast<uint64_t>(launch->grid_x) * launch->grid_y * launch->grid_z;
    uint64_t step = block_step(count), at = chance_next() % count;
    for (uint64_t done = 0; done < count;) {
        uint32_t together =
            order_matters && emulated_is_checking && count - done > 1 ? blocks_max : 1;
        for (uint32_t b = 0; b < together; b++) {
            block_begin(block_place(b), at);
            at = (at + step) % count;
        }
        blocks_run(together);
        done += together;
    }
}
