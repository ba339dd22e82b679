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
    char path[];          /* "": there is no file */
};

static void *map(const char *path, size_t bytes)
{
    void *memory;
    int fd;

    if (path == NULL) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return memory != MAP_FAILED ? memory : NULL;
    }
    /* A file of the process before this one in the slot is kept under another name, or not at all. */
    (void)unlink(path);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return NULL;
    /* With its space taken now: a full disk is told here, and not by a signal at a store. */
    errno = posix_fallocate(fd, 0, (off_t)bytes);
    memory = errno == 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (memory == MAP_FAILED)
        (void)unlink(path);
    (void)close(fd);
    return memory != MAP_FAILED ? memory : NULL;
}

status flight_recorder_open(const struct flight_options *options, flight_recorder **out)
{
    const char *path = options->path != NULL ? options->path : "";
    flight_recorder *recorder = memory_allocate_array(1, sizeof(*recorder) + strlen(path) + 1);
    struct flight_file_head *head;

    if (recorder == NULL)
        return STATUS_NO_MEMORY;
    head = map(options->path, flight_file_bytes(options->step_count));
    if (head == NULL) {
        memory_release(recorder);
        return STATUS_IO;
    }
    memcpy(recorder->path, path, strlen(path) + 1);
    recorder->head = head;
    recorder->records = (struct flight_record *)(void *)((char *)(void *)head + FLIGHT_HEAD_BYTES);
    recorder->number_next = 1;
    head->version = FLIGHT_VERSION;
    head->head_bytes = FLIGHT_HEAD_BYTES;
    head->record_bytes = sizeof(struct flight_record);
    head->step_count = options->step_count;
    head->pid = (uint32_t)getpid();
    head->replica = options->replica;
    head->begin_ns = clock_now_ns();
    head->begin_wall_ns = clock_wall_ms() * NS_PER_MS;
    (void)strncpy(head->model, options->model, sizeof(head->model) - 1);
    head->magic = FLIGHT_MAGIC;
    *out = recorder;
    return STATUS_OK;
}

void flight_recorder_close(flight_recorder *recorder, bool removes)
{
    if (recorder == NULL)
        return;
    if (removes && recorder->path[0] != '\0')
        (void)unlink(recorder->path);
    (void)munmap(recorder->head, flight_file_bytes(recorder->head->step_count));
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
