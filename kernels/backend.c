/* Chooses a backend: the table row of the path asked for, or the best one this CPU can run. */

#include "backend.h"

#include <stddef.h>
#include <string.h>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "device_library.h"
#include "reference/reference.h"

static const char *const path_names[] = {
    [BACKEND_AUTO] = "auto",
    [BACKEND_REFERENCE] = "reference",
    [BACKEND_AVX2] = "avx2",
    [BACKEND_AVX_VNNI] = "avx-vnni",
    [BACKEND_AVX512_VNNI] = "avx512-vnni",
    [BACKEND_AMX] = "amx",
    [BACKEND_CUDA] = "cuda",
    [BACKEND_CUDA_EMULATED] = "cuda-emulated",
    [BACKEND_CPU] = "cpu",
};

const char *backend_path_name(enum backend_path path)
{
    return (size_t)path < ARRAY_COUNT(path_names) ? path_names[path] : "unknown";
}

bool backend_path_find(const char *name, enum backend_path *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(path_names); i++) {
        if (strcmp(name != NULL ? name : "auto", path_names[i]) == 0) {
            *out = (enum backend_path)i;
            return true;
        }
    }
    return false;
}

bool backend_path_is_supported(enum backend_path path)
{
    return path == BACKEND_AUTO || path == BACKEND_CPU || path == BACKEND_REFERENCE ||
           cpu_kernels_find(path) != NULL || device_library_is_found(path);
}

static enum backend_path best_path(void)
{
    static const enum backend_path best_first[] = {BACKEND_AMX, BACKEND_AVX512_VNNI,
                                                   BACKEND_AVX_VNNI, BACKEND_AVX2};
    for (size_t i = 0; i < ARRAY_COUNT(best_first); i++)
        if (backend_path_is_supported(best_first[i]))
            return best_first[i];
    return BACKEND_REFERENCE;
}

status backend_open(const struct backend_options *options, backend **out, struct error_note *note)
{
    bool is_open_to_all = options->path == BACKEND_AUTO || options->path == BACKEND_CPU;
    enum backend_path path = is_open_to_all ? best_path() : options->path;
    if (device_library_holds(path))
        return device_library_open(options, out, note);
    if (!backend_path_is_supported(path)) {
        error_note_set(note, "this CPU cannot run the kernel path %s", backend_path_name(path));
        return STATUS_UNSUPPORTED;
    }
    status result = path == BACKEND_REFERENCE ? reference_open(out)
                                              : cpu_backend_open(path, options->threads, out);
    if (result != STATUS_OK)
        error_note_set(note, "cannot start the %s backend: %s", backend_path_name(path),
                       status_name(result));
    return result;
}

uint64_t backend_layout_bytes(const struct tensor_source *source)
{
    weight w = {.n_cols = 0};
    return cpu_weight_plan(&w, source, 1) == STATUS_OK ? w.bytes : 0;
}

void backend_close(backend *b)
{
    if (b != NULL)
        b->operations->destroy(b);
}
