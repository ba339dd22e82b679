#ifndef PENSTOCK_BASE_HTTP_STREAM_H
#define PENSTOCK_BASE_HTTP_STREAM_H

#include "http_fetch.h"

/* Answers that come bit by bit and may never end (a cluster's watches), several at once on one thread. Streams move on only while
 * that thread polls them; what has come is in their bodies. */

struct http_streams;
struct http_streams *http_streams_create(void);          /* NULL: no memory */
void http_streams_destroy(struct http_streams *streams); /* accepts NULL; all streams are closed */

struct http_stream;

/* Asks; nothing is waited for. `fetch` is read during the call, but for what it sends (fetch->body), which is borrowed until the stream is closed; its session, is_over and retry_after_s are not used, and its timeout is
 * that of the connection alone. `body` is borrowed until the stream is closed; its owner consumes what it has read; what has not been
 * consumed may not go over its ceiling. STATUS_OK, STATUS_NO_MEMORY, STATUS_TOO_LARGE (a header). */
NODISCARD status http_stream_open(struct http_streams *streams, const struct http_fetch *fetch,
                                  struct buffer *body, struct http_stream **out);
void http_stream_close(struct http_stream *stream); /* accepts NULL */

/* Moves all of them on; waits up to `timeout_ms` for something to come. */
void http_streams_poll(struct http_streams *streams, int timeout_ms);

/* The answer's status code; 0: there is no answer yet. */
int http_stream_code(const struct http_stream *stream);
/* Has it ended? `result` is then how: STATUS_OK (the answer is whole), else as of http_fetch with a note. */
bool http_stream_has_ended(const struct http_stream *stream, status *result,
                           struct error_note *note);
/* Monotonic: when something came last; before that, when it was opened. */
uint64_t http_stream_heard_ns(const struct http_stream *stream);
/* What the answer asks to wait, in seconds; 0: nothing. */
uint64_t http_stream_retry_after(const struct http_stream *stream);

#endif
