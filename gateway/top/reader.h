#ifndef PENSTOCK_TOP_READER_H
#define PENSTOCK_TOP_READER_H

#include <stdbool.h>

#include "facts.h"

/* A thread that asks the gateway again and again, so that keys are heard while an answer is late. What it has read is handed over whole:
 * there is one owner at any time. */

struct reader;

/* NULL: no memory, no thread, or no file descriptor. It reads at once. */
struct reader *reader_create(const struct top *top);
/* Stops the reading that is under way, and waits for its end. */
void reader_destroy(struct reader *reader);

/* Readable when there is something to take. */
int reader_descriptor(const struct reader *reader);
/* The newest reading, the caller's; or NULL and why there is none. False: there is nothing new. */
bool reader_take(struct reader *reader, struct top_facts **facts, struct error_note *note);

#endif
