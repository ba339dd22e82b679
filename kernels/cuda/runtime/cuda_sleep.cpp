/* The memory of a device of CUDA's runtime, which can be given back for a while without its addresses: a block of some size is a
 * range of addresses of its own, with memory of the device mapped to it by the driver's calls (cuMemAddressReserve, cuMemCreate,
 * cuMemMap; "Virtual Memory Management" in CUDA's driver API). To sleep is to unmap and release that memory; to wake is to make
 * new, and map it to the same addresses. Small blocks are the runtime's (cudaMalloc), which packs them, and stay: vectors and
 * tables, some MB in all. The driver's calls are found at run time, as the runtime finds them. */

#include <cuda.h>
#include <new>
#include <stdlib.h>

#include "cuda_private.h"

/* Memory is mapped in units of 2 MiB: a block that is smaller than half of one wastes more than it is worth. */
#define MAPPED_BYTES_MIN (1u << 20)

/* A block with addresses of its own. */
struct cuda_block {
    CUdeviceptr address;
    size_t bytes;  /* of the unit's multiple */
    size_t wanted; /* of them, those that are in use */
    CUmemGenericAllocationHandle handle;
    bool is_mapped, is_forgotten, is_asleep;
    void *kept; /* what it held; owned, ordinary memory */
    cuda_block *next;
};

static bool find_call(const char *name, void **out)
{
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    *out = nullptr;
#if CUDART_VERSION >= 12050
    cudaError_t error =
        cudaGetDriverEntryPointByVersion(name, out, 11030, cudaEnableDefault, &found);
#else
    cudaError_t error = cudaGetDriverEntryPoint(name, out, cudaEnableDefault, &found);
#endif
    if (error != cudaSuccess)
        (void)cudaGetLastError();
    return error == cudaSuccess && found == cudaDriverEntryPointSuccess && *out != nullptr;
}

struct cuda_mapping {
    decltype(&cuMemAddressReserve) reserve;
    decltype(&cuMemAddressFree) free_address;
    decltype(&cuMemCreate) create;
    decltype(&cuMemRelease) release;
    decltype(&cuMemMap) map;
    decltype(&cuMemUnmap) unmap;
    decltype(&cuMemSetAccess) set_access;
    size_t unit;
    CUmemAllocationProp kind;
    cuda_block *blocks;
};

/* --- life --- */

static bool find_calls(cuda_mapping *m)
{
    decltype(&cuMemGetAllocationGranularity) get_unit = nullptr;
    const struct {
        const char *name;
        void **call;
    } rows[] = {
        {"cuMemAddressReserve", reinterpret_cast<void **>(&m->reserve)},
        {"cuMemAddressFree", reinterpret_cast<void **>(&m->free_address)},
        {"cuMemCreate", reinterpret_cast<void **>(&m->create)},
        {"cuMemRelease", reinterpret_cast<void **>(&m->release)},
        {"cuMemMap", reinterpret_cast<void **>(&m->map)},
        {"cuMemUnmap", reinterpret_cast<void **>(&m->unmap)},
        {"cuMemSetAccess", reinterpret_cast<void **>(&m->set_access)},
        {"cuMemGetAllocationGranularity", reinterpret_cast<void **>(&get_unit)},
    };
    for (const auto &row : rows)
        if (!find_call(row.name, row.call))
            return false;
    return get_unit(&m->unit, &m->kind, CU_MEM_ALLOC_GRANULARITY_MINIMUM) == CUDA_SUCCESS &&
           m->unit > 0;
}

cuda_mapping *cuda_mapping_open(int ordinal)
{
    cuda_mapping *m = new (std::nothrow) cuda_mapping();
    if (m == nullptr)
        return nullptr;
    m->kind.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    m->kind.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    m->kind.location.id = ordinal;
    if (find_calls(m))
        return m;
    delete m;
    return nullptr;
}

void cuda_mapping_close(cuda_mapping *m)
{
    delete m;
}

/* --- blocks --- */

/* Memory behind the block's addresses. False: the device has none. */
static bool map_block(cuda_mapping *m, cuda_block *block)
{
    CUmemAccessDesc access = {};
    access.location = m->kind.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    if (m->create(&block->handle, block->bytes, &m->kind, 0) != CUDA_SUCCESS)
        return false;
    if (m->map(block->address, block->bytes, 0, block->handle, 0) != CUDA_SUCCESS) {
        (void)m->release(block->handle);
        return false;
    }
    block->is_mapped = true;
    if (m->set_access(block->address, block->bytes, &access, 1) == CUDA_SUCCESS)
        return true;
    (void)m->unmap(block->address, block->bytes);
    (void)m->release(block->handle);
    block->is_mapped = false;
    return false;
}

