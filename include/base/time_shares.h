#ifndef PENSTOCK_BASE_TIME_SHARES_H
#define PENSTOCK_BASE_TIME_SHARES_H

#include <stdint.h>

/* Divides the time of a step of computing among those who had rows in it, each by its rows, so that what they are told to have
 * used adds up to the time that the step took, to the nanosecond. Pure. */
struct time_shares {
    uint64_t elapsed_ns;        /* of the step */
    uint32_t row_count;         /* of the step */
    uint32_t rows_given;        /* begins as zero */
    uint64_t nanoseconds_given; /* begins as zero */
};

/* The share of the next `rows` rows; all rows are asked for once, in any pieces. */
uint64_t time_shares_next(struct time_shares *shares, uint32_t rows);

#endif
