#ifndef PENSTOCK_GATEWAY_HTTP_ACCEPTOR_H
#define PENSTOCK_GATEWAY_HTTP_ACCEPTOR_H

#include "loop.h"

/* Where connections come from, and how a loop comes to its end. See acceptor.c. Loop thread. */

/* Takes the loop's share of the listener's sockets. */
void acceptor_open(struct acceptor *acceptor, http_loop *loop);
/* Begins to accept. */
void acceptor_start(struct acceptor *acceptor);

/* See http_server_drain. */
void acceptor_drain(http_loop *loop, uint64_t idle_ns);
/* A connection has begun to speak HTTP/2 while the loop drains: it has to be told as well. */
void acceptor_tell_late(http_loop *loop);
/* Closes everything. */
void acceptor_close_all(http_loop *loop);

#endif
