#ifndef PENSTOCK_EDGE_UPSTREAM_USAGE_H
#define PENSTOCK_EDGE_UPSTREAM_USAGE_H

#include "request_usage.h"
#include "text_slice.h"

/* What a server that is not ours tells of the tokens of a request: "usage" in the answers of OpenAI's APIs and of Anthropic's,
 * whole or as an event of a stream. Only at the places where the APIs have it: what a client or a model says elsewhere, as in
 * the arguments of a tool that are echoed, is no usage. A stream of chat or completions has to be asked for it; the event that
 * the client did not ask for is taken out again. Pure. */

/* The most that upstream_usage_ask adds. */
#define UPSTREAM_USAGE_ASK_BYTES 48u

/* `options`: the raw value of the body's stream_options, inside it; data NULL: it has none. Writes the body that asks for usage
 * into `out` (body.bytes + UPSTREAM_USAGE_ASK_BYTES) and returns its bytes; 0: it asks already, or `options` is nothing that a
 * server would take. `body` is an object with at least one member. */
size_t upstream_usage_ask(struct text_slice body, struct text_slice options, char *out);

/* Reads an answer or an event's data. False: it tells nothing. What it tells replaces what `usage` had, the rest stays: Anthropic's
 * streams tell the prompt first and the answer last. is_estimated is left where more is to come. */
bool upstream_usage_read(struct text_slice answer, struct request_usage *usage);

/* Takes the next run of bytes that go to the client from `events`, which begins at a line's start, and reads what the events in
 * it tell. `takes_out`: events with a usage and no choices are left out. */
struct text_slice upstream_usage_skip(struct text_slice *events, bool takes_out,
                                      struct request_usage *usage);

#endif
