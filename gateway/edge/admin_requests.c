/* GET /admin/requests and /admin/requests/{id}: what has happened to requests
 *
 *   the request's loop --message--> loop 0 --> loop 1 --> ... --message--> the request's loop --> its replicas, one after the other
 *
 * The stories of a loop are its own, so the question goes to each of them in turn and takes along what it finds: nothing is locked, and a
 * loop is held up for as long as its answer takes to write. Then, of one request, the replicas that had it are asked for their half. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin.h"
#include "check.h"
#include "clock.h"
#include "json.h"
#include "memory.h"
#include "query_words.h"
#include "replica_question.h"
#include "replica_story.h"
#include "story_book.h"
#include "story_json.h"
#include "wire_format.h"

#define LIMIT_DEFAULT    100u
#define LIMIT_MAX        1000u
#define ANSWER_BYTES_MAX (16u << 20)

enum story_states { STATES_ALL, STATES_LIVE, STATES_ENDED };

/* A row that was found, as text in `rows`. */
struct row {
    bool is_over;
    uint64_t order_ns; /* when it began or ended, monotonic */
    size_t at, bytes;
};

struct story_question {
    struct http_message message;
    struct edge *edge;
    http_loop *home;
    uint32_t loop_next;
    struct edge_record *record; /* home; NULL: the client has gone */

    /* A list is asked for: */
    enum story_states states;
    uint32_t limit;
    char model[QUERY_WORD_BYTES]; /* "": all */
    struct row *items;            /* owned; [limit] of each loop */
    uint32_t row_count, loop_row_count;
    struct buffer rows;

    /* Or one request: */
    char id[STORY_TEXT_BYTES]; /* "": a list is asked for */
    bool is_found;
    struct request_story story; /* the newest of this name */
    uint32_t attempt;           /* that is asked about */
    struct replica_question replica;
    struct buffer told[STORY_ATTEMPTS_MAX]; /* by replicas; empty: nothing */
};

static void question_destroy(struct story_question *question)
{
    buffer_deinit(&question->rows);
    for (uint32_t i = 0; i < STORY_ATTEMPTS_MAX; i++)
        buffer_deinit(&question->told[i]);
    memory_release(question->items);
    memory_release(question);
}

/* --- on each loop --- */

static bool is_wanted(const struct story_question *question, const struct request_story *story)
{
    if (question->states != STATES_ALL && story->is_over != (question->states == STATES_ENDED))
        return false;
    return question->model[0] == '\0' || strcmp(story->model, question->model) == 0;
}

static bool row_take(void *context, const struct request_story *story)
{
    struct story_question *question = context;
    size_t at = question->rows.bytes + 1; /* behind the comma */
    uint64_t moment_ns = story->is_over ? story->moments_ns[STORY_ENDED] : 0;

    if (!is_wanted(question, story))
        return true;
    request_story_write_row(story, clock_now_ns(), &question->rows);
    if (question->rows.failed != STATUS_OK)
        return false;
    question->items[question->row_count++] =
        (struct row){story->is_over, story->start_ns + moment_ns, at, question->rows.bytes - at};
    return ++question->loop_row_count < question->limit;
}

static bool story_take(void *context, const struct request_story *story)
{
    struct story_question *question = context;

    if (strcmp(story->request_id, question->id) != 0)
        return true;
    if (!question->is_found || story->start_ns > question->story.start_ns)
        question->story = *story;
    question->is_found = true;
    return true;
}

static void answer(struct story_question *question);

static void on_loop(struct http_message *message, http_loop *loop)
{
    struct story_question *question = CONTAINER_OF(message, struct story_question, message);
    const struct edge_loop *state = http_loop_get(loop, EDGE_LOOP_SLOT);
    http_server *server = question->edge->server;

    if (question->loop_next == http_server_loop_count(server)) { /* home again */
        answer(question);
        return;
    }
    question->loop_row_count = 0;
    story_book_visit(state->stories, question->id[0] != '\0' ? story_take : row_take, question);
    question->loop_next++;
    http_loop_send(question->loop_next < http_server_loop_count(server)
                       ? http_server_loop(server, question->loop_next)
                       : question->home,
                   &question->message);
}

/* --- the answer: a list --- */

