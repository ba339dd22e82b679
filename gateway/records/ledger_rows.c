/* The ring, and the file under it
 *
 *   | head: what it is, first, count | row 0 | row 1 | ... | row capacity - 1 |
 *
 * A page that was written belongs to the kernel: SIGKILL loses nothing of it, only a power cut may. Where the
 * ring begins and how many rows it has is one word, stored behind a row that is added, so that no kill leaves the file in
 * between. */
#include "ledger_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "memory.h"

#define MAGIC 0x3130574f52474c50ull /* "PLGROW01": another layout is another number */

struct head {
    uint64_t magic;
    uint32_t row_bytes, capacity;
    _Atomic uint64_t ring; /* first << 32 | count */
};

struct ledger_rows {
    struct head *head;       /* mapped */
    struct ledger_row *rows; /* [capacity], behind it */
    size_t bytes;
    int descriptor; /* of the file, locked; -1: none */
};

static size_t bytes_for(uint32_t capacity)
{
    return sizeof(struct head) + (size_t)capacity * sizeof(struct ledger_row);
}

static uint32_t first_of(uint64_t ring)
{
    return (uint32_t)(ring >> 32);
}

static uint32_t count_of(uint64_t ring)
{
    return (uint32_t)ring;
}

static void ring_set(struct head *head, uint32_t first, uint32_t count)
{
    atomic_store(&head->ring, (uint64_t)first << 32 | count);
}

uint32_t ledger_rows_count(const struct ledger_rows *rows)
{
    return count_of(atomic_load(&rows->head->ring));
}

static struct ledger_row *row_at(const struct ledger_rows *rows, uint32_t index)
{
    uint64_t first = first_of(atomic_load(&rows->head->ring));

    return &rows->rows[(first + index) % rows->head->capacity];
}

status ledger_rows_add(struct ledger_rows *rows, uint64_t process,
                       const struct request_record *record)
{
    uint32_t count = ledger_rows_count(rows);
    struct ledger_row *row;

    if (count == rows->head->capacity)
        return STATUS_FULL;
    row = row_at(rows, count);
    row->process = process;
    row->record = *record;
    (void)snprintf(row->route, sizeof(row->route), "%s", record->route);
    (void)snprintf(row->model, sizeof(row->model), "%s", record->model);
    (void)snprintf(row->finish, sizeof(row->finish), "%s", record->finish);
    ring_set(rows->head, first_of(atomic_load(&rows->head->ring)), count + 1);
    return STATUS_OK;
}

const struct ledger_row *ledger_rows_at(const struct ledger_rows *rows, uint32_t index)
{
    struct ledger_row *row = row_at(rows, index);

    DCHECK(index < ledger_rows_count(rows));
    row->record.route = row->route; /* the file may be mapped elsewhere than when it was added */
    row->record.model = row->model;
    row->record.finish = row->finish;
    return row;
}

void ledger_rows_drop(struct ledger_rows *rows, uint32_t count)
{
    struct head *head = rows->head;
    uint64_t ring = atomic_load(&head->ring);

    DCHECK(count <= count_of(ring));
    ring_set(head, (uint32_t)(((uint64_t)first_of(ring) + count) % head->capacity),
             count_of(ring) - count);
}

/* --- the file --- */

static status fail(const char *file, const char *what, struct error_note *note)
{
    error_note_set(note, "%s %s: %s", file, what, strerror(errno));
    return STATUS_IO;
}

/* Rows that wait there, in their order; NULL with STATUS_OK: none do. */
static status waiting_read(int descriptor, const char *file, struct ledger_row **out,
                           uint32_t *count, uint32_t *capacity, struct error_note *note)
{
    struct head head = {0};
    struct ledger_row *rows;
    uint64_t ring = 0;

    if (pread(descriptor, &head, sizeof(head), 0) == (ssize_t)sizeof(head))
        ring = atomic_load(&head.ring);
    *out = NULL;
    *count = count_of(ring);
    *capacity = head.capacity;
    if (*count == 0)
        return STATUS_OK;
    if (head.magic != MAGIC || head.row_bytes != sizeof(struct ledger_row) ||
        *count > head.capacity) {
        error_note_set(note,
                       "%s is of another version of the program, and rows of the ledger wait in "
                       "it: let that version write them, or move the file away",
                       file);
        return STATUS_INVALID;
    }
    rows = memory_allocate_array(*count, sizeof(rows[0]));
    if (rows == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < *count; i++) {
        uint64_t place = ((uint64_t)first_of(ring) + i) % head.capacity;

        if (pread(descriptor, &rows[i], sizeof(rows[i]),
                  (off_t)(sizeof(head) + place * sizeof(rows[i]))) != (ssize_t)sizeof(rows[i])) {
            memory_release(rows);
            return fail(file, "cannot be read", note);
        }
    }
    *out = rows;
    return STATUS_OK;
}

