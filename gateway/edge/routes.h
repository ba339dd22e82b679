#ifndef PENSTOCK_EDGE_ROUTES_H
#define PENSTOCK_EDGE_ROUTES_H

#include "http_server.h"

/* Handlers of the two listeners; `context` is the struct edge. Loop thread. */
void routes_handle_public(http_request *request, void *context);
void routes_handle_admin(http_request *request, void *context);

#endif
