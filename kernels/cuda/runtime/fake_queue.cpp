/* What is queued on the host runtime, and the order in which it runs. */

#include "clock.h"
#include "emulator.h"
#include "fake_private.h"
#include <string.h>

/* A number below `below` (0 for 0); Knuth's linear congruences, the high bits of them. */
uint32_t fake_random(device *d, uint32_t below)
{
    d->random = d->random * 6364136223846793005ull + 1442695040888963407ull;
    return below != 0 ? static_cast<uint32_t>(d->random >> 33) % below : 0;
}

/* FNV-1a. */
static uint64_t hash_of(const uint8_t *bytes, uint64_t count)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    for (uint64_t i = 0; i < count; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3ull;
    return hash;
}

void fake_fail(device *d, const std::string &why)
{
    if (d->failure.empty())
        d->failure = why;
    for (device_stream *s : d->streams) {
        for (const fake_operation &operation : s->queue)
            if (operation.kind == FAKE_RECORD)
                operation.event->done = operation.event_number;
        s->queue.clear();
    }
}

void fake_check_not_captured(const device *d, const char *what)
{
    for (const device_stream *s : d->streams)
        if (s->is_captured)
            fake_abort("%s while a stream is captured", what);
}

/* --- queueing --- */

static void check_alive(const device *d, const fake_operation &operation, const char *when)
{
    for (const fake_span &span : operation.spans)
        if (!d->memory.is_alive(span))
            fake_abort("%s: memory at %p, which it uses, was released before it %s", operation.what,
                       reinterpret_cast<void *>(span.address), when);
}

static bool overlap(const uint8_t *a, uint64_t a_bytes, const uint8_t *b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

/* Whether a copy that is queued still writes to, or with is_read reads from, some of [from, from + bytes) of the host's. */
static bool is_awaited(const device *d, const uint8_t *from, uint64_t bytes, bool is_read)
{
    for (const device_stream *s : d->streams)
        for (const fake_operation &o : s->queue)
            if (is_read ? o.source != nullptr && overlap(o.source, o.source_bytes, from, bytes)
                        : o.is_to_host && overlap(o.target, o.target_bytes, from, bytes))
                return true;
    return false;
}

void fake_copy_arm(device *d, fake_operation *o)
{
    if (o->source != nullptr && is_awaited(d, o->source, o->source_bytes, false))
        o->source = nullptr; /* what it will hold is not known yet */
    if (o->source != nullptr)
        o->source_hash = hash_of(o->source, o->source_bytes);
    if (o->is_to_host && !is_awaited(d, o->target, o->target_bytes, true))
        memset(o->target, FAKE_POISON, o->target_bytes);
}

void fake_enqueue(device_stream *s, fake_operation operation)
{
    device *d = s->owner;
    if (s->is_captured) {
        if (operation.kind == FAKE_RECORD || operation.kind == FAKE_WAIT)
            fake_abort("%s on a stream that is captured", operation.what);
        s->captured.push_back(std::move(operation));
        return;
    }
    if (!d->failure.empty()) {
        if (operation.kind == FAKE_RECORD)
            operation.event->done = operation.event_number;
        return;
    }
    if (operation.kind == FAKE_WORK && fake_launch_fails()) {
        fake_fail(d, std::string(operation.what) + ": the launch was refused");
        return;
    }
    if (operation.kind == FAKE_COPY)
        fake_copy_arm(d, &operation);
    s->queue.push_back(std::move(operation));
}

/* --- running --- */

static bool may_run(const device_stream *s)
{
    if (s->queue.empty())
        return false;
    const fake_operation &first = s->queue.front();
    return first.kind != FAKE_WAIT || first.event->done >= first.event_number;
}

static void run_copy(device *d, const fake_operation &operation)
{
    if (operation.source != nullptr &&
        hash_of(operation.source, operation.source_bytes) != operation.source_hash)
        fake_abort("%s: the host wrote to pinned memory %p before its copy ran", operation.what,
                   static_cast<const void *>(operation.source));
    operation.body();
    if (fake_copy_flips() && operation.target_bytes > 0)
        operation.target[fake_random(d, static_cast<uint32_t>(operation.target_bytes))] ^= 0x10;
}

static void run_first(device *d, device_stream *s)
{
    fake_operation operation = std::move(s->queue.front());
    s->queue.pop_front();
    if (operation.kind == FAKE_RECORD) {
        operation.event->done = operation.event_number;
        operation.event->done_ns = clock_now_ns();
    }
    if (operation.kind == FAKE_RECORD || operation.kind == FAKE_WAIT)
        return;
    bool fails = fake_run_fails();
    if (fake_run_hangs())
        fake_hang();
    if (fails) {
        fake_fail(d, std::string(operation.what) + ": the device failed while it ran");
        return;
    }
    check_alive(d, operation, "ran");
    if (operation.kind == FAKE_COPY)
        run_copy(d, operation);
    else
        operation.body();
}

/* Runs one operation of a stream that may go on; false: none may. */
static bool run_one(device *d)
{
    std::vector<device_stream *> ready;
    for (device_stream *s : d->streams)
        if (may_run(s))
            ready.push_back(s);
    if (ready.empty())
        return false;
    run_first(d, ready[fake_random(d, static_cast<uint32_t>(ready.size()))]);
    return true;
}

void fake_run_until(device *d, const std::function<bool()> &is_done)
{
    while (d->failure.empty() && !is_done())
        if (!run_one(d))
            fake_abort("what is waited for can never happen");
    fake_run_some(d);
}

void fake_run_some(device *d)
{
    for (uint32_t left = fake_random(d, 4); left > 0 && d->failure.empty(); left--)
        if (!run_one(d))
            break;
}

void fake_run_all(device *d)
{
    while (d->failure.empty() && run_one(d))
        continue;
}

/* --- launches of kernels --- */

namespace
{

struct alignas(16) launch_copy {
    emulated_launch launch;
    std::vector<uint64_t> words; /* of 8 bytes: the allocator aligns to 16 */

    explicit launch_copy(const emulated_launch &from)
        : launch(from), words((from.arguments_bytes + 7) / 8 + 1)
    {
        memcpy(words.data(), from.arguments, from.arguments_bytes);
    }

    void operator()() const
    {
        emulated_launch now = launch;
        now.arguments = words.data();
        emulated_launch_run(&now);
    }
};

} // namespace

/* The blocks that a kernel's arguments point into: every word of them that is an address of one. */
void device_stream_launch(device_stream *s, const struct emulated_launch *launch)
{
    fake_operation operation;
    operation.what = launch->kernel;
    launch_copy copy(*launch);
    for (uint32_t i = 0; i < launch->arguments_bytes / 8; i++) {
        const fake_block *block = s->owner->memory.find(static_cast<uintptr_t>(copy.words[i]));
        if (block != nullptr)
            operation.spans.push_back({static_cast<uintptr_t>(copy.words[i]), 0, block->id});
    }
    operation.body = std::move(copy);
    fake_enqueue(s, std::move(operation));
}
