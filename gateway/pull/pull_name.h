#ifndef PENSTOCK_PULL_NAME_H
#define PENSTOCK_PULL_NAME_H

#include <stdbool.h>
#include <stddef.h>

#define PULL_PATH_BYTES_MAX 1024u
#define PULL_NAME_BYTES_MAX 240u /* of one part: 255 less what is added while it is fetched */
#define PULL_DEPTH_MAX      16u

/* May a server name a file so? Relative, parts of 1..240 bytes, none that is "." or "..", no control characters and no '\', which
 * others take for '/'. */
bool pull_path_is_safe(const char *path);

/* "organisation/name", or a name alone: what the Hub allows. */
bool pull_repository_is_safe(const char *name);

/* The file's name in a URL's path, without query and with its %XX resolved; false: there is none that is safe. */
bool pull_url_name(const char *url, char out[PULL_NAME_BYTES_MAX + 1]);

/* http:// goes to this machine alone: no hash or token is worth anything if others can change what comes. */
bool pull_url_is_allowed(const char *url);

#endif
