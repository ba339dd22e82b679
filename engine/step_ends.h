#ifndef PENSTOCK_ENGINE_STEP_ENDS_H
#define PENSTOCK_ENGINE_STEP_ENDS_H

#include "engine_private.h"

/* What the step thread tells the publisher, and how sequences and requests end. Thread: step. */

/* A message about sequence `index`, still to be filled and sent. Waits for the publisher where it has all of them. */
struct token_message *message_start(engine *e, struct live_request *r, uint32_t index);
/* After the last message of its last sequence the request must not be touched. */
void message_send(engine *e, struct token_message *m);

/* Takes the sequence out of the batch, and out of steps that are under way. With the request's last one its adapter is let go:
 * the publisher may still hold the request when the model is closed. */
void leave_batch(engine *e, struct sequence *s);

/* Ends a sequence without a token. */
void end_sequence(engine *e, struct sequence *s, enum finish_reason finish, status error);
/* Ends all that is left of a request. The caller holds a reference. */
void end_request(engine *e, struct live_request *r, enum finish_reason finish, status error);
void end_all_requests(engine *e, enum finish_reason finish, status error);

#endif
