/* A recording made of the input, then damaged as the input says, or the input itself: what is read of it keeps to its bounds, and what is told
 * is JSON. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "flight_format.h"
#include "json.h"

#define STEPS_MAX     64u
#define OUT_BYTES_MAX (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The first byte: how many steps; then a byte of damage at a place of the file for each three bytes. */
static void recording_make(const uint8_t *data, size_t bytes, struct buffer *out)
{
    const struct flight_options options = {.model = "model",
                                           .step_count = 1 + (bytes > 0 ? data[0] % STEPS_MAX : 0)};
    flight_recorder *recorder;

    CHECK(flight_recorder_open(&options, &recorder) == STATUS_OK);
    for (uint32_t i = 0; i < 100; i++)
        flight_recorder_note(recorder, &(struct flight_step){.rows = i, .state = FLIGHT_COMPUTED});
    flight_recorder_copy(recorder, out);
    flight_recorder_close(recorder, true);
    for (size_t i = 1; i + 3 <= bytes; i += 3) {
        size_t at = (size_t)data[i] << 8 | data[i + 1];

        /* The head is a page, of which little is used. */
        at = data[i] < 16 ? at % sizeof(struct flight_file_head) : at % out->bytes;
        out->data[at] = (char)(out->data[at] ^ data[i + 2]);
    }
}

static void look(struct text_slice file)
{
    struct error_note note = {""};
    struct flight_head head;
    struct flight_step *steps;
    struct buffer text;
    json_t *json;
    uint32_t torn, count;

    if (flight_read_head(file, &head, &note) != STATUS_OK)
        return;
    steps = calloc(head.step_count, sizeof(steps[0]));
    CHECK(steps != NULL);
    count = flight_read_steps(file, &head, steps, &torn);
    CHECK(count <= head.step_count && torn <= head.step_count - count);
    for (uint32_t i = 1; i < count; i++)
        CHECK(steps[i].number > steps[i - 1].number);
    free(steps);
    buffer_init(&text, OUT_BYTES_MAX);
    CHECK(flight_write_json(file, FLIGHT_STEPS_MAX, &text, &note) == STATUS_OK);
    json = json_loadb(text.data, text.bytes, 0, NULL);
    CHECK(json != NULL && json_array_size(json_object_get(json, "steps")) == count);
    json_decref(json);
    buffer_clear(&text);
    CHECK(flight_write_table(file, FLIGHT_STEPS_MAX, &text, &note) == STATUS_OK);
    buffer_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct buffer file;

    look((struct text_slice){(const char *)data, bytes});
    buffer_init(&file, OUT_BYTES_MAX);
    recording_make(data, bytes, &file);
    look(buffer_slice(&file));
    buffer_deinit(&file);
    return 0;
}
