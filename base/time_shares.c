#include "time_shares.h"

#include "check.h"

uint64_t time_shares_next(struct time_shares *shares, uint32_t rows)
{
    CHECK(rows <= shares->row_count - shares->rows_given);
    if (rows == 0)
        return 0;
    /* Up to a row the first rows have the floor of their part; the last row's end is the whole. */
    shares->rows_given += rows;
    uint64_t end =
        (uint64_t)((__uint128_t)shares->elapsed_ns * shares->rows_given / shares->row_count);
    uint64_t share = end - shares->nanoseconds_given;
    shares->nanoseconds_given = end;
    return share;
}
