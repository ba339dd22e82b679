#include "admin_get.h"

#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "http_fetch.h"

#define TIMEOUT_NS   (30 * NS_PER_SECOND)
#define KEY_VARIABLE "PENSTOCK_ADMIN_KEY" /* as a word of the command line others could see it */

bool admin_get(const char *verb, const char *url, struct buffer *out)
{
    const char *key = getenv(KEY_VARIABLE); // NOLINT: one thread
    char authorization[512] = "";
    int key_bytes =
        snprintf(authorization, sizeof(authorization), "Bearer %s", key != NULL ? key : "");
    const struct http_header header = {text_slice_of("authorization"),
                                       text_slice_of(authorization)};
    struct http_fetch fetch = {.url = url,
                               .headers = &header,
                               .header_count = key != NULL ? 1 : 0,
                               .accepts_gzip = true,
                               .timeout_ns = TIMEOUT_NS};
    struct error_note note = {""};
    int code = 0;

    if (key_bytes < 0 || key_bytes >= (int)sizeof(authorization)) {
        (void)fprintf(stderr, "%s: " KEY_VARIABLE " is too long\n", verb);
        return false;
    }
    if (http_fetch(&fetch, &code, out, &note) != STATUS_OK) {
        (void)fprintf(stderr, "%s: no answer from %s: %s\n", verb, url, note.text);
        return false;
    }
    if (code != 200) {
        (void)fprintf(stderr, "%s: %s answers %d%s: %.*s\n", verb, url, code,
                      code == 401 ? " (a key with the scope admin goes into " KEY_VARIABLE ")" : "",
                      (int)(out->bytes < 1000 ? out->bytes : 1000),
                      out->data != NULL ? out->data : "");
        return false;
    }
    return true;
}
