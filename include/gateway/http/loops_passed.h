#ifndef PENSTOCK_GATEWAY_HTTP_LOOPS_PASSED_H
#define PENSTOCK_GATEWAY_HTTP_LOOPS_PASSED_H

#include "http_server.h"

/* How an immutable snapshot that loops read through an atomic pointer is freed without a lock: after it has been
 * replaced, each loop is sent a message; once all have run it, every loop has ended the turn in which it could have held
 * the old one. */
typedef struct loops_passed loops_passed;

/* Makes the messages, before anything is changed: what can fail comes first. Thread: any but a loop. STATUS_OK,
 * STATUS_NO_MEMORY. */
NODISCARD status loops_passed_create(http_server *server, loops_passed **out);
/* Calls `run(object)` on one of the loops once all have passed a quiet point, and frees `passed`. Not called when the
 * loops end before. */
void loops_passed_then(loops_passed *passed, void (*run)(void *object), void *object);

#endif
