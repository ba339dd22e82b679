/* The loop reads the words, the history's thread answers, the loop sends the answer. */
#include "admin_history.h"

#include "check.h"
#include "clock.h"
#include "history.h"
#include "memory.h"
#include "query_words.h"
#include "wire_format.h"

#define ANSWER_BYTES_MAX (64u << 20)

enum { STEP, FROM, TO, MODEL, WORD_COUNT };
static const char *const word_names[WORD_COUNT] = {"step", "from", "to", "model"};

struct asked {
    struct history_question question;
    struct http_message message; /* to the loop: it is answered */
    http_loop *loop;
    struct edge_record *record; /* loop; NULL: the client has gone */
};

static void asked_destroy(struct asked *asked)
{
    buffer_deinit(&asked->question.out);
    memory_release(asked);
}

static void answer(struct http_message *message, http_loop *loop)
{
    struct asked *asked = CONTAINER_OF(message, struct asked, message);

    (void)loop;
    if (asked->record != NULL && asked->question.result == STATUS_OK)
        edge_reply(asked->record, 200, "application/json", buffer_slice(&asked->question.out));
    else if (asked->record != NULL && asked->question.result == STATUS_TOO_LARGE)
        edge_refuse(asked->record, 400, "too_many_rows",
                    "That are too many rows; ask for less time, longer steps or one model");
    else if (asked->record != NULL)
        edge_refuse(asked->record, 503, "history_failed",
                    "The history cannot be read; see the log");
    asked_destroy(asked);
}

/* The history's thread. */
static void on_done(struct history_question *question)
{
    struct asked *asked = CONTAINER_OF(question, struct asked, question);

    http_loop_send(asked->loop, &asked->message);
}

static void on_gone(http_request *request, void *context)
{
    (void)request;
    ((struct asked *)context)->record = NULL;
}

static void ask(struct edge_record *record, const struct history_query *query)
{
    struct asked *asked = memory_allocate_array(1, sizeof(*asked));

    if (asked == NULL) {
        edge_refuse(record, 503, "overloaded", "The gateway has no memory for this");
        return;
    }
    asked->question.query = *query;
    asked->question.done = on_done;
    asked->message.run = answer;
    asked->loop = http_request_loop(record->request);
    asked->record = record;
    buffer_init(&asked->question.out, ANSWER_BYTES_MAX);
    http_request_on_gone(record->request, on_gone, asked);
    if (history_ask(record->edge->history, &asked->question) == STATUS_OK)
        return;
    http_request_on_gone(record->request, NULL, NULL);
    asked_destroy(asked);
    edge_refuse(record, 503, "not_available", "The gateway is shutting down");
}

void admin_history(struct edge_record *record, struct text_slice rest)
{
    char words[WORD_COUNT][QUERY_WORD_BYTES] = {""};
    const struct history_words given = {words[STEP], words[FROM], words[TO], words[MODEL]};
    struct history_query query;
    struct error_note note = {""};

    (void)rest;
    if (!query_words_take(record->request, word_names, WORD_COUNT, words))
        edge_refuse(record, 400, "invalid_value",
                    "The query may have step, from, to and model, each once");
    else if (history_query_read(&given, (int64_t)(clock_wall_ms() / 1000), &query, &note) !=
             STATUS_OK)
        edge_refuse(record, 400, "invalid_value", note.text);
    else
        ask(record, &query);
}

void admin_anomalies(struct edge_record *record, struct text_slice rest)
{
    (void)rest;
    ask(record, &(struct history_query){.topic = HISTORY_ANOMALIES});
}
