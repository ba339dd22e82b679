/* Memory of the host runtime: blocks of exactly the bytes that were asked for, so that AddressSanitizer sees a kernel that
 * leaves one. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_private.h"

/* Blocks up to this size are poisoned whole; of larger ones the first and last bytes, as a machine that tests has little
 * memory and no test computes on all of them. */
#define POISONED_BYTES_MAX (64u << 20)

void fake_abort(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("fake device: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

fake_block *fake_memory::allocate(uint64_t bytes, bool is_pinned)
{
    void *address = nullptr;
    if (posix_memalign(&address, 256, bytes != 0 ? bytes : 1) != 0)
        return nullptr;
    uint64_t poisoned = bytes < POISONED_BYTES_MAX ? bytes : POISONED_BYTES_MAX;
    memset(address, is_pinned ? 0 : FAKE_POISON, is_pinned ? bytes : poisoned);
    fake_block block;
    block.address = static_cast<uint8_t *>(address);
    block.bytes = bytes;
    block.id = ++last_id_;
    block.is_pinned = is_pinned;
    (is_pinned ? pinned_bytes_ : device_bytes_) += bytes;
    return &(blocks_[reinterpret_cast<uintptr_t>(address)] = block);
}

void fake_memory::release(uintptr_t address)
{
    auto found = blocks_.find(address);
    if (found == blocks_.end())
        fake_abort("memory is released that is none of the device's, or is released twice");
    fake_block block = std::move(found->second);
    (block.is_pinned ? pinned_bytes_ : device_bytes_) -= block.is_asleep ? 0 : block.bytes;
    blocks_.erase(found);
    memset(block.address, FAKE_POISON,
           block.bytes < POISONED_BYTES_MAX ? block.bytes : POISONED_BYTES_MAX);
    free(block.address);
}

const fake_block *fake_memory::find(uintptr_t address) const
{
    auto after = blocks_.upper_bound(address);
    if (after == blocks_.begin())
        return nullptr;
    const fake_block &block = std::prev(after)->second;
    return address - reinterpret_cast<uintptr_t>(block.address) < block.bytes ? &block : nullptr;
}

fake_span fake_memory::span(const char *what, const void *address, uint64_t bytes) const
{
    uintptr_t first = reinterpret_cast<uintptr_t>(address);
    const fake_block *block = find(first);
    if (block == nullptr)
        fake_abort("%s: %p is not in the device's memory", what, address);
    if (block->is_asleep)
        fake_abort("%s: memory is used that is asleep", what);
    uint64_t offset = first - reinterpret_cast<uintptr_t>(block->address);
    if (bytes > block->bytes - offset)
        fake_abort("%s: %llu bytes at offset %llu of a block of %llu", what,
                   static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(offset),
                   static_cast<unsigned long long>(block->bytes));
    return {first, bytes, block->id};
}

bool fake_memory::is_alive(const fake_span &span) const
{
    const fake_block *block = find(span.address);
    return block != nullptr && block->id == span.block_id;
}

/* --- sleep --- */

void fake_memory::forget(uintptr_t address)
{
    auto found = blocks_.find(address);
    if (found == blocks_.end() || found->second.is_pinned)
        fake_abort("memory is forgotten that is none of the device's");
    found->second.is_forgotten = true;
}

void fake_memory::sleep()
{
    for (auto &entry : blocks_) {
        fake_block &block = entry.second;
        if (block.is_pinned || block.is_asleep)
            continue;
        if (!block.is_forgotten)
            block.kept.assign(block.address, block.address + block.bytes);
        memset(block.address, FAKE_POISON,
               block.bytes < POISONED_BYTES_MAX ? block.bytes : POISONED_BYTES_MAX);
        block.is_asleep = true;
        device_bytes_ -= block.bytes;
    }
}

bool fake_memory::wake(uint64_t memory_bytes)
{
    uint64_t needed = 0;
    for (const auto &entry : blocks_)
        needed += entry.second.is_asleep ? entry.second.bytes : 0;
    if (needed > 0 && (fake_allocation_fails() || needed > memory_bytes - device_bytes_))
        return false;
    for (auto &entry : blocks_) {
        fake_block &block = entry.second;
        if (!block.is_asleep)
            continue;
        if (!block.is_forgotten && block.bytes > 0)
            memcpy(block.address, block.kept.data(), block.bytes);
        block.kept = std::vector<uint8_t>();
        block.is_asleep = block.is_forgotten = false;
    }
    device_bytes_ += needed;
    return true;
}