static void unmap_block(cuda_mapping *m, cuda_block *block)
{
    if (!block->is_mapped)
        return;
    (void)m->unmap(block->address, block->bytes);
    (void)m->release(block->handle);
    block->is_mapped = false;
}

static void *allocate_mapped(cuda_mapping *m, uint64_t bytes)
{
    cuda_block *block = new (std::nothrow) cuda_block();
    if (block == nullptr)
        return nullptr;
    block->wanted = bytes;
    block->bytes = (bytes + m->unit - 1) / m->unit * m->unit;
    if (m->reserve(&block->address, block->bytes, 0, 0, 0) != CUDA_SUCCESS) {
        delete block;
        return nullptr;
    }
    if (!map_block(m, block)) {
        (void)m->free_address(block->address, block->bytes);
        delete block;
        return nullptr;
    }
    block->next = m->blocks;
    m->blocks = block;
    return reinterpret_cast<void *>(block->address);
}

static cuda_block **find_block(cuda_mapping *m, const void *memory)
{
    cuda_block **at = &m->blocks;
    while (*at != nullptr && (*at)->address != reinterpret_cast<CUdeviceptr>(memory))
        at = &(*at)->next;
    return at;
}

void *device_allocate(device *d, uint64_t bytes)
{
    if (d->mapping != nullptr && bytes >= MAPPED_BYTES_MIN)
        return allocate_mapped(d->mapping, bytes);
    void *memory = nullptr;
    cudaError_t error = cudaMalloc(&memory, bytes != 0 ? bytes : 1);
    return cuda_memory_or_null(d, memory, error, "cudaMalloc");
}

void device_release(device *d, void *memory)
{
    if (memory == nullptr)
        return;
    cuda_block **at = d->mapping != nullptr ? find_block(d->mapping, memory) : nullptr;
    if (at == nullptr || *at == nullptr) {
        (void)cuda_check(d, cudaFree(memory), "cudaFree");
        return;
    }
    cuda_block *block = *at;
    (void)cuda_check(d, cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    unmap_block(d->mapping, block);
    (void)d->mapping->free_address(block->address, block->bytes);
    *at = block->next;
    free(block->kept);
    delete block;
}

/* --- sleep --- */

void device_forget(device *d, void *memory)
{
    if (d->mapping == nullptr || memory == nullptr)
        return;
    cuda_block *block = *find_block(d->mapping, memory);
    if (block != nullptr)
        block->is_forgotten = true;
}

/* False: the host has no room, or the copy failed. */
static bool keep(device *d, cuda_block *block)
{
    block->kept = malloc(block->wanted);
    if (block->kept == nullptr)
        return false;
    const void *from = reinterpret_cast<const void *>(block->address);
    if (cuda_check(d, cudaMemcpy(block->kept, from, block->wanted, cudaMemcpyDeviceToHost),
                   "copy to the host"))
        return true;
    free(block->kept);
    block->kept = nullptr;
    return false;
}

void device_sleep(device *d)
{
    if (d->mapping == nullptr || !cuda_check(d, cudaDeviceSynchronize(), "cudaDeviceSynchronize"))
        return;
    for (cuda_block *block = d->mapping->blocks; block != nullptr; block = block->next) {
        if (block->is_asleep || (!block->is_forgotten && !keep(d, block)))
            continue;
        unmap_block(d->mapping, block);
        block->is_asleep = true;
    }
}

static status map_all(cuda_mapping *m)
{
    status result = STATUS_OK;
    for (cuda_block *block = m->blocks; block != nullptr && result == STATUS_OK;
         block = block->next)
        if (block->is_asleep && !map_block(m, block))
            result = STATUS_NO_MEMORY;
    for (cuda_block *block = m->blocks; block != nullptr && result != STATUS_OK;
         block = block->next)
        if (block->is_asleep)
            unmap_block(m, block);
    return result;
}

status device_wake(device *d)
{
    if (d->mapping == nullptr)
        return device_status(d);
    status result = map_all(d->mapping);
    if (result != STATUS_OK)
        return result;
    for (cuda_block *block = d->mapping->blocks; block != nullptr; block = block->next) {
        if (block->kept != nullptr)
            (void)cuda_check(d,
                             cudaMemcpy(reinterpret_cast<void *>(block->address), block->kept,
                                        block->wanted, cudaMemcpyHostToDevice),
                             "copy to the device");
        free(block->kept);
        block->kept = nullptr;
        block->is_asleep = block->is_forgotten = false;
    }
    return device_status(d);
}
