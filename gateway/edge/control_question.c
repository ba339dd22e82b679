#include "control_question.h"

#include "check.h"
#include "control_internal.h"
#include "memory.h"
#include "reply.h"

#define TEXT_BYTES       512u
#define ANSWER_BYTES_MAX (64u << 20)

struct control_question {
    struct http_message message; /* to the loop: it is answered */
    struct control_question *next;
    http_loop *loop;
    struct edge_record *record; /* loop; NULL: the client has gone */
    control_answer *answer;
    char rest[TEXT_BYTES], query[TEXT_BYTES];
    int code; /* 0: refused */
    struct buffer json;
};

/* --- loop --- */

static void refuse(struct edge_record *record)
{
    edge_refuse(record, 503, "not_available", "The gateway is starting or shutting down");
}

static void answered(struct http_message *message, http_loop *loop)
{
    struct control_question *question = CONTAINER_OF(message, struct control_question, message);

    (void)loop;
    if (question->record != NULL && question->code == 0)
        refuse(question->record);
    else if (question->record != NULL)
        edge_reply_json(question->record, question->code, &question->json);
    buffer_deinit(&question->json);
    memory_release(question);
}

static void on_gone(http_request *request, void *context)
{
    (void)request;
    ((struct control_question *)context)->record = NULL;
}

static bool is_kept(struct text_slice text, char out[TEXT_BYTES])
{
    if (text.bytes >= TEXT_BYTES)
        return false;
    if (text.bytes > 0)
        memcpy(out, text.data, text.bytes);
    out[text.bytes] = '\0';
    return true;
}

static bool hand_over(struct control_questions *questions, struct control_question *question)
{
    bool is_open;

    pthread_mutex_lock(&questions->lock);
    is_open = !questions->is_closed;
    if (is_open) {
        *questions->tail = question;
        questions->tail = &question->next;
    }
    pthread_mutex_unlock(&questions->lock);
    return is_open;
}

void control_question_ask(struct edge_record *record, control_answer *answer,
                          struct text_slice rest)
{
    struct control *control = record->edge->control;
    struct control_question *question = memory_allocate_array(1, sizeof(*question));
    struct api_error error = {0};

    if (control == NULL) { /* it is starting */
        memory_release(question);
        refuse(record);
        return;
    }
    if (question == NULL || !is_kept(rest, question->rest) ||
        !is_kept(http_request_query(record->request), question->query)) {
        memory_release(question);
        api_error_set(&error, 400, "invalid_request_error", "too_long", "",
                      "The path and the query are longer than %u bytes", TEXT_BYTES - 1);
        edge_reply_error(record, &error);
        return;
    }
    question->message.run = answered;
    question->loop = http_request_loop(record->request);
    question->record = record;
    question->answer = answer;
    buffer_init(&question->json, ANSWER_BYTES_MAX);
    if (!hand_over(&control->questions, question)) {
        memory_release(question);
        refuse(record);
        return;
    }
    http_request_on_gone(record->request, on_gone, question);
    control_look(control);
}

/* --- control thread --- */

void control_questions_init(struct control_questions *questions)
{
    *questions = (struct control_questions){.tail = &questions->head};
    (void)pthread_mutex_init(&questions->lock, NULL);
}

void control_questions_deinit(struct control_questions *questions)
{
    (void)pthread_mutex_destroy(&questions->lock);
}

static struct control_question *take_all(struct control_questions *questions, bool is_last)
{
    struct control_question *head;

    pthread_mutex_lock(&questions->lock);
    head = questions->head;
    questions->head = NULL;
    questions->tail = &questions->head;
    questions->is_closed |= is_last;
    pthread_mutex_unlock(&questions->lock);
    return head;
}

void control_questions_answer(struct control_questions *questions, struct control *control)
{
    struct control_question *question = take_all(questions, false), *next;

    for (; question != NULL; question = next) {
        next = question->next;
        question->code = question->answer(control, text_slice_of(question->rest),
                                          text_slice_of(question->query), &question->json);
        http_loop_send(question->loop, &question->message);
    }
}

void control_questions_close(struct control_questions *questions)
{
    struct control_question *question = take_all(questions, true), *next;

    for (; question != NULL; question = next) {
        next = question->next;
        http_loop_send(question->loop, &question->message);
    }
}
