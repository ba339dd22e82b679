#ifndef PENSTOCK_BENCH_STREAM_CLIENT_H
#define PENSTOCK_BENCH_STREAM_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "status.h"

/* One kept connection that sends a request and reads a streamed chat completion. It does as little
 * as it can with each byte: the load generator shares two cores with the server it measures.
 * Non-blocking; the owner polls the socket. */

struct stream_client_result {
    uint64_t start_ns; /* arrival of the request (open loop: when it was due, so waiting for a
                          socket counts) */
    uint64_t first_token_ns, end_ns;
    uint32_t event_count;                                     /* events that carried text */
    uint32_t prompt_tokens, cached_tokens, completion_tokens; /* the server's usage */
    int status_code;                                          /* 0: the connection failed */
    bool is_complete;                                         /* [DONE] came */
};

struct stream_client {
    int fd; /* -1: not connected */
    uint32_t
        connection_count; /* rises with every connect: the poller must register the new socket */
    struct sockaddr_in address;
    struct buffer out; /* request bytes */
    size_t out_sent;
    struct buffer in;    /* bytes not yet parsed */
    struct buffer lines; /* body bytes, chunk framing removed, that are not a whole line yet */
    struct buffer text;  /* answer as JSON string content, for the next turn; only when keep_text */
    bool keep_text;
    bool is_busy, is_reused, head_done, is_chunked;
    int64_t chunk_left; /* -1: a chunk header comes next */
    uint64_t last_token_ns;
    struct stream_client_result result;
    /* Called for the gap between two text events, ns. */
    void (*on_gap)(void *context, uint64_t gap_ns);
    void *context;
};

void stream_client_init(struct stream_client *client, const struct sockaddr_in *address);
void stream_client_deinit(struct stream_client *client);

/* Connects if need be and queues the request. STATUS_IO when there is no connection to be had. */
NODISCARD status stream_client_start(struct stream_client *client, const char *path,
                                     const struct buffer *body, uint64_t start_ns);

/* The socket is ready. Returns true when the answer is over (result is filled). */
bool stream_client_ready(struct stream_client *client, bool can_read, bool can_write,
                         uint64_t now_ns);

static inline bool stream_client_wants_write(const struct stream_client *client)
{
    return client->is_busy && client->out_sent < client->out.bytes;
}

#endif
