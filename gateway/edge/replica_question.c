#include "replica_question.h"

#include "clock.h"
#include "targets.h"

/* Who asks waits for it, and a replica that is busy answers such questions all the same: its loops compute nothing. */
#define TIMEOUT_NS (2 * NS_PER_SECOND)

static void finish(struct replica_question *question, status result)
{
    struct buffer body = question->body; /* the question may be asked again, or be gone */

    question->exchange = NULL;
    question->result = result;
    question->answered(question);
    buffer_deinit(&body);
}

static void on_head(http_exchange *exchange, int status_code, const struct http_header *headers,
                    size_t header_count, void *context)
{
    (void)exchange;
    (void)headers;
    (void)header_count;
    ((struct replica_question *)context)->status_code = status_code;
}

static void on_body(http_exchange *exchange, struct text_slice bytes, void *context)
{
    struct replica_question *question = context;

    buffer_append_slice(&question->body, bytes);
    if (question->body.failed == STATUS_OK)
        return;
    http_exchange_cancel(exchange);
    finish(question, question->body.failed);
}

static void on_end(http_exchange *exchange, status result, bool any_byte, void *context)
{
    struct replica_question *question = context;

    (void)exchange;
    (void)any_byte;
    if (result == STATUS_OK && question->status_code != 200)
        result = STATUS_NOT_FOUND;
    finish(question, result);
}

status replica_question_ask(struct replica_question *question, struct edge_loop *loop,
                            const struct edge_replica *replica, const char *path, size_t bytes_max)
{
    const struct http_exchange_options options = {
        .method = "GET",
        .path = path,
        .connect_timeout_ns = TIMEOUT_NS,
        .first_byte_timeout_ns = TIMEOUT_NS,
        .idle_timeout_ns = TIMEOUT_NS,
        .callbacks = {on_head, on_body, on_end},
        .context = question,
    };
    enum replica_state state = edge_replica_state(replica);
    status result;

    if (replica->upstream != NULL || (state != REPLICA_READY && state != REPLICA_DRAINING))
        return STATUS_NOT_FOUND;
    question->status_code = 0;
    buffer_init(&question->body, bytes_max);
    result = http_exchange_start(targets_get(loop, replica), &options, &question->exchange);
    if (result != STATUS_OK)
        question->exchange = NULL;
    return result;
}

void replica_question_cancel(struct replica_question *question)
{
    http_exchange *exchange = question->exchange;

    if (exchange == NULL)
        return;
    question->exchange = NULL;
    http_exchange_cancel(exchange);
    buffer_deinit(&question->body);
}
