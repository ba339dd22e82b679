/* Every text is read to its end as a list of generic resources, and what is read stays inside of it. */
#include <stdlib.h>

#include "slurm_gres.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_inside(struct text_slice part, struct text_slice whole)
{
    if (part.bytes > 0 &&
        (part.data < whole.data || part.data + part.bytes > whole.data + whole.bytes))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const struct text_slice whole = {(const char *)data, bytes};
    struct text_slice rest = whole;
    struct slurm_gres gres;
    size_t before;
    status result;

    for (;;) {
        before = rest.bytes;
        result = slurm_gres_next(&rest, &gres);
        if (result == STATUS_NOT_FOUND)
            return 0;
        if (rest.bytes >= before)
            abort(); /* it would never end */
        if (result != STATUS_OK)
            continue;
        check_inside(gres.name, whole);
        check_inside(gres.type, whole);
        check_inside(gres.indices, whole);
        if (gres.name.bytes == 0 || gres.count > SLURM_GRES_COUNT_MAX)
            abort();
    }
}
