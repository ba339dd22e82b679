#ifndef PENSTOCK_SCHEDULER_DEVICE_WATCH_H
#define PENSTOCK_SCHEDULER_DEVICE_WATCH_H

#include "device.h"
#include "status.h"

/* Reads one vendor's devices again and again, on a thread of its own, since a driver in trouble blocks whoever asks it, in the worst case
 * for ever. A reader is never kept waiting: when the driver has not answered for too long, the devices read last are told as
 * SLICE_UNKNOWN, with that reason, until it does. Each vendor has a watch of its own: one that hangs costs the others nothing. */
struct device_watch;

/* Where readings come from. All functions are called on the watch's thread. */
struct device_source {
    const char *name; /* for people: "NVML" */
    /* Appends to an empty list. STATUS_OK; STATUS_NOT_FOUND: there is no such driver here; else an error, and what was read before
     * is not known any more. With a note. */
    status (*scan)(void *context, struct device_list *list, struct error_note *note);
    void (*destroy)(void *context);
    /* What it tells by ways of its own is told no more once this has returned; any thread. NULL: it has none. */
    void (*mute)(void *context);
    void *context;
};

struct device_watch_options {
    struct device_source source; /* taken over, also when creation fails */
    uint64_t interval_ns;        /* between readings */
    uint64_t silent_after_ns;    /* a reading that takes longer: the driver hangs */
    void (*changed)(
        void *context); /* after each reading, on the watch's thread, which holds a lock: it wakes
                                        * somebody and calls nothing here; may be NULL */
    void *context;
};

/* STATUS_OK, STATUS_NO_MEMORY, STATUS_IO (no thread). */
NODISCARD status device_watch_create(const struct device_watch_options *options,
                                     struct device_watch **out);

/* Copies the last reading. STATUS_OK; STATUS_AGAIN: there is none yet; STATUS_NOT_FOUND: no such driver here, the list is empty;
 * STATUS_TIMEOUT: the driver hangs, or STATUS_IO: it refuses; then with a note, and the list has what was there
 * before, as SLICE_UNKNOWN. Any thread. */
NODISCARD status device_watch_read(struct device_watch *watch, uint64_t now_ns,
                                   struct device_list *list, struct error_note *note);

/* Something has happened: reads now, and does not wait for it. Any thread. */
void device_watch_refresh(struct device_watch *watch);

/* Returns at once. The thread ends when its reading does; a driver that never answers keeps it, and its memory, until the process
 * ends. Accepts NULL. `changed` is not called any more when it has returned, and the source is mute. */
void device_watch_destroy(struct device_watch *watch);

#endif
