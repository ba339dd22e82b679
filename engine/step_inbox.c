#include "step_inbox.h"

#include "adapter_upload.h"
#include "sleep.h"
#include "step_ends.h"

static void handle_signals(engine *e, struct live_request *r, uint32_t signals)
{
    if ((signals & SIGNAL_SUBMIT) != 0) {
        batcher_submit(e->batch, &r->batch);
        if (e->failure != STATUS_OK)
            end_request(e, r, FINISH_ERROR, e->failure);
        else if (atomic_load_explicit(&e->is_closing, memory_order_relaxed))
            end_request(e, r, FINISH_ABORT, STATUS_OK);
    }
    if ((signals & SIGNAL_CANCEL) != 0)
        end_request(e, r, FINISH_ABORT, STATUS_OK);
    if ((signals & SIGNAL_STOP) != 0) {
        for (uint32_t i = 0; i < r->batch.sequence_count; i++) {
            struct sequence *s = &r->batch.sequences[i];
            if (s->state != SEQUENCE_ENDED &&
                atomic_load_explicit(&r->streams[i].is_stopped, memory_order_relaxed))
                end_sequence(e, s, FINISH_STOP, STATUS_OK);
        }
    }
}

void read_inbox(engine *e)
{
    /* Acquire pairs with the release of live_request_signal. The list comes newest first: turn it round. */
    struct live_request *newest = atomic_exchange_explicit(&e->inbox, NULL, memory_order_acquire);
    struct live_request *oldest = NULL;
    while (newest != NULL) {
        struct live_request *next = newest->inbox_next;
        newest->inbox_next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct live_request *r = oldest;
        oldest = r->inbox_next;
        /* From here on the request may be put into the inbox anew. */
        uint32_t signals = atomic_exchange_explicit(&r->signals, 0, memory_order_acq_rel);
        handle_signals(e, r, signals);
        live_request_release(r); /* the inbox's reference */
    }
}

bool has_mail(const engine *e)
{
    return atomic_load_explicit(&e->inbox, memory_order_relaxed) != NULL ||
           atomic_load_explicit(&e->is_closing, memory_order_relaxed) || sleep_is_ordered(e) ||
           adapter_upload_is_ordered(e);
}
