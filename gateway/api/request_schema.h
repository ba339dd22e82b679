#ifndef PENSTOCK_GATEWAY_API_REQUEST_SCHEMA_H
#define PENSTOCK_GATEWAY_API_REQUEST_SCHEMA_H

#include "buffer.h"

/* The schema of a completion request's body, from the table of fields itself (request_table.c): what a
 * field takes follows from its reader, and what becomes of it (honoured, ignored by name, refused)
 * stands beside it as x-penstock. `scope`: SCOPE_CHAT or SCOPE_TEXT. */
void request_schema_write(unsigned scope, struct buffer *out);

#endif
