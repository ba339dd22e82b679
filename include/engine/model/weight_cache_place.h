#ifndef PENSTOCK_WEIGHT_CACHE_PLACE_H
#define PENSTOCK_WEIGHT_CACHE_PLACE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* Where a model's weight cache may lie, best place first. */
#define WEIGHT_CACHE_PLACES_MAX 2u
struct weight_cache_places {
    char paths[WEIGHT_CACHE_PLACES_MAX][PATH_MAX];
    uint32_t count;
};

/* `setting` NULL or "off": nowhere. "auto": beside the model, "<model>.<layout>-weights", else in
 * the folder "weights" under $PENSTOCK_HOME, $XDG_CACHE_HOME/penstock or ~/.cache/penstock. Else: in
 * that folder. Outside the model's own folder the name carries a hash of the model's real path, so
 * that a changed model replaces its own cache and no other's. Reads the environment, and links. */
void weight_cache_places_find(const char *setting, const char *model_path, const char *layout,
                              struct weight_cache_places *out);

/* The folder, of those, that is not the model's own: the setting's, or with "auto" that of this user. False: there is none. */
bool weight_cache_folder_find(const char *setting, char out[PATH_MAX]);

/* Makes the folders above `path` that are missing, for this user alone; writing into them shows
 * whether they are there. */
void weight_cache_place_prepare(const char *path);

#endif
