#ifndef PENSTOCK_OBSERVE_FLIGHT_RECORDER_H
#define PENSTOCK_OBSERVE_FLIGHT_RECORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "status.h"
#include "text_slice.h"

/* The last steps of a replica, in a file that it has mapped: a store to memory for each step and no system call, so that they are in the
 * file whatever becomes of the process, SIGKILL and a hang included. The file is a ring of records of fixed size behind a head; nothing of
 * any request's text is in it.
 *
 *   head (4096 bytes)  magic, version, record size, count of records, pid, model, when it began, by both clocks
 *   record i           number of the step (from 1) and its figures, and a check sum, at 4096 + (number - 1) % count * 128
 *
 * A record whose check sum does not match was being written when the process ended: it is told as torn. */

#define FLIGHT_STEPS_MAX   1048576u
#define FLIGHT_BYTES_MAX   (4096u + 128u * FLIGHT_STEPS_MAX) /* of a file */
#define FLIGHT_SEQUENCES   6u                                /* of a step, that are named */
#define FLIGHT_MODEL_BYTES 129u
#define FLIGHT_ENDING      ".flight" /* of a file's name */

enum flight_state {
    FLIGHT_COMPUTED, /* the step is over */
    FLIGHT_BEGUN /* it had been given to the device, and its end was not seen: who hangs or dies, does so in here */
};

struct flight_step {
    uint64_t number;                     /* from 1; 0: none */
    uint64_t end_ns;                     /* monotonic; of one that has begun: its start */
    uint64_t step_ns;                    /* what it took */
    uint64_t device_wait_ns;             /* of it, that the host waited for a device */
    uint32_t rows, decodes, drafts;      /* the rest of the rows are of prompts */
    uint32_t sequences_total;            /* of the step */
    uint32_t running, waiting;           /* requests in the batch, and before it */
    uint32_t blocks_free, blocks_cached; /* cached ones are free for whoever needs them */
    uint16_t preempted, admitted;        /* sequences, for this step */
    uint32_t state;                      /* enum flight_state */
    uint64_t
        sequences[FLIGHT_SEQUENCES]; /* arrival numbers of requests, of the first ones; 0: none */
};

/* --- the replica's side --- */

typedef struct flight_recorder flight_recorder;

struct flight_options {
    const char *path; /* a file that is there, which becomes the recording; NULL: memory alone */
    const char *model;
    uint32_t step_count; /* 1..FLIGHT_STEPS_MAX */
};

/* STATUS_OK; STATUS_NOT_FOUND: there is no such file; STATUS_IO (errno tells), STATUS_NO_MEMORY. */
NODISCARD status flight_recorder_open(const struct flight_options *options, flight_recorder **out);
/* is_good: nobody will ask, and the file is left empty. Accepts NULL. */
void flight_recorder_close(flight_recorder *recorder, bool is_good);
/* Writes a step over the oldest one; its number is given here. A step that has begun is written over by its own end. Neither allocates nor
 * blocks; one thread. */
void flight_recorder_note(flight_recorder *recorder, const struct flight_step *step);
/* A copy of all of it, as the file has it; any thread: a record that is being written is torn in it. */
void flight_recorder_copy(const flight_recorder *recorder, struct buffer *out);

/* --- the reader's side: of files that anybody may have written --- */

struct flight_head {
    char model[FLIGHT_MODEL_BYTES];
    uint32_t pid, step_count;
    uint64_t begin_ns, begin_wall_ns; /* the same moment by the monotonic clock and since 1970 */
};

/* STATUS_OK; STATUS_INVALID with a note: it is none, of another version, or not of the size that its head says. */
NODISCARD status flight_read_head(struct text_slice file, struct flight_head *out,
                                  struct error_note *note);
/* The steps by rising number into `out` [head->step_count]; returns how many. Torn ones are left out and counted. */
uint32_t flight_read_steps(struct text_slice file, const struct flight_head *head,
                           struct flight_step *out, uint32_t *torn_count);

/* As JSON: {"model", "pid", "begin_ms", "torn", "steps": [{"number", "ended_ms" (Unix), "step_ms", "state", "device_wait_ms", "rows",
 * "decodes", "drafts", "prompt_rows", "sequences_total", "running", "waiting", "blocks_free", "preempted", "admitted", "sequences"}]}: the
 * last `count_max`; and as a table for people. */
NODISCARD status flight_write_json(struct text_slice file, uint32_t count_max, struct buffer *out,
                                   struct error_note *note);
NODISCARD status flight_write_table(struct text_slice file, uint32_t count_max, struct buffer *out,
                                    struct error_note *note);

#endif
