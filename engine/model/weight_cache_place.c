#include "weight_cache_place.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "hash.h"

static void add(struct weight_cache_places *places, const char *format, ...) PRINTF_LIKE(2, 3);

/* A path that does not fit is no place. */
static void add(struct weight_cache_places *places, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(places->paths[places->count], PATH_MAX, format, arguments);
    va_end(arguments);
    if (bytes > 0 && bytes < PATH_MAX)
        places->count++;
}

static void add_in_folder(struct weight_cache_places *places, const char *folder,
                          const char *model_path, const char *layout)
{
    static const struct hash_key key = {0x70656e73746f636b, 0x776569676874730a};
    char real[PATH_MAX];
    const char *whole = realpath(model_path, real) != NULL ? real : model_path;
    const char *slash = strrchr(model_path, '/');
    add(places, "%s/%s-%016" PRIx64 ".%s-weights", folder, slash != NULL ? slash + 1 : model_path,
        hash64(&key, whole, strlen(whole)), layout);
}

static bool is_set(const char *variable)
{
    return variable != NULL && variable[0] != '\0';
}

bool weight_cache_folder_find(const char *setting, char out[PATH_MAX])
{
    const char *own = getenv("PENSTOCK_HOME"), *cache = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    int bytes = 0;
    if (setting == NULL || strcmp(setting, "off") == 0)
        return false;
    if (strcmp(setting, "auto") != 0)
        bytes = snprintf(out, PATH_MAX, "%s", setting);
    else if (is_set(own))
        bytes = snprintf(out, PATH_MAX, "%s/weights", own);
    else if (is_set(cache))
        bytes = snprintf(out, PATH_MAX, "%s/penstock/weights", cache);
    else if (is_set(home))
        bytes = snprintf(out, PATH_MAX, "%s/.cache/penstock/weights", home);
    return bytes > 0 && bytes < PATH_MAX;
}

void weight_cache_places_find(const char *setting, const char *model_path, const char *layout,
                              struct weight_cache_places *out)
{
    char folder[PATH_MAX];
    out->count = 0;
    if (setting != NULL && strcmp(setting, "auto") == 0)
        add(out, "%s.%s-weights", model_path, layout);
    if (weight_cache_folder_find(setting, folder))
        add_in_folder(out, folder, model_path, layout);
}

void weight_cache_place_prepare(const char *path)
{
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s", path) >= PATH_MAX)
        return;
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(folder, 0700); /* there already, or open tells */
        *slash = '/';
    }
}
