#include "step_ends.h"

#include "check.h"
#include "load_totals.h"
#include "step_flight.h"

static struct token_message *message_acquire(engine *e)
{
    struct token_message *m = ring_pop(e->free_messages);
    if (m != NULL)
        return m;
    parking_signal(&e->publisher_parking); /* it may sleep before what this step has sent so far */
    for (;;) {
        uint32_t ticket = parking_prepare(&e->step_parking);
        m = ring_pop(e->free_messages);
        if (m != NULL) {
            parking_cancel(&e->step_parking);
            return m;
        }
        parking_wait(&e->step_parking, ticket, UINT64_MAX);
    }
}

struct token_message *message_start(engine *e, struct live_request *r, uint32_t index)
{
    struct token_message *m = message_acquire(e);
    m->request = r;
    m->index = index;
    m->has_token = false;
    m->finish = FINISH_NONE;
    m->stop_token = -1;
    m->error = STATUS_OK;
    m->time_ns = 0;
    m->admitted_ns = r->admitted_ns;
    m->busy_ns = r->busy_ns;
    m->cached_tokens = r->batch.cached_tokens;
    m->cache_write_tokens = r->batch.written_tokens;
    m->preemption_count = r->batch.preemption_count;
    return m;
}

void message_send(engine *e, struct token_message *m)
{
    status s = ring_push(e->outbox, m);
    CHECK(s == STATUS_OK); /* it has room for all of them */
}

void leave_batch(engine *e, struct sequence *s)
{
    struct live_request *r = (struct live_request *)s->request;
    step_flights_forget(e, s);
    batcher_end_sequence(e->batch, s);
    if (r->batch.live_count > 0)
        return;
    load_totals_note_ended(e, r);
    adapter_end_request(r->adapter, r->admitted_ns != 0);
    r->adapter = NULL;
}

void end_sequence(engine *e, struct sequence *s, enum finish_reason finish, status error)
{
    struct live_request *r = (struct live_request *)s->request;
    uint32_t index = s->index;
    leave_batch(e, s);
    struct token_message *m = message_start(e, r, index);
    m->finish = finish;
    m->error = error;
    message_send(e, m);
}

void end_request(engine *e, struct live_request *r, enum finish_reason finish, status error)
{
    /* From the last: sequence 0 computes the prompt for those that are pending. */
    for (uint32_t i = r->batch.sequence_count; i-- > 0;) {
        if (r->batch.sequences[i].state != SEQUENCE_ENDED)
            end_sequence(e, &r->batch.sequences[i], finish, error);
    }
}

void end_all_requests(engine *e, enum finish_reason finish, status error)
{
    struct batch_request *batch;
    while ((batch = batcher_any_request(e->batch)) != NULL) {
        struct live_request *r = (struct live_request *)batch;
        live_request_retain(r);
        end_request(e, r, finish, error);
        live_request_release(r);
    }
}
