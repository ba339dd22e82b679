#ifndef PENSTOCK_EDGE_CONTROL_QUESTION_H
#define PENSTOCK_EDGE_CONTROL_QUESTION_H

#include "edge.h"

/* What the admin API asks the control thread, which alone knows the pool and the scaling. A question waits in a queue for the thread's next
 * turn, is answered there, and its answer is sent by its loop. */

struct control_question;

/* Writes the answer's JSON; returns its HTTP code. `rest` is what follows the route's path, `query` what follows '?'. On the control thread. */
typedef int control_answer(struct control *control, struct text_slice rest, struct text_slice query,
                           struct buffer *out);

/* Asks, and answers the request with what comes; 503 when the gateway ends. Loop. */
void control_question_ask(struct edge_record *record, control_answer *answer,
                          struct text_slice rest);

struct control_questions {
    pthread_mutex_t lock; /* of what follows */
    struct control_question *head, **tail;
    bool is_closed;
};
void control_questions_init(struct control_questions *questions);
/* Nobody asks any more. */
void control_questions_deinit(struct control_questions *questions);
/* Answers what has come. Control thread. */
void control_questions_answer(struct control_questions *questions, struct control *control);
/* Refuses what is left, and all that comes. Control thread. */
void control_questions_close(struct control_questions *questions);

#endif