static int compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (x->is_over != y->is_over)
        return x->is_over - y->is_over;
    return (x->order_ns < y->order_ns) - (x->order_ns > y->order_ns);
}

static void list_answer(struct story_question *question)
{
    const struct config *config = question->edge->configs.first->config;
    struct buffer out;

    buffer_init(&out, ANSWER_BYTES_MAX);
    qsort(question->items, question->row_count, sizeof(question->items[0]), compare);
    buffer_append_text(&out, "{\"requests\":[");
    for (uint32_t i = 0; i < question->row_count && i < question->limit; i++) {
        json_write_comma(&out);
        buffer_append(&out, question->rows.data + question->items[i].at, question->items[i].bytes);
    }
    buffer_append_text(&out, "],\"kept\":");
    buffer_append_i64(&out, config->observability.requests.kept);
    buffer_append_byte(&out, '}');
    if (question->rows.failed != STATUS_OK)
        out.failed = question->rows.failed;
    edge_reply_json(question->record, 200, &out);
    question_destroy(question);
}

/* --- the answer: one request --- */

static void told_write(void *context, uint32_t attempt, struct buffer *out)
{
    const struct story_question *question = context;

    json_write_key(out, "told_by_replica");
    if (question->told[attempt].bytes > 0)
        buffer_append_slice(out, buffer_slice(&question->told[attempt]));
    else
        json_write_text(out, NULL);
}

static void story_answer(struct story_question *question)
{
    const struct story_attempt_addition addition = {told_write, question};
    struct buffer out;

    buffer_init(&out, ANSWER_BYTES_MAX);
    request_story_write(&question->story, clock_now_ns(), &addition, &out);
    edge_reply_json(question->record, 200, &out);
    question_destroy(question);
}

/* What a replica has answered goes into the answer as we write it ourselves: it may be of another version. */
static void told_take(const struct replica_question *replica, struct buffer *out)
{
    static const struct json_limits limits = {.depth_max = 16, .value_count_max = 1u << 16};
    struct replica_story story;
    struct error_note note = {""};
    json_t *json = NULL;

    if (replica->result != STATUS_OK ||
        json_load_limited(buffer_slice(&replica->body), &limits, &json, &note) != STATUS_OK)
        return;
    if (replica_story_read(json, &story) == STATUS_OK)
        replica_story_write(&story, out);
    json_decref(json);
}

static void ask_next(struct story_question *question);

static void on_told(struct replica_question *replica)
{
    struct story_question *question = CONTAINER_OF(replica, struct story_question, replica);

    told_take(replica, &question->told[question->attempt++]);
    ask_next(question);
}

/* The replica that had the attempt, if the same process is still there. */
static const struct edge_replica *replica_of(const struct story_question *question,
                                             const struct story_attempt *attempt)
{
    for (uint32_t i = 0; i < question->edge->model_count; i++) {
        const struct edge_model *model = &question->edge->models[i];

        if (model->name != attempt->model || attempt->replica >= model->replica_count)
            continue;
        return atomic_load_explicit(&model->replicas[attempt->replica].uid, memory_order_relaxed) ==
                       attempt->uid
                   ? &model->replicas[attempt->replica]
                   : NULL;
    }
    return NULL;
}

static void ask_next(struct story_question *question)
{
    struct edge_loop *loop = http_loop_get(question->home, EDGE_LOOP_SLOT);
    const struct request_story *story = &question->story;
    char path[sizeof("/stories/") + STORY_TEXT_BYTES];

    (void)snprintf(path, sizeof(path), "/stories/%s", story->request_id);
    for (; question->attempt < story->attempt_count && question->attempt < STORY_ATTEMPTS_MAX;
         question->attempt++) {
        const struct edge_replica *replica =
            replica_of(question, &story->attempts[question->attempt]);

        if (replica != NULL && replica_question_ask(&question->replica, loop, replica, path,
                                                    REPLICA_STORY_ANSWER_BYTES) == STATUS_OK)
            return;
    }
    story_answer(question);
}

