#ifndef PENSTOCK_ENGINE_OUTPUT_DELTA_H
#define PENSTOCK_ENGINE_OUTPUT_DELTA_H

#include <stdint.h>

#include "text_slice.h"

/* A piece of what a model says, told apart by what it is for. Of each call comes one BEGIN, any
 * number of ARGUMENTS, one END; calls are numbered from 0 and do not overlap. */
enum output_kind {
    OUTPUT_TEXT,
    OUTPUT_REASONING,
    OUTPUT_TOOL_BEGIN,
    OUTPUT_TOOL_ARGUMENTS,
    OUTPUT_TOOL_END
};

/* Texts are borrowed during the call that hands the delta over. */
struct output_delta {
    enum output_kind kind;
    struct text_slice text;      /* TEXT, REASONING; ARGUMENTS: a piece of their JSON */
    uint32_t tool_index;         /* TOOL_* */
    struct text_slice tool_name; /* TOOL_BEGIN */
};

#endif
