#include "heartbeat.h"

#include <math.h>
#include <string.h>

#define MAGIC          0x32746270u /* "pbt2" */
#define NO_AGE         UINT64_MAX
#define NAME_MAX_BYTES (HEARTBEAT_NAMES_MAX * sizeof(uint64_t))

enum flag { FLAG_AFRESH = 1, FLAG_STATE = 2, FLAGS = 3 };

/* As it goes over the wire; names and reason follow. Its size is in it: two that differ do not go together. */
struct head {
    uint32_t magic, bytes;
    uint32_t phase, flags;
    uint64_t number;
    uint32_t context_max, capabilities;
    float bytes_per_token;
    uint32_t came_count, gone_count, reason_bytes;
    struct shared_page_state state; /* its time is an age */
    uint64_t ages_ns[START_MOMENTS];
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the numbers go as they stand in memory");

size_t heartbeat_bytes_max(void)
{
    return sizeof(struct head) + 2 * NAME_MAX_BYTES + HEARTBEAT_REASON_BYTES;
}

static uint64_t age_of(uint64_t moment_ns, uint64_t now_ns)
{
    if (moment_ns == 0)
        return NO_AGE;
    return now_ns > moment_ns ? now_ns - moment_ns : 0;
}

/* Nothing is older than the clock, nor as old as never. */
static uint64_t moment_of(uint64_t age_ns, uint64_t now_ns)
{
    if (age_ns == NO_AGE)
        return 0;
    return age_ns < now_ns ? now_ns - age_ns : 1;
}

/* What goes into logs. */
static void reason_write(struct text_slice reason, size_t bytes, struct buffer *out)
{
    for (size_t i = 0; i < bytes; i++) {
        char c = reason.data[i];

        buffer_append_byte(out, c >= ' ' && c < 0x7f ? c : '?');
    }
}

void heartbeat_write(const struct heartbeat *beat, uint64_t now_ns, struct buffer *out)
{
    size_t reason_bytes =
        beat->reason.bytes < HEARTBEAT_REASON_BYTES ? beat->reason.bytes : HEARTBEAT_REASON_BYTES;
    struct head head;

    memset(&head, 0, sizeof(head)); /* nothing of ours goes out between the fields */
    head.magic = MAGIC;
    head.bytes = sizeof(head);
    head.phase = beat->phase;
    head.flags = (beat->is_afresh ? FLAG_AFRESH : 0) | (beat->has_state ? FLAG_STATE : 0);
    head.number = beat->number;
    head.context_max = beat->context_max;
    head.capabilities = beat->capabilities;
    head.bytes_per_token = beat->bytes_per_token;
    head.came_count = beat->came_count;
    head.gone_count = beat->gone_count;
    head.reason_bytes = (uint32_t)reason_bytes;
    if (beat->has_state) {
        memcpy(&head.state, &beat->state, sizeof(head.state));
        head.state.last_step_ns = age_of(beat->state.last_step_ns, now_ns);
    }
    for (uint32_t i = 0; i < START_MOMENTS; i++)
        head.ages_ns[i] = age_of(beat->moments_ns[i], now_ns);
    buffer_append(out, &head, sizeof(head));
    buffer_append(out, beat->came, beat->came_count * sizeof(uint64_t));
    buffer_append(out, beat->gone, beat->gone_count * sizeof(uint64_t));
    reason_write(beat->reason, reason_bytes, out);
}

static bool is_printable(struct text_slice text)
{
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] < ' ' || text.data[i] >= 0x7f)
            return false;
    }
    return true;
}

/* An average is a number that is not negative; what is not would poison what is made of it. */
static bool is_average(float value)
{
    return isfinite(value) && value >= 0;
}

static bool is_good(const struct head *head, size_t bytes)
{
    return head->magic == MAGIC && head->bytes == sizeof(*head) && head->phase < HEARTBEAT_PHASES &&
           (head->flags & ~(uint32_t)FLAGS) == 0 && head->came_count <= HEARTBEAT_NAMES_MAX &&
           head->gone_count <= HEARTBEAT_NAMES_MAX &&
           head->reason_bytes <= HEARTBEAT_REASON_BYTES && is_average(head->bytes_per_token) &&
           is_average(head->state.step_ms) && is_average(head->state.prefill_ns_alone) &&
           is_average(head->state.prefill_ns_beside) &&
           bytes == sizeof(*head) +
                        ((size_t)head->came_count + head->gone_count) * sizeof(uint64_t) +
                        head->reason_bytes;
}

status heartbeat_read(struct text_slice bytes, uint64_t now_ns, struct heartbeat *out)
{
    struct text_slice reason;
    const char *names;
    struct head head;

    if (bytes.bytes < sizeof(head))
        return STATUS_INVALID;
    memcpy(&head, bytes.data, sizeof(head));
    if (!is_good(&head, bytes.bytes))
        return STATUS_INVALID;
    names = bytes.data + sizeof(head);
    reason = (struct text_slice){bytes.data + bytes.bytes - head.reason_bytes, head.reason_bytes};
    if (!is_printable(reason))
        return STATUS_INVALID;
    *out = (struct heartbeat){.number = head.number,
                              .phase = (enum heartbeat_phase)head.phase,
                              .is_afresh = (head.flags & FLAG_AFRESH) != 0,
                              .has_state = (head.flags & FLAG_STATE) != 0,
                              .context_max = head.context_max,
                              .capabilities = head.capabilities,
                              .bytes_per_token = head.bytes_per_token,
                              .state = head.state,
                              .came = names,
                              .gone = names + head.came_count * sizeof(uint64_t),
                              .came_count = head.came_count,
                              .gone_count = head.gone_count,
                              .reason = reason};
    out->state.last_step_ns = moment_of(head.state.last_step_ns, now_ns);
    for (uint32_t i = 0; i < START_MOMENTS; i++)
        out->moments_ns[i] = moment_of(head.ages_ns[i], now_ns);
    return STATUS_OK;
}

uint64_t heartbeat_name(const char *names, uint32_t index)
{
    uint64_t name;

    memcpy(&name, names + index * sizeof(name), sizeof(name));
    return name;
}

void heartbeat_take(const struct heartbeat *beat, shared_page_writer *page)
{
    const shared_page *known;

    if (beat->is_afresh)
        shared_page_writer_clear(page);
    known = shared_page_of(page);
    if (beat->has_state)
        shared_page_write(page, &beat->state);
    shared_page_set_text(page, beat->bytes_per_token);
    for (uint32_t i = 0; i < START_MOMENTS; i++)
        shared_page_note_moment(page, (enum start_moment)i, beat->moments_ns[i]);
    for (uint32_t i = 0; i < beat->gone_count; i++)
        shared_page_note(page, heartbeat_name(beat->gone, i), false);
    /* Each is in the set once, however often it is told. */
    for (uint32_t i = 0; i < beat->came_count; i++) {
        if (!shared_page_has(known, heartbeat_name(beat->came, i)))
            shared_page_note(page, heartbeat_name(beat->came, i), true);
    }
}
