/* Traces: lines into requests by model. A file of another's making: every line is looked at whole, and the first that is wrong is named. */
#include "trace.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "decimal.h"
#include "memory.h"
#include "sim.h"
#include "trace_rows.h"

#define LINE_BYTES_MAX 512u
#define COLUMNS        4u
#define SECONDS_MAX    10000000000ull /* the year 2286 */

static const char *const columns[COLUMNS] = {"seconds", "model", "prompt_tokens", "output_tokens"};

void trace_destroy(struct trace *trace)
{
    if (trace == NULL)
        return;
    for (uint32_t i = 0; i < trace->model_count; i++)
        memory_release(trace->models[i].requests);
    memory_release(trace->models);
    memory_release(trace);
}

uint32_t trace_model_count(const struct trace *trace)
{
    return trace->model_count;
}

uint32_t trace_hours(const struct trace *trace)
{
    return (uint32_t)(trace->last_ns / (3600 * SIM_SECOND_NS)) + 1;
}

/* --- a line --- */

struct row {
    uint64_t at_ns;
    struct text_slice model;
    uint64_t prompt_tokens, output_tokens;
};

/* Splits at commas; false: not as many cells as there are columns. */
static bool cells_split(struct text_slice line, struct text_slice cells[COLUMNS])
{
    for (uint32_t i = 0; i < COLUMNS; i++) {
        const char *comma = memchr(line.data, ',', line.bytes);
        size_t bytes = comma != NULL ? (size_t)(comma - line.data) : line.bytes;

        if ((comma != NULL) != (i + 1 < COLUMNS))
            return false;
        cells[i] = (struct text_slice){line.data, bytes};
        if (comma != NULL)
            line = (struct text_slice){comma + 1, line.bytes - bytes - 1};
    }
    return true;
}

/* "12", "12.5": seconds as nanoseconds; what is finer is left out. */
static bool seconds_read(struct text_slice cell, uint64_t *out)
{
    uint64_t whole, part = 0, unit = SIM_SECOND_NS / 10;

    if (!decimal_take(&cell, SECONDS_MAX, &whole))
        return false;
    if (cell.bytes > 0 && (cell.data[0] != '.' || cell.bytes == 1))
        return false;
    for (size_t i = 1; i < cell.bytes; i++, unit /= 10) {
        if (cell.data[i] < '0' || cell.data[i] > '9')
            return false;
        part += unit * (uint64_t)(cell.data[i] - '0');
    }
    *out = whole * SIM_SECOND_NS + part;
    return true;
}

static bool tokens_read(struct text_slice cell, uint64_t *out)
{
    return decimal_read(cell, TRACE_TOKENS_MAX, out) && *out >= 1;
}

/* NULL: it is right; else what is wrong. */
static const char *row_read(struct text_slice line, struct row *row)
{
    struct text_slice cells[COLUMNS];

    if (!cells_split(line, cells))
        return "needs four cells: seconds,model,prompt_tokens,output_tokens";
    if (!seconds_read(cells[0], &row->at_ns))
        return "seconds must be a number like 12 or 1767571200.25";
    row->model = cells[1];
    if (row->model.bytes == 0 || row->model.bytes > TRACE_NAME_BYTES_MAX)
        return "the model's name must have 1 to 127 bytes";
    if (!tokens_read(cells[2], &row->prompt_tokens))
        return "prompt_tokens must be from 1 to 1000000";
    if (!tokens_read(cells[3], &row->output_tokens))
        return "output_tokens must be from 1 to 1000000";
    return NULL;
}

static bool is_heading(struct text_slice line)
{
    struct text_slice cells[COLUMNS];

    if (!cells_split(line, cells))
        return false;
    for (uint32_t i = 0; i < COLUMNS; i++) {
        if (!text_slice_is(cells[i], columns[i]))
            return false;
    }
    return true;
}

/* --- into the trace --- */

struct reading {
    struct trace *trace;
    struct error_note *note;
    uint64_t line, first_ns, last_ns;
    uint32_t model; /* of the last request: the next one is often of the same */
};

static status wrong(const struct reading *reading, const char *what)
{
    error_note_set(reading->note, "line %llu: %s", (unsigned long long)reading->line, what);
    return STATUS_INVALID;
}

