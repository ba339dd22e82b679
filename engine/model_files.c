#include "model_files.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weight_cache_place.h"

#define IMAGE_SUFFIX "-weights" /* "<model>.<layout>-weights" */

struct listing {
    model_files_found *found;
    void *context;
    char last[PATH_MAX]; /* the folder that links have led to last */
};

/* Most links of a folder lead into one. */
static void link_follow(struct listing *listing, const char *path)
{
    char real[PATH_MAX];
    char *slash;

    if (realpath(path, real) == NULL)
        return;
    slash = strrchr(real, '/');
    *slash = '\0';
    if (real[0] == '\0' || strcmp(real, listing->last) == 0)
        return;
    (void)snprintf(listing->last, sizeof listing->last, "%s", real);
    listing->found(listing->context, real, false);
}

/* `path`: of an entry of a folder. */
typedef void entry_take(struct listing *listing, const char *path, const struct dirent *entry,
                        const char *wanted);

static void folder_read(struct listing *listing, const char *folder, entry_take *take,
                        const char *wanted)
{
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    char path[PATH_MAX];

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        int bytes = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);

        if (bytes > 0 && bytes < (int)sizeof path)
            take(listing, path, entry, wanted);
    }
    if (directory != NULL)
        (void)closedir(directory);
}

static void link_take(struct listing *listing, const char *path, const struct dirent *entry,
                      const char *wanted)
{
    (void)wanted;
    if (entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN)
        link_follow(listing, path);
}

static void image_take(struct listing *listing, const char *path, const struct dirent *entry,
                       const char *wanted)
{
    size_t bytes = strlen(entry->d_name), model_bytes = strlen(wanted),
           suffix_bytes = strlen(IMAGE_SUFFIX);

    if (bytes > model_bytes + suffix_bytes && memcmp(entry->d_name, wanted, model_bytes) == 0 &&
        entry->d_name[model_bytes] == '.' &&
        strcmp(entry->d_name + bytes - suffix_bytes, IMAGE_SUFFIX) == 0)
        listing->found(listing->context, path, false);
}

static void images_list(struct listing *listing, const char *model_path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(model_path, '/');

    if (slash == NULL) {
        folder_read(listing, ".", image_take, model_path);
    } else if (snprintf(folder, sizeof folder, "%.*s", (int)(slash - model_path + 1), model_path) <
               (int)sizeof folder) {
        folder_read(listing, folder, image_take, slash + 1);
    }
}

void model_files_list(const char *model_path, const char *weight_cache, model_files_found *found,
                      void *context)
{
    struct listing listing = {.found = found, .context = context};
    char folder[PATH_MAX], inside[PATH_MAX];

    found(context, model_path, false);
    folder_read(&listing, model_path, link_take, NULL);
    if (weight_cache == NULL || strcmp(weight_cache, "off") == 0)
        return;
    images_list(&listing, model_path);
    if (!weight_cache_folder_find(weight_cache, folder))
        return;
    if (snprintf(inside, sizeof inside, "%s/x", folder) < (int)sizeof inside)
        weight_cache_place_prepare(inside);
    found(context, folder, true);
}
