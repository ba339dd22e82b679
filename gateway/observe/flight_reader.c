/* Files are those of a process that may have died at any instruction, or were made by somebody else: nothing in them is believed but what
 * lies within the bytes that are there. */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "flight_format.h"
#include "json.h"
#include "memory.h"
#include "text_table.h"

#define TABLE_BYTES_MAX (512u << 20)

static const char *const state_names[] = {[FLIGHT_COMPUTED] = "computed", [FLIGHT_BEGUN] = "begun"};

status flight_read_head(struct text_slice file, struct flight_head *out, struct error_note *note)
{
    struct flight_file_head head;

    if (file.bytes < FLIGHT_HEAD_BYTES) {
        error_note_set(note, "it has %zu bytes, fewer than a head's %u", file.bytes,
                       FLIGHT_HEAD_BYTES);
        return STATUS_INVALID;
    }
    memcpy(&head, file.data, sizeof(head));
    if (head.magic != FLIGHT_MAGIC) {
        error_note_set(note, "it is no recording of a replica's steps");
        return STATUS_INVALID;
    }
    if (head.version != FLIGHT_VERSION || head.head_bytes != FLIGHT_HEAD_BYTES ||
        head.record_bytes != sizeof(struct flight_record)) {
        error_note_set(note, "it is of version %u, and this program reads version %u", head.version,
                       FLIGHT_VERSION);
        return STATUS_INVALID;
    }
    if (head.step_count == 0 || head.step_count > FLIGHT_STEPS_MAX ||
        file.bytes != flight_file_bytes(head.step_count)) {
        error_note_set(note, "its head speaks of %u steps, which is not what %zu bytes hold",
                       head.step_count, file.bytes);
        return STATUS_INVALID;
    }
    *out = (struct flight_head){.pid = head.pid,
                                .step_count = head.step_count,
                                .begin_ns = head.begin_ns,
                                .begin_wall_ns = head.begin_wall_ns};
    memcpy(out->model, head.model, sizeof(out->model) - 1);
    return STATUS_OK;
}

static int compare(const void *a, const void *b)
{
    const struct flight_step *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

uint32_t flight_read_steps(struct text_slice file, const struct flight_head *head,
                           struct flight_step *out, uint32_t *torn_count)
{
    static const struct flight_record none;
    uint32_t count = 0;

    *torn_count = 0;
    for (uint32_t i = 0; i < head->step_count; i++) {
        struct flight_record record;

        memcpy(&record, file.data + FLIGHT_HEAD_BYTES + i * sizeof(record), sizeof(record));
        if (memcmp(&record, &none, sizeof(record)) == 0) /* never written */
            continue;
        if (record.check != flight_check(&record.step) || record.step.number == 0 ||
            (record.step.number - 1) % head->step_count != i || record.step.state > FLIGHT_BEGUN)
            ++*torn_count;
        else
            out[count++] = record.step;
    }
    qsort(out, count, sizeof(out[0]), compare);
    return count;
}

/* --- as text --- */

struct flight {
    struct flight_head head;
    struct flight_step *steps; /* owned */
    uint32_t first, count, torn_count;
};

static status flight_open(struct text_slice file, uint32_t count_max, struct flight *out,
                          struct error_note *note)
{
    status result = flight_read_head(file, &out->head, note);

    if (result != STATUS_OK)
        return result;
    out->steps = memory_allocate_array(out->head.step_count, sizeof(out->steps[0]));
    if (out->steps == NULL) {
        error_note_set(note, "there is no memory for its steps");
        return STATUS_NO_MEMORY;
    }
    out->count = flight_read_steps(file, &out->head, out->steps, &out->torn_count);
    out->first = out->count > count_max ? out->count - count_max : 0;
    return STATUS_OK;
}

/* Unix time of a monotonic moment. */
static double wall_ms(const struct flight_head *head, uint64_t moment_ns)
{
    return (double)head->begin_wall_ns / 1e6 + ((double)moment_ns - (double)head->begin_ns) / 1e6;
}

static uint32_t prompt_rows(const struct flight_step *step)
{
    uint64_t others = (uint64_t)step->decodes + step->drafts;

    return step->rows > others ? (uint32_t)(step->rows - others) : 0;
}

static void number_write(struct buffer *out, const char *key, uint64_t value)
{
    json_write_key(out, key);
    buffer_append_u64(out, value);
}

static void double_write(struct buffer *out, const char *key, double value)
{
    json_write_key(out, key);
    json_write_double(out, value);
}

static void step_write(const struct flight_head *head, const struct flight_step *step,
                       struct buffer *out)
{
    json_write_comma(out);
    buffer_append_byte(out, '{');
    number_write(out, "number", step->number);
    json_write_key(out, "state");
    json_write_text(out, state_names[step->state]);
    double_write(out, "ended_ms", wall_ms(head, step->end_ns));
    double_write(out, "step_ms", (double)step->step_ns / 1e6);
    double_write(out, "device_wait_ms", (double)step->device_wait_ns / 1e6);
    number_write(out, "rows", step->rows);
    number_write(out, "decodes", step->decodes);
    number_write(out, "drafts", step->drafts);
    number_write(out, "prompt_rows", prompt_rows(step));
    number_write(out, "sequences_total", step->sequences_total);
    number_write(out, "running", step->running);
    number_write(out, "waiting", step->waiting);
    number_write(out, "blocks_free", step->blocks_free);
    number_write(out, "blocks_cached", step->blocks_cached);
    number_write(out, "preempted", step->preempted);
    number_write(out, "admitted", step->admitted);
    json_write_key(out, "sequences");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < FLIGHT_SEQUENCES && step->sequences[i] != 0; i++) {
        json_write_comma(out);
        buffer_append_u64(out, step->sequences[i]);
    }
    buffer_append_text(out, "]}");
}

