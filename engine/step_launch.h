#ifndef PENSTOCK_ENGINE_STEP_LAUNCH_H
#define PENSTOCK_ENGINE_STEP_LAUNCH_H

#include "engine_private.h"

/* Has the model start the step of this plan, which becomes the newest flight. STATUS_OK; else the device has failed. Thread:
 * step. */
NODISCARD status step_launch(engine *e, const struct step_plan *plan, uint64_t now_ns);

#endif
