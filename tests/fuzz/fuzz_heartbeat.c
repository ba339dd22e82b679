/* A message made of the input, then damaged as the input says: what is still read as one keeps to its bounds, says the same when it
 * is written and read once more, and leaves a page that can be read. */
#include <stdlib.h>
#include <string.h>

#include "heartbeat.h"

#define NOW_NS (1ull << 40)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static uint32_t take(const uint8_t **data, size_t *bytes, uint32_t below)
{
    uint32_t value = 0;

    for (int i = 0; i < 2 && *bytes > 0; i++, (*data)++, (*bytes)--)
        value = value << 8 | **data;
    return value % below;
}

/* Names are hashes: they are spread over the page, whose readers look at few cells for each. */
static uint64_t name_of(uint32_t number)
{
    return number * 0x9e3779b97f4a7c15ull;
}

static void message_make(const uint8_t **data, size_t *bytes, struct buffer *out)
{
    static uint64_t names[HEARTBEAT_NAMES_MAX];
    static char reason[HEARTBEAT_REASON_BYTES + 8];
    struct heartbeat beat = {.came = (const char *)names, .gone = (const char *)names};

    beat.phase = (enum heartbeat_phase)take(data, bytes, HEARTBEAT_PHASES);
    beat.is_afresh = take(data, bytes, 2);
    beat.has_state = take(data, bytes, 2);
    beat.came_count = take(data, bytes, HEARTBEAT_NAMES_MAX + 1);
    beat.gone_count = take(data, bytes, HEARTBEAT_NAMES_MAX + 1);
    beat.reason.bytes = take(data, bytes, sizeof(reason));
    memset(reason, (int)take(data, bytes, 256), sizeof(reason));
    beat.reason.data = reason;
    for (uint32_t i = 0; i < HEARTBEAT_NAMES_MAX; i++)
        names[i] = name_of(i < 64 ? take(data, bytes, 1000) : i);
    heartbeat_write(&beat, NOW_NS, out);
}

static void check_inside(const char *part, size_t bytes, const struct buffer *message)
{
    if (part < message->data || part + bytes > message->data + message->bytes)
        abort();
}

static void read_check(const struct buffer *message, const struct heartbeat *beat)
{
    if (beat->came_count > HEARTBEAT_NAMES_MAX || beat->gone_count > HEARTBEAT_NAMES_MAX ||
        beat->reason.bytes > HEARTBEAT_REASON_BYTES || beat->phase >= HEARTBEAT_PHASES ||
        beat->state.last_step_ns > NOW_NS)
        abort();
    check_inside(beat->came, beat->came_count * sizeof(uint64_t), message);
    check_inside(beat->gone, beat->gone_count * sizeof(uint64_t), message);
    check_inside(beat->reason.data, beat->reason.bytes, message);
}

static void again_check(const struct heartbeat *beat)
{
    struct heartbeat again;
    struct buffer text;

    buffer_init(&text, heartbeat_bytes_max());
    heartbeat_write(beat, NOW_NS, &text);
    if (text.failed != STATUS_OK ||
        heartbeat_read(buffer_slice(&text), NOW_NS, &again) != STATUS_OK ||
        again.number != beat->number || again.phase != beat->phase ||
        again.came_count != beat->came_count || again.gone_count != beat->gone_count ||
        !text_slice_equals(again.reason, beat->reason) ||
        memcmp(again.moments_ns, beat->moments_ns, sizeof(again.moments_ns)) != 0)
        abort();
    buffer_deinit(&text);
}

static void page_check(const struct heartbeat *beat)
{
    static uint64_t names[SHARED_PAGE_NAMES_MAX];
    static shared_page_writer *page;
    uint32_t count;

    if (page == NULL && shared_page_writer_create(&page) != STATUS_OK)
        abort();
    heartbeat_take(beat, page);
    count = shared_page_names(shared_page_of(page), names, SHARED_PAGE_NAMES_MAX);
    if (beat->is_afresh && count > beat->came_count)
        abort();
    for (uint32_t i = 0; i < beat->came_count; i++) {
        if (heartbeat_name(beat->came, i) != 0 && count < SHARED_PAGE_NAMES_MAX / 2 &&
            !shared_page_has(shared_page_of(page), heartbeat_name(beat->came, i)))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct heartbeat beat;
    struct buffer message;

    buffer_init(&message, heartbeat_bytes_max());
    message_make(&data, &bytes, &message);
    if (message.failed != STATUS_OK)
        abort();
    while (bytes >= 3) {
        uint32_t at = take(&data, &bytes, (uint32_t)message.bytes);

        message.data[at] = (char)(message.data[at] ^ take(&data, &bytes, 256));
    }
    if (heartbeat_read(buffer_slice(&message), NOW_NS, &beat) == STATUS_OK) {
        read_check(&message, &beat);
        again_check(&beat);
        page_check(&beat);
    }
    buffer_deinit(&message);
    return 0;
}
