/* Threads
 *
 * `free` counts slots that nobody has (below zero when slots were taken away while in use),
 * `waiting` mirrors the room's count. Who enters the room counts itself in `waiting` and then looks
 * at `free`; who gives a slot back adds to `free` and then looks at `waiting`. Both are sequentially
 * consistent, so at least one of the two sees the other (Dekker's argument), and no slot lies free
 * while somebody waits.
 *
 * A ticket's state is written under the lock, but for the fast path, where no other thread knows the
 * ticket. Other threads turn WAITING into GIVEN or PUSHED_OUT and nothing else, so that a loop that
 * reads RUNNING or OUT knows it for certain. */
#include "admission.h"

#include <pthread.h>

#include "check.h"
#include "clock.h"
#include "memory.h"
#include "service_rate.h"

#define MIXED_NS     (60 * NS_PER_SECOND) /* a key is reckoned with for so long */
#define RETRY_SHARE  0.1                  /* of the room, that is to have drained */
#define RETRY_MS_MIN 1000u
#define RETRY_MS_MAX 600000u

struct admission {
    struct admission_options options;
    _Atomic int64_t free;
    _Atomic uint32_t waiting;
    _Atomic uint32_t slots, reserve;
    _Atomic uint64_t kv_blocks;
    _Atomic uint64_t last_key; /* hash of the key that came last */
    _Atomic uint64_t mixed_until_ns;
    _Atomic bool is_mixed; /* lately there was more than one */
    pthread_mutex_t lock;  /* of what follows */
    waiting_room *room;
    struct kv_accounts kv_accounts;
    uint32_t claiming_count; /* tickets that wait with claims */
    struct service_rate rate;
    struct admission_ticket *lists[ADMISSION_LOOP_COUNT_MAX];
    struct admission_ticket **tails[ADMISSION_LOOP_COUNT_MAX];
    _Atomic uint32_t list_counts[ADMISSION_LOOP_COUNT_MAX]; /* written under the lock */
};

/* --- life --- */

status admission_create(const struct admission_options *options, struct admission **out)
{
    struct admission *made = memory_allocate_array(1, sizeof(*made));
    status result;

    CHECK(options->block_tokens > 0 && options->loop_count > 0 &&
          options->loop_count <= ADMISSION_LOOP_COUNT_MAX);
    if (made == NULL)
        return STATUS_NO_MEMORY;
    result = waiting_room_create(&options->policy, &made->room);
    if (result != STATUS_OK) {
        memory_release(made);
        return result;
    }
    made->options = *options;
    for (uint32_t i = 0; i < ADMISSION_LOOP_COUNT_MAX; i++)
        made->tails[i] = &made->lists[i];
    CHECK(pthread_mutex_init(&made->lock, NULL) == 0);
    *out = made;
    return STATUS_OK;
}

void admission_destroy(struct admission *admission)
{
    if (admission == NULL)
        return;
    waiting_room_destroy(admission->room);
    pthread_mutex_destroy(&admission->lock);
    memory_release(admission);
}

static void lock(struct admission *admission)
{
    CHECK(pthread_mutex_lock(&admission->lock) == 0);
}

static void unlock(struct admission *admission)
{
    CHECK(pthread_mutex_unlock(&admission->lock) == 0);
}

/* --- states and lists; under the lock --- */

static enum admission_state state_of(const struct admission_ticket *ticket)
{
    return (enum admission_state)atomic_load_explicit(&ticket->state, memory_order_relaxed);
}

static void state_set(struct admission_ticket *ticket, enum admission_state state)
{
    atomic_store_explicit(&ticket->state, state, memory_order_relaxed);
}

static struct admission_ticket *ticket_of(struct waiting_ticket *waiting)
{
    return CONTAINER_OF(waiting, struct admission_ticket, waiting);
}

/* Hands a ticket to its loop. Returns the loop's bit. */
static uint64_t list_add(struct admission *admission, struct admission_ticket *ticket,
                         enum admission_state state)
{
    state_set(ticket, state);
    ticket->next = NULL;
    ticket->link = admission->tails[ticket->loop];
    *ticket->link = ticket;
    admission->tails[ticket->loop] = &ticket->next;
    atomic_fetch_add_explicit(&admission->list_counts[ticket->loop], 1, memory_order_release);
    return 1ull << ticket->loop;
}

