#include "flight_recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "flight_format.h"
#include "memory.h"

struct flight_recorder {
    struct flight_file_head *head; /* mapped; the records follow */
    struct flight_record *records;
    uint64_t number_next; /* from 1 */
    int fd;               /* of the file; -1: there is none */
};

/* With its space taken now: a full disk is told here, and not by a signal at a store. */
static void *map_file(int fd, size_t bytes)
{
    void *memory = MAP_FAILED;

    errno = ftruncate(fd, 0) == 0 ? posix_fallocate(fd, 0, (off_t)bytes) : errno;
    if (errno == 0)
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

static void *map_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory != MAP_FAILED ? memory : NULL;
}

static void head_write(struct flight_file_head *head, const struct flight_options *options)
{
    head->version = FLIGHT_VERSION;
    head->head_bytes = FLIGHT_HEAD_BYTES;
    head->record_bytes = sizeof(struct flight_record);
    head->step_count = options->step_count;
    head->pid = (uint32_t)getpid();
    head->begin_ns = clock_now_ns();
    head->begin_wall_ns = clock_wall_ms() * NS_PER_MS;
    (void)strncpy(head->model, options->model, sizeof(head->model) - 1);
    head->magic = FLIGHT_MAGIC;
}

status flight_recorder_open(const struct flight_options *options, flight_recorder **out)
{
    flight_recorder *recorder = memory_allocate_array(1, sizeof(*recorder));
    size_t bytes = flight_file_bytes(options->step_count);

    if (recorder == NULL)
        return STATUS_NO_MEMORY;
    recorder->fd =
        options->path != NULL ? open(options->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (options->path == NULL)
        recorder->head = map_memory(bytes);
    else if (recorder->fd >= 0)
        recorder->head = map_file(recorder->fd, bytes);
    if (recorder->head == NULL) {
        bool is_missing = options->path != NULL && recorder->fd < 0 && errno == ENOENT;

        if (recorder->fd >= 0)
            (void)close(recorder->fd);
        memory_release(recorder);
        return is_missing ? STATUS_NOT_FOUND : STATUS_IO;
    }
    recorder->records =
        (struct flight_record *)(void *)((char *)(void *)recorder->head + FLIGHT_HEAD_BYTES);
    recorder->number_next = 1;
    head_write(recorder->head, options);
    *out = recorder;
    return STATUS_OK;
}

void flight_recorder_close(flight_recorder *recorder, bool is_good)
{
    if (recorder == NULL)
        return;
    (void)munmap(recorder->head, flight_file_bytes(recorder->head->step_count));
    if (recorder->fd >= 0 && is_good)
        (void)ftruncate(recorder->fd,
                        0); /* it stays as it is where that fails: a recording too many */
    if (recorder->fd >= 0)
        (void)close(recorder->fd);
    memory_release(recorder);
}

void flight_recorder_note(flight_recorder *recorder, const struct flight_step *step)
{
    struct flight_record *record =
        &recorder->records[(recorder->number_next - 1) % recorder->head->step_count];
    struct flight_step numbered = *step;

    numbered.number = recorder->number_next;
    /* The check sum does not fit from here to the last line: who is killed in between leaves a torn record. */
    record->check = 0;
    atomic_signal_fence(memory_order_seq_cst);
    record->step = numbered;
    atomic_signal_fence(memory_order_seq_cst);
    record->check = flight_check(&numbered);
    recorder->number_next += step->state == FLIGHT_COMPUTED;
}

void flight_recorder_copy(const flight_recorder *recorder, struct buffer *out)
{
    buffer_append(out, recorder->head, flight_file_bytes(recorder->head->step_count));
}
