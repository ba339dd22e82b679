#include "request_story.h"

#include <stddef.h>

#include "check.h"
#include "clock.h"

#define PLACE_INTERVAL_NS (100 * NS_PER_MS)

static const char *const moment_names[] = {
    [STORY_BODY_READ] = "body_read",
    [STORY_ADMITTED] = "admitted",
    [STORY_QUEUED] = "queued",
    [STORY_SLOT] = "slot",
    [STORY_DISPATCHED] = "dispatched",
    [STORY_FIRST_BYTE] = "first_byte",
    [STORY_FIRST_TOKEN] = "first_token",
    [STORY_LAST_TOKEN] = "last_token",
    [STORY_ENDED] = "ended",
};
static const char *const reason_names[] = {
    [STORY_ROUTED] = "routed",       [STORY_KEEPER] = "keeper", [STORY_RETRY] = "retry",
    [STORY_CONTINUED] = "continued", [STORY_HEDGE] = "hedge",   [STORY_FALLBACK] = "fallback",
};
static const char *const result_names[] = {
    [STORY_UNDER_WAY] = "under_way", [STORY_ANSWERED] = "answered",
    [STORY_REFUSED] = "refused",     [STORY_LOST] = "lost",
    [STORY_TIMED_OUT] = "timed_out", [STORY_CANCELLED] = "cancelled",
    [STORY_NOT_SENT] = "not_sent",
};
static const char *const pass_names[] = {
    [STORY_CHOSEN] = "chosen",
    [STORY_OUTSCORED] = "outscored",
    [STORY_NOT_READY] = "not_ready",
    [STORY_JUST_FAILED] = "just_failed",
    [STORY_BREAKER_OPEN] = "breaker_open",
    [STORY_OTHER_VERSION] = "other_version",
};
_Static_assert(ARRAY_COUNT(moment_names) == STORY_MOMENT_COUNT, "a name for each");
_Static_assert(ARRAY_COUNT(reason_names) == STORY_REASON_COUNT, "a name for each");
_Static_assert(ARRAY_COUNT(result_names) == STORY_RESULT_COUNT, "a name for each");
_Static_assert(ARRAY_COUNT(pass_names) == STORY_PASS_COUNT, "a name for each");

const char *story_moment_name(enum story_moment moment)
{
    CHECK((unsigned)moment < STORY_MOMENT_COUNT);
    return moment_names[moment];
}

const char *story_reason_name(enum story_reason reason)
{
    CHECK((unsigned)reason < STORY_REASON_COUNT);
    return reason_names[reason];
}

const char *story_result_name(enum story_result result)
{
    CHECK((unsigned)result < STORY_RESULT_COUNT);
    return result_names[result];
}

const char *story_pass_name(enum story_pass pass)
{
    CHECK((unsigned)pass < STORY_PASS_COUNT);
    return pass_names[pass];
}

uint64_t request_story_moment(const struct request_story *story, uint64_t now_ns)
{
    return now_ns > story->start_ns ? now_ns - story->start_ns : 1;
}

void request_story_note(struct request_story *story, enum story_moment moment, uint64_t now_ns)
{
    if (story != NULL && (story->moments_ns[moment] == 0 || moment == STORY_LAST_TOKEN))
        story->moments_ns[moment] = request_story_moment(story, now_ns);
}

struct story_attempt *request_story_attempt(struct request_story *story, uint64_t now_ns)
{
    struct story_attempt *attempt;

    if (story == NULL || story->attempt_count++ >= STORY_ATTEMPTS_MAX)
        return NULL;
    attempt = &story->attempts[story->attempt_count - 1];
    *attempt = (struct story_attempt){
        .model = "", .member = "", .start_ns = request_story_moment(story, now_ns)};
    return attempt;
}

uint64_t request_story_place_due_ns(const struct request_story *story)
{
    if (story == NULL || story->place_count >= STORY_PLACES_MAX)
        return UINT64_MAX;
    if (story->place_count == 0)
        return story->start_ns;
    return story->start_ns + story->places[0].at_ns +
           (PLACE_INTERVAL_NS << (story->place_count - 1));
}

void request_story_place(struct request_story *story, uint32_t ahead, int64_t eta_ms,
                         uint64_t now_ns)
{
    if (now_ns < request_story_place_due_ns(story) || story == NULL ||
        story->place_count >= STORY_PLACES_MAX)
        return;
    story->places[story->place_count++] = (struct story_place){
        .at_ns = request_story_moment(story, now_ns), .ahead = ahead, .eta_ms = eta_ms};
}

void story_sinks_add(struct story_sinks *sinks,
                     void (*tell)(void *context, const struct request_story *story), void *context)
{
    CHECK(sinks->count < STORY_SINKS_MAX);
    sinks->items[sinks->count].tell = tell;
    sinks->items[sinks->count++].context = context;
}

void request_story_ended(const struct story_sinks *sinks, const struct request_story *story)
{
    for (uint32_t i = 0; i < sinks->count; i++)
        sinks->items[i].tell(sinks->items[i].context, story);
}
