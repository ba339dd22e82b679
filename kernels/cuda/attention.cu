/* Which kernels a step's attention takes. */

#include "attention_private.h"

bool attention_supports(uint32_t d_head)
{
    switch (d_head) {
    case 32:
    case 64:
    case 80:
    case 96:
    case 112:
    case 128:
    case 192:
    case 256:
        return true;
    default:
        return false;
    }
}

void attention_launch(device_stream *stream, const struct attention_args *args)
{
    if (args->may_have_long)
        attention_long_launch(stream, args);
    if (args->may_have_split)
        attention_split_launch(stream, args);
}
