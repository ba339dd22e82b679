#ifndef PENSTOCK_ENGINE_STEP_COLLECT_H
#define PENSTOCK_ENGINE_STEP_COLLECT_H

#include "engine_private.h"

/* Waits for the oldest step under way and does all that its tokens bring: they are appended and sent, and end sequences.
 * STATUS_OK; else the device has failed, and nothing of the step counts. Thread: step. */
NODISCARD status step_collect(engine *e);

#endif
