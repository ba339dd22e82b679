#ifndef PENSTOCK_TESTS_SCRIPTED_MEMBER_H
#define PENSTOCK_TESTS_SCRIPTED_MEMBER_H

#include <pthread.h>
#include <stdlib.h>

#include "member.h"

/* A member's driver that does what a test says, on the threads that a real one has. What the test tells is told by the watcher, and the
 * test goes on when that has been done; orders are answered by a list of answers, and may be held up. Nothing here is a matter of time.
 * Include after unit_test.h. */

#define SCRIPTED_CALLS_MAX 4096u
#define SCRIPTED_ANSWERS   64u

/* A call of the worker's. */
struct scripted_call {
    uint64_t uid;
    bool is_start;
    uint64_t grace_ns;
    uint32_t part_count;
    char slice_id[64]; /* of the first part */
    status result;
};

struct scripted_member {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* What the watcher is to do next: a function of the test's, or to break off. */
    void (*tell)(const struct member_sink *sink, void *context);
    void *tell_context;
    bool is_breaking;
    status break_result;
    uint32_t follow_count;
    /* Orders. */
    struct scripted_call calls[SCRIPTED_CALLS_MAX];
    uint32_t call_count;
    status start_answers[SCRIPTED_ANSWERS], stop_answers[SCRIPTED_ANSWERS]; /* then STATUS_OK */
    uint32_t start_answer_count, start_answer_next, stop_answer_count, stop_answer_next;
    bool is_held;   /* the worker waits within its next call */
    bool is_inside; /* it does */
    bool is_woken, is_destroyed;
};

static inline void scripted_lock(struct scripted_member *member)
{
    (void)pthread_mutex_lock(&member->lock);
}

static inline void scripted_unlock(struct scripted_member *member)
{
    (void)pthread_cond_broadcast(&member->changed);
    (void)pthread_mutex_unlock(&member->lock);
}

static inline status scripted_follow(void *driver, const struct member_sink *sink,
                                     const _Atomic bool *is_stopping, struct error_note *note)
{
    struct scripted_member *member = driver;
    status result = STATUS_OK;

    scripted_lock(member);
    member->follow_count++;
    (void)pthread_cond_broadcast(&member->changed);
    while (!*is_stopping) {
        if (member->tell != NULL) {
            void (*tell)(const struct member_sink *, void *) = member->tell;

            (void)pthread_mutex_unlock(&member->lock);
            tell(sink, member->tell_context);
            (void)pthread_mutex_lock(&member->lock);
            member->tell = NULL;
            (void)pthread_cond_broadcast(&member->changed);
        } else if (member->is_breaking) {
            member->is_breaking = false;
            result = member->break_result;
            error_note_set(note, "it broke off");
            break;
        } else {
            (void)pthread_cond_wait(&member->changed, &member->lock);
        }
    }
    scripted_unlock(member);
    return result;
}

/* With the lock. */
static inline void scripted_hold(struct scripted_member *member)
{
    member->is_inside = true;
    (void)pthread_cond_broadcast(&member->changed);
    while (member->is_held)
        (void)pthread_cond_wait(&member->changed, &member->lock);
    member->is_inside = false;
}

static inline status scripted_call_add(struct scripted_member *member,
                                       const struct scripted_call *call)
{
    member->calls[member->call_count % SCRIPTED_CALLS_MAX] = *call;
    member->call_count++;
    return call->result;
}

static inline status scripted_start(void *driver, const struct member_order *order,
                                    struct error_note *note)
{
    struct scripted_member *member = driver;
    struct scripted_call call = {
        .uid = order->uid, .is_start = true, .part_count = order->part_count};

    (void)snprintf(call.slice_id, sizeof(call.slice_id), "%s",
                   order->part_count > 0 ? order->parts[0].slice_id : "");
    scripted_lock(member);
    scripted_hold(member);
    if (member->start_answer_next < member->start_answer_count)
        call.result = member->start_answers[member->start_answer_next++];
    if (call.result != STATUS_OK)
        error_note_set(note, "no room for %u", (unsigned)order->uid);
    (void)scripted_call_add(member, &call);
    scripted_unlock(member);
    return call.result;
}

static inline status scripted_stop(void *driver, uint64_t uid, uint64_t grace_ns,
                                   struct error_note *note)
{
    struct scripted_member *member = driver;
    struct scripted_call call = {.uid = uid, .grace_ns = grace_ns};

    scripted_lock(member);
    scripted_hold(member);
    if (member->stop_answer_next < member->stop_answer_count)
        call.result = member->stop_answers[member->stop_answer_next++];
    if (call.result != STATUS_OK)
        error_note_set(note, "it does not hear");
    (void)scripted_call_add(member, &call);
    scripted_unlock(member);
    return call.result;
}

static inline void scripted_wake(void *driver)
{
    struct scripted_member *member = driver;

    scripted_lock(member);
    member->is_woken = true;
    scripted_unlock(member);
}

static inline void scripted_destroy(void *driver)
{
    ((struct scripted_member *)driver)->is_destroyed = true;
}

