#ifndef PENSTOCK_GATEWAY_VERBS_H
#define PENSTOCK_GATEWAY_VERBS_H

#include <stdbool.h>

#include "config.h"

/* The command line: one verb a file, and the words that all share. A verb gets what stands behind
 * its name and returns the exit code: 0, EXIT_USAGE for a command line that makes no sense, 1 for
 * all else. */

#define EXIT_USAGE 2

int verb_serve(int argument_count, char **arguments);
int verb_replica(int argument_count, char **arguments);
int verb_check(int argument_count, char **arguments);
int verb_reference_config(int argument_count, char **arguments);
int verb_keys(int argument_count, char **arguments);
int verb_usage(int argument_count, char **arguments);
int verb_audit(int argument_count, char **arguments);
int verb_bench(int argument_count, char **arguments);
int verb_pull(int argument_count, char **arguments);
int verb_explain(int argument_count, char **arguments);
int verb_top(int argument_count, char **arguments);
int verb_flight(int argument_count, char **arguments);
int verb_simulate(int argument_count, char **arguments);
int verb_hash_key(int argument_count, char **arguments);
int verb_manual(int argument_count, char **arguments);
int verb_completion(int argument_count, char **arguments);
int verb_version(int argument_count, char **arguments);
int verb_help(int argument_count, char **arguments);

/* Rows of `penstock help`. usage: what stands behind the name; its flags begin with "--". */
struct verb {
    const char *name, *usage, *help;
    int (*run)(int argument_count, char **arguments);
};
extern const struct verb verb_table[]; /* [verb_count] */
extern const size_t verb_count;

/* A flag that takes a value, which `text` or `number` gets, or none, and `is_given` says that it is there. Numbers are
 * 0..number_max. */
struct flag {
    const char *name; /* "--port" */
    const char **text;
    int32_t *number;
    int32_t number_max;
    bool *is_given;
};

/* Reads "[--flag VALUE | --flag=VALUE]... [positional]" in any order. `positional` (NULL: none is
 * taken) is left NULL when it is not given. Prints what is wrong, with the flag that was meant, and
 * returns false. */
bool arguments_read(const char *verb, int argument_count, char **arguments,
                    const struct flag *flags, size_t flag_count, const char **positional);

/* Prints a report to standard error. */
void report_print(const struct settings_report *report);

/* Loads a config; on failure prints why and returns NULL. */
struct config *config_load_or_print(const char *file, const struct config_overrides *overrides);

/* Compute threads of each replica of `model`: as configured, or the cores divided among all local
 * replicas. */
uint32_t threads_of_replica(const struct config *config, const struct config_model *model);

#endif
