#ifndef PENSTOCK_BASE_OPENING_H
#define PENSTOCK_BASE_OPENING_H

#include <stdatomic.h>

#include "ring.h"
#include "status.h"

/* What is opened by the thread that will own it, while whoever wants it open waits. Zeroed at first. */
struct opening {
    struct parking parking;
    _Atomic bool is_over;
    status result;          /* written before is_over, as the note */
    struct error_note note; /* the opener's to fill before it tells a failure */
};

/* The opening thread, once: it has opened what it should, or could not. What it wrote before is seen by the waiter. */
void opening_tell(struct opening *opening, status result);

/* Waits for that; the result, and where it is a failure its note (`note` may be NULL). */
NODISCARD status opening_wait(struct opening *opening, struct error_note *note);

#endif