static void list_remove(struct admission *admission, struct admission_ticket *ticket)
{
    *ticket->link = ticket->next;
    if (ticket->next != NULL)
        ticket->next->link = ticket->link;
    else
        admission->tails[ticket->loop] = ticket->link;
    ticket->link = NULL;
    atomic_fetch_sub_explicit(&admission->list_counts[ticket->loop], 1, memory_order_relaxed);
}

static void waiting_update(struct admission *admission)
{
    atomic_store(&admission->waiting, waiting_room_count(admission->room));
}

/* --- slots --- */

/* Takes a slot if more than `kept` are free. */
static bool slot_take(struct admission *admission, int64_t kept)
{
    int64_t free = atomic_load(&admission->free);

    while (free > kept) {
        if (atomic_compare_exchange_weak(&admission->free, &free, free - 1))
            return true;
    }
    return false;
}

/* --- shares of the KV cache; under the lock --- */

static uint32_t blocks_of(const struct admission *admission, uint64_t tokens)
{
    uint32_t size = admission->options.block_tokens;
    uint64_t blocks = (tokens + size - 1) / size;

    return blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
}

/* Whether a ticket of the room keeps its shares. */
static bool share_is_free(const struct waiting_ticket *waiting, const void *context)
{
    const struct admission_ticket *ticket =
        CONTAINER_OF(waiting, const struct admission_ticket, waiting);
    const struct admission *admission = context;

    return kv_claims_fit(ticket->claims, ticket->claim_count, ticket->kv_blocks,
                         atomic_load(&admission->kv_blocks));
}

/* Of a ticket that comes, once its tokens are estimated. STATUS_OK, STATUS_TOO_LARGE, STATUS_NO_MEMORY. */
static status claims_open(struct admission *admission, struct admission_ticket *ticket,
                          const struct admission_entry *entry)
{
    uint64_t tokens = ticket->request.prompt_tokens;
    status result;

    if (entry->claim_count == 0)
        return STATUS_OK;
    if (!entry->is_streamed)
        tokens += ticket->request.output_tokens;
    ticket->kv_blocks = blocks_of(admission, tokens);
    /* Before any prompt has been told, the guess may be twice too much. */
    if (ticket->kv_blocks / (admission->rate.told > 0 ? 1 : 2) >
        kv_claims_blocks_max(entry->claims, entry->claim_count, atomic_load(&admission->kv_blocks)))
        return STATUS_TOO_LARGE;
    result = kv_claims_open(&admission->kv_accounts, entry->claims, entry->claim_count);
    if (result != STATUS_OK)
        return result;
    ticket->claims = entry->claims;
    ticket->claim_count = entry->claim_count;
    admission->claiming_count++;
    return STATUS_OK;
}

/* It has stopped waiting with a slot: now it holds. */
static void claims_hold(struct admission *admission, struct admission_ticket *ticket)
{
    if (ticket->claim_count == 0)
        return;
    admission->claiming_count--;
    kv_claims_hold(ticket->claims, ticket->claim_count, 0, ticket->kv_blocks);
}

/* It goes; `is_waiting`: out of the room, or pushed out of it, without ever having held anything. */
static void claims_close(struct admission *admission, struct admission_ticket *ticket,
                         bool is_waiting)
{
    if (ticket->claim_count == 0)
        return;
    admission->claiming_count -= is_waiting;
    kv_claims_close(&admission->kv_accounts, ticket->claims, ticket->claim_count,
                    is_waiting ? 0 : ticket->kv_blocks);
    ticket->claim_count = 0;
}

void admission_set_kv_blocks(struct admission *admission, uint64_t blocks)
{
    atomic_store(&admission->kv_blocks, blocks);
}

/* --- giving --- */

static struct waiting_ticket *next_take(struct admission *admission, bool is_for_newcomers)
{
    if (admission->claiming_count == 0)
        return waiting_room_take(admission->room, is_for_newcomers);
    return waiting_room_take_if(admission->room, is_for_newcomers, share_is_free, admission);
}

