#ifndef PENSTOCK_ENGINE_STEP_INBOX_H
#define PENSTOCK_ENGINE_STEP_INBOX_H

#include "engine_private.h"

/* What other threads want of the step thread: requests that come, are cancelled, or have matched a stop string. Thread: step. */

/* Does all that is in the inbox. Between steps. */
void read_inbox(engine *e);

/* There is something to do, in the inbox or beside it. */
bool has_mail(const engine *e);

#endif