static status model_find(struct reading *reading, struct text_slice name, struct trace_model **out)
{
    struct trace *trace = reading->trace;
    struct trace_model *added;

    for (uint32_t i = 0; i < trace->model_count; i++) {
        uint32_t number = (reading->model + i) % trace->model_count;

        if (text_slice_is(name, trace->models[number].name)) {
            reading->model = number;
            *out = &trace->models[number];
            return STATUS_OK;
        }
    }
    if (trace->model_count == TRACE_MODELS_MAX) {
        error_note_set(reading->note, "line %llu: more than %u models",
                       (unsigned long long)reading->line, TRACE_MODELS_MAX);
        return STATUS_TOO_LARGE;
    }
    added = &trace->models[trace->model_count];
    added->kind = specs_kind_find(name);
    if (added->kind == SIM_NONE)
        return wrong(reading, "the model's name must be chat, agent, reasoning or large, or begin "
                              "with one of these and a '-'");
    memcpy(added->name, name.data, name.bytes);
    reading->model = trace->model_count++;
    *out = added;
    return STATUS_OK;
}

static status request_add(struct trace_model *model, const struct traffic_request *request)
{
    if (model->count == model->room) {
        uint64_t room = model->room > 0 ? 2 * model->room : 64;
        struct traffic_request *requests = memory_resize(model->requests, room * sizeof(*requests));

        if (requests == NULL)
            return STATUS_NO_MEMORY;
        model->requests = requests;
        model->room = room;
    }
    model->requests[model->count++] = *request;
    model->prompt_sum += request->prompt_tokens;
    model->output_sum += request->output_tokens;
    model->output_square_sum += (double)request->output_tokens * request->output_tokens;
    return STATUS_OK;
}

static status row_add(struct reading *reading, const struct row *row)
{
    struct trace *trace = reading->trace;
    struct traffic_request request = {.prompt_tokens = (uint32_t)row->prompt_tokens,
                                      .output_tokens = (uint32_t)row->output_tokens};
    struct trace_model *model;
    status result;

    if (trace->request_count == 0)
        reading->first_ns = reading->last_ns = row->at_ns;
    if (row->at_ns < reading->last_ns)
        return wrong(reading, "is earlier than the one before");
    if (row->at_ns - reading->first_ns >= TRACE_HOURS_MAX * 3600 * SIM_SECOND_NS)
        return wrong(reading, "is more than 168 hours after the first");
    if (trace->request_count == TRACE_REQUESTS_MAX) {
        error_note_set(reading->note, "more than %u requests", TRACE_REQUESTS_MAX);
        return STATUS_TOO_LARGE;
    }
    result = model_find(reading, row->model, &model);
    if (result != STATUS_OK)
        return result;
    request.at_ns = row->at_ns - reading->first_ns;
    reading->last_ns = row->at_ns;
    trace->last_ns = request.at_ns;
    trace->request_count++;
    return request_add(model, &request);
}

static status line_add(struct reading *reading, struct text_slice line)
{
    struct row row;
    const char *error;

    reading->line++;
    if (line.bytes > 0 && line.data[line.bytes - 1] == '\r')
        line.bytes--;
    if (reading->line == 1)
        return is_heading(line)
                   ? STATUS_OK
                   : wrong(reading, "must be seconds,model,prompt_tokens,output_tokens");
    error = row_read(line, &row);
    return error != NULL ? wrong(reading, error) : row_add(reading, &row);
}

static status lines_read(struct reading *reading, FILE *file)
{
    char text[LINE_BYTES_MAX + 2];
    status result = STATUS_OK;

    while (result == STATUS_OK && fgets(text, sizeof(text), file) != NULL) {
        size_t bytes = strlen(text);
        bool is_whole = bytes > 0 && text[bytes - 1] == '\n';

        if (!is_whole && !feof(file)) {
            reading->line++;
            return wrong(reading, "is too long, or has a byte 0");
        }
        result = line_add(reading, (struct text_slice){text, is_whole ? bytes - 1 : bytes});
    }
    if (result == STATUS_OK && ferror(file))
        return STATUS_IO;
    if (result == STATUS_OK && reading->trace->request_count == 0) {
        error_note_set(reading->note, "there is no request in it");
        return STATUS_INVALID;
    }
    return result;
}

status trace_read(FILE *file, struct trace **out, struct error_note *note)
{
    struct trace *trace = memory_allocate_array(1, sizeof(*trace));
    struct reading reading = {.trace = trace, .note = note};
    status result = STATUS_NO_MEMORY;

    if (trace != NULL)
        trace->models = memory_allocate_array(TRACE_MODELS_MAX, sizeof(*trace->models));
    if (trace != NULL && trace->models != NULL)
        result = lines_read(&reading, file);
    if (result == STATUS_OK) {
        *out = trace;
        return STATUS_OK;
    }
    if (result == STATUS_NO_MEMORY || result == STATUS_IO)
        error_note_set(note, "%s", status_name(result));
    trace_destroy(trace);
    return result;
}
