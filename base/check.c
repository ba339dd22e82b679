#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* How many guards are open on this thread. */
static _Thread_local unsigned alloc_guard_depth;

void check_failed(const char *condition, const char *file, int line)
{
    /* No stdio stream and no log ring: this must reach stderr even when the heap is broken. */
    char text[512];
    int bytes = snprintf(text, sizeof text, "%s:%d: check failed: %s\n", file, line, condition);
    if (bytes > 0) {
        size_t count = (size_t)bytes < sizeof text ? (size_t)bytes : sizeof text - 1;
        ssize_t written = write(STDERR_FILENO, text, count);
        (void)written; /* nobody is left to tell */
    }
    abort();
}

void alloc_guard_begin(void)
{
    alloc_guard_depth++;
}

void alloc_guard_end(void)
{
    CHECK(alloc_guard_depth > 0);
    alloc_guard_depth--;
}

bool alloc_guard_is_on(void)
{
    return alloc_guard_depth > 0;
}
