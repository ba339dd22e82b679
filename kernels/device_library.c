#include "device_library.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

typedef status open_fn(const struct backend_options *options, backend **out,
                       struct error_note *note);

static const struct {
    enum backend_path path;
    const char *file;
} libraries[] = {
    {BACKEND_CUDA, "libpenstock-cuda.so"},
    {BACKEND_CUDA_EMULATED, "libpenstock-cuda-emulated.so"},
};

static const char *file_of(enum backend_path path)
{
    for (size_t i = 0; i < ARRAY_COUNT(libraries); i++)
        if (libraries[i].path == path)
            return libraries[i].file;
    return NULL;
}

bool device_library_holds(enum backend_path path)
{
    return file_of(path) != NULL;
}

/* The folder of the running program, without a last slash; false when the system does not tell. */
static bool program_folder(char *out, size_t bytes)
{
    ssize_t length = readlink("/proc/self/exe", out, bytes - 1);
    if (length <= 0)
        return false;
    out[length] = '\0';
    char *slash = strrchr(out, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return true;
}

/* Loading our library takes CUDA's with it, hundreds of megabytes: not where there is no driver. */
static bool has_driver(struct error_note *note)
{
    if (dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != NULL)
        return true;
    error_note_set(note,
                   "the NVIDIA driver is missing (%s): install it, or start the container with its "
                   "GPUs; nvidia-smi shows whether it works",
                   dlerror());
    return false;
}

/* The first of the places that has the library. The loader counts openings of one file, and these are never closed: the
 * code of a backend outlives it. */
static void *library_load(enum backend_path path, const char *file, struct error_note *note)
{
    const char *named = getenv("PENSTOCK_CUDA_LIBRARY");
    if (named != NULL && named[0] != '\0') {
        void *library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            error_note_set(note, "PENSTOCK_CUDA_LIBRARY: %s", dlerror());
        return library;
    }
    static const char *const places[] = {"", "/../lib/penstock"};
    char folder[PATH_MAX], place[PATH_MAX + 64];
    if (!program_folder(folder, sizeof(folder)) || (path == BACKEND_CUDA && !has_driver(note)))
        return NULL;
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        (void)snprintf(place, sizeof(place), "%s%s/%s", folder, places[i], file);
        if (access(place, F_OK) != 0)
            continue;
        void *library = dlopen(place, RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            error_note_set(note, "%s", dlerror());
        return library;
    }
    error_note_set(note, "%s is neither in %s nor in %s%s", file, folder, folder, places[1]);
    return NULL;
}

static open_fn *library_open_function(enum backend_path path, struct error_note *note)
{
    const char *file = file_of(path);
    CHECK(file != NULL);
    void *library = library_load(path, file, note);
    if (library == NULL)
        return NULL;
    void *symbol = dlsym(library, "penstock_cuda_open");
    if (symbol == NULL) {
        error_note_set(note, "%s has no backend", file);
        return NULL;
    }
    open_fn *function;
    memcpy(&function, &symbol, sizeof(function)); /* ISO C has no cast from an object's address */
    return function;
}

bool device_library_is_found(enum backend_path path)
{
    struct error_note note;
    return device_library_holds(path) && library_open_function(path, &note) != NULL;
}

status device_library_open(const struct backend_options *options, backend **out,
                           struct error_note *note)
{
    open_fn *function = library_open_function(options->path, note);
    return function != NULL ? function(options, out, note) : STATUS_NOT_FOUND;
}
