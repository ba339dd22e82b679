#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_slices.h"

static uint64_t limit_read(const char *path)
{
    char text[32] = "";
    FILE *file = fopen(path, "re");
    char *end;
    uint64_t value;

    if (file == NULL)
        return UINT64_MAX;
    if (fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    (void)fclose(file);
    value = strtoull(text, &end, 10); /* "max" is no number */
    return end != text ? value : UINT64_MAX;
}

/* A group and all above it: each limits what is below. `path` is cut off piece by piece. */
static uint64_t groups_limit(const char *root, const char *folder, char *path, const char *name)
{
    uint64_t least = UINT64_MAX, limit;
    char file[PATH_MAX];
    char *slash;

    for (;;) {
        if (snprintf(file, sizeof file, "%s%s%s/%s", root, folder, path, name) < (int)sizeof file) {
            limit = limit_read(file);
            if (limit < least)
                least = limit;
        }
        slash = strrchr(path, '/');
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

/* A line is "number:controllers:/path"; version 2 has no controllers, version 1 may have several in one folder. */
static uint64_t line_limit(const char *line, size_t bytes, const char *root)
{
    char text[PATH_MAX];
    char *controllers, *path;

    if (bytes >= sizeof text)
        return UINT64_MAX;
    memcpy(text, line, bytes);
    text[bytes] = '\0';
    controllers = strchr(text, ':');
    path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL)
        return UINT64_MAX;
    *controllers++ = '\0';
    *path++ = '\0';
    if (strcmp(path, "/") == 0)
        path[0] = '\0';
    if (controllers[0] == '\0')
        return groups_limit(root, "", path, "memory.max");
    return strcmp(controllers, "memory") == 0
               ? groups_limit(root, "/memory", path, "memory.limit_in_bytes")
               : UINT64_MAX;
}

uint64_t cpu_memory_limit(const char *groups, const char *root)
{
    uint64_t least = UINT64_MAX;

    while (*groups != '\0') {
        size_t bytes = strcspn(groups, "\n");
        uint64_t limit = line_limit(groups, bytes, root);

        if (limit < least)
            least = limit;
        groups += bytes + (groups[bytes] == '\n');
    }
    return least;
}
