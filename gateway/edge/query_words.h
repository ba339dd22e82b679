#ifndef PENSTOCK_EDGE_QUERY_WORDS_H
#define PENSTOCK_EDGE_QUERY_WORDS_H

#include "http_server.h"

/* The words of a query, NAME=VALUE&..., as the admin API takes them. */

#define QUERY_WORD_BYTES 160u

/* The value of names[i] goes into words[i], NUL-terminated; those that are not there leave it as it is. False: there is a name that is not
 * among them, or a value that is too long or has a NUL in it. Loop. */
bool query_words_take(http_request *request, const char *const *names, uint32_t count,
                      char (*words)[QUERY_WORD_BYTES]);

#endif
