#include "admin_get.h"

#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

#define TIMEOUT_NS   (30 * NS_PER_SECOND)
#define KEY_VARIABLE "PENSTOCK_ADMIN_KEY" /* as a word of the command line others could see it */

status admin_ask(const char *url, struct http_fetch_session *session,
                 bool (*is_over)(const void *context), const void *context, struct buffer *out,
                 struct error_note *note)
{
    const char *key = getenv(KEY_VARIABLE); // NOLINT: nothing sets it
    char authorization[512] = "";
    int key_bytes =
        snprintf(authorization, sizeof(authorization), "Bearer %s", key != NULL ? key : "");
    const struct http_header header = {text_slice_of("authorization"),
                                       text_slice_of(authorization)};
    struct http_fetch fetch = {.url = url,
                               .headers = &header,
                               .header_count = key != NULL ? 1 : 0,
                               .accepts_gzip = true,
                               .session = session,
                               .is_over = is_over,
                               .context = context,
                               .timeout_ns = TIMEOUT_NS};
    status result;
    int code = 0;

    if (key_bytes < 0 || key_bytes >= (int)sizeof(authorization)) {
        error_note_set(note, KEY_VARIABLE " is too long");
        return STATUS_INVALID;
    }
    result = http_fetch(&fetch, &code, out, note);
    if (result != STATUS_OK) {
        error_note_prefix(note, "no answer from %s", url);
        return result;
    }
    if (code == 200)
        return STATUS_OK;
    error_note_set(note, "%s answers %d%s: %.*s", url, code,
                   code == 401 ? " (a key with the scope admin goes into " KEY_VARIABLE ")" : "",
                   (int)(out->bytes < 1000 ? out->bytes : 1000),
                   out->data != NULL ? out->data : "");
    return code == 404 ? STATUS_NOT_FOUND : STATUS_DENIED;
}

bool admin_get(const char *verb, const char *url, struct buffer *out)
{
    struct error_note note = {""};

    if (admin_ask(url, NULL, NULL, NULL, out, &note) == STATUS_OK)
        return true;
    (void)fprintf(stderr, "%s: %s\n", verb, note.text);
    return false;
}