/* Gives free slots to those who wait; `own` keeps its own (it is told by its state). Returns the
 * bits of the loops to wake. Under the lock. */
static uint64_t slots_give(struct admission *admission, const struct admission_ticket *own)
{
    int64_t kept = atomic_load(&admission->is_mixed) ? atomic_load(&admission->reserve) : 0;
    uint64_t loops = 0;

    waiting_update(admission);
    while (waiting_room_count(admission->room) > 0) {
        bool is_open = slot_take(admission, kept);
        struct waiting_ticket *taken;
        struct admission_ticket *ticket;

        if (!is_open && !slot_take(admission, 0))
            break;
        taken = next_take(admission, !is_open);
        if (taken == NULL) { /* no newcomer waits, or nobody who keeps its share */
            atomic_fetch_add(&admission->free, 1);
            break;
        }
        ticket = ticket_of(taken);
        claims_hold(admission, ticket);
        if (ticket == own)
            state_set(ticket, ADMISSION_RUNNING);
        else
            loops |= list_add(admission, ticket, ADMISSION_GIVEN);
        waiting_update(admission);
    }
    return loops;
}

static void wake(const struct admission *admission, uint64_t loops)
{
    for (uint32_t i = 0; loops != 0; i++, loops >>= 1) {
        if ((loops & 1) != 0)
            admission->options.wake(admission->options.context, i);
    }
}

void admission_set_slots(struct admission *admission, uint32_t slots, uint32_t reserve)
{
    uint64_t loops;

    lock(admission);
    atomic_store(&admission->reserve, reserve < slots ? reserve : 0);
    atomic_fetch_add(&admission->free,
                     (int64_t)slots - (int64_t)atomic_exchange(&admission->slots, slots));
    loops = slots_give(admission, NULL);
    unlock(admission);
    wake(admission, loops);
}

void admission_set_policy(struct admission *admission, const struct waiting_room_policy *policy,
                          uint64_t timeout_ns)
{
    lock(admission);
    waiting_room_set_policy(admission->room, policy);
    admission->options.timeout_ns = timeout_ns;
    unlock(admission);
}

/* What a request will cost, as far as can be told before it has run: so far its output_tokens are
 * the limit that it has set itself, 0 for none. Under the lock. */
static void tokens_estimate(const struct admission *admission, struct admission_ticket *ticket)
{
    struct admission_request *request = &ticket->request;
    uint32_t output = waiting_room_output_tokens(admission->room, request);

    if (output == 0)
        output = service_rate_output_tokens(&admission->rate);
    request->prompt_tokens = service_rate_prompt_tokens(&admission->rate, ticket->body_bytes);
    if (request->output_tokens == 0 || output < request->output_tokens)
        request->output_tokens = output;
}

/* --- what can be foreseen; under the lock --- */

static struct admission_place place_of(const struct admission *admission,
                                       const struct admission_ticket *ticket)
{
    struct waiting_place place = waiting_room_place(admission->room, &ticket->waiting);
    /* Those before it, and then one of those that run has to end. */
    double seconds =
        service_rate_seconds(&admission->rate, place.cost + service_rate_cost(&admission->rate),
                             atomic_load_explicit(&admission->slots, memory_order_relaxed));

    return (struct admission_place){place.ahead, seconds < 0 ? -1 : (int64_t)(seconds * 1e3)};
}

/* By how much the first token would miss its time; 0: it does not, or nothing can be said. */
static uint64_t late_ms(const struct admission *admission, const struct admission_place *place,
                        uint64_t due_ns, uint64_t now_ns)
{
    int64_t left_ms = due_ns > now_ns ? (int64_t)((due_ns - now_ns) / NS_PER_MS) : 0;
    int64_t first_ms;

    if (due_ns == 0 || place->wait_ms < 0)
        return 0;
    first_ms = place->wait_ms + (int64_t)(service_rate_first_seconds(&admission->rate) * 1e3);
    return first_ms > left_ms ? (uint64_t)(first_ms - left_ms) : 0;
}

