#ifndef PENSTOCK_RECORDS_RECORD_TEXT_H
#define PENSTOCK_RECORDS_RECORD_TEXT_H

#include <stdint.h>

#include "buffer.h"

/* How times, money and seconds are written in logs and reports. Pure: any thread. */

/* 2026-01-02T03:04:05.678Z */
void record_time_write(struct buffer *out, uint64_t wall_ms);

/* Thousand-millionths as a decimal number without needless zeros: 1500000 is 0.0015. */
void record_nano_write(struct buffer *out, uint64_t nano);

#endif
