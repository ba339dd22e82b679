/* penstock pull: fetches a model's files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "hex.h"
#include "pull.h"
#include "secret_source.h"
#include "verbs.h"

#define PATH_BYTES        4096u
#define SHA256_HEX_DIGITS 64u

/* Variables that other clients of such servers know as well. */
#define ENDPOINT_VARIABLE "HF_ENDPOINT"
#define TOKEN_VARIABLE    "HF_TOKEN"

static const char verb[] = "penstock pull";

static bool is_url(const char *from)
{
    return strstr(from, "://") != NULL;
}

static const char *variable(const char *name)
{
    const char *value = getenv(name); // NOLINT: one thread

    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* Models lie where `tools/serve` puts them too; those of a repository in a folder of its name. */
static bool folder_find(const char *from, char out[PATH_BYTES])
{
    const char *own = variable("PENSTOCK_HOME"), *cache = variable("XDG_CACHE_HOME"),
               *home = variable("HOME");
    const char *base = own != NULL ? own : cache != NULL ? cache : home;
    int bytes;

    if (base == NULL) {
        (void)fprintf(stderr, "%s: there is no HOME; say where to with --into FOLDER\n", verb);
        return false;
    }
    bytes = snprintf(out, PATH_BYTES, "%s%s/models%s%s", base,
                     own != NULL     ? ""
                     : cache != NULL ? "/penstock"
                                     : "/.cache/penstock",
                     is_url(from) ? "" : "/", is_url(from) ? "" : from);
    return bytes > 0 && bytes < (int)PATH_BYTES;
}

static bool is_sha256(const char *text)
{
    size_t digits = 0;

    while (hex_digit_value(text[digits]) >= 0)
        digits++;
    return digits == SHA256_HEX_DIGITS && text[digits] == '\0';
}

/* The environment's token is for the endpoint; a file's is for whatever the command line names. */
static bool token_find(const char *from, const char *file, char token[SECRET_BYTES_MAX + 1])
{
    struct error_note note = {""};
    bool uses_variable = !is_url(from) && variable(TOKEN_VARIABLE) != NULL;
    status result =
        secret_read(file != NULL ? file : "", uses_variable ? TOKEN_VARIABLE : "", token, &note);

    if (result != STATUS_OK)
        (void)fprintf(stderr, "%s: %s\n", verb, note.text);
    return result == STATUS_OK;
}

static int order_run(struct pull_order *order, const char *token_file)
{
    char token[SECRET_BYTES_MAX + 1];
    struct error_note note = {""};
    status result;

    if (!token_find(order->from, token_file, token))
        return 1;
    order->token = token;
    result = pull(order, &note);
    secret_forget(token, sizeof(token));
    if (result != STATUS_OK) {
        (void)fprintf(stderr, "%s: %s\n", verb,
                      note.text[0] != '\0' ? note.text : status_name(result));
        return 1;
    }
    (void)printf("%s\n", order->folder);
    return 0;
}

int verb_pull(int argument_count, char **arguments)
{
    struct pull_order order = {.from = NULL};
    const char *token_file = NULL;
    char folder[PATH_BYTES], endpoint[PATH_BYTES];
    size_t bytes;
    const struct flag flags[] = {{.name = "--into", .text = &order.folder},
                                 {.name = "--endpoint", .text = &order.endpoint},
                                 {.name = "--revision", .text = &order.revision},
                                 {.name = "--file", .text = &order.pattern},
                                 {.name = "--sha256", .text = &order.sha256},
                                 {.name = "--token-file", .text = &token_file},
                                 {.name = "--quiet", .is_given = &order.is_quiet}};

    if (!arguments_read("pull", argument_count, arguments, flags, ARRAY_COUNT(flags), &order.from))
        return EXIT_USAGE;
    if (order.from == NULL) {
        (void)fprintf(stderr, "%s: needs a URL, or organisation/name and --endpoint\n", verb);
        return EXIT_USAGE;
    }
    if (order.sha256 != NULL && (!is_url(order.from) || !is_sha256(order.sha256))) {
        (void)fprintf(stderr,
                      "%s: --sha256 takes 64 hexadecimal digits, for a URL (a repository names its "
                      "files' hashes itself)\n",
                      verb);
        return EXIT_USAGE;
    }
    if (is_url(order.from) &&
        (order.endpoint != NULL || order.revision != NULL || order.pattern != NULL)) {
        (void)fprintf(stderr,
                      "%s: --endpoint, --revision and --file are for repositories, not for a URL\n",
                      verb);
        return EXIT_USAGE;
    }
    if (order.endpoint == NULL && !is_url(order.from))
        order.endpoint = variable(ENDPOINT_VARIABLE);
    if (order.endpoint != NULL) {
        bytes = strlen(order.endpoint);
        while (bytes > 0 && order.endpoint[bytes - 1] == '/')
            bytes--;
        (void)snprintf(endpoint, sizeof(endpoint), "%.*s", (int)bytes, order.endpoint);
        order.endpoint = endpoint;
    }
    if (order.folder == NULL) {
        if (!folder_find(order.from, folder))
            return 1;
        order.folder = folder;
    }
    return order_run(&order, token_file);
}
