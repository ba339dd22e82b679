/* The host runtime's side of device_runtime.h. */

#include <new>
#include <stdio.h>
#include <string.h>

#include "driver_versions.h"
#include "fake_private.h"

uint32_t device_count(void)
{
    return fake_device_count();
}

status device_open(uint32_t ordinal, device **out, struct error_note *note)
{
    status result = driver_versions_check(fake_driver_version(), FAKE_RUNTIME_VERSION, note);
    if (result != STATUS_OK)
        return result;
    if (ordinal >= device_count()) {
        error_note_set(note, "there is no device %u: %u in all", ordinal, device_count());
        return STATUS_NOT_FOUND;
    }
    device *d = new (std::nothrow) device();
    if (d == nullptr)
        return STATUS_NO_MEMORY;
    (void)snprintf(d->facts.name, sizeof(d->facts.name), "emulated device");
    /* Few, so that grids that follow from them stay small. */
    d->facts.multiprocessors = 4;
    d->facts.capability_major = 9;
    d->memory_bytes = fake_memory_bytes();
    d->random = fake_seed();
    *out = d;
    return STATUS_OK;
}

void device_close(device *d)
{
    if (d == nullptr)
        return;
    if (d->failure.empty() && (!d->streams.empty() || d->event_count > 0 || d->graph_count > 0))
        fake_abort("closed with %zu streams, %u events and %u graphs", d->streams.size(),
                   d->event_count, d->graph_count);
    if (d->memory.device_bytes() > 0)
        fake_abort("closed with %llu bytes of its memory in use",
                   static_cast<unsigned long long>(d->memory.device_bytes()));
    delete d;
}

const struct device_facts *device_facts_of(const device *d)
{
    return &d->facts;
}

status device_status(const device *d)
{
    return d->failure.empty() ? STATUS_OK : STATUS_INTERNAL;
}

const char *device_failure(const device *d)
{
    return d->failure.c_str();
}

status device_memory_info(device *d, uint64_t *total, uint64_t *available)
{
    *total = d->memory_bytes;
    *available = d->memory_bytes - d->memory.device_bytes();
    return device_status(d);
}

/* --- memory --- */

void *device_allocate(device *d, uint64_t bytes)
{
    fake_check_not_captured(d, "device_allocate");
    if (fake_allocation_fails() || bytes > d->memory_bytes - d->memory.device_bytes())
        return nullptr;
    fake_block *block = d->memory.allocate(bytes, false);
    return block != nullptr ? block->address : nullptr;
}

void device_release(device *d, void *memory)
{
    if (memory == nullptr)
        return;
    fake_check_not_captured(d, "device_release");
    fake_run_all(d);
    d->memory.release(reinterpret_cast<uintptr_t>(memory));
}

void *device_allocate_pinned(device *d, uint64_t bytes)
{
    fake_check_not_captured(d, "device_allocate_pinned");
    if (fake_allocation_fails() || bytes > fake_pinned_bytes() - d->memory.pinned_bytes())
        return nullptr;
    fake_block *block = d->memory.allocate(bytes, true);
    return block != nullptr ? block->address : nullptr;
}

void device_release_pinned(device *d, void *memory)
{
    if (memory != nullptr)
        d->memory.release(reinterpret_cast<uintptr_t>(memory));
}

void device_forget(device *d, void *memory)
{
    if (memory != nullptr)
        d->memory.forget(reinterpret_cast<uintptr_t>(memory));
}

void device_sleep(device *d)
{
    fake_check_not_captured(d, "device_sleep");
    fake_run_all(d);
    d->memory.sleep();
}

status device_wake(device *d)
{
    if (!d->failure.empty())
        return STATUS_INTERNAL;
    return d->memory.wake(fake_memory_bytes()) ? STATUS_OK : STATUS_NO_MEMORY;
}

/* --- streams --- */

status device_stream_create(device *d, device_stream **out)
{
    device_stream *s = new (std::nothrow) device_stream();
    if (s == nullptr)
        return STATUS_NO_MEMORY;
    s->owner = d;
    d->streams.push_back(s);
    *out = s;
    return STATUS_OK;
}

void device_stream_destroy(device_stream *s)
{
    if (s == nullptr)
        return;
    device *d = s->owner;
    if (s->is_captured)
        fake_abort("a stream is destroyed while it is captured");
    fake_run_until(d, [s] { return s->queue.empty(); });
    for (size_t i = 0; i < d->streams.size(); i++)
        if (d->streams[i] == s)
            d->streams.erase(d->streams.begin() + static_cast<ptrdiff_t>(i));
    delete s;
}

status device_stream_synchronize(device_stream *s)
{
    fake_check_not_captured(s->owner, "device_stream_synchronize");
    fake_run_until(s->owner, [s] { return s->queue.empty(); });
    return device_status(s->owner);
}

void device_stream_set_overlap(device_stream *s, bool is_wanted)
{
    s->overlaps = is_wanted;
}

bool device_stream_overlaps(const device_stream *s)
{
    return s->overlaps;
}

void *device_stream_handle(device_stream *s)
{
    (void)s;
    return nullptr;
}

void device_stream_fail(device_stream *s, const char *what, const char *why)
{
    fake_fail(s->owner, std::string(what) + ": " + why);
}

/* --- copies --- */

static bool is_pinned(const device *d, const void *host)
{
    const fake_block *block = d->memory.find(reinterpret_cast<uintptr_t>(host));
    return block != nullptr && block->is_pinned;
}

static fake_operation make_copy(device *d, const char *what, void *to, const void *from,
                                uint64_t bytes)
{
    (void)d;
    fake_operation operation;
    operation.kind = FAKE_COPY;
    operation.what = what;
    operation.target = static_cast<uint8_t *>(to);
    operation.target_bytes = bytes;
    operation.body = [to, from, bytes] { memcpy(to, from, bytes); };
    return operation;
}

