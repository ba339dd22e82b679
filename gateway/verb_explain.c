/* `penstock explain`: asks the admin listener of a running gateway. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_address.h"
#include "admin_get.h"
#include "check.h"
#include "explain_request_text.h"
#include "explain_text.h"
#include "json.h"
#include "verbs.h"

#define ANSWER_BYTES_MAX (64u << 20)

static const char verb[] = "penstock explain";

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
static bool answer_print(const struct buffer *answer,
                         void (*write)(const json_t *, struct buffer *), bool is_json)
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
    write(json, &text);
    is_fine = text.failed == STATUS_OK && fwrite(text.data, 1, text.bytes, stdout) == text.bytes &&
              fflush(stdout) == 0;
    if (!is_fine)
        (void)fprintf(stderr, "%s: the tables cannot be written\n", verb);
    buffer_deinit(&text);
    json_decref(json);
    return is_fine;
}

/* A word that is neither a URL nor a file, nor the name of one that is missing. */
static bool is_request_id(const char *where)
{
    const char *ending = strrchr(where, '.');
    bool is_config =
        ending != NULL && (strcmp(ending, ".yaml") == 0 || strcmp(ending, ".yml") == 0);

    return !is_config && strstr(where, "://") == NULL && access(where, F_OK) != 0;
}

static void path_write(struct buffer *out, const char *request, const char *model, int32_t limit)
{
    buffer_append_text(out, request != NULL ? "/admin/requests/"
                            : model != NULL ? "/admin/placement/"
                                            : "/admin/pool");
    if (request != NULL) {
        path_append(out, request);
    } else if (model != NULL) {
        path_append(out, model);
        buffer_append_format(out, "?limit=%d", limit);
    }
}

int verb_explain(int argument_count, char **arguments)
{
    const char *where = NULL, *model = NULL, *request = NULL;
    char base[ADMIN_ADDRESS_BYTES];
    struct buffer url, answer;
    int32_t limit = 50;
    bool is_json = false, is_fine;
    const struct flag flags[] = {{.name = "--model", .text = &model},
                                 {.name = "--request", .text = &request},
                                 {.name = "--limit", .number = &limit, .number_max = 1000},
                                 {.name = "--json", .is_given = &is_json}};

    if (!arguments_read("explain", argument_count, arguments, flags, ARRAY_COUNT(flags), &where))
        return EXIT_USAGE;
    if (where == NULL || limit == 0 || (model != NULL && request != NULL)) {
        (void)fprintf(stderr, "%s: %s; `penstock help explain` shows how\n", verb,
                      where == NULL ? "which gateway?"
                      : limit == 0  ? "--limit must be above 0"
                                    : "--model and --request do not go together");
        return EXIT_USAGE;
    }
    if (request == NULL && model == NULL && is_request_id(where)) {
        request = where;
        admin_address_usual(base);
    } else if (!admin_address_find(verb, where, base)) {
        return 1;
    }
    buffer_init(&url, 4 * ADMIN_ADDRESS_BYTES);
    buffer_init(&answer, ANSWER_BYTES_MAX);
    buffer_append_text(&url, base);
    path_write(&url, request, model, limit);
    is_fine = url.failed == STATUS_OK && admin_get(verb, url.data, &answer) &&
              answer_print(&answer,
                           request != NULL ? explain_request_write
                           : model != NULL ? explain_placement_write
                                           : explain_pool_write,
                           is_json);
    buffer_deinit(&answer);
    buffer_deinit(&url);
    return is_fine ? 0 : 1;
}
