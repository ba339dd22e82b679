#ifndef PENSTOCK_GATEWAY_API_OPENAPI_H
#define PENSTOCK_GATEWAY_API_OPENAPI_H

#include "buffer.h"

/* The OpenAPI 3.1 document of a server: GET /openapi.json. Made from the tables that the server itself
 * runs on (request fields) and from tables of what it answers, which CI holds against the answers. */

enum api_role { API_REPLICA = 1, API_GATEWAY = 2 };

/* Appends the document of this role; its examples are for the model of this name. Any thread. */
void api_openapi_write(enum api_role role, const char *model, struct buffer *out);

#endif
