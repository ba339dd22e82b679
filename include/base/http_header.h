#ifndef PENSTOCK_BASE_HTTP_HEADER_H
#define PENSTOCK_BASE_HTTP_HEADER_H

#include "text_slice.h"

/* One header of a request or an answer. */
struct http_header {
    struct text_slice name;  /* lower-case token */
    struct text_slice value; /* no CR, LF or NUL: a server drops and logs such a header */
};

#endif
