/* penstock: one program, several verbs. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "verbs.h"

static int verb_version(int argument_count, char **arguments);
static int verb_help(int argument_count, char **arguments);

static const struct verb {
    const char *name, *usage, *help;
    int (*run)(int argument_count, char **arguments);
} verbs[] = {
    {"serve", "CONFIG [--port N] [--admin-port N] [--model-path FILE]",
     "runs the gateway and its replicas", verb_serve},
    {"replica", "CONFIG --model NAME --listen ADDRESS [--model-path FILE]",
     "runs one model as an OpenAI server of its own", verb_replica},
    {"check", "CONFIG [--model-path FILE]",
     "checks a config and prints the memory plan of each model", verb_check},
    {"reference-config", "", "prints every setting with its meaning, default and range",
     verb_reference_config},
    {"keys",
     "create CONFIG --name NAME [--organisation NAME] [--team NAME] [--scopes LIST] [--models "
     "LIST]\n"
     "               [--days N] [--weight N] [--priority-max N] [--ttft-slo-ms N]\n"
     "           list CONFIG\n"
     "           rotate CONFIG --id ID [--overlap-hours N]\n"
     "           revoke CONFIG --id ID",
     "makes, shows, renews and ends the API keys in state.database; a running gateway notices "
     "within a "
     "second",
     verb_keys},
    {"usage",
     "CONFIG [--by organisation,team,key,model,day,hour] [--from TIME] [--to TIME]\n"
     "               [--organisation NAME] [--team NAME] [--key ID-OR-NAME] [--model NAME]\n"
     "               [--format table|csv|json]",
     "what the ledger in state.database has of requests, tokens and costs; times are whole hours "
     "of "
     "UTC "
     "(2026-01-31, 2026-01-31T23), --to is not part of it",
     verb_usage},
    {"audit",
     "verify CONFIG\n"
     "           show CONFIG",
     "checks the hash chain of records.audit_log and names the first line that is wrong; prints it",
     verb_audit},
    {"hash-key", "", "reads an API key from standard input and prints its hash for auth.keys",
     verb_hash_key},
    {"version", "", "prints the version", verb_version},
    {"help", "[VERB]", "prints this, or a verb's usage", verb_help},
};

static void usage_print(FILE *stream, const struct verb *verb)
{
    (void)fprintf(stream, "  penstock %s %s\n      %s\n", verb->name, verb->usage, verb->help);
}

static const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static int verb_unknown(const char *name)
{
    const char *names[ARRAY_COUNT(verbs)], *nearest;

    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++)
        names[i] = verbs[i].name;
    nearest = settings_nearest(text_slice_of(name), names, ARRAY_COUNT(names));
    if (nearest != NULL)
        (void)fprintf(stderr, "penstock: unknown verb '%s'; did you mean '%s'?\n", name, nearest);
    else
        (void)fprintf(stderr, "penstock: unknown verb '%s'; `penstock help` lists them\n", name);
    return EXIT_USAGE;
}

static int verb_help(int argument_count, char **arguments)
{
    const struct verb *verb = argument_count > 0 ? verb_find(arguments[0]) : NULL;

    if (argument_count > 0 && verb == NULL)
        return verb_unknown(arguments[0]);
    if (verb != NULL) {
        usage_print(stdout, verb);
        return 0;
    }
    (void)printf("Penstock " PENSTOCK_VERSION ", an LLM inference gateway server.\n\n");
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++)
        usage_print(stdout, &verbs[i]);
    (void)printf("\nTo begin: penstock serve configs/quickstart.yaml\n");
    return 0;
}

static int verb_version(int argument_count, char **arguments)
{
    if (!arguments_read("version", argument_count, arguments, NULL, 0, NULL))
        return EXIT_USAGE;
    (void)printf("penstock " PENSTOCK_VERSION "\n");
    return 0;
}

int main(int argument_count, char **arguments)
{
    const char *name = argument_count > 1 ? arguments[1] : "help";
    const struct verb *verb;

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    verb = verb_find(name);
    if (verb == NULL)
        return verb_unknown(name);
    argument_count = argument_count > 2 ? argument_count - 2 : 0;
    if (argument_count > 0 &&
        (strcmp(arguments[2], "--help") == 0 || strcmp(arguments[2], "-h") == 0)) {
        usage_print(stdout, verb);
        return 0;
    }
    return verb->run(argument_count, arguments + 2);
}
