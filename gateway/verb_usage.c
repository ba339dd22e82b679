/* `penstock usage`: reads the ledger in the state database itself, beside a running gateway or without one. */
#include <stdio.h>

#include "check.h"
#include "state_database.h"
#include "usage_query.h"
#include "verbs.h"

#define REPORT_BYTES_MAX (256u << 20)

static int report(const struct config_state *state, const struct usage_query *query,
                  enum usage_format format)
{
    struct error_note note = {""};
    state_database *database = NULL;
    struct buffer out;
    status result = state_database_open_configured(state, &database, &note);

    buffer_init(&out, REPORT_BYTES_MAX);
    if (result == STATUS_OK)
        result = usage_write(database, query, format, &out, &note);
    if (result == STATUS_OK && out.bytes > 0 &&
        (fwrite(out.data, 1, out.bytes, stdout) != out.bytes || fflush(stdout) != 0))
        result = STATUS_IO;
    if (result != STATUS_OK)
        (void)fprintf(stderr, "penstock usage: %s\n",
                      note.text[0] != '\0' ? note.text : status_name(result));
    buffer_deinit(&out);
    state_database_close(database);
    return result == STATUS_OK ? 0 : 1;
}

int verb_usage(int argument_count, char **arguments)
{
    struct usage_query query = {.organisation = "", .team = "", .key = "", .model = ""};
    struct usage_words words = {NULL, NULL, NULL, NULL};
    enum usage_format format = USAGE_TABLE;
    const char *file = NULL;
    const struct flag flags[] = {{.name = "--by", .text = &words.by},
                                 {.name = "--from", .text = &words.from},
                                 {.name = "--to", .text = &words.to},
                                 {.name = "--format", .text = &words.format},
                                 {.name = "--organisation", .text = &query.organisation},
                                 {.name = "--team", .text = &query.team},
                                 {.name = "--key", .text = &query.key},
                                 {.name = "--model", .text = &query.model}};
    struct error_note note = {""};
    struct config *config;
    int code = 1;

    if (!arguments_read("usage", argument_count, arguments, flags, ARRAY_COUNT(flags), &file))
        return EXIT_USAGE;
    if (file == NULL) {
        (void)fprintf(stderr, "penstock usage: which config? `penstock help usage` shows how\n");
        return EXIT_USAGE;
    }
    if (usage_words_read(&words, &query, &format, &note) != STATUS_OK) {
        (void)fprintf(stderr, "penstock usage: %s\n", note.text);
        return EXIT_USAGE;
    }
    config = config_load_or_print(file, NULL);
    if (config == NULL)
        return 1;
    if (!config_keeps_state(&config->state))
        (void)fprintf(stderr,
                      "penstock usage: %s keeps no ledger; set state.database or state.postgres\n",
                      file);
    else
        code = report(&config->state, &query, format);
    config_destroy(config);
    return code;
}
