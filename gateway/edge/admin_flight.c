/* GET /admin/replicas/MODEL/INDEX/flight: asks the replica, and passes its answer on. */
#include <stdio.h>

#include "admin.h"
#include "check.h"
#include "flight_recorder.h"
#include "memory.h"
#include "replica_question.h"
#include "wire_format.h"

struct flight_question {
    struct replica_question replica;
    struct edge_record *record;
};

static void on_told(struct replica_question *replica)
{
    struct flight_question *question = CONTAINER_OF(replica, struct flight_question, replica);

    if (replica->result == STATUS_OK)
        edge_reply(question->record, 200, "application/octet-stream", buffer_slice(&replica->body));
    else
        edge_refuse(
            question->record, 503, "replica_silent",
            "The replica does not tell its last steps; if it is on this machine they are in its "
            "file in the run directory");
    memory_release(question);
}

static void on_gone(http_request *request, void *context)
{
    struct flight_question *question = context;

    (void)request;
    replica_question_cancel(&question->replica);
    memory_release(question);
}

/* "MODEL/INDEX/flight"; models' names may have slashes. */
static const struct edge_replica *replica_find(const struct edge *edge, struct text_slice rest)
{
    char tail[32];

    for (uint32_t i = 0; i < edge->model_count; i++) {
        const struct edge_model *model = &edge->models[i];
        struct text_slice behind = rest;

        if (!text_slice_skip(&behind, model->name))
            continue;
        for (uint32_t j = 0; j < model->replica_count; j++) {
            (void)snprintf(tail, sizeof(tail), "/%u/flight", j);
            if (text_slice_is(behind, tail))
                return &model->replicas[j];
        }
    }
    return NULL;
}

void admin_flight(struct edge_record *record, struct text_slice rest)
{
    struct edge_loop *loop = http_loop_get(http_request_loop(record->request), EDGE_LOOP_SLOT);
    const struct edge_replica *replica =
        replica_find(record->edge, edge_percent_decode(record->request, rest));
    struct flight_question *question;

    if (replica == NULL) {
        edge_refuse(record, 404, "replica_not_found",
                    "There is no such replica: MODEL/INDEX/flight");
        return;
    }
    question = memory_allocate_array(1, sizeof(*question));
    if (question == NULL) {
        edge_refuse(record, 503, "overloaded", "The gateway has no memory for this");
        return;
    }
    question->record = record;
    question->replica.answered = on_told;
    if (replica_question_ask(&question->replica, loop, replica, "/flight", FLIGHT_BYTES_MAX) !=
        STATUS_OK) {
        memory_release(question);
        edge_refuse(record, 404, "replica_not_there", "The replica is not running, or is not ours");
        return;
    }
    http_request_on_gone(record->request, on_gone, question);
}
