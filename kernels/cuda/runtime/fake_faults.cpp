/* Faults of the host runtime, and where they are asked for. */

#include <atomic>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_private.h"

/* Enough for a model of 135M parameters in 16 bits, its cache and its scratch. */
#define MEMORY_BYTES_DEFAULT (1ull << 30)

namespace
{

struct settings {
    fake_faults faults = {};
    uint64_t seed = 1, memory_bytes = MEMORY_BYTES_DEFAULT, devices = 1;
    uint64_t pinned_bytes = UINT64_MAX, driver = FAKE_RUNTIME_VERSION;

    settings()
    {
        const char *text = getenv("PENSTOCK_FAKE_DEVICE");
        for (const char *at = text != nullptr ? text : ""; *at != '\0';)
            at = read(at);
    }

    /* "name=number" and what follows it. */
    const char *read(const char *at)
    {
        const struct {
            const char *name;
            uint64_t *value;
        } words[] = {
            {"memory", &memory_bytes},
            {"seed", &seed},
            {"allocation", &faults.allocation},
            {"launch", &faults.launch},
            {"sticky", &faults.sticky},
            {"hang", &faults.hang},
            {"flip", &faults.flip},
            {"devices", &devices},
            {"pinned", &pinned_bytes},
            {"driver", &driver},
        };
        for (const auto &word : words) {
            size_t length = strlen(word.name);
            if (strncmp(at, word.name, length) != 0 || at[length] != '=')
                continue;
            char *end;
            *word.value = strtoull(at + length + 1, &end, 10);
            return *end == ',' ? end + 1 : end;
        }
        fake_abort("PENSTOCK_FAKE_DEVICE: what is \"%s\"?", at);
    }
};

struct counters {
    std::atomic<uint64_t> allocations{0}, launches{0}, runs{0}, copies{0};
};

counters counted;
std::atomic<bool> is_hanging{false};

settings &get_settings()
{
    static settings s;
    return s;
}

bool is_next(std::atomic<uint64_t> &counter, uint64_t fault)
{
    return ++counter == fault;
}

} // namespace

void fake_runtime_set_faults(const struct fake_faults *faults)
{
    get_settings().faults = *faults;
    counted.allocations = counted.launches = counted.runs = counted.copies = 0;
}

struct fake_counts fake_runtime_counts(void)
{
    return {counted.allocations, counted.launches, counted.runs, counted.copies};
}

void fake_runtime_set_seed(uint64_t seed)
{
    get_settings().seed = seed;
}

void fake_runtime_set_memory(uint64_t bytes)
{
    get_settings().memory_bytes = bytes;
}

bool fake_runtime_is_hanging(void)
{
    return is_hanging;
}

uint64_t fake_seed()
{
    return get_settings().seed;
}

uint64_t fake_memory_bytes()
{
    return get_settings().memory_bytes;
}

uint64_t fake_pinned_bytes()
{
    return get_settings().pinned_bytes;
}

uint32_t fake_driver_version()
{
    return static_cast<uint32_t>(get_settings().driver);
}

uint32_t fake_device_count()
{
    return static_cast<uint32_t>(get_settings().devices);
}

bool fake_allocation_fails()
{
    return is_next(counted.allocations, get_settings().faults.allocation);
}

bool fake_launch_fails()
{
    return is_next(counted.launches, get_settings().faults.launch);
}

bool fake_run_fails()
{
    return is_next(counted.runs, get_settings().faults.sticky);
}

bool fake_run_hangs()
{
    return counted.runs == get_settings().faults.hang;
}

bool fake_copy_flips()
{
    return is_next(counted.copies, get_settings().faults.flip);
}

void fake_hang()
{
    is_hanging = true;
    for (;;)
        pause();
}
