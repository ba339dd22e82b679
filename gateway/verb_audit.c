/* `penstock audit`: checks and shows the audit log, beside a running gateway or without one. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "audit_log.h"
#include "check.h"
#include "verbs.h"

/* The config, when it has an audit log; NULL: it has been said why not. */
static struct config *config_read(const char *action, int argument_count, char **arguments,
                                  int *exit_code)
{
    struct config *config;
    const char *file = NULL;
    char verb[32];

    *exit_code = EXIT_USAGE;
    (void)snprintf(verb, sizeof(verb), "audit %s", action);
    if (!arguments_read(verb, argument_count, arguments, NULL, 0, &file))
        return NULL;
    if (file == NULL) {
        (void)fprintf(stderr, "penstock audit: which config? `penstock help audit` shows how\n");
        return NULL;
    }
    *exit_code = 1;
    config = config_load_or_print(file, NULL);
    if (config == NULL || config->records.audit_log[0] != '\0')
        return config;
    (void)fprintf(stderr, "penstock audit: %s keeps no audit log; set records.audit_log\n", file);
    config_destroy(config);
    return NULL;
}

static int verdict_print(const char *path, const struct audit_verdict *verdict)
{
    if (verdict->bad_line != 0) {
        (void)printf("%s: line %llu: %s\n", path, (unsigned long long)verdict->bad_line,
                     verdict->reason);
        return 1;
    }
    (void)printf("%s: %llu lines, all as they were written%s\n", path,
                 (unsigned long long)verdict->line_count,
                 verdict->has_head ? ""
                                   : "; without state.database a cut end would not be noticed");
    return 0;
}

static int audit_verify(int argument_count, char **arguments)
{
    state_database *database = NULL;
    struct audit_verdict verdict;
    struct error_note note = {""};
    status result = STATUS_OK;
    int exit_code;
    struct config *config = config_read("verify", argument_count, arguments, &exit_code);

    if (config == NULL)
        return exit_code;
    if (config_keeps_state(&config->state))
        result = state_database_open_configured(&config->state, &database, &note);
    if (result == STATUS_OK)
        result = audit_log_verify(config->records.audit_log, database, &verdict, &note);
    if (result == STATUS_OK)
        exit_code = verdict_print(config->records.audit_log, &verdict);
    else
        (void)fprintf(stderr, "penstock audit: %s\n",
                      note.text[0] != '\0' ? note.text : status_name(result));
    state_database_close(database);
    config_destroy(config);
    return exit_code;
}

static int audit_show(int argument_count, char **arguments)
{
    int exit_code;
    struct config *config = config_read("show", argument_count, arguments, &exit_code);
    char piece[4096];
    size_t bytes;
    FILE *file;

    if (config == NULL)
        return exit_code;
    file = fopen(config->records.audit_log, "re");
    if (file == NULL) {
        (void)fprintf(stderr, "penstock audit: %s cannot be read: %s\n", config->records.audit_log,
                      strerror(errno));
        config_destroy(config);
        return 1;
    }
    while ((bytes = fread(piece, 1, sizeof(piece), file)) > 0 &&
           fwrite(piece, 1, bytes, stdout) == bytes)
        ;
    exit_code = ferror(file) != 0 || fflush(stdout) != 0;
    (void)fclose(file);
    config_destroy(config);
    return exit_code;
}

int verb_audit(int argument_count, char **arguments)
{
    if (argument_count > 0 && strcmp(arguments[0], "verify") == 0)
        return audit_verify(argument_count - 1, arguments + 1);
    if (argument_count > 0 && strcmp(arguments[0], "show") == 0)
        return audit_show(argument_count - 1, arguments + 1);
    (void)fprintf(stderr, "penstock audit: verify or show? `penstock help audit` shows how\n");
    return EXIT_USAGE;
}