static status file_open(struct ledger_rows *rows, const char *file, struct error_note *note)
{
    int error;

    rows->descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (rows->descriptor < 0)
        return fail(file, "cannot be opened", note);
    if (flock(rows->descriptor, LOCK_EX | LOCK_NB) != 0) {
        error_note_set(note, "%s is in use by another gateway", file);
        return STATUS_IO;
    }
    error = posix_fallocate(rows->descriptor, 0, (off_t)rows->bytes);
    if (error == 0)
        return STATUS_OK;
    errno = error;
    return fail(file, "cannot be given its room", note);
}

static status map(struct ledger_rows *rows, uint32_t capacity, struct error_note *note)
{
    int flags = rows->descriptor >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    void *memory = mmap(NULL, rows->bytes, PROT_READ | PROT_WRITE, flags, rows->descriptor, 0);

    if (memory == MAP_FAILED)
        return fail("the ledger's rows", "cannot be mapped", note);
    rows->head = memory;
    rows->rows = (struct ledger_row *)(rows->head + 1);
    rows->head->magic = MAGIC;
    rows->head->row_bytes = sizeof(struct ledger_row);
    rows->head->capacity = capacity;
    return STATUS_OK;
}

/* What waits is put to the front of a ring that has another size now. */
static void waiting_write(struct ledger_rows *rows, const struct ledger_row *waiting,
                          uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        rows->rows[i] = waiting[i];
    ring_set(rows->head, 0, count);
}

static status open_in(struct ledger_rows *rows, const char *file, uint32_t capacity,
                      struct error_note *note)
{
    struct ledger_row *waiting = NULL;
    uint32_t count = 0, before = 0;
    status result = STATUS_OK;

    rows->bytes = bytes_for(capacity);
    if (file != NULL)
        result = file_open(rows, file, note);
    if (result == STATUS_OK && file != NULL)
        result = waiting_read(rows->descriptor, file, &waiting, &count, &before, note);
    if (result == STATUS_OK && count > capacity) {
        error_note_set(note, "%u rows of the ledger wait in %s; raise records.ledger_memory", count,
                       file);
        result = STATUS_INVALID;
    }
    if (result == STATUS_OK)
        result = map(rows, capacity, note);
    if (result == STATUS_OK && (count == 0 || before != capacity))
        waiting_write(rows, waiting, count);
    memory_release(waiting);
    return result;
}

status ledger_rows_open(const char *file, uint32_t capacity, struct ledger_rows **out,
                        struct error_note *note)
{
    struct ledger_rows *rows = memory_allocate_array(1, sizeof(*rows));
    status result;

    if (rows == NULL)
        return STATUS_NO_MEMORY;
    rows->descriptor = -1;
    result = open_in(rows, file, capacity, note);
    if (result == STATUS_OK)
        *out = rows;
    else
        ledger_rows_close(rows);
    return result;
}

static status rows_append(struct ledger_rows *rows, const struct ledger_row *waiting,
                          uint32_t count, const char *file, struct error_note *note)
{
    uint32_t before = ledger_rows_count(rows);

    if (count > rows->head->capacity - before) {
        error_note_set(note, "%u rows of the ledger wait in %s; raise records.ledger_memory", count,
                       file);
        return STATUS_FULL;
    }
    for (uint32_t i = 0; i < count; i++)
        *row_at(rows, before + i) = waiting[i];
    ring_set(rows->head, first_of(atomic_load(&rows->head->ring)), before + count);
    return STATUS_OK;
}

status ledger_rows_take(struct ledger_rows *rows, const char *file, struct error_note *note)
{
    int descriptor = open(file, O_RDWR | O_CLOEXEC);
    struct ledger_row *waiting = NULL;
    uint32_t count, capacity;
    status result;

    if (descriptor < 0)
        return errno == ENOENT ? STATUS_OK : fail(file, "cannot be opened", note);
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        close(descriptor);
        return STATUS_OK;
    }
    result = waiting_read(descriptor, file, &waiting, &count, &capacity, note);
    if (result == STATUS_OK)
        result = rows_append(rows, waiting, count, file, note);
    if (result == STATUS_OK && unlink(file) != 0)
        result = fail(file, "cannot be removed", note);
    memory_release(waiting);
    close(descriptor);
    return result;
}

void ledger_rows_close(struct ledger_rows *rows)
{
    if (rows == NULL)
        return;
    if (rows->head != NULL)
        (void)munmap(rows->head, rows->bytes);
    if (rows->descriptor >= 0)
        close(rows->descriptor);
    memory_release(rows);
}
