#ifndef PENSTOCK_KERNELS_CUDA_RUNTIME_FAKE_RUNTIME_H
#define PENSTOCK_KERNELS_CUDA_RUNTIME_FAKE_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

/* What tests may tell the host runtime. The same can be said in the environment, for a program that is tested as a whole:
 *     PENSTOCK_FAKE_DEVICE="memory=268435456,seed=3,allocation=7,launch=100,sticky=500,hang=900,flip=20,devices=2,pinned=1048576,driver=11080"
 * (pinned: bytes of host memory that each device pins, at most; driver: the CUDA it knows, 1000 * major + 10 * minor). It is read
 * when the first device is opened; calls to these functions count from then on.
 *
 * Thread: none while a device is open in another thread. */

#ifdef __cplusplus
extern "C" {
#endif

/* Number n of something fails, counted from 1 and from the call of fake_runtime_set_faults; 0: none does. */
struct fake_faults {
    uint64_t allocation; /* device_allocate gives NULL */
    uint64_t launch;     /* what is queued is refused, as a launch with bad extents is */
    uint64_t sticky;     /* the device fails while it runs this operation, as an Xid does it */
    uint64_t hang;       /* this operation never ends */
    uint64_t flip;       /* a bit of what this copy copied is wrong */
};

/* All devices, also those that are open. */
void fake_runtime_set_faults(const struct fake_faults *faults);
/* Operations run and queued, copies run, allocations made since then: to choose a fault's number from. */
struct fake_counts {
    uint64_t allocations, launches, runs, copies;
};
struct fake_counts fake_runtime_counts(void);

/* Of devices opened from now on: which of the legal orders their work runs in. */
void fake_runtime_set_seed(uint64_t seed);
/* Of devices opened from now on: bytes of memory. */
void fake_runtime_set_memory(uint64_t bytes);

/* Some device hangs now. Any thread. */
bool fake_runtime_is_hanging(void);

#ifdef __cplusplus
}
#endif

#endif
