#ifndef PENSTOCK_KERNELS_CUDA_RUNTIME_FAKE_PRIVATE_H
#define PENSTOCK_KERNELS_CUDA_RUNTIME_FAKE_PRIVATE_H

/* What the files of the host runtime share.
 *
 * A stream is a list of operations that wait. Nothing runs when it is queued. When the host waits (for a stream, an event, or
 * all), operations run one by one, each time the first one of some stream, until what is waited for has happened; which
 * stream is drawn by chance among those that may go on, and often some more run than are needed. So whatever
 * is ordered by neither a stream nor an event happens in every order sooner or later, one seed after the other.
 *
 * What it looks for while it does so, each ending the process with a message:
 *   - memory that is released while something queued uses it, or that is used after its release; ranges that leave their block
 *   - pinned memory that the host wrote to after a copy from it was queued and before it ran
 *   - a graph that holds an address of memory that is gone
 *   - waiting, allocating or releasing while a stream is captured
 * Device memory holds bytes of ones at first (a float of which is not a number), and so does pinned memory that a copy will
 * write to, from when it is queued. */

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device_runtime.h"
#include "fake_runtime.h"

#define FAKE_POISON 0xff

__attribute__((noreturn, format(printf, 1, 2))) void fake_abort(const char *format, ...);

struct fake_block {
    uint8_t *address;
    uint64_t bytes;
    uint64_t id; /* no two blocks have the same, also if their addresses are */
    bool is_pinned;
    bool is_forgotten = false, is_asleep = false;
    std::vector<uint8_t> kept = {}; /* what it held when it fell asleep, unless it was forgotten */
};

/* Memory that an operation uses. */
struct fake_span {
    uintptr_t address;
    uint64_t bytes;
    uint64_t block_id;
};

/* Blocks that live, by address. */
class fake_memory
{
  public:
    fake_block *allocate(uint64_t bytes, bool is_pinned);
    void release(uintptr_t address);
    const fake_block *find(uintptr_t address) const;
    /* The block of [address, address + bytes); ends the process if it is in none, or not all of it. */
    fake_span span(const char *what, const void *address, uint64_t bytes) const;
    bool is_alive(const fake_span &span) const;
    /* device_forget, device_sleep, device_wake. wake: false, and nothing has changed, if there is no memory. */
    void forget(uintptr_t address);
    void sleep();
    bool wake(uint64_t memory_bytes);
    uint64_t device_bytes() const
    {
        return device_bytes_;
    }
    uint64_t pinned_bytes() const
    {
        return pinned_bytes_;
    }

  private:
    std::map<uintptr_t, fake_block> blocks_;
    uint64_t device_bytes_ = 0, pinned_bytes_ = 0;
    uint64_t last_id_ = 0;
};

struct device_event {
    device *owner;
    /* The number of the last record that was queued, and of the last one that ran. */
    uint64_t recorded = 0, done = 0;
    uint64_t done_ns = 0; /* when the last record ran */
};

enum fake_kind { FAKE_WORK, FAKE_COPY, FAKE_RECORD, FAKE_WAIT };

struct fake_operation {
    fake_kind kind = FAKE_WORK;
    const char *what = "";
    std::function<void()> body;
    std::vector<fake_span> spans;
    /* A copy from pinned memory: what it held when the copy was queued. */
    const uint8_t *source = nullptr;
    uint64_t source_bytes = 0, source_hash = 0;
    /* A copy: where it goes, for a flipped bit, and for the poison in pinned memory. */
    uint8_t *target = nullptr;
    uint64_t target_bytes = 0;
    bool is_to_host = false;
    device_event *event = nullptr;
    uint64_t event_number = 0;
};

struct device_stream {
    device *owner;
    std::deque<fake_operation> queue;
    bool is_captured = false;
    bool overlaps = false;
    std::vector<fake_operation> captured;
};

struct device_graph {
    device *owner;
    std::vector<fake_operation> operations;
};

struct device {
    device_facts facts;
    fake_memory memory;
    std::vector<device_stream *> streams;
    uint64_t memory_bytes;
    uint64_t random;
    uint32_t event_count = 0, graph_count = 0;
    std::string failure;
};

uint32_t fake_random(device *d, uint32_t below);

/* fake_queue.cpp */
/* To the end of the stream, or into what is captured. */
void fake_enqueue(device_stream *s, fake_operation operation);
/* Fills in what is known only when a copy is queued: see the top. */
void fake_copy_arm(device *d, fake_operation *o);
/* Runs operations until is_done, or until the device fails. */
void fake_run_until(device *d, const std::function<bool()> &is_done);
void fake_run_all(device *d);
/* Some operations may run, or none. */
void fake_run_some(device *d);
/* Ends the process if a stream of the device is captured. */
void fake_check_not_captured(const device *d, const char *what);
void fake_fail(device *d, const std::string &why);

/* fake_faults.cpp: counts one, and tells whether it is the one that fails. */
bool fake_allocation_fails();
bool fake_launch_fails();
bool fake_run_fails();
bool fake_run_hangs();
bool fake_copy_flips();
__attribute__((noreturn)) void fake_hang();
uint64_t fake_seed();
uint64_t fake_memory_bytes();
uint64_t fake_pinned_bytes();
/* As CUDA counts its versions: what the driver knows, and what the runtime is. */
#define FAKE_RUNTIME_VERSION 12080u
uint32_t fake_driver_version();
uint32_t fake_device_count();

#endif
