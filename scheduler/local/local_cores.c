#include "local_internal.h"

uint32_t local_cores_count(const struct cpu_slices *slices, const cpu_set_t *cores)
{
    bool is_counted[CPU_SETSIZE] = {false};
    uint32_t count = 0;

    for (unsigned thread = 0; thread < CPU_SETSIZE; thread++) {
        if (!CPU_ISSET(thread, cores) || is_counted[slices->core_of[thread]])
            continue;
        is_counted[slices->core_of[thread]] = true;
        count++;
    }
    return count;
}

void local_cores_charge(const struct cpu_slices *slices, const cpu_set_t *cores, uint32_t milli,
                        uint32_t *used)
{
    bool is_charged[CPU_SETSIZE] = {false};
    uint32_t count = local_cores_count(slices, cores);

    for (unsigned thread = 0; thread < CPU_SETSIZE; thread++) {
        uint16_t core = slices->core_of[thread];

        if (!CPU_ISSET(thread, cores) || is_charged[core])
            continue;
        is_charged[core] = true;
        used[core] += milli > 0 ? milli / count : 1000;
    }
}

/* Of those that are not taken; the first of equals. CPU_SETSIZE: none is left. */
static unsigned least_used(const struct cpu_slices *slices, const cpu_set_t *cores,
                           const cpu_set_t *taken, const uint32_t *used)
{
    unsigned best = CPU_SETSIZE;

    for (unsigned thread = 0; thread < CPU_SETSIZE; thread++) {
        uint16_t core = slices->core_of[thread];

        if (CPU_ISSET(thread, cores) && !CPU_ISSET(thread, taken) &&
            (best == CPU_SETSIZE || used[core] < used[best]))
            best = core;
    }
    return best;
}

void local_cores_pick(const struct cpu_slices *slices, const struct cpu_slice *slice,
                      uint32_t milli, const uint32_t *used, cpu_set_t *out)
{
    uint32_t count = milli / 1000 + (milli % 1000 != 0);
    const cpu_set_t *cores = &slice->bind.cores;

    CPU_ZERO(out);
    if (milli == 0 || count >= slice->core_count) {
        *out = *cores;
        return;
    }
    for (; count > 0; count--) {
        unsigned core = least_used(slices, cores, out, used);

        for (unsigned thread = 0; thread < CPU_SETSIZE; thread++)
            if (CPU_ISSET(thread, cores) && slices->core_of[thread] == core)
                CPU_SET(thread, out);
    }
}
