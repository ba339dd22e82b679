#include <string.h>

#include "buffer.h"
#include "check.h"
#include "output_parser.h"

/* The first byte is the form of calls, the second that of reasoning, then comes the output. Fed whole, byte by byte and in
 * pieces of changing length it must give the same deltas, joined; calls must begin and end in turn. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct outcome {
    struct buffer joined; /* kinds and texts */
    enum output_kind kind;
    uint32_t calls;
    bool is_open;
};

static void add_delta(void *context, const struct output_delta *delta)
{
    struct outcome *o = context;
    if (delta->kind != o->kind || o->joined.bytes == 0)
        buffer_append_byte(&o->joined, (char)('0' + delta->kind));
    o->kind = delta->kind;
    buffer_append_slice(&o->joined,
                        delta->kind == OUTPUT_TOOL_BEGIN ? delta->tool_name : delta->text);
    if (delta->kind == OUTPUT_TOOL_BEGIN) {
        CHECK(!o->is_open && delta->tool_index == o->calls && delta->tool_name.bytes > 0);
        o->calls++;
        o->is_open = true;
    } else if (delta->kind == OUTPUT_TOOL_ARGUMENTS || delta->kind == OUTPUT_TOOL_END) {
        CHECK(o->is_open && delta->tool_index + 1 == o->calls);
        o->is_open = delta->kind == OUTPUT_TOOL_ARGUMENTS;
    } else {
        CHECK(!o->is_open && delta->text.bytes > 0);
    }
}

static void run(const uint8_t *data, size_t bytes, size_t piece_bytes, struct outcome *o)
{
    struct output_parser_options options = {
        .tools = (enum tool_form)(data[0] % TOOL_FORM_COUNT),
        .reasoning = (enum reasoning_form)(data[1] % REASONING_FORM_COUNT),
        .starts_in_reasoning = (data[1] & 0x80) != 0,
        .held_bytes_max = 256,
        .on_delta = add_delta,
        .context = o,
    };
    output_parser *p = NULL;
    CHECK(output_parser_create(&options, &p) == STATUS_OK);
    for (size_t at = 2; at < bytes;) {
        size_t piece = piece_bytes == 0 ? 1 + at % 7 : piece_bytes;
        piece = piece < bytes - at ? piece : bytes - at;
        CHECK(output_parser_feed(p, (struct text_slice){(const char *)data + at, piece}) ==
              STATUS_OK);
        at += piece;
    }
    CHECK(output_parser_finish(p) == STATUS_OK);
    CHECK(!o->is_open);
    output_parser_destroy(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return 0;
    static const size_t pieces[] = {SIZE_MAX, 1, 0};
    struct outcome outcomes[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        buffer_init(&outcomes[i].joined, SIZE_MAX / 2);
        run(data, bytes, pieces[i], &outcomes[i]);
        CHECK(outcomes[i].joined.bytes == outcomes[0].joined.bytes);
        CHECK(outcomes[i].joined.bytes == 0 ||
              memcmp(outcomes[i].joined.data, outcomes[0].joined.data, outcomes[0].joined.bytes) ==
                  0);
    }
    for (size_t i = 0; i < 3; i++)
        buffer_deinit(&outcomes[i].joined);
    return 0;
}
