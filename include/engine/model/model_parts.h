#ifndef PENSTOCK_ENGINE_MODEL_PARTS_H
#define PENSTOCK_ENGINE_MODEL_PARTS_H

#include "model.h"

/* What a model's weights are for, as its files hold them: from which follows what each device of a layout has to keep and to
 * read. Pure; reads no weight. */
enum model_part {
    PART_EMBEDDING,
    PART_HEAD,      /* nothing where the embedding is the head too */
    PART_QUERY,     /* the attention's, with its output: split by query heads */
    PART_KEY_VALUE, /* split by key heads */
    PART_FFN,
    PART_EXPERTS,
    PART_REST, /* norms, routers: every device has them */
    PART_COUNT
};

struct model_parts {
    uint64_t bytes[PART_COUNT], elements[PART_COUNT];
};

/* `info` is the source's own (model_file_info). */
void model_parts_count(const model_source *source, const struct model_info *info,
                       struct model_parts *out);

#endif
