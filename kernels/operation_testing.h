#ifndef PENSTOCK_KERNELS_OPERATION_TESTING_H
#define PENSTOCK_KERNELS_OPERATION_TESTING_H

/* What the tests have in common that compare operations on every path of this CPU with the reference. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernel_testing.h"

/* Within [-scale, scale); the caller frees them. */
static inline float *random_floats(size_t count, float scale, uint64_t *state)
{
    float *values = malloc(count * sizeof *values);
    CHECK(values != NULL);
    for (size_t i = 0; i < count; i++)
        values[i] = random_float(state) * scale;
    return values;
}

static inline void for_each_path(void (*check)(backend *reference, backend *fast))
{
    backend *reference = backend_open_or_die(BACKEND_REFERENCE, 1);
    for (size_t p = 0; p < ARRAY_COUNT(fast_paths); p++) {
        if (!backend_path_is_supported(fast_paths[p]))
            continue;
        backend *fast = backend_open_or_die(fast_paths[p], 3);
        check(reference, fast);
        backend_close(fast);
    }
    backend_close(reference);
}

static inline void compare(const char *what, const float *actual, const float *expected,
                           size_t count, double bound)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)actual[i] - (double)expected[i]) <= bound))
            fail_msg("%s: element %zu is %.9g, not %.9g (bound %.3g)", what, i, (double)actual[i],
                     (double)expected[i], bound);
}

#endif
