/* `penstock explain`: asks the admin listener of a running gateway. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "explain_text.h"
#include "http_fetch.h"
#include "json.h"
#include "verbs.h"

#define ANSWER_BYTES_MAX (64u << 20)
#define URL_BYTES        1024u
#define TIMEOUT_NS       (30 * NS_PER_SECOND)
#define KEY_VARIABLE     "PENSTOCK_ADMIN_KEY" /* as a word of the command line others could see it */

static const char verb[] = "penstock explain";

/* "http://127.0.0.1:8081" of an address to listen on, where all addresses mean this machine. False: it does not fit. */
static bool address_write(const char *listen, char *out)
{
    const char *port = strrchr(listen, ':');
    size_t host_bytes = port != NULL ? (size_t)(port - listen) : 0;
    int bytes;

    if (port == NULL)
        return false;
    if (strncmp(listen, "0.0.0.0:", 8) == 0 || host_bytes == 0)
        bytes = snprintf(out, URL_BYTES, "http://127.0.0.1%s", port);
    else if (strncmp(listen, "[::]:", 5) == 0)
        bytes = snprintf(out, URL_BYTES, "http://[::1]%s", port);
    else
        bytes = snprintf(out, URL_BYTES, "http://%s", listen);
    return bytes > 0 && bytes < (int)URL_BYTES;
}

/* Where the gateway's admin listener is: a URL as it was given, or as the config says. */
static bool base_find(const char *where, char *out)
{
    struct config *config;
    bool is_found = true;

    if (strncmp(where, "http://", 7) == 0 || strncmp(where, "https://", 8) == 0) {
        size_t bytes = strlen(where);

        while (bytes > 0 && where[bytes - 1] == '/')
            bytes--;
        return snprintf(out, URL_BYTES, "%.*s", (int)bytes, where) < (int)URL_BYTES;
    }
    config = config_load_or_print(where, NULL);
    if (config == NULL)
        return false;
    if (config->server.admin_listen[0] == '\0') {
        (void)fprintf(stderr, "%s: %s has no server.admin_listen\n", verb, where);
        is_found = false;
    } else if (!address_write(config->server.admin_listen, out)) {
        (void)fprintf(stderr, "%s: server.admin_listen is no address: %s\n", verb,
                      config->server.admin_listen);
        is_found = false;
    }
    config_destroy(config);
    return is_found;
}

/* Anything but what may stand in a path is written as %XX (RFC 3986, section 2.1). */
static void path_append(struct buffer *out, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    for (; *text != '\0'; text++) {
        if (strchr(plain, *text) != NULL)
            buffer_append_byte(out, *text);
        else
            buffer_append_format(out, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

/* False: what is wrong has been printed. */
static bool answer_get(const char *url, struct buffer *out)
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

/* False: what is wrong has been printed. */
static bool answer_print(const struct buffer *answer, bool is_placement, bool is_json)
{
    static const struct json_limits limits = {.depth_max = 16, .value_count_max = 16u << 20};
    struct error_note note = {""};
    struct buffer text;
    json_t *json = NULL;
    bool is_fine;

    if (is_json)
        return fwrite(answer->data, 1, answer->bytes, stdout) == answer->bytes &&
               putchar('\n') != EOF && fflush(stdout) == 0;
    if (json_load_limited(buffer_slice(answer), &limits, &json, &note) != STATUS_OK) {
        (void)fprintf(stderr, "%s: the answer is no JSON: %s\n", verb, note.text);
        return false;
    }
    buffer_init(&text, ANSWER_BYTES_MAX);
    if (is_placement)
        explain_placement_write(json, &text);
    else
        explain_pool_write(json, &text);
    is_fine = text.failed == STATUS_OK && fwrite(text.data, 1, text.bytes, stdout) == text.bytes &&
              fflush(stdout) == 0;
    if (!is_fine)
        (void)fprintf(stderr, "%s: the tables cannot be written\n", verb);
    buffer_deinit(&text);
    json_decref(json);
    return is_fine;
}

int verb_explain(int argument_count, char **arguments)
{
    const char *where = NULL, *model = NULL;
    char base[URL_BYTES];
    struct buffer url, answer;
    int32_t limit = 50;
    bool is_json = false, is_fine;
    const struct flag flags[] = {{.name = "--model", .text = &model},
                                 {.name = "--limit", .number = &limit, .number_max = 1000},
                                 {.name = "--json", .is_given = &is_json}};

    if (!arguments_read("explain", argument_count, arguments, flags, ARRAY_COUNT(flags), &where))
        return EXIT_USAGE;
    if (where == NULL || limit == 0) {
        (void)fprintf(stderr, "%s: %s; `penstock help explain` shows how\n", verb,
                      where == NULL ? "which gateway?" : "--limit must be above 0");
        return EXIT_USAGE;
    }
    if (!base_find(where, base))
        return 1;
    buffer_init(&url, 4 * URL_BYTES);
    buffer_init(&answer, ANSWER_BYTES_MAX);
    buffer_append_text(&url, base);
    buffer_append_text(&url, model != NULL ? "/admin/placement/" : "/admin/pool");
    if (model != NULL) {
        path_append(&url, model);
        buffer_append_format(&url, "?limit=%d", limit);
    }
    is_fine = url.failed == STATUS_OK && answer_get(url.data, &answer) &&
              answer_print(&answer, model != NULL, is_json);
    buffer_deinit(&answer);
    buffer_deinit(&url);
    return is_fine ? 0 : 1;
}
