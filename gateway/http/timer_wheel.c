#include "timer_wheel.h"

#include "clock.h"

/* Picture: level 0 has a slot for each of the next 64 ticks, level 1 a slot for each of the next 64
 * groups of 64 ticks, and so on. A timer sits on the lowest level that reaches its tick. When the
 * time enters a group, the group's slot is emptied into the levels below ("cascade"). The bits of
 * `occupied` let us jump over empty time.
 *
 * Invariant: a timer on level L with tick t has 1 <= (t >> 6L) - (tick >> 6L) <= 64, so its slot
 * says which group it means. */

#define LEVEL_SHIFT(level) (6u * (level))
#define SLOT_MASK          (WHEEL_SLOT_COUNT - 1)

static void list_push(struct http_timer **head, struct http_timer *timer)
{
    timer->next = *head;
    timer->link = head;
    if (timer->next != NULL)
        timer->next->link = &timer->next;
    *head = timer;
}

void http_timer_cancel(struct http_timer *timer)
{
    if (timer->link == NULL)
        return;
    *timer->link = timer->next;
    if (timer->next != NULL)
        timer->next->link = timer->link;
    timer->next = NULL;
    timer->link = NULL;
}

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ns)
{
    *wheel = (struct timer_wheel){.tick = now_ns / NS_PER_MS};
}

static void wheel_insert(struct timer_wheel *wheel, struct http_timer *timer)
{
    uint64_t tick = timer->deadline_ns / NS_PER_MS + (timer->deadline_ns % NS_PER_MS != 0);
    if (tick <= wheel->tick) {
        list_push(&wheel->due, timer);
        return;
    }
    uint64_t distance = tick - wheel->tick;
    const uint64_t distance_max = (1ull << LEVEL_SHIFT(WHEEL_LEVEL_COUNT)) - 1;
    if (distance > distance_max) {
        distance = distance_max;
        tick = wheel->tick + distance;
    }
    unsigned level = (63u - (unsigned)__builtin_clzll(distance)) / 6u;
    unsigned slot = (unsigned)(tick >> LEVEL_SHIFT(level)) & SLOT_MASK;
    list_push(&wheel->slots[level][slot], timer);
    wheel->occupied[level] |= 1ull << slot;
}

void timer_wheel_set(struct timer_wheel *wheel, struct http_timer *timer, uint64_t deadline_ns)
{
    http_timer_cancel(timer);
    timer->deadline_ns = deadline_ns;
    wheel_insert(wheel, timer);
}

/* The next tick at which a slot expires or cascades; UINT64_MAX: none. */
static uint64_t wheel_next_tick(const struct timer_wheel *wheel)
{
    uint64_t next = UINT64_MAX;
    for (unsigned level = 0; level < WHEEL_LEVEL_COUNT; level++) {
        if (wheel->occupied[level] == 0)
            continue;
        uint64_t group = wheel->tick >> LEVEL_SHIFT(level);
        unsigned turn = (unsigned)(group + 1) & SLOT_MASK;
        uint64_t bits = wheel->occupied[level];
        if (turn != 0) /* slot group+1 becomes bit 0 */
            bits = bits >> turn | bits << (WHEEL_SLOT_COUNT - turn);
        uint64_t tick = (group + 1 + (unsigned)__builtin_ctzll(bits)) << LEVEL_SHIFT(level);
        if (tick < next)
            next = tick;
    }
    return next;
}

uint64_t timer_wheel_next_ns(const struct timer_wheel *wheel)
{
    if (wheel->due != NULL)
        return 0;
    uint64_t tick = wheel_next_tick(wheel);
    return tick == UINT64_MAX ? UINT64_MAX : tick * NS_PER_MS;
}

/* Empties the slots that begin at the present tick into lower levels, and those of level 0 into
 * `due`. */
static void wheel_enter_tick(struct timer_wheel *wheel)
{
    for (unsigned level = WHEEL_LEVEL_COUNT; level-- > 0;) {
        if ((wheel->tick & ((1ull << LEVEL_SHIFT(level)) - 1)) != 0)
            continue;
        unsigned slot = (unsigned)(wheel->tick >> LEVEL_SHIFT(level)) & SLOT_MASK;
        struct http_timer *timer;
        wheel->occupied[level] &= ~(1ull << slot);
        struct http_timer *rest = wheel->slots[level][slot];
        wheel->slots[level][slot] = NULL;
        while ((timer = rest) != NULL) {
            rest = timer->next;
            wheel_insert(wheel, timer);
        }
    }
}

void timer_wheel_run(struct timer_wheel *wheel, uint64_t now_ns, http_loop *loop)
{
    uint64_t target = now_ns / NS_PER_MS;
    while (wheel->tick < target) {
        uint64_t tick = wheel_next_tick(wheel);
        wheel->tick = tick < target ? tick : target;
        wheel_enter_tick(wheel);
    }
    /* The due list is moved to our stack first: what the callbacks add belongs to the next run.
     * They may also cancel what is still in it, which unlinks it from wherever it is. */
    struct http_timer *running = wheel->due;
    wheel->due = NULL;
    if (running != NULL)
        running->link = &running;
    struct http_timer *timer;
    while ((timer = running) != NULL) {
        http_timer_cancel(timer);
        timer->run(timer, loop);
    }
}
