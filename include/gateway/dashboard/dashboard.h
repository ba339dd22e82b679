#ifndef PENSTOCK_DASHBOARD_H
#define PENSTOCK_DASHBOARD_H

#include "text_slice.h"

/* The files of the dashboard page (gateway/dashboard/page), which are part of the program. Any thread. */
struct dashboard_file {
    const char *name, *content_type;
    const unsigned char *data;
    size_t bytes;
};

/* By its name ("index.html"). NULL: there is none. */
const struct dashboard_file *dashboard_find(struct text_slice name);

/* What the page may do: run its own scripts and styles, and ask this gateway. No other place is reached, nothing is framed. */
#define DASHBOARD_SECURITY_POLICY                                                                  \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src "        \
    "'self'; "                                                                                     \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

#endif
