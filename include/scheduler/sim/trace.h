#ifndef PENSTOCK_SCHEDULER_TRACE_H
#define PENSTOCK_SCHEDULER_TRACE_H

#include <stdint.h>
#include <stdio.h>

#include "status.h"

/* Recorded traffic for the simulator: a table of comma-separated values, whose first line names the columns and whose others are a
 * request each, in the order of their times:
 *
 *      seconds,model,prompt_tokens,output_tokens
 *      1767571200.25,chat-support,812,143
 *
 * Seconds count from anywhere: the first request's hour begins the simulation. A model is of the kind that its name begins with
 * (chat, agent, reasoning or large; specs.c has what they cost), alone or before a '-'. */
struct trace;

#define TRACE_MODELS_MAX     1000u
#define TRACE_REQUESTS_MAX   100000000u /* 16 bytes each */
#define TRACE_NAME_BYTES_MAX 127u
#define TRACE_TOKENS_MAX     1000000u
#define TRACE_HOURS_MAX      168u

/* Reads all of it. STATUS_OK; STATUS_INVALID, STATUS_TOO_LARGE: `note` names the line and what is wrong with it; STATUS_IO;
 * STATUS_NO_MEMORY. */
NODISCARD status trace_read(FILE *file, struct trace **out, struct error_note *note);
void trace_destroy(struct trace *trace); /* accepts NULL */

uint32_t trace_model_count(const struct trace *trace); /* 1 or more */
/* That have a request, the last one begun. */
uint32_t trace_hours(const struct trace *trace);

#endif
