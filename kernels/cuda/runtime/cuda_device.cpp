/* A device of CUDA's runtime: its life, its facts, and the host's memory; its own is in cuda_sleep.cpp. */

#include <new>
#include <stdio.h>
#include <string.h>

#include "cuda_private.h"
#include "driver_versions.h"

#define CAPABILITY_MAJOR_MIN 8

void cuda_fail(device *d, const char *what, const char *why)
{
    if (d->has_failed)
        return;
    d->has_failed = true;
    (void)snprintf(d->failure, sizeof(d->failure), "%s: %s", what, why);
}

bool cuda_check(device *d, cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return true;
    (void)cudaGetLastError();
    cuda_fail(d, what, cudaGetErrorString(error));
    return false;
}

uint32_t device_count(void)
{
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0 ? static_cast<uint32_t>(count)
                                                                  : 0;
}

/* --- life --- */

static status select_device(uint32_t ordinal, cudaDeviceProp *properties, struct error_note *note)
{
    int count = 0, index = static_cast<int>(ordinal), driver = 0, runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    status result =
        driver_versions_check(static_cast<uint32_t>(driver), static_cast<uint32_t>(runtime), note);
    if (result != STATUS_OK)
        return result;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) {
        error_note_set(note, "CUDA: %s", cudaGetErrorString(error));
        return STATUS_NOT_FOUND;
    }
    if (index >= count) {
        error_note_set(note, "there is no device %u: %d are visible", ordinal, count);
        return STATUS_NOT_FOUND;
    }
    error = cudaSetDevice(index);
    if (error == cudaSuccess)
        error = cudaGetDeviceProperties(properties, index);
    if (error != cudaSuccess) {
        error_note_set(note, "device %u: %s", ordinal, cudaGetErrorString(error));
        return STATUS_NOT_FOUND;
    }
    if (properties->major < CAPABILITY_MAJOR_MIN) {
        error_note_set(note, "%s has compute capability %d.%d, %d.0 is the least", properties->name,
                       properties->major, properties->minor, CAPABILITY_MAJOR_MIN);
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}

static status open_library(device *d, struct error_note *note)
{
    cublasStatus_t result = cublasLtCreate(&d->library);
    if (result != CUBLAS_STATUS_SUCCESS) {
        error_note_set(note, "cuBLASLt: %s", cublasLtGetStatusString(result));
        return result == CUBLAS_STATUS_ALLOC_FAILED ? STATUS_NO_MEMORY : STATUS_UNSUPPORTED;
    }
    cudaError_t error = cudaMalloc(&d->workspace, GEMM_WORKSPACE_BYTES);
    if (error != cudaSuccess) {
        error_note_set(note, "workspace of %u bytes: %s", GEMM_WORKSPACE_BYTES,
                       cudaGetErrorString(error));
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

status device_open(uint32_t ordinal, device **out, struct error_note *note)
{
    cudaDeviceProp properties;
    status result = select_device(ordinal, &properties, note);
    if (result != STATUS_OK)
        return result;
    device *d = new (std::nothrow) device();
    if (d == nullptr)
        return STATUS_NO_MEMORY;
    (void)snprintf(d->facts.name, sizeof(d->facts.name), "%.127s", properties.name);
    d->facts.multiprocessors = static_cast<uint32_t>(properties.multiProcessorCount);
    d->facts.capability_major = static_cast<uint32_t>(properties.major);
    d->facts.capability_minor = static_cast<uint32_t>(properties.minor);
    d->has_overlap = properties.major >= 9;
    d->mapping = cuda_mapping_open(static_cast<int>(ordinal));
    result = open_library(d, note);
    if (result != STATUS_OK) {
        device_close(d);
        return result;
    }
    *out = d;
    return STATUS_OK;
}

void device_close(device *d)
{
    if (d == nullptr)
        return;
    if (d->workspace != nullptr)
        (void)cudaFree(d->workspace);
    if (d->library != nullptr)
        (void)cublasLtDestroy(d->library);
    cuda_mapping_close(d->mapping);
    delete d;
}

const struct device_facts *device_facts_of(const device *d)
{
    return &d->facts;
}

status device_status(const device *d)
{
    return d->has_failed ? STATUS_INTERNAL : STATUS_OK;
}

const char *device_failure(const device *d)
{
    return d->failure;
}

status device_memory_info(device *d, uint64_t *total, uint64_t *available)
{
    size_t free_bytes = 0, all_bytes = 0;
    (void)cuda_check(d, cudaMemGetInfo(&free_bytes, &all_bytes), "cudaMemGetInfo");
    *total = all_bytes;
    *available = free_bytes;
    return device_status(d);
}

/* --- memory --- */

void *cuda_memory_or_null(device *d, void *memory, cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return memory;
    (void)cudaGetLastError();
    if (error != cudaErrorMemoryAllocation)
        cuda_fail(d, what, cudaGetErrorString(error));
    return nullptr;
}

void *device_allocate_pinned(device *d, uint64_t bytes)
{
    void *memory = nullptr;
    cudaError_t error = cudaHostAlloc(&memory, bytes != 0 ? bytes : 1, cudaHostAllocDefault);
    memory = cuda_memory_or_null(d, memory, error, "cudaHostAlloc");
    if (memory != nullptr)
        memset(memory, 0, bytes);
    return memory;
}

void device_release_pinned(device *d, void *memory)
{
    if (memory != nullptr)
        (void)cuda_check(d, cudaFreeHost(memory), "cudaFreeHost");
}
