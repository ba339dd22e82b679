#ifndef PENSTOCK_OBSERVE_FLIGHT_FORMAT_H
#define PENSTOCK_OBSERVE_FLIGHT_FORMAT_H

#include "flight_recorder.h"
#include "hash.h"

/* The file's bytes, in the machine's order: it is read where it was written. */

#define FLIGHT_MAGIC      0x31746867696c6650ull /* "Pflight1" */
#define FLIGHT_VERSION    1u
#define FLIGHT_HEAD_BYTES 4096u

struct flight_file_head {
    uint64_t magic;
    uint32_t version, head_bytes, record_bytes, step_count;
    uint32_t pid, reserved;
    uint64_t begin_ns, begin_wall_ns;
    char model[FLIGHT_MODEL_BYTES];
};

struct flight_record {
    struct flight_step step;
    uint64_t check; /* flight_check */
};
_Static_assert(sizeof(struct flight_record) == 128, "no holes, which would differ by chance");

static inline uint64_t flight_check(const struct flight_step *step)
{
    static const struct hash_key key = {0x666c69676874206full, 0x66206120737465ull};

    return hash64(&key, step, sizeof(*step));
}

static inline size_t flight_file_bytes(uint32_t step_count)
{
    return FLIGHT_HEAD_BYTES + (size_t)step_count * sizeof(struct flight_record);
}

#endif
