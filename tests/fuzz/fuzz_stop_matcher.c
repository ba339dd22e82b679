
#include "check.h"
#include "stop_matcher.h"

/* The first bytes say how many stop strings there are and how long each is, then come their bytes, then the text. Fed whole,
 * byte by byte and in pieces of changing length it must end at the same byte with the same string. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define STOPS_MAX 4u

struct outcome {
    size_t end;
    int32_t stop;
};

static struct outcome feed(const stop_matcher *m, struct text_slice text, size_t piece_bytes)
{
    struct stop_state state = {0};
    size_t sent = 0;
    for (size_t at = 0; at < text.bytes;) {
        size_t bytes = piece_bytes == 0 ? 1 + at % 7 : piece_bytes;
        if (bytes > text.bytes - at)
            bytes = text.bytes - at;
        struct stop_match match =
            stop_matcher_feed(m, &state, (struct text_slice){text.data + at, bytes});
        at += bytes;
        sent += match.send_bytes;
        if (match.stop >= 0)
            return (struct outcome){sent, match.stop};
        CHECK(sent + state.held_bytes == at);
    }
    return (struct outcome){sent + state.held_bytes, -1};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct text_slice stops[STOPS_MAX];
    if (bytes < 1 + STOPS_MAX)
        return 0;
    uint32_t count = 1 + data[0] % STOPS_MAX;
    size_t at = 1 + STOPS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        size_t length = data[1 + i] % 16;
        if (length > bytes - at)
            length = bytes - at;
        stops[i] = (struct text_slice){(const char *)data + at, length};
        at += length;
    }
    stop_matcher *m = NULL;
    if (stop_matcher_create(stops, count, data[0] & 0x80, &m) != STATUS_OK)
        return 0;
    struct text_slice text = {(const char *)data + at, bytes - at};
    struct outcome whole = feed(m, text, SIZE_MAX), single = feed(m, text, 1),
                   mixed = feed(m, text, 0);
    CHECK(whole.end == single.end && whole.stop == single.stop);
    CHECK(whole.end == mixed.end && whole.stop == mixed.stop);
    stop_matcher_destroy(m);
    return 0;
}