static inline struct member_driver scripted_driver(struct scripted_member *member)
{
    return (struct member_driver){.follow = scripted_follow,
                                  .start = scripted_start,
                                  .stop = scripted_stop,
                                  .destroy = scripted_destroy,
                                  .driver = member,
                                  .wake = scripted_wake};
}

static inline void scripted_init(struct scripted_member *member)
{
    memset(member, 0, sizeof(*member));
    assert_int_equal(pthread_mutex_init(&member->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&member->changed, NULL), 0);
}

static inline void scripted_deinit(struct scripted_member *member)
{
    assert_true(member->is_destroyed);
    (void)pthread_cond_destroy(&member->changed);
    (void)pthread_mutex_destroy(&member->lock);
}

/* --- what the test does --- */

/* The watcher calls `tell`; returns when it has. */
static inline void scripted_tell(struct scripted_member *member,
                                 void (*tell)(const struct member_sink *sink, void *context),
                                 void *context)
{
    scripted_lock(member);
    member->tell_context = context;
    member->tell = tell;
    (void)pthread_cond_broadcast(&member->changed);
    while (member->tell != NULL)
        (void)pthread_cond_wait(&member->changed, &member->lock);
    scripted_unlock(member);
}

/* `follow` returns this; returns when it has been called again. */
static inline void scripted_break(struct scripted_member *member, status result)
{
    uint32_t before;

    scripted_lock(member);
    while (member->follow_count == 0)
        (void)pthread_cond_wait(&member->changed, &member->lock);
    before = member->follow_count;
    member->break_result = result;
    member->is_breaking = true;
    (void)pthread_cond_broadcast(&member->changed);
    while (member->follow_count == before)
        (void)pthread_cond_wait(&member->changed, &member->lock);
    scripted_unlock(member);
}

/* The worker waits in its next call until it is let go. */
static inline void scripted_hold_up(struct scripted_member *member)
{
    scripted_lock(member);
    member->is_held = true;
    scripted_unlock(member);
}

static inline void scripted_let_go(struct scripted_member *member)
{
    scripted_lock(member);
    member->is_held = false;
    scripted_unlock(member);
}

/* Returns when the worker is held up within a call. */
static inline void scripted_await_inside(struct scripted_member *member)
{
    scripted_lock(member);
    while (!member->is_inside)
        (void)pthread_cond_wait(&member->changed, &member->lock);
    scripted_unlock(member);
}

/* Returns when the worker has made so many calls. */
static inline void scripted_await_calls(struct scripted_member *member, uint32_t count)
{
    scripted_lock(member);
    while (member->call_count < count)
        (void)pthread_cond_wait(&member->changed, &member->lock);
    scripted_unlock(member);
}

static inline uint32_t scripted_call_count(struct scripted_member *member)
{
    uint32_t count;

    scripted_lock(member);
    count = member->call_count;
    scripted_unlock(member);
    return count;
}

static inline struct scripted_call scripted_call_get(struct scripted_member *member, uint32_t i)
{
    struct scripted_call call;

    scripted_lock(member);
    assert_true(i < member->call_count);
    call = member->calls[i % SCRIPTED_CALLS_MAX];
    scripted_unlock(member);
    return call;
}

static inline void scripted_answer_start(struct scripted_member *member, status result)
{
    scripted_lock(member);
    assert_true(member->start_answer_count < SCRIPTED_ANSWERS);
    member->start_answers[member->start_answer_count++] = result;
    scripted_unlock(member);
}

static inline void scripted_answer_stop(struct scripted_member *member, status result)
{
    scripted_lock(member);
    assert_true(member->stop_answer_count < SCRIPTED_ANSWERS);
    member->stop_answers[member->stop_answer_count++] = result;
    scripted_unlock(member);
}

/* A bell that any thread rings and the test waits for. */
struct scripted_bell {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t rung, heard;
};

static inline void scripted_bell_init(struct scripted_bell *bell)
{
    bell->rung = bell->heard = 0;
    assert_int_equal(pthread_mutex_init(&bell->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&bell->changed, NULL), 0);
}

static inline void scripted_bell_deinit(struct scripted_bell *bell)
{
    (void)pthread_cond_destroy(&bell->changed);
    (void)pthread_mutex_destroy(&bell->lock);
}

static inline void scripted_bell_ring(void *context)
{
    struct scripted_bell *bell = context;

    (void)pthread_mutex_lock(&bell->lock);
    bell->rung++;
    (void)pthread_cond_broadcast(&bell->changed);
    (void)pthread_mutex_unlock(&bell->lock);
}

/* Returns when it has rung since the last time. */
static inline void scripted_bell_await(struct scripted_bell *bell)
{
    (void)pthread_mutex_lock(&bell->lock);
    while (bell->rung == bell->heard)
        (void)pthread_cond_wait(&bell->changed, &bell->lock);
    bell->heard = bell->rung;
    (void)pthread_mutex_unlock(&bell->lock);
}

#endif
