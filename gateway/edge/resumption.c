#include "resumption.h"

#include "check.h"
#include "clock.h"
#include "proxy_state.h"

static void header_add(struct proxy *proxy, const char *name, const char *value)
{
    CHECK(proxy->header_count < UPSTREAM_HEADER_COUNT_MAX);
    proxy->headers[proxy->header_count++] =
        (struct http_header){text_slice_of(name), text_slice_of(value)};
}

void resumption_init(struct proxy *proxy, const struct config *config)
{
    struct resumption *resumption = &proxy->resumption;
    struct answer_name name;

    resumption->tokens_max = (uint32_t)config->upstream.continuation_tokens;
    told_tokens_init(&resumption->told, resumption->tokens_max);
    resumption->header_count = proxy->header_count;
    /* What an answer is made of that only its keeper has goes with the keeper. */
    if (!proxy->wants_stream || resumption->tokens_max == 0 || proxy->choice.keeper != NULL)
        return;
    answer_source_draw(&proxy->record->edge->answers, &name);
    answer_name_write(&name, resumption->name);
    header_add(proxy, ANSWER_NAME_HEADER, resumption->name);
    resumption->header_count = proxy->header_count;
}

void resumption_deinit(struct proxy *proxy)
{
    told_tokens_deinit(&proxy->resumption.told);
}

void resumption_note(struct proxy *proxy, struct usage_report *report)
{
    struct resumption *resumption = &proxy->resumption;
    int32_t token;

    if (!report->tells_tokens)
        return;
    resumption->is_told = true;
    resumption->cached_tokens = report->usage.cached_tokens;
    resumption->cache_write_tokens = report->usage.cache_write_tokens;
    while (!resumption->is_full && usage_report_next(report, &token)) {
        resumption->is_full = resumption->told.count == resumption->tokens_max;
        if (!resumption->is_full)
            told_tokens_add(&resumption->told, report->choice, token);
    }
}

bool resumption_is_possible(const struct proxy *proxy)
{
    const struct resumption *resumption = &proxy->resumption;

    return resumption->is_told && !resumption->is_full &&
           resumption->told.bytes.failed == STATUS_OK;
}

bool resumption_prepare(struct proxy *proxy)
{
    struct resumption *resumption = &proxy->resumption;
    struct text_slice told = buffer_slice(&resumption->told.bytes);
    char *body;

    if (!resumption_is_possible(proxy))
        return false;
    body = http_request_allocate(proxy->record->request, proxy->body.bytes + told.bytes + 1);
    memcpy(body, proxy->body.data, proxy->body.bytes);
    if (told.bytes > 0)
        memcpy(body + proxy->body.bytes, told.data, told.bytes);
    resumption->body = (struct text_slice){body, proxy->body.bytes + told.bytes};
    continuation_write(
        &(struct continuation){
            .told_bytes = told.bytes,
            .event_count = proxy->attempt.splitter.event_count,
            .cached_tokens = resumption->cached_tokens,
            .cache_write_tokens = resumption->cache_write_tokens,
        },
        resumption->head);
    /* The time that it had to wait for a replica may be over by now. */
    proxy->waiting.ready_deadline_ns =
        clock_now_ns() +
        config_store_get(&proxy->record->edge->configs)->config->upstream.ready_timeout_ns;
    proxy->header_count = resumption->header_count;
    header_add(proxy, CONTINUATION_HEADER, resumption->head);
    return true;
}

void resumption_count(const struct proxy *proxy, enum resumption_outcome outcome)
{
    struct stream_model_metrics *metrics =
        &proxy->record->edge->stream_metrics.models[proxy->choice.model->index];

    metrics_add(metrics->resumptions[outcome], 1);
}

void resumption_end(struct proxy *proxy, enum resumption_outcome outcome)
{
    if (proxy->resumption.is_under_way)
        resumption_count(proxy, outcome);
    proxy->resumption.is_under_way = false;
}
