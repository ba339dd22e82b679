#ifndef PENSTOCK_TESTS_SCRATCH_FOLDER_H
#define PENSTOCK_TESTS_SCRATCH_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

/* A folder of its own for a program that must hand files to what it tests, made at first use; the program's end removes it
 * with the files that were written. */

#define SCRATCH_FILES_MAX 4u

struct scratch_folder {
    char path[64];
    char files[SCRATCH_FILES_MAX][128];
    unsigned file_count;
};

static struct scratch_folder scratch;

static inline void scratch_remove(void)
{
    for (unsigned i = 0; i < scratch.file_count; i++)
        (void)unlink(scratch.files[i]);
    (void)rmdir(scratch.path);
}

static inline const char *scratch_path(void)
{
    if (scratch.path[0] != '\0')
        return scratch.path;
    (void)snprintf(scratch.path, sizeof scratch.path, "/tmp/penstock-fuzz-XXXXXX");
    CHECK(mkdtemp(scratch.path) != NULL);
    CHECK(atexit(scratch_remove) == 0);
    return scratch.path;
}

/* Writes a file, over the one of this name. */
static inline void scratch_write(const char *name, const void *data, size_t bytes)
{
    char path[128];
    unsigned i = 0;
    (void)snprintf(path, sizeof path, "%s/%s", scratch_path(), name);
    while (i < scratch.file_count && strcmp(scratch.files[i], path) != 0)
        i++;
    if (i == scratch.file_count) {
        CHECK(scratch.file_count < SCRATCH_FILES_MAX);
        memcpy(scratch.files[scratch.file_count++], path, sizeof path);
    }
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && (bytes == 0 || fwrite(data, 1, bytes, file) == bytes) &&
          fclose(file) == 0);
}

#endif
