#ifndef PENSTOCK_BASE_DECIMAL_H
#define PENSTOCK_BASE_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

#include "text_slice.h"

/* Whole numbers as digits and nothing else: no sign, no blank. Leading zeros are digits like others; where they are not wanted,
 * or only so many, the caller looks at the length. Pure: any thread. */

/* Takes the digits that `text` begins with away. False: it begins with none, or they are above `max`; nothing has changed. */
bool decimal_take(struct text_slice *text, uint64_t max, uint64_t *out);
/* The same, where nothing may follow. */
bool decimal_read(struct text_slice text, uint64_t max, uint64_t *out);

#endif