static uint64_t retry_bounded(double ms)
{
    return ms < RETRY_MS_MIN ? RETRY_MS_MIN : ms > RETRY_MS_MAX ? RETRY_MS_MAX : (uint64_t)ms;
}

static uint64_t retry_after(const struct admission *admission)
{
    double cost =
        service_rate_cost(&admission->rate) * waiting_room_count(admission->room) * RETRY_SHARE;

    return retry_bounded(
        1e3 * service_rate_seconds(&admission->rate, cost, atomic_load(&admission->slots)));
}

uint64_t admission_retry_after_ms(struct admission *admission)
{
    uint64_t ms;

    lock(admission);
    ms = retry_after(admission);
    unlock(admission);
    return ms;
}

/* --- in --- */

static void ticket_fill(struct admission_ticket *ticket, const struct admission_entry *entry,
                        uint64_t now_ns)
{
    ticket->request = (struct admission_request){.caller = entry->caller,
                                                 .priority = entry->priority,
                                                 .output_tokens = entry->output_tokens_max,
                                                 .deadline_ns = entry->due_ns};
    ticket->loop = entry->loop;
    ticket->body_bytes = entry->body_bytes;
    ticket->enter_ns = ticket->granted_ns = now_ns;
    ticket->first_ns = 0;
    ticket->position = 0;
    ticket->deliver_tokens = 0;
    ticket->claim_count = 0;
    ticket->kv_blocks = 0;
    ticket->waited_for_share = false;
}

/* Into the room. Returns the bits of the loops to wake. Under the lock. */
static uint64_t room_enter(struct admission *admission, struct admission_ticket *ticket,
                           const struct admission_entry *entry, uint64_t now_ns,
                           enum admission_answer *answer, uint64_t *retry_after_ms)
{
    struct waiting_ticket *pushed_out = NULL;
    struct admission_place place;
    uint64_t loops = 0;
    status result;

    tokens_estimate(admission, ticket);
    if (entry->due_ns == 0)
        ticket->request.deadline_ns = now_ns + admission->options.timeout_ns;
    result = claims_open(admission, ticket, entry);
    if (result == STATUS_TOO_LARGE) {
        *answer = ADMISSION_TOO_LARGE;
        return 0;
    }
    if (result == STATUS_OK)
        result =
            waiting_room_enter(admission->room, &ticket->waiting, &ticket->request, &pushed_out);
    if (result == STATUS_OK)
        state_set(ticket, ADMISSION_WAITING);
    else
        claims_close(admission, ticket, true);
    for (; pushed_out != NULL; pushed_out = pushed_out->next) {
        claims_close(admission, ticket_of(pushed_out), true);
        loops |= list_add(admission, ticket_of(pushed_out), ADMISSION_PUSHED_OUT);
    }
    loops |= slots_give(admission, ticket);
    *answer = ADMISSION_GO;
    if (result != STATUS_OK) {
        *answer = ADMISSION_FULL;
        *retry_after_ms = retry_after(admission);
    } else if (state_of(ticket) == ADMISSION_WAITING) {
        ticket->waited_for_share =
            atomic_load(&admission->free) > 0 && !share_is_free(&ticket->waiting, admission);
        place = place_of(admission, ticket);
        ticket->position = place.ahead;
        *retry_after_ms = late_ms(admission, &place, entry->due_ns, now_ns);
        *answer = *retry_after_ms > 0 ? ADMISSION_LATE : ADMISSION_WAIT;
    }
    if (*answer == ADMISSION_LATE) {
        claims_close(admission, ticket, true);
        waiting_room_leave(admission->room, &ticket->waiting, NULL);
        state_set(ticket, ADMISSION_OUT);
        waiting_update(admission);
    }
    return loops;
}

/* FNV-1a: only tells that a key is another than the one before. */
static uint64_t key_hash(const struct caller *caller)
{
    const char *const names[] = {caller->organisation, caller->team, caller->key_id, caller->name};
    uint64_t hash = 0xCBF29CE484222325ull;

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        for (const char *at = names[i]; *at != '\0'; at++)
            hash = (hash ^ (uint8_t)*at) * 0x100000001B3ull;
        hash = (hash ^ 0xFF) * 0x100000001B3ull;
    }
    return hash;
}

