#include "request_stories.h"

#include "clock.h"
#include "model_cost.h"
#include "proxy_state.h"
#include "story_book.h"
#include "tracing.h"
#include "waiting_room.h"

static struct edge_loop *loop_of(const struct edge_record *record)
{
    return http_loop_get(http_request_loop(record->request), EDGE_LOOP_SLOT);
}

void request_stories_begin(struct edge_record *record)
{
    const struct caller *caller = record->caller;
    struct request_story *story = story_book_begin(loop_of(record)->stories, record->start_ns);
    uint64_t now_ns = clock_now_ns();

    record->story = story;
    if (story == NULL)
        return;
    story->start_wall_ns = clock_wall_ms() * NS_PER_MS - (now_ns - record->start_ns);
    request_story_note(story, STORY_BODY_READ, now_ns);
    story->route = edge_route_name(record->route);
    story->bytes_in = http_request_body(record->request).bytes;
    text_slice_copy(story->request_id, sizeof(story->request_id),
                    text_slice_of(http_request_id(record->request)));
    text_slice_copy(story->method, sizeof(story->method), http_request_method(record->request));
    text_slice_copy(story->key_name, sizeof(story->key_name), text_slice_of(caller->name));
    text_slice_copy(story->organisation, sizeof(story->organisation),
                    text_slice_of(caller->organisation));
    text_slice_copy(story->team, sizeof(story->team), text_slice_of(caller->team));
    tracing_begin(record);
}

void request_stories_admit(const struct proxy *proxy)
{
    const struct edge_record *record = proxy->record;
    const struct admission_request request = {.caller = record->caller,
                                              .priority = proxy->waiting.priority};
    struct request_story *story = record->story;

    if (story == NULL)
        return;
    request_story_note(story, STORY_ADMITTED, clock_now_ns());
    text_slice_copy(story->asked_model, sizeof(story->asked_model), proxy->target.name);
    story->is_stream = proxy->wants_stream;
    story->band = waiting_room_band(&request);
}

void request_stories_model(const struct proxy *proxy)
{
    struct request_story *story = proxy->record->story;

    if (story == NULL)
        return;
    story->model = proxy->choice.model->name;
    story->fallbacks = proxy->plan.at;
}

void request_stories_place(struct proxy *proxy, uint64_t now_ns)
{
    struct request_story *story = proxy->record->story;
    struct admission_place place;

    if (now_ns >= request_story_place_due_ns(story) &&
        admission_place(proxy->choice.model->admission, &proxy->waiting.ticket, &place))
        request_story_place(story, place.ahead, place.wait_ms, now_ns);
}

/* --- attempts --- */

static enum story_reason reason_of(const struct proxy *proxy, const struct attempt *attempt)
{
    if (attempt == &proxy->hedge.attempt)
        return STORY_HEDGE;
    if (proxy->choice.keeper != NULL)
        return STORY_KEEPER;
    if (proxy->resumption.is_under_way)
        return STORY_CONTINUED;
    if (proxy->attempt_number > 0)
        return STORY_RETRY;
    return proxy->plan.at > 0 ? STORY_FALLBACK : STORY_ROUTED;
}

static const char *member_of(const struct proxy *proxy, const struct edge_replica *replica)
{
    const struct config_pool *pool = &proxy->record->edge->configs.first->config->pool;
    uint32_t member = atomic_load_explicit(&replica->member, memory_order_relaxed);

    return replica->upstream == NULL && member < pool->members.count
               ? config_member_at(pool, member)->name
               : "";
}

void request_stories_attempt(const struct proxy *proxy, struct attempt *attempt)
{
    struct request_story *story = proxy->record->story;
    const struct edge_replica *replica = attempt->replica;
    enum story_reason reason = reason_of(proxy, attempt);
    uint64_t now_ns = clock_now_ns();
    struct story_attempt *told = request_story_attempt(story, now_ns);

    attempt->told = told;
    request_story_note(story, STORY_DISPATCHED, now_ns);
    if (story != NULL) {
        story->hedges += reason == STORY_HEDGE;
        story->continuations += reason == STORY_CONTINUED;
        story->retries = proxy->record->retries;
    }
    if (told == NULL)
        return;
    told->model = replica->model->name;
    told->member = member_of(proxy, replica);
    told->replica = replica->index;
    told->uid = atomic_load_explicit(&replica->uid, memory_order_relaxed);
    told->reason = (uint8_t)reason;
    told->is_remote = attempt->is_elsewhere;
    told->is_upstream = replica->upstream != NULL;
}

void request_stories_result(struct attempt *attempt, status result)
{
    bool is_good = attempt->status_code > 0 && attempt->status_code < 400;

    if (attempt->told == NULL)
        return;
    if (attempt->splitter.is_done || (result == STATUS_OK && is_good))
        attempt->told->result = STORY_ANSWERED;
    else if (result == STATUS_OK && attempt->status_code != 0)
        attempt->told->result = STORY_REFUSED;
    else
        attempt->told->result = result == STATUS_TIMEOUT ? STORY_TIMED_OUT : STORY_LOST;
}

void request_stories_not_sent(struct attempt *attempt)
{
    if (attempt->told != NULL)
        attempt->told->result = STORY_NOT_SENT;
}

/* Of an answer that had begun and goes on elsewhere the first head stays the client's. */
void request_stories_head(const struct proxy *proxy)
{
    struct request_story *story = proxy->record->story;
    uint64_t now_ns = clock_now_ns();

    if (story != NULL && !proxy->attempt.splitter.has_begun)
        story->moments_ns[STORY_FIRST_BYTE] = request_story_moment(story, now_ns);
    if (proxy->attempt.told != NULL)
        proxy->attempt.told->head_ns = request_story_moment(story, now_ns);
}

void request_stories_attempt_end(const struct proxy *proxy, struct attempt *attempt)
{
    struct story_attempt *told = attempt->told;

    attempt->told = NULL;
    if (told == NULL)
        return;
    if (told->result == STORY_UNDER_WAY)
        told->result = STORY_CANCELLED;
    told->status_code = attempt->status_code;
    told->end_ns = request_story_moment(proxy->record->story, clock_now_ns());
}

/* --- the end --- */

void request_stories_end(struct edge_record *record, uint64_t now_ns)
{
    const struct request_usage *usage = &record->usage;
    struct request_story *story = record->story;

    if (story == NULL)
        return;
    record->story = NULL;
    if (record->proxy != NULL) {
        record->proxy->attempt.told = NULL;
        record->proxy->hedge.attempt.told = NULL;
        if (model_cost_is_set(record->edge, record->model))
            story->cost_nano = (uint64_t)usage->cost_nano;
    }
    request_story_note(story, STORY_ENDED, now_ns);
    story->status_code = record->status_code;
    story->retries = record->retries;
    story->finish = usage->finish != NULL ? usage->finish : "";
    story->usage_is_known = usage->is_known;
    story->usage_is_estimated = usage->is_estimated;
    story->prompt_tokens = usage->prompt_tokens;
    story->cached_tokens = usage->cached_tokens;
    story->completion_tokens = usage->completion_tokens;
    story->reasoning_tokens = usage->reasoning_tokens;
    story->busy_ns = usage->busy_ns;
    story->bytes_out = http_request_sent_bytes(record->request);
    text_slice_copy(story->error_code, sizeof(story->error_code),
                    text_slice_of(record->error_code));
    request_story_ended(&record->edge->story_sinks, story);
    story_book_end(loop_of(record)->stories, story);
}
