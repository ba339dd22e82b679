/* Streams, copies, events and graphs of CUDA's runtime. */

#include <new>

#include "cuda_private.h"

/* --- streams --- */

status device_stream_create(device *d, device_stream **out)
{
    device_stream *s = new (std::nothrow) device_stream();
    if (s == nullptr)
        return STATUS_NO_MEMORY;
    s->owner = d;
    /* Not ordered with the default stream, which nothing here uses but libraries might. */
    if (!cuda_check(d, cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking),
                    "cudaStreamCreate")) {
        delete s;
        return STATUS_INTERNAL;
    }
    *out = s;
    return STATUS_OK;
}

void device_stream_destroy(device_stream *s)
{
    if (s == nullptr)
        return;
    (void)cuda_check(s->owner, cudaStreamDestroy(s->stream), "cudaStreamDestroy");
    delete s;
}

status device_stream_synchronize(device_stream *s)
{
    (void)cuda_check(s->owner, cudaStreamSynchronize(s->stream), "cudaStreamSynchronize");
    return device_status(s->owner);
}

void device_stream_set_overlap(device_stream *s, bool is_wanted)
{
    s->overlaps = is_wanted && s->owner->has_overlap;
}

bool device_stream_overlaps(const device_stream *s)
{
    return s->overlaps;
}

void *device_stream_handle(device_stream *s)
{
    return s->stream;
}

void device_stream_fail(device_stream *s, const char *what, const char *why)
{
    cuda_fail(s->owner, what, why);
}

/* --- copies --- */

static void copy(device_stream *s, void *to, const void *from, uint64_t bytes, cudaMemcpyKind kind,
                 const char *what)
{
    if (bytes != 0)
        (void)cuda_check(s->owner, cudaMemcpyAsync(to, from, bytes, kind, s->stream), what);
}

void device_copy_to_device(device_stream *s, void *to, const void *from_host, uint64_t bytes)
{
    copy(s, to, from_host, bytes, cudaMemcpyHostToDevice, "copy to the device");
}

void device_copy_to_host(device_stream *s, void *to_host, const void *from, uint64_t bytes)
{
    copy(s, to_host, from, bytes, cudaMemcpyDeviceToHost, "copy to the host");
}

void device_copy(device_stream *s, void *to, const void *from, uint64_t bytes)
{
    copy(s, to, from, bytes, cudaMemcpyDeviceToDevice, "copy on the device");
}

void device_fill(device_stream *s, void *to, uint8_t value, uint64_t bytes)
{
    if (bytes != 0)
        (void)cuda_check(s->owner, cudaMemsetAsync(to, value, bytes, s->stream), "fill");
}

/* --- events --- */

status device_event_create(device *d, device_event **out)
{
    device_event *e = new (std::nothrow) device_event();
    if (e == nullptr)
        return STATUS_NO_MEMORY;
    e->owner = d;
    if (!cuda_check(d, cudaEventCreate(&e->event), "cudaEventCreate")) {
        delete e;
        return STATUS_INTERNAL;
    }
    *out = e;
    return STATUS_OK;
}

void device_event_destroy(device_event *e)
{
    if (e == nullptr)
        return;
    (void)cuda_check(e->owner, cudaEventDestroy(e->event), "cudaEventDestroy");
    delete e;
}

void device_event_record(device_event *e, device_stream *s)
{
    e->is_recorded = true;
    (void)cuda_check(e->owner, cudaEventRecord(e->event, s->stream), "cudaEventRecord");
}

void device_stream_wait(device_stream *s, device_event *e)
{
    (void)cuda_check(s->owner, cudaStreamWaitEvent(s->stream, e->event, 0), "cudaStreamWaitEvent");
}

status device_event_synchronize(device_event *e)
{
    (void)cuda_check(e->owner, cudaEventSynchronize(e->event), "cudaEventSynchronize");
    return device_status(e->owner);
}

bool device_event_is_past(device_event *e)
{
    if (e->owner->has_failed)
        return true;
    cudaError_t error = cudaEventQuery(e->event);
    if (error != cudaErrorNotReady)
        return cuda_check(e->owner, error, "cudaEventQuery") || e->owner->has_failed;
    (void)cudaGetLastError();
    return false;
}

uint64_t device_event_elapsed_ns(device_event *from, device_event *to)
{
    float ms = 0;
    if (!from->is_recorded || !to->is_recorded ||
        !cuda_check(from->owner, cudaEventElapsedTime(&ms, from->event, to->event),
                    "cudaEventElapsedTime"))
        return 0;
    return ms > 0 ? static_cast<uint64_t>(static_cast<double>(ms) * 1e6) : 0;
}

/* --- graphs --- */

status device_capture_begin(device_stream *s)
{
    /* Of this thread alone: other devices' threads go on as they like. */
    (void)cuda_check(s->owner, cudaStreamBeginCapture(s->stream, cudaStreamCaptureModeThreadLocal),
                     "cudaStreamBeginCapture");
    return device_status(s->owner);
}

status device_capture_end(device_stream *s, device_graph **out)
{
    cudaGraph_t recorded = nullptr;
    cudaError_t error = cudaStreamEndCapture(s->stream, &recorded);
    if (!cuda_check(s->owner, error, "cudaStreamEndCapture") || s->owner->has_failed)
        return STATUS_INTERNAL;
    device_graph *g = new (std::nothrow) device_graph();
    if (g == nullptr) {
        (void)cudaGraphDestroy(recorded);
        return STATUS_NO_MEMORY;
    }
    g->owner = s->owner;
    error = cudaGraphInstantiate(&g->graph, recorded, 0);
    (void)cudaGraphDestroy(recorded);
    if (error == cudaSuccess) {
        *out = g;
        return STATUS_OK;
    }
    delete g;
    (void)cudaGetLastError();
    if (error == cudaErrorMemoryAllocation)
        return STATUS_NO_MEMORY;
    (void)cuda_check(s->owner, error, "cudaGraphInstantiate");
    return STATUS_INTERNAL;
}

void device_graph_launch(device_graph *g, device_stream *s)
{
    (void)cuda_check(g->owner, cudaGraphLaunch(g->graph, s->stream), "cudaGraphLaunch");
}

void device_graph_destroy(device_graph *g)
{
    if (g == nullptr)
        return;
    (void)cuda_check(g->owner, cudaGraphExecDestroy(g->graph), "cudaGraphExecDestroy");
    delete g;
}
