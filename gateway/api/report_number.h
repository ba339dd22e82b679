#ifndef PENSTOCK_API_REPORT_NUMBER_H
#define PENSTOCK_API_REPORT_NUMBER_H

#include "decimal.h"

/* In what the gateway and its replicas tell each other numbers stand with one blank between them. */

/* Takes a number of at most `max` and the blank behind it away. False: it is something else. */
static inline bool report_number_take(struct text_slice *text, uint64_t max, uint64_t *out)
{
    return decimal_take(text, max, out) && (text->bytes == 0 || text_slice_skip(text, " "));
}

#endif
