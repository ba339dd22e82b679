#include "slice.h"

#include "check.h"

static const char *const KINDS[] = {
    [SLICE_GPU] = "gpu",
    [SLICE_MIG] = "mig",
    [SLICE_FRACTION] = "fraction",
    [SLICE_CPU_SET] = "cpu_set",
    [SLICE_DRA_DEVICE] = "dra_device",
};

static const char *const VENDORS[] = {
    [SLICE_NVIDIA] = "nvidia", [SLICE_AMD] = "amd", [SLICE_INTEL] = "intel",
    [SLICE_GAUDI] = "gaudi",   [SLICE_CPU] = "cpu", [SLICE_OTHER] = "other",
};

static const char *const HEALTHS[] = {
    [SLICE_OK] = "ok",   [SLICE_DEGRADED] = "degraded", [SLICE_DRAINING] = "draining",
    [SLICE_BAD] = "bad", [SLICE_UNKNOWN] = "unknown",
};

_Static_assert(ARRAY_COUNT(KINDS) == SLICE_KIND_COUNT, "a word for each");
_Static_assert(ARRAY_COUNT(VENDORS) == SLICE_VENDOR_COUNT, "a word for each");
_Static_assert(ARRAY_COUNT(HEALTHS) == SLICE_HEALTH_COUNT, "a word for each");

const char *slice_kind_name(enum slice_kind kind)
{
    CHECK(kind < SLICE_KIND_COUNT);
    return KINDS[kind];
}

const char *slice_vendor_name(enum slice_vendor vendor)
{
    CHECK(vendor < SLICE_VENDOR_COUNT);
    return VENDORS[vendor];
}

const char *slice_health_name(enum slice_health health)
{
    CHECK(health < SLICE_HEALTH_COUNT);
    return HEALTHS[health];
}
