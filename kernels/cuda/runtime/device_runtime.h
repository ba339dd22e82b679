#ifndef PENSTOCK_KERNELS_CUDA_RUNTIME_DEVICE_RUNTIME_H
#define PENSTOCK_KERNELS_CUDA_RUNTIME_DEVICE_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* What the CUDA backend asks of a device, and nothing more: memory, streams of work, events, graphs and matrix products. Two
 * implementations: CUDA's runtime and cuBLASLt (cuda_*.cpp), and a host one without a GPU (fake_*.cpp) that is as
 * asynchronous as it may be: queued work runs only when something waits for it, in any order that streams and events
 * allow, so that whatever the caller forgot to order comes out wrong.
 *
 * Errors are sticky, as they are in CUDA: calls that queue return nothing, and after the first error nothing that was
 * queued counts; device_status and all that wait tell it (STATUS_INTERNAL). A device that has failed can only be closed.
 *
 * Thread: one thread calls everything of a device. Device pointers are read by kernels, copies and fills only. */

#ifdef __cplusplus
extern "C" {
#endif

typedef struct device device;
typedef struct device_stream device_stream;
typedef struct device_event device_event;
typedef struct device_graph device_graph;

struct device_facts {
    char name[128];
    uint32_t multiprocessors;
    uint32_t capability_major, capability_minor;
};

/* Opens visible device `ordinal`. STATUS_NOT_FOUND: there is no such device (or no driver); STATUS_UNSUPPORTED: it is older
 * than the code that was built (compute capability 8.0); STATUS_NO_MEMORY; the note says what. */
NODISCARD status device_open(uint32_t ordinal, device **out, struct error_note *note);
/* Waits for nothing: all streams, events, graphs and memory of it must be gone, unless it has failed. Accepts NULL. */
void device_close(device *d);

/* Devices that this process sees; 0 without a driver. */
uint32_t device_count(void);

const struct device_facts *device_facts_of(const device *d);
/* STATUS_OK or STATUS_INTERNAL (sticky). */
status device_status(const device *d);
/* What made it fail, for the log; "" while it has not. */
const char *device_failure(const device *d);
/* Bytes of the device's memory, and those that nobody has taken. */
NODISCARD status device_memory_info(device *d, uint64_t *total, uint64_t *available);

/* --- memory --- */
/* Not zeroed; 256-byte aligned. NULL: there is none left, which is not sticky. Not while a stream is captured. */
void *device_allocate(device *d, uint64_t bytes);
/* Waits until nothing queued uses it. Accepts NULL. */
void device_release(device *d, void *memory);
/* Host memory that copies to and from the device read and write directly. Zeroed. */
void *device_allocate_pinned(device *d, uint64_t bytes);
void device_release_pinned(device *d, void *memory);

/* --- sleep: memory goes back to the device for a while, and comes back at the same addresses --- */
/* What this block of device_allocate holds is of no use any more, up to the next device_wake: device_sleep keeps none of it. */
void device_forget(device *d, void *memory);
/* Waits for all that is queued. Then what the device's blocks hold goes to ordinary memory of the host, and their own to others;
 * until device_wake they may be released, and nothing else. A block that the host has no room for, or that is small, stays as
 * it is. Again: nothing. */
void device_sleep(device *d);
/* STATUS_OK: the blocks hold what they held, but for those that were forgotten; also where it did not sleep. STATUS_NO_MEMORY:
 * the device has none for them, and it sleeps on; STATUS_INTERNAL. */
NODISCARD status device_wake(device *d);

/* --- streams: work of one stream runs in the order it was queued --- */
NODISCARD status device_stream_create(device *d, device_stream **out);
void device_stream_destroy(device_stream *s); /* accepts NULL */
/* Waits for all that was queued. STATUS_OK or STATUS_INTERNAL. Not while a stream is captured. */
status device_stream_synchronize(device_stream *s);
/* Kernels launched from now on may begin before the one before them has ended, and wait for it themselves
 * (k_wait_previous): programmatic dependent launch. Where the device has none, nothing changes. */
void device_stream_set_overlap(device_stream *s, bool is_wanted);

/* Queued. Host memory is pinned (device_allocate_pinned), or, for the two host directions, read or written before the call
 * returns when it is not. */
void device_copy_to_device(device_stream *s, void *to, const void *from_host, uint64_t bytes);
void device_copy_to_host(device_stream *s, void *to_host, const void *from, uint64_t bytes);
void device_copy(device_stream *s, void *to, const void *from, uint64_t bytes);
void device_fill(device_stream *s, void *to, uint8_t value, uint64_t bytes);

/* --- events --- */
NODISCARD status device_event_create(device *d, device_event **out);
void device_event_destroy(device_event *e); /* accepts NULL */
/* Stands for all that was queued on `s` so far; a later record replaces it. Not on a stream that is captured. */
void device_event_record(device_event *e, device_stream *s);
/* What is queued on `s` from now on waits for the event's last record. */
void device_stream_wait(device_stream *s, device_event *e);
/* Blocks. STATUS_OK or STATUS_INTERNAL. An event that was never recorded is past. */
status device_event_synchronize(device_event *e);
/* Whether it is past, at once; true on a device that has failed. */
bool device_event_is_past(device_event *e);
/* Time from one event to the other, both past; 0 where one was never recorded. */
uint64_t device_event_elapsed_ns(device_event *from, device_event *to);

/* --- graphs: launches, copies, fills and products of one stream, recorded once and queued as one --- */
/* Until device_capture_end what is queued on `s` is recorded, and not run. Nothing may be waited for, allocated or released
 * meanwhile. */
NODISCARD status device_capture_begin(device_stream *s);
/* STATUS_OK; STATUS_NO_MEMORY; STATUS_INTERNAL. */
NODISCARD status device_capture_end(device_stream *s, device_graph **out);
void device_graph_launch(device_graph *g, device_stream *s); /* queued */
void device_graph_destroy(device_graph *g);                  /* accepts NULL; not queued any more */

/* --- products --- */
enum gemm_type { GEMM_F32, GEMM_F16, GEMM_BF16, GEMM_E4M3 };

/* y[m, n] = alpha * sum_k a[m, k] * w[n, k] (+ y[m, n] where accumulate), all row-major, sums in f32. Strides count elements of
 * a row; addresses of a and w and their strides in bytes are multiples of 16. */
struct gemm_args {
    uint32_t m, n, k;
    enum gemm_type type; /* of a and w */
    const void *a, *w;
    uint64_t a_stride, w_stride, y_stride;
    float alpha;
    bool is_bf16_out; /* else f32; accumulate only with f32 */
    bool accumulate;
    void *y;
};

/* Queued; may be captured. How it is computed follows from the types, n, k, and m rounded up to a power of two. */
void device_gemm(device_stream *s, const struct gemm_args *args);

/* --- for device.h: how a kernel is queued (K_LAUNCH) --- */
/* cudaStream_t; NULL in the host runtime. */
void *device_stream_handle(device_stream *s);
bool device_stream_overlaps(const device_stream *s);
/* An error of a launch becomes the device's (sticky). `what`: the kernel's name, `why`: the runtime's words. */
void device_stream_fail(device_stream *s, const char *what, const char *why);

#ifdef __cplusplus
}
#endif

#endif