void device_copy_to_device(device_stream *s, void *to, const void *from_host, uint64_t bytes)
{
    device *d = s->owner;
    if (bytes == 0)
        return;
    fake_operation operation = make_copy(d, "copy to the device", to, from_host, bytes);
    operation.spans.push_back(d->memory.span(operation.what, to, bytes));
    if (is_pinned(d, from_host)) {
        operation.spans.push_back(d->memory.span(operation.what, from_host, bytes));
        operation.source = static_cast<const uint8_t *>(from_host);
        operation.source_bytes = bytes;
    } else {
        if (s->is_captured)
            fake_abort("a copy from memory that is not pinned, on a stream that is captured");
        const uint8_t *from = static_cast<const uint8_t *>(from_host);
        auto copy = std::make_shared<std::vector<uint8_t>>(from, from + bytes);
        operation.body = [to, copy, bytes] { memcpy(to, copy->data(), bytes); };
    }
    fake_enqueue(s, std::move(operation));
}

void device_copy_to_host(device_stream *s, void *to_host, const void *from, uint64_t bytes)
{
    device *d = s->owner;
    if (bytes == 0)
        return;
    fake_operation operation = make_copy(d, "copy to the host", to_host, from, bytes);
    operation.spans.push_back(d->memory.span(operation.what, from, bytes));
    operation.is_to_host = true;
    bool waits = !is_pinned(d, to_host);
    if (!waits)
        operation.spans.push_back(d->memory.span(operation.what, to_host, bytes));
    fake_enqueue(s, std::move(operation));
    if (waits)
        (void)device_stream_synchronize(s);
}

void device_copy(device_stream *s, void *to, const void *from, uint64_t bytes)
{
    device *d = s->owner;
    if (bytes == 0)
        return;
    fake_operation operation = make_copy(d, "copy on the device", to, from, bytes);
    operation.spans.push_back(d->memory.span(operation.what, to, bytes));
    operation.spans.push_back(d->memory.span(operation.what, from, bytes));
    fake_enqueue(s, std::move(operation));
}

void device_fill(device_stream *s, void *to, uint8_t value, uint64_t bytes)
{
    if (bytes == 0)
        return;
    fake_operation operation;
    operation.what = "fill";
    operation.spans.push_back(s->owner->memory.span(operation.what, to, bytes));
    operation.body = [to, value, bytes] { memset(to, value, bytes); };
    fake_enqueue(s, std::move(operation));
}

/* --- events --- */

status device_event_create(device *d, device_event **out)
{
    device_event *e = new (std::nothrow) device_event();
    if (e == nullptr)
        return STATUS_NO_MEMORY;
    e->owner = d;
    d->event_count++;
    *out = e;
    return STATUS_OK;
}

void device_event_destroy(device_event *e)
{
    if (e == nullptr)
        return;
    for (const device_stream *s : e->owner->streams)
        for (const fake_operation &operation : s->queue)
            if (operation.event == e)
                fake_abort("an event is destroyed while a stream holds it");
    e->owner->event_count--;
    delete e;
}

void device_event_record(device_event *e, device_stream *s)
{
    fake_operation operation;
    operation.kind = FAKE_RECORD;
    operation.what = "record of an event";
    operation.event = e;
    operation.event_number = ++e->recorded;
    fake_enqueue(s, std::move(operation));
}

void device_stream_wait(device_stream *s, device_event *e)
{
    fake_operation operation;
    operation.kind = FAKE_WAIT;
    operation.what = "wait for an event";
    operation.event = e;
    operation.event_number = e->recorded;
    fake_enqueue(s, std::move(operation));
}

status device_event_synchronize(device_event *e)
{
    fake_check_not_captured(e->owner, "device_event_synchronize");
    fake_run_until(e->owner, [e] { return e->done >= e->recorded; });
    return device_status(e->owner);
}

bool device_event_is_past(device_event *e)
{
    fake_run_some(e->owner); /* so that whoever asks again and again sees it happen */
    return e->done >= e->recorded || !e->owner->failure.empty();
}

uint64_t device_event_elapsed_ns(device_event *from, device_event *to)
{
    return from->done > 0 && to->done > 0 && to->done_ns > from->done_ns
               ? to->done_ns - from->done_ns
               : 0;
}

/* --- graphs --- */

status device_capture_begin(device_stream *s)
{
    if (s->is_captured)
        fake_abort("a stream is captured twice at a time");
    s->is_captured = true;
    return device_status(s->owner);
}

status device_capture_end(device_stream *s, device_graph **out)
{
    if (!s->is_captured)
        fake_abort("the end of a capture that never began");
    s->is_captured = false;
    std::vector<fake_operation> operations = std::move(s->captured);
    s->captured.clear();
    if (!s->owner->failure.empty())
        return STATUS_INTERNAL;
    device_graph *g = new (std::nothrow) device_graph();
    if (g == nullptr)
        return STATUS_NO_MEMORY;
    g->owner = s->owner;
    g->operations = std::move(operations);
    s->owner->graph_count++;
    *out = g;
    return STATUS_OK;
}

void device_graph_launch(device_graph *g, device_stream *s)
{
    for (const fake_operation &operation : g->operations) {
        for (const fake_span &span : operation.spans)
            if (!g->owner->memory.is_alive(span))
                fake_abort("a graph's %s uses memory at %p, which was released", operation.what,
                           reinterpret_cast<void *>(span.address));
        fake_enqueue(s, operation);
    }
}

void device_graph_destroy(device_graph *g)
{
    if (g == nullptr)
        return;
    g->owner->graph_count--;
    delete g;
}