/* Whether more than one key has sent requests in the last while. */
static bool is_mixed(struct admission *admission, const struct caller *caller, uint64_t now_ns)
{
    uint64_t key = key_hash(caller), last = atomic_load(&admission->last_key);
    bool is = now_ns < atomic_load(&admission->mixed_until_ns);

    if (key != last)
        atomic_store(&admission->last_key, key);
    if (key != last && last != 0) {
        atomic_store(&admission->mixed_until_ns, now_ns + MIXED_NS);
        is = true;
    }
    if (is != atomic_load(&admission->is_mixed))
        atomic_store(&admission->is_mixed, is);
    return is;
}

enum admission_answer admission_enter(struct admission *admission, struct admission_ticket *ticket,
                                      const struct admission_entry *entry, uint64_t now_ns,
                                      uint64_t *retry_after_ms)
{
    enum admission_answer answer;
    uint64_t loops;

    CHECK(state_of(ticket) == ADMISSION_OUT && entry->loop < admission->options.loop_count);
    ticket_fill(ticket, entry, now_ns);
    if (!is_mixed(admission, entry->caller, now_ns) && entry->claim_count == 0 &&
        atomic_load(&admission->waiting) == 0 && slot_take(admission, 0)) {
        state_set(ticket, ADMISSION_RUNNING);
        return ADMISSION_GO;
    }
    lock(admission);
    loops = room_enter(admission, ticket, entry, now_ns, &answer, retry_after_ms);
    unlock(admission);
    wake(admission, loops);
    return answer;
}

struct admission_ticket *admission_collect(struct admission *admission, uint32_t loop,
                                           uint64_t now_ns)
{
    struct admission_ticket *ticket;

    if (atomic_load_explicit(&admission->list_counts[loop], memory_order_acquire) == 0)
        return NULL;
    lock(admission);
    ticket = admission->lists[loop];
    if (ticket != NULL) {
        list_remove(admission, ticket);
        ticket->granted_ns = now_ns;
        state_set(ticket, state_of(ticket) == ADMISSION_GIVEN ? ADMISSION_RUNNING : ADMISSION_OUT);
    }
    unlock(admission);
    return ticket;
}

bool admission_place(struct admission *admission, struct admission_ticket *ticket,
                     struct admission_place *out)
{
    bool is_waiting;

    lock(admission);
    is_waiting = state_of(ticket) == ADMISSION_WAITING;
    if (is_waiting)
        *out = place_of(admission, ticket);
    unlock(admission);
    return is_waiting;
}

/* --- while it runs --- */

/* Tokens of an answer beyond those that are paid for before the counters hear of them: what they may be wrong by, of each
 * stream, for a lock every so many tokens. */
#define DELIVER_TOKENS 32u

void admission_deliver(struct admission *admission, struct admission_ticket *ticket,
                       const struct request_usage *usage)
{
    uint32_t blocks =
        blocks_of(admission, (uint64_t)usage->prompt_tokens + usage->completion_tokens);
    uint32_t output = usage->completion_tokens;
    uint64_t loops = 0;

    if (state_of(ticket) != ADMISSION_RUNNING || ticket->waiting.state != TICKET_TAKEN)
        return;
    if (output < ticket->deliver_tokens &&
        (ticket->claim_count == 0 || blocks == ticket->kv_blocks))
        return;
    lock(admission);
    waiting_room_deliver(admission->room, &ticket->waiting, &ticket->request, usage);
    if (ticket->claim_count > 0) {
        kv_claims_hold(ticket->claims, ticket->claim_count, ticket->kv_blocks, blocks);
        if (blocks < ticket->kv_blocks) /* it had been taken for a longer one */
            loops = slots_give(admission, NULL);
        ticket->kv_blocks = blocks;
    }
    unlock(admission);
    wake(admission, loops);
    if (output < ticket->request.output_tokens)
        output = ticket->request.output_tokens;
    ticket->deliver_tokens =
        output < UINT32_MAX - DELIVER_TOKENS ? output + DELIVER_TOKENS : UINT32_MAX;
}

