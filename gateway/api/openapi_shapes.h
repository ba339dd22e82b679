#ifndef PENSTOCK_GATEWAY_API_OPENAPI_SHAPES_H
#define PENSTOCK_GATEWAY_API_OPENAPI_SHAPES_H

#include "buffer.h"

/* The objects that requests and answers are made of: "Name":{schema},... for components/schemas. */
void openapi_shapes_write(struct buffer *out);

#endif