status flight_write_json(struct text_slice file, uint32_t count_max, struct buffer *out,
                         struct error_note *note)
{
    struct flight flight;
    status result = flight_open(file, count_max, &flight, note);

    if (result != STATUS_OK)
        return result;
    buffer_append_byte(out, '{');
    json_write_key(out, "model");
    json_write_text(out, flight.head.model);
    number_write(out, "pid", flight.head.pid);
    double_write(out, "begin_ms", (double)flight.head.begin_wall_ns / 1e6);
    number_write(out, "torn", flight.torn_count);
    json_write_key(out, "steps");
    buffer_append_byte(out, '[');
    for (uint32_t i = flight.first; i < flight.count; i++)
        step_write(&flight.head, &flight.steps[i], out);
    buffer_append_text(out, "]}");
    memory_release(flight.steps);
    return out->failed;
}

static void row_write(const struct flight *flight, const struct flight_step *step,
                      struct buffer *out)
{
    const struct flight_step *last = &flight->steps[flight->count - 1];

    buffer_append_format(out, "%llu\t%.3f\t%.3f\t%.3f\t%u\t%u\t%u\t%u\t%u\t%u\t%u\t%u\t%u\t",
                         (unsigned long long)step->number,
                         ((double)step->end_ns - (double)last->end_ns) / 1e6,
                         (double)step->step_ns / 1e6, (double)step->device_wait_ns / 1e6,
                         step->rows, step->decodes, prompt_rows(step), step->drafts, step->running,
                         step->waiting, step->blocks_free, step->preempted, step->admitted);
    for (uint32_t i = 0; i < FLIGHT_SEQUENCES && step->sequences[i] != 0; i++)
        buffer_append_format(out, "%s%llu", i > 0 ? " " : "",
                             (unsigned long long)step->sequences[i]);
    if (step->sequences_total > FLIGHT_SEQUENCES)
        buffer_append_format(out, " and %u more", step->sequences_total - FLIGHT_SEQUENCES);
    buffer_append_format(out, "\t%s\t\n", step->state == FLIGHT_BEGUN ? "not over" : "");
}

status flight_write_table(struct text_slice file, uint32_t count_max, struct buffer *out,
                          struct error_note *note)
{
    struct flight flight;
    struct buffer lines;
    status result = flight_open(file, count_max, &flight, note);

    if (result != STATUS_OK)
        return result;
    text_table_text(out, flight.head.model);
    buffer_append_format(out, ", process %u: the last %u of its steps", flight.head.pid,
                         flight.count - flight.first);
    if (flight.torn_count > 0)
        buffer_append_format(out, "; %u torn: being written when it ended", flight.torn_count);
    buffer_append_byte(out, '\n');
    if (flight.count > 0) {
        buffer_init(&lines, TABLE_BYTES_MAX);
        buffer_append_text(
            &lines, "step\tbefore the last (ms)\ttook (ms)\tdevice wait (ms)\trows\tdecodes\t"
                    "prompt\tdrafts\trunning\twaiting\tblocks free\tpreempted\tadmitted\t"
                    "requests\t\t\n");
        for (uint32_t i = flight.first; i < flight.count; i++)
            row_write(&flight, &flight.steps[i], &lines);
        text_table_write(&lines, out);
        buffer_deinit(&lines);
    }
    memory_release(flight.steps);
    return out->failed;
}
