/* penstock: one program, several verbs. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "verbs.h"

#define VERBS_MAX 32u

static void usage_print(FILE *stream, const struct verb *verb)
{
    (void)fprintf(stream, "  penstock %s %s\n      %s\n", verb->name, verb->usage, verb->help);
}

static const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < verb_count; i++) {
        if (strcmp(verb_table[i].name, name) == 0)
            return &verb_table[i];
    }
    return NULL;
}

static int verb_unknown(const char *name)
{
    const char *names[VERBS_MAX], *nearest;

    CHECK(verb_count <= VERBS_MAX);
    for (size_t i = 0; i < verb_count; i++)
        names[i] = verb_table[i].name;
    nearest = settings_nearest(text_slice_of(name), names, verb_count);
    if (nearest != NULL)
        (void)fprintf(stderr, "penstock: unknown verb '%s'; did you mean '%s'?\n", name, nearest);
    else
        (void)fprintf(stderr, "penstock: unknown verb '%s'; `penstock help` lists them\n", name);
    return EXIT_USAGE;
}

int verb_help(int argument_count, char **arguments)
{
    const struct verb *verb = argument_count > 0 ? verb_find(arguments[0]) : NULL;

    if (argument_count > 0 && verb == NULL)
        return verb_unknown(arguments[0]);
    if (verb != NULL) {
        usage_print(stdout, verb);
        return 0;
    }
    (void)printf("Penstock " PENSTOCK_VERSION ", an LLM inference gateway server.\n\n");
    for (size_t i = 0; i < verb_count; i++)
        usage_print(stdout, &verb_table[i]);
    (void)printf("\nTo begin: penstock serve configs/quickstart.yaml\n");
    return 0;
}

int verb_version(int argument_count, char **arguments)
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
