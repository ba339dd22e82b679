#ifndef PENSTOCK_GATEWAY_API_RESPONSES_OBJECT_H
#define PENSTOCK_GATEWAY_API_RESPONSES_OBJECT_H

#include "responses.h"

/* The objects that whole responses and their events are made of. */

enum item_status { ITEM_BEGUN, ITEM_COMPLETED, ITEM_INCOMPLETE };

/* {"id":...,"type":"message",...}: item `index` of the output, of the choice's kind and text. With
 * ITEM_BEGUN it is still empty. `call`: how many calls came before it. */
void responses_item_write(struct buffer *out, const struct api_answer *answer,
                          const struct api_choice *choice, uint32_t index, uint32_t call,
                          enum item_status state);
/* The same of an item that has just begun, and whose name and kind are those of `delta`. */
void responses_item_begin(struct buffer *out, const struct api_answer *answer, uint32_t index,
                          const struct output_delta *delta);
/* The content part of a text or of reasoning. `choice` NULL: it is still empty. */
void responses_part_write(struct buffer *out, enum output_kind kind,
                          const struct api_choice *choice, uint32_t index);
struct api_item_id responses_item_id(const struct api_answer *answer, enum output_kind kind,
                                     uint32_t index);

/* The response. `choice` NULL: it has just begun; else it is finished. `error` NULL: none. */
void responses_write(struct buffer *out, const struct api_answer *answer,
                     const struct api_choice *choice, const struct api_usage *usage,
                     const struct api_error *error);

#endif
