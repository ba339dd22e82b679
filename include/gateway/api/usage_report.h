#ifndef PENSTOCK_GATEWAY_API_USAGE_REPORT_H
#define PENSTOCK_GATEWAY_API_USAGE_REPORT_H

#include <stdbool.h>

#include "buffer.h"

/* How a replica tells the gateway, and nobody else, what a request has used so far, so that it is known to the token
 * whatever becomes of the answer. The gateway asks for it by a header; then a whole answer has it in a header of the
 * same name, and in a stream a comment line stands before each event that delivers tokens:
 *
 *     :u 12 0 5 2 41250733 -\n          prompt, cached, completion and reasoning tokens, this event's included; the
 *                                       nanoseconds of the replica's steps that were its own; and why the answer has
 *                                       ended, which only the last one tells
 *     data: {...}\n\n
 *
 * The gateway takes both away. Pure. */

#define USAGE_REPORT_HEADER    "x-penstock-usage"
#define USAGE_REPORT_COMMENT   ":u "
#define USAGE_REPORT_BYTES_MAX 96u

struct api_usage;

/* Appends the five numbers and the word. */
void usage_report_write(const struct api_usage *usage, struct buffer *out);
/* False: it is something else; `usage` is untouched. */
bool usage_report_read(struct text_slice text, struct api_usage *usage);

/* Puts the comment line at `at` of `out`, before what follows there. */
void usage_report_insert(const struct api_usage *usage, struct buffer *out, size_t at);
/* Takes the next run of bytes that are no report from `events`, which begins at a line's start and ends with a line. `usage`
 * becomes that of the report that follows the run, if there is one; then `has_report`. */
struct text_slice usage_report_skip(struct text_slice *events, struct api_usage *usage,
                                    bool *has_report);

#endif
