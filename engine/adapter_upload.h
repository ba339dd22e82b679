#ifndef PENSTOCK_ADAPTER_UPLOAD_H
#define PENSTOCK_ADAPTER_UPLOAD_H

#include "engine_private.h"

/* Adapters on their way to a device, which belongs to the step thread: whoever loads one gives it an order and waits, and it copies a
 * piece between any two steps, so that those who run wait for no more than that. An engine that sleeps copies nothing: what is
 * missing then comes with the first step that uses it. */

/* Waits until it is there, or may come later. STATUS_OK; STATUS_CLOSED: the device has failed. Any thread but the step thread. */
NODISCARD status adapter_upload(engine *e, model_adapter *adapter);

/* The step thread's: whether there is an order; the next piece of it, false: there was none. */
bool adapter_upload_is_ordered(const engine *e);
bool adapter_upload_turn(engine *e);
/* The step thread's: what is not there yet of an adapter that the next step uses. */
void adapter_upload_rest(engine *e, model_adapter *adapter);

#endif