static void answer(struct story_question *question)
{
    if (question->record == NULL) {
        question_destroy(question);
    } else if (question->id[0] == '\0') {
        list_answer(question);
    } else if (!question->is_found) {
        edge_refuse(question->record, 404, "request_not_found",
                    "No request of this id is under way or among those that are kept "
                    "(observability.requests.kept)");
        question_destroy(question);
    } else {
        ask_next(question);
    }
}

/* --- the question --- */

static void on_gone(http_request *request, void *context)
{
    struct story_question *question = context;
    bool is_asking = question->replica.exchange != NULL;

    (void)request;
    question->record = NULL;
    replica_question_cancel(&question->replica);
    if (is_asking) /* else its message comes home */
        question_destroy(question);
}

static struct story_question *question_create(struct edge_record *record, bool is_list,
                                              uint32_t limit)
{
    struct story_question *question = memory_allocate_array(1, sizeof(*question));
    uint32_t loops = http_server_loop_count(record->edge->server);

    if (question == NULL)
        return NULL;
    question->edge = record->edge;
    question->record = record;
    question->home = http_request_loop(record->request);
    question->message.run = on_loop;
    question->replica.answered = on_told;
    question->limit = limit;
    buffer_init(&question->rows, ANSWER_BYTES_MAX);
    for (uint32_t i = 0; i < STORY_ATTEMPTS_MAX; i++)
        buffer_init(&question->told[i], REPLICA_STORY_ANSWER_BYTES);
    if (is_list)
        question->items = memory_allocate_array((size_t)limit * loops, sizeof(question->items[0]));
    if (!is_list || question->items != NULL)
        return question;
    question_destroy(question);
    return NULL;
}

static void question_send(struct story_question *question)
{
    http_request_on_gone(question->record->request, on_gone, question);
    http_loop_send(http_server_loop(question->edge->server, 0), &question->message);
}

static void refuse_memory(struct edge_record *record)
{
    edge_refuse(record, 503, "overloaded", "The gateway has no memory for this");
}

enum { WORD_STATE, WORD_LIMIT, WORD_MODEL, WORD_COUNT };
static const char *const word_names[WORD_COUNT] = {"state", "limit", "model"};

static bool state_read(const char *word, enum story_states *out)
{
    *out = strcmp(word, "live") == 0 ? STATES_LIVE : STATES_ENDED;
    return *out == STATES_LIVE || strcmp(word, "ended") == 0;
}

static bool limit_read(const char *word, uint32_t *out)
{
    char *end;
    unsigned long value = strtoul(word, &end, 10);

    *out = value <= LIMIT_MAX ? (uint32_t)value : 0;
    return word[0] >= '0' && word[0] <= '9' && *end == '\0' && *out > 0;
}

void admin_requests(struct edge_record *record, struct text_slice rest)
{
    char words[WORD_COUNT][QUERY_WORD_BYTES] = {""};
    enum story_states states = STATES_ALL;
    uint32_t limit = LIMIT_DEFAULT;
    struct story_question *question;

    (void)rest;
    if (!query_words_take(record->request, word_names, WORD_COUNT, words) ||
        (words[WORD_STATE][0] != '\0' && !state_read(words[WORD_STATE], &states)) ||
        (words[WORD_LIMIT][0] != '\0' && !limit_read(words[WORD_LIMIT], &limit))) {
        edge_refuse(record, 400, "invalid_query",
                    "The query may have state (live or ended), limit (1 to 1000) and model");
        return;
    }
    question = question_create(record, true, limit);
    if (question == NULL) {
        refuse_memory(record);
        return;
    }
    question->states = states;
    memcpy(question->model, words[WORD_MODEL], sizeof(question->model));
    question_send(question);
}

void admin_request(struct edge_record *record, struct text_slice rest)
{
    struct text_slice id = edge_percent_decode(record->request, rest);
    struct story_question *question;

    /* A NUL would end the id early, and one without an id asks for the list. */
    if (id.bytes == 0 || id.bytes >= STORY_TEXT_BYTES || memchr(id.data, '\0', id.bytes) != NULL) {
        edge_refuse(record, 404, "request_not_found",
                    "Ids of requests have 1 to 128 characters, none of them NUL");
        return;
    }
    question = question_create(record, false, 0);
    if (question == NULL) {
        refuse_memory(record);
        return;
    }
    memcpy(question->id, id.data, id.bytes);
    question_send(question);
}