/* --- out --- */

/* The accounts of one that has ended; `is_busy`: others wait. Under the lock. */
static void settle(struct admission *admission, struct admission_ticket *ticket,
                   const struct request_usage *usage, uint64_t now_ns)
{
    const struct admission_request *request = &ticket->request;
    struct service_sample sample = {
        .slot_ns = now_ns - ticket->granted_ns,
        .first_ns = ticket->first_ns > 0 ? ticket->first_ns - ticket->granted_ns : 0,
        .is_told = usage->is_known,
        .prompt_bytes = ticket->body_bytes,
        .prompt_tokens = usage->prompt_tokens,
        .output_tokens = usage->completion_tokens,
    };

    if (!usage->is_known && request->prompt_tokens == 0)
        tokens_estimate(admission, ticket);
    sample.cost =
        usage->is_known
            ? waiting_room_cost(admission->room, usage->prompt_tokens - usage->cached_tokens,
                                usage->completion_tokens)
            : waiting_room_cost(admission->room, request->prompt_tokens, request->output_tokens);
    service_rate_add(&admission->rate, &sample, now_ns);
    claims_close(admission, ticket, false);
    if (ticket->waiting.state == TICKET_TAKEN)
        waiting_room_leave(admission->room, &ticket->waiting, usage);
    else if (waiting_room_count(admission->room) > 0)
        waiting_room_charge(admission->room, request, sample.cost);
}

/* One that has run. What it cost counts for those who wait, and for what they are told; when nobody
 * does, it is not worth waiting for another loop. */
static uint64_t running_leave(struct admission *admission, struct admission_ticket *ticket,
                              const struct request_usage *usage, uint64_t now_ns)
{
    bool must_settle =
        ticket->waiting.state == TICKET_TAKEN || atomic_load(&admission->waiting) > 0;
    uint64_t loops = 0;

    if (must_settle)
        lock(admission);
    if (must_settle || pthread_mutex_trylock(&admission->lock) == 0) {
        settle(admission, ticket, usage, now_ns);
        unlock(admission);
    }
    state_set(ticket, ADMISSION_OUT);
    atomic_fetch_add(&admission->free, 1);
    if (atomic_load(&admission->waiting) > 0) {
        lock(admission);
        loops = slots_give(admission, NULL);
        unlock(admission);
    }
    return loops;
}

/* One that another thread may be giving something to. */
static uint64_t waiting_leave(struct admission *admission, struct admission_ticket *ticket)
{
    static const struct request_usage nothing = {.is_known = true};
    enum admission_state state;
    uint64_t loops;

    lock(admission);
    state = state_of(ticket);
    if (state == ADMISSION_GIVEN || state == ADMISSION_PUSHED_OUT)
        list_remove(admission, ticket);
    if (state == ADMISSION_GIVEN)
        atomic_fetch_add(&admission->free, 1);
    claims_close(admission, ticket, state == ADMISSION_WAITING);
    waiting_room_leave(admission->room, &ticket->waiting, &nothing);
    state_set(ticket, ADMISSION_OUT);
    loops = slots_give(admission, NULL);
    unlock(admission);
    return loops;
}

void admission_leave(struct admission *admission, struct admission_ticket *ticket,
                     const struct request_usage *usage, uint64_t now_ns)
{
    enum admission_state state = state_of(ticket);

    if (state == ADMISSION_OUT)
        return;
    wake(admission, state == ADMISSION_RUNNING ? running_leave(admission, ticket, usage, now_ns)
                                               : waiting_leave(admission, ticket));
}

/* --- figures --- */

void admission_figures(struct admission *admission, struct admission_figures *out)
{
    lock(admission);
    out->slots = atomic_load(&admission->slots);
    out->running = (int64_t)out->slots - atomic_load(&admission->free);
    for (uint32_t i = 0; i < WAITING_ROOM_BAND_COUNT; i++)
        out->waiting[i] =
            waiting_room_band_count(admission->room, (int32_t)i - WAITING_ROOM_BAND_HALF);
    out->waiting_tokens = waiting_room_tokens(admission->room);
    unlock(admission);
}
