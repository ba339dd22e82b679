#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "thread.h"
#include "verbs.h"

#define FLAG_COUNT_MAX 16u

static const struct flag *flag_find(const struct flag *flags, size_t count, struct text_slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (text_slice_is(name, flags[i].name))
            return &flags[i];
    }
    return NULL;
}

static bool flag_unknown(const char *verb, const struct flag *flags, size_t count,
                         struct text_slice name)
{
    const char *names[FLAG_COUNT_MAX], *nearest;

    CHECK(count <= FLAG_COUNT_MAX);
    for (size_t i = 0; i < count; i++)
        names[i] = flags[i].name;
    nearest = settings_nearest(name, names, count);
    (void)fprintf(stderr, "penstock %s: unknown flag '%.*s'; %s%s%s\n", verb, (int)name.bytes,
                  name.data, nearest != NULL ? "did you mean '" : "see `penstock help ",
                  nearest != NULL ? nearest : verb, nearest != NULL ? "'?" : "`");
    return false;
}

static bool flag_take(const char *verb, const struct flag *flag, const char *value)
{
    char *end = NULL;
    long number;

    if (flag->is_given != NULL) {
        (void)fprintf(stderr, "penstock %s: %s takes no value\n", verb, flag->name);
        return false;
    }
    if (value == NULL) {
        (void)fprintf(stderr, "penstock %s: %s needs a value\n", verb, flag->name);
        return false;
    }
    if (flag->text != NULL) {
        *flag->text = value;
        return true;
    }
    errno = 0;
    number = strtol(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || number < 0 || number > flag->number_max) {
        (void)fprintf(stderr, "penstock %s: %s must be a number from 0 to %d, not '%s'\n", verb,
                      flag->name, flag->number_max, value);
        return false;
    }
    *flag->number = (int32_t)number;
    return true;
}

bool arguments_read(const char *verb, int argument_count, char **arguments,
                    const struct flag *flags, size_t flag_count, const char **positional)
{
    for (int i = 0; i < argument_count; i++) {
        const char *argument = arguments[i], *equals = strchr(argument, '=');
        struct text_slice name = text_slice_of(argument);
        const struct flag *flag;

        if (argument[0] != '-' || argument[1] == '\0') {
            if (positional == NULL || *positional != NULL) {
                (void)fprintf(stderr, "penstock %s: '%s' is one argument too many\n", verb,
                              argument);
                return false;
            }
            *positional = argument;
            continue;
        }
        if (equals != NULL)
            name.bytes = (size_t)(equals - argument);
        flag = flag_find(flags, flag_count, name);
        if (flag == NULL)
            return flag_unknown(verb, flags, flag_count, name);
        if (flag->is_given != NULL && equals == NULL) {
            *flag->is_given = true;
            continue;
        }
        if (!flag_take(verb, flag,
                       equals != NULL           ? equals + 1
                       : i + 1 < argument_count ? arguments[++i]
                                                : NULL))
            return false;
    }
    return true;
}

void report_print(const struct settings_report *report)
{
    struct buffer text;

    buffer_init(&text, 1u << 20);
    settings_report_write(report, &text);
    if (text.bytes > 0)
        (void)fputs(text.data, stderr);
    buffer_deinit(&text);
}

struct config *config_load_or_print(const char *file, const struct config_overrides *overrides)
{
    struct settings_report report;
    struct config *config = NULL;
    status result = config_load(file, overrides, &config, &report);

    if (result == STATUS_OK)
        return config;
    report_print(&report);
    if (report.error_count == 0)
        (void)fprintf(stderr, "%s: error: %s\n", file, status_name(result));
    return NULL;
}

uint32_t threads_of_replica(const struct config *config, const struct config_model *model)
{
    uint32_t threads;

    if (model->threads > 0)
        return (uint32_t)model->threads;
    threads = thread_core_count() / config_replica_count(config);
    return threads > 0 ? threads : 1;
}
