/* GET /admin/usage: the loop reads the words, the records' writer thread asks the database, the loop answers. */
#include <string.h>

#include "admin.h"
#include "check.h"
#include "memory.h"
#include "query_words.h"
#include "wire_format.h"

#define ANSWER_BYTES_MAX (64u << 20)

enum { BY, FROM, TO, FORMAT, ORGANISATION, TEAM, KEY, MODEL, WORD_COUNT };
static const char *const word_names[WORD_COUNT] = {"by",           "from", "to",  "format",
                                                   "organisation", "team", "key", "model"};

struct admin_question {
    struct usage_question asked;
    struct usage_query query;
    struct http_message message; /* to the loop: it is answered */
    http_loop *loop;
    struct edge_record *record; /* loop; NULL: the client has gone */
    char words[WORD_COUNT][QUERY_WORD_BYTES];
};

static void question_destroy(struct admin_question *question)
{
    buffer_deinit(&question->asked.out);
    memory_release(question);
}

/* --- the answer --- */

static void answer(struct http_message *message, http_loop *loop)
{
    struct admin_question *question = CONTAINER_OF(message, struct admin_question, message);
    const struct usage_question *asked = &question->asked;

    (void)loop;
    if (question->record != NULL && asked->result == STATUS_OK)
        edge_reply(question->record, 200, usage_content_type(asked->format),
                   buffer_slice(&asked->out));
    else if (question->record != NULL && asked->result == STATUS_TOO_LARGE)
        edge_refuse(question->record, 400, "too_many_rows",
                    "That are too many rows; ask for less time, or group by less");
    else if (question->record != NULL)
        edge_refuse(question->record, 503, "ledger_failed",
                    "The ledger cannot be read; see the log");
    question_destroy(question);
}

/* The writer thread. */
static void on_done(struct usage_question *asked)
{
    struct admin_question *question = CONTAINER_OF(asked, struct admin_question, asked);

    http_loop_send(question->loop, &question->message);
}

static void on_gone(http_request *request, void *context)
{
    (void)request;
    ((struct admin_question *)context)->record = NULL;
}

/* --- the question --- */

/* False: `note` says what is wrong. */
static bool question_read(struct edge_record *record, struct admin_question *question,
                          struct error_note *note)
{
    const char(*words)[QUERY_WORD_BYTES] = question->words;
    const struct usage_words given = {words[BY], words[FROM], words[TO], words[FORMAT]};

    if (!query_words_take(record->request, word_names, WORD_COUNT, question->words)) {
        error_note_set(note, "The query may have by, from, to, format, organisation, team, key and "
                             "model, each a name or a time");
        return false;
    }
    question->query = (struct usage_query){.organisation = words[ORGANISATION],
                                           .team = words[TEAM],
                                           .key = words[KEY],
                                           .model = words[MODEL]};
    question->asked.format = USAGE_JSON;
    return usage_words_read(&given, &question->query, &question->asked.format, note) == STATUS_OK;
}

void admin_usage(struct edge_record *record, struct text_slice rest)
{
    struct admin_question *question = memory_allocate_array(1, sizeof(*question));
    struct error_note note = {""};

    (void)rest;
    if (question == NULL) {
        edge_refuse(record, 503, "overloaded", "The gateway has no memory for this");
        return;
    }
    question->asked.query = &question->query;
    question->asked.done = on_done;
    question->message.run = answer;
    question->loop = http_request_loop(record->request);
    question->record = record;
    buffer_init(&question->asked.out, ANSWER_BYTES_MAX);
    if (!question_read(record, question, &note)) {
        question_destroy(question);
        edge_refuse(record, 400, "invalid_value", note.text);
        return;
    }
    http_request_on_gone(record->request, on_gone, question);
    if (records_ask(record->edge->records, &question->asked) == STATUS_OK)
        return;
    http_request_on_gone(record->request, NULL, NULL);
    question_destroy(question);
    edge_refuse(record, 404, "no_ledger",
                "The gateway keeps no ledger; set state.database or state.postgres");
}
