#ifndef PENSTOCK_ENGINE_MODEL_FILES_H
#define PENSTOCK_ENGINE_MODEL_FILES_H

#include <stdbool.h>

/* Which files opening a model touches, for who shuts the process that does it off from all others: the model's file or folder, where links
 * in that folder lead (as in caches of Hugging Face's hub, whose snapshots are links to blobs), the weights that were kept beside it
 * for the next start, and the folder in which others are kept, the only one that is written; that is made if it is missing. A model
 * that is not there has no files; opening it will tell. Reads folders. Any thread. */

/* `path` is borrowed for the call. */
typedef void model_files_found(void *context, const char *path, bool is_written);

/* `weight_cache`: as the setting of this name. */
void model_files_list(const char *model_path, const char *weight_cache, model_files_found *found,
                      void *context);

#endif
