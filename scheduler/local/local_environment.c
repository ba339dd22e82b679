#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "local_internal.h"

#define VALUE_BYTES 1024u

/* With the equals sign. */
static size_t name_bytes(const char *variable)
{
    return strcspn(variable, "=") + 1;
}

void local_environment_put(struct local_environment *environment, const char *variable)
{
    size_t bytes = name_bytes(variable);

    for (uint32_t i = 0; i < environment->count; i++)
        if (strncmp(environment->variables[i], variable, bytes) == 0) {
            environment->variables[i] = variable;
            return;
        }
    if (environment->count == LOCAL_ENVIRONMENT_MAX) {
        environment->failed = STATUS_TOO_LARGE;
        return;
    }
    environment->variables[environment->count++] = variable;
    environment->variables[environment->count] = NULL;
}

void local_environment_set(struct local_environment *environment, const char *name,
                           const char *format, ...)
{
    char text[VALUE_BYTES];
    va_list arguments;
    const char *variable;
    int start = snprintf(text, sizeof text, "%s=", name), bytes;

    CHECK(start > 0 && start < (int)sizeof text);
    va_start(arguments, format);
    bytes = vsnprintf(text + start, sizeof text - (size_t)start, format, arguments);
    va_end(arguments);
    if (bytes < 0 || start + bytes >= (int)sizeof text) {
        environment->failed = STATUS_TOO_LARGE;
        return;
    }
    variable = arena_copy_text(environment->memory, text, (size_t)(start + bytes));
    if (variable != NULL)
        local_environment_put(environment, variable);
    else
        environment->failed = STATUS_NO_MEMORY;
}

/* `name`: `bytes` of it. A pattern has an asterisk at its end, at its beginning, or none. */
static bool is_like(const char *name, size_t bytes, const char *pattern)
{
    size_t length = strlen(pattern);

    if (pattern[0] == '*')
        return bytes >= length - 1 &&
               memcmp(name + bytes - (length - 1), pattern + 1, length - 1) == 0;
    if (pattern[length - 1] == '*')
        return bytes >= length - 1 && memcmp(name, pattern, length - 1) == 0;
    return bytes == length && memcmp(name, pattern, length) == 0;
}

void local_environment_inherit(struct local_environment *environment, char *const *process)
{
    static const char *const patterns[] = {LOCAL_ENVIRONMENT_NAMES};

    for (; *process != NULL; process++) {
        size_t bytes = name_bytes(*process) - 1;

        for (size_t i = 0; i < ARRAY_COUNT(patterns); i++)
            if (is_like(*process, bytes, patterns[i])) {
                local_environment_put(environment, *process);
                break;
            }
    }
}
