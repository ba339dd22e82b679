#ifndef PENSTOCK_GATEWAY_API_USAGE_REPORT_H
#define PENSTOCK_GATEWAY_API_USAGE_REPORT_H

#include <stdbool.h>

#include "buffer.h"
#include "wire_format.h"

/* How a replica tells the gateway, and nobody else, what a request has used so far, so that it is known to the token
 * whatever becomes of the answer. The gateway asks for it by a header; then a whole answer has it in a header of the
 * same name, and in a stream a comment line stands before each event that delivers tokens:
 *
 *     :u 12 0 5 2 41250733 -\n          prompt, cached, completion and reasoning tokens, this event's included; the
 *                                       nanoseconds of the replica's steps that were its own; and why the answer has
 *                                       ended, which only the last one tells
 *     data: {...}\n\n
 *
 * Where the stream could go on elsewhere (continuation.h) and the gateway asks for that, the line goes on with what is
 * needed for it:
 *
 *     :u 12 0 5 2 41250733 - 16 0 345 17\n    prompt tokens put into the cache; a choice; ids of tokens of it
 *
 * These are the tokens of that choice since its last report, without this event's own: all events that they made have been
 * delivered where this line is. A choice's last ones are never told: they may be what ended it.
 *
 * The gateway takes all this away. Pure. */

#define USAGE_REPORT_HEADER    "x-penstock-usage"
#define USAGE_REPORT_COMMENT   ":u "
#define USAGE_REPORT_BYTES_MAX 96u /* without tokens */

struct usage_report {
    struct api_usage usage; /* what is above, and cache_write_tokens */
    bool tells_tokens;
    uint32_t choice;
    struct text_slice tokens; /* in the stream's text; usage_report_next takes them out */
};

/* Appends the five numbers and the word. */
void usage_report_write(const struct api_usage *usage, struct buffer *out);
/* False: it is something else; `usage` is untouched. */
bool usage_report_read(struct text_slice text, struct api_usage *usage);

/* Appends a line: without tokens, or with `tokens` [count]. */
void usage_report_write_line(const struct api_usage *usage, struct buffer *out);
void usage_report_write_told(const struct api_usage *usage, uint32_t choice, const int32_t *tokens,
                             size_t count, struct buffer *out);
/* Puts a line at `at` of `out`, before what follows there. */
void usage_report_insert(struct text_slice line, struct buffer *out, size_t at);

/* Takes the next run of bytes that are no report from `events`, which begins at a line's start and ends with a line. `report` is
 * the one that follows the run, if there is one; then `has_report`. */
struct text_slice usage_report_skip(struct text_slice *events, struct usage_report *report,
                                    bool *has_report);
/* The next of the tokens; false: there is none left. */
bool usage_report_next(struct usage_report *report, int32_t *token);

#endif
