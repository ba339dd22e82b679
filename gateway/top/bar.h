#ifndef PENSTOCK_TOP_BAR_H
#define PENSTOCK_TOP_BAR_H

#include "line.h"
#include "minute.h"

/* Shares of time as a bar of `cells` columns, a letter and a colour for each state. Sums of 0: nothing is written. */
void bar_write(struct line *line, const double shares[TIME_STATES], uint32_t cells);

/* How many cells each has: their sum is `cells`, and none is a whole one off (largest remainders). Shares are >= 0; of sum 0
 * all are 0. */
void bar_cells(const double shares[TIME_STATES], uint32_t cells, uint32_t out[TIME_STATES]);

#endif
