#include "nvml_library.h"

#include <dlfcn.h>
#include <string.h>

static void *symbol_find(void *handle, const char *name)
{
    return dlsym(handle, name);
}

status nvml_library_open(struct nvml_library *library, const char *path, struct error_note *note)
{
    const char *reason;
    int result;

    *library = (struct nvml_library){.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    if (library->handle == NULL) {
        reason = dlerror();
        error_note_set(note, "%s", reason != NULL ? reason : path);
        return STATUS_NOT_FOUND;
    }
    /* ISO C has no conversion from object to function pointers; POSIX says that this one works. */
#define NVML_FIND(member, symbol, arguments)                                                       \
    *(void **)&library->member = symbol_find(library->handle, #symbol);
    NVML_FUNCTIONS(NVML_FIND)
#undef NVML_FIND
    if (library->init == NULL || library->count == NULL || library->by_index == NULL ||
        library->uuid == NULL) {
        error_note_set(note, "%s: too old: it cannot list devices", path);
        (void)dlclose(library->handle);
        return STATUS_UNSUPPORTED;
    }
    result = library->init();
    if (result != NVML_OK) {
        error_note_set(note, "%s: %s", path, nvml_result_text(result));
        (void)dlclose(library->handle);
        return STATUS_NOT_FOUND;
    }
    return STATUS_OK;
}

void nvml_library_close(struct nvml_library *library)
{
    if (library->shutdown != NULL)
        (void)library->shutdown();
    (void)dlclose(library->handle);
    library->handle = NULL;
}

const char *nvml_result_text(int result)
{
    static const char *const texts[] = {
        "success",
        "not initialised",
        "invalid argument",
        "not supported",
        "no permission",
        "already initialised",
        "not found",
        "insufficient size",
        "insufficient power",
        "driver not loaded",
        "timeout",
        "interrupt request problem",
        "library not found",
        "function not found",
        "corrupted information ROM",
        "GPU is lost",
        "reset required",
        "operating system refused the GPU",
        "library and driver differ in version",
        "in use",
        "memory",
    };

    return result >= 0 && (size_t)result < sizeof texts / sizeof texts[0] ? texts[result]
                                                                          : "unknown error";
}
