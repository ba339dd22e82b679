#include "guard.h"

#include <string.h>

#include "check.h"
#include "clock.h"
#include "memory.h"

/* Why there is a guard. The HTTP/2 code of libh2o 2.2.5 trusts its peers: it has no answer to rapid
 * reset (CVE-2023-44487) and its relatives, no limit on header fields, decodes CONTINUATION without
 * end, prints a line for each unknown frame, and has an assertion that any client can trip
 * (upstream #1951). None of that needs a patched library: we own the read callback, so we see every
 * frame first.
 *
 * Three tools, in order of preference:
 *   remove   what is legal but useless to us: PRIORITY (RFC 9113, 5.3 lets us ignore it; it would
 * build trees in the library's scheduler), unknown types, acknowledgements of pings we never send.
 * The priority part of HEADERS is overwritten with the default. charge   what is legal but can be a
 * flood. Two buckets. Stream credit: a new request takes 1, a request that was answered to its last
 * byte gives it back, and time refills slowly. A reset, by whichever side and for whichever reason,
 * gives nothing back, so one rule covers rapid reset and "made you reset" (CVE-2025-8671). Control
 * credit: each frame that carries no data takes 1 to 20; time refills it, and so do bytes we write,
 * because a client that reads much must send many WINDOW_UPDATEs. end      what no honest client
 * does: broken frames, zero window increments, DATA after END_STREAM, headers over more than one
 * frame (16 KiB of headers is plenty), more body than anyone could mean by mistake.
 *
 * Bodies over the limit. The library knows no way to answer before the end of a body, and refuses
 * an oversized one with a reset that makes clients try again. So a body somewhat over the limit (up
 * to BODY_SLACK_FACTOR) is let in and the handler answers 413. One that announces more is told to
 * the library as a request without body (END_STREAM is set on its HEADERS, which also skips the
 * library's check of content-length), one that turns out longer is cut there; the handler answers
 * 413 and the rest of its DATA is removed. Removed bytes are missing in the library's flow control:
 * that is why their sum is bounded well below its 16 MiB connection window.
 *
 * The rule that makes the assertion unreachable (never parse while a write is in flight) is in
 * http2.c, which owns the socket. */

const char GUARD_PREFACE[GUARD_PREFACE_BYTES + 1] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum frame_type {
    FRAME_DATA,
    FRAME_HEADERS,
    FRAME_PRIORITY,
    FRAME_RST_STREAM,
    FRAME_SETTINGS,
    FRAME_PUSH_PROMISE,
    FRAME_PING,
    FRAME_GOAWAY,
    FRAME_WINDOW_UPDATE,
    FRAME_CONTINUATION
};

#define FLAG_END_STREAM  0x01u
#define FLAG_ACK         0x01u
#define FLAG_END_HEADERS 0x04u
#define FLAG_PADDED      0x08u
#define FLAG_PRIORITY    0x20u

#define FRAME_HEAD_BYTES   9u
#define FRAME_BYTES_MAX    16384u /* SETTINGS_MAX_FRAME_SIZE, which the library never raises */
#define SETTINGS_BYTES_MAX (32u * 6u)
#define HEADER_COUNT_FACTOR                                                                        \
    2u /* up to here the handler answers 431, past it the connection ends    \
                              */
#define DECODED_FACTOR     4u /* decoded header bytes (an upper bound) over header_bytes_max */
#define BODY_SLACK_FACTOR  2u
#define DISCARD_BYTES_MAX  (4u << 20)
#define UPLOAD_COUNT_FIRST 4u                   /* of the list's first memory */
#define UPLOAD_GRACE_NS    (10 * NS_PER_SECOND) /* before the rate of an upload is judged */

/* Control credit. 4000 covers any client's first second; 500 a second is ten times what browsers
 * and SDKs were seen to send. A WINDOW_UPDATE pair (2) per 48 bytes read is still free: the
 * smallest event we send is larger. */
#define CONTROL_CREDIT_MAX       4000.0
#define CONTROL_CREDIT_SECOND    500.0
#define CONTROL_BYTES_PER_CREDIT 24.0
#define SMALL_DATA_BYTES         64u

struct frame {
    uint8_t *head; /* 9 bytes, then the payload */
    uint8_t *payload;
    uint32_t bytes; /* of the payload */
    uint8_t type, flags;
    uint32_t stream_id;
};

enum frame_action { FRAME_KEEP, FRAME_DROP };

const char *guard_verdict_name(enum guard_verdict verdict)
{
    static const char *const names[GUARD_VERDICT_COUNT] = {
        "pass", "streams", "control", "headers", "frame", "upload", "stalled", "write", "memory"};
    return names[verdict];
}

void guard_init(struct guard *guard, const struct http_limits *limits, uint64_t now_ns)
{
    memset(guard, 0, sizeof *guard);
    guard->stream_credit = limits->stream_burst_max;
    guard->control_credit = CONTROL_CREDIT_MAX;
    guard->refilled_ns = now_ns;
}

void guard_deinit(struct guard *guard)
{
    memory_release(guard->refused);
    memory_release(guard->uploads);
    hpack_scan_deinit(&guard->hpack);
}

static double at_most(double value, double limit)
{
    return value < limit ? value : limit;
}

static void refill(struct guard *guard, const struct http_limits *limits, uint64_t written_bytes,
                   uint64_t now_ns)
{
    double seconds = (double)(now_ns - guard->refilled_ns) / (double)NS_PER_SECOND;
    double earned = (double)(written_bytes - guard->written_bytes) / CONTROL_BYTES_PER_CREDIT;
    guard->refilled_ns = now_ns;
    guard->written_bytes = written_bytes;
    guard->stream_credit = at_most(guard->stream_credit + seconds * limits->streams_per_second_max,
                                   limits->stream_burst_max);
    guard->control_credit = at_most(
        guard->control_credit + seconds * CONTROL_CREDIT_SECOND + earned, CONTROL_CREDIT_MAX);
}

void guard_request_finished(struct guard *guard, const struct http_limits *limits)
{
    guard->stream_credit = at_most(guard->stream_credit + 1, limits->stream_burst_max);
}

static struct guard_upload *find_upload(struct guard *guard, uint32_t stream_id)
{
    for (uint32_t i = 0; i < guard->upload_count; i++)
        if (guard->uploads[i].stream_id == stream_id)
            return &guard->uploads[i];
    return NULL;
}

void guard_forget_upload(struct guard *guard, uint32_t stream_id)
{
    struct guard_upload *upload = find_upload(guard, stream_id);
    if (upload != NULL)
        *upload = guard->uploads[--guard->upload_count];
}

static enum guard_verdict refuse_stream(struct guard *guard, uint32_t stream_id)
{
    if (guard->refused == NULL)
        guard->refused = memory_allocate_array(GUARD_UPLOAD_COUNT_MAX, sizeof guard->refused[0]);
    if (guard->refused == NULL)
        return GUARD_MEMORY;
    guard->refused[guard->refused_count++ % GUARD_UPLOAD_COUNT_MAX] = stream_id;
    return GUARD_PASS;
}

/* Idle connections have none, and most others few: the list grows as it is used. */
static enum guard_verdict add_upload(struct guard *guard, uint32_t stream_id, uint64_t now_ns)
{
    if (guard->upload_count == GUARD_UPLOAD_COUNT_MAX)
        return GUARD_STREAMS;
    if (guard->upload_count == guard->upload_capacity) {
        uint32_t capacity =
            guard->upload_capacity > 0 ? 2 * guard->upload_capacity : UPLOAD_COUNT_FIRST;
        struct guard_upload *uploads =
            memory_resize(guard->uploads, capacity * sizeof guard->uploads[0]);
        if (uploads == NULL)
            return GUARD_MEMORY;
        guard->uploads = uploads;
        guard->upload_capacity = capacity;
    }
    guard->uploads[guard->upload_count++] =
        (struct guard_upload){.stream_id = stream_id, .since_ns = now_ns};
    return GUARD_PASS;
}

bool guard_is_refused(const struct guard *guard, uint32_t stream_id)
{
    uint32_t count = guard->refused_count < GUARD_UPLOAD_COUNT_MAX ? guard->refused_count
                                                                   : GUARD_UPLOAD_COUNT_MAX;
    for (uint32_t i = 0; i < count; i++)
        if (guard->refused[i] == stream_id)
            return true;
    return false;
}

uint64_t guard_buffered_bytes(const struct guard *guard)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < guard->upload_count; i++)
        bytes += guard->uploads[i].is_discarded ? 0 : guard->uploads[i].bytes;
    return bytes;
}

static enum guard_verdict charge(struct guard *guard, double amount)
{
    guard->control_credit -= amount;
    return guard->control_credit < 0 ? GUARD_CONTROL : GUARD_PASS;
}

/* The header block inside a HEADERS frame; neutralises its priority. False: padding or priority
 * longer than the frame. */
static bool find_header_block(struct frame *frame, const uint8_t **block, size_t *bytes)
{
    uint32_t start = 0, end = frame->bytes;
    if ((frame->flags & FLAG_PADDED) != 0) {
        if (end < 1 || frame->payload[0] > end - 1)
            return false;
        start = 1;
        end -= frame->payload[0];
    }
    if ((frame->flags & FLAG_PRIORITY) != 0) {
        static const uint8_t default_priority[5] = {0, 0, 0, 0, 15}; /* no parent, weight 16 */
        if (end - start < sizeof default_priority)
            return false;
        memcpy(frame->payload + start, default_priority, sizeof default_priority);
        start += sizeof default_priority;
    }
    *block = frame->payload + start;
    *bytes = end - start;
    return true;
}

static enum guard_verdict open_stream(struct guard *guard, const struct http_limits *limits,
                                      struct frame *frame, uint64_t content_length, uint64_t now_ns)
{
    guard->stream_id_last = frame->stream_id;
    guard->stream_credit -= 1;
    if (guard->stream_credit < 0)
        return GUARD_STREAMS;
    if ((frame->flags & FLAG_END_STREAM) != 0)
        return GUARD_PASS;
    enum guard_verdict verdict = add_upload(guard, frame->stream_id, now_ns);
    if (verdict == GUARD_PASS && content_length != HPACK_LENGTH_UNKNOWN &&
        content_length / BODY_SLACK_FACTOR > limits->body_bytes_max) {
        frame->head[4] |= FLAG_END_STREAM;
        guard->uploads[guard->upload_count - 1].is_discarded = true;
        verdict = refuse_stream(guard, frame->stream_id);
    }
    return verdict;
}

static enum guard_verdict on_headers(struct guard *guard, const struct http_limits *limits,
                                     struct frame *frame, uint64_t now_ns,
                                     enum frame_action *action)
{
    const uint8_t *bytes;
    size_t count;
    struct hpack_block block;
    if ((frame->flags & FLAG_END_HEADERS) == 0)
        return GUARD_HEADERS;
    if ((frame->stream_id & 1) == 0 || !find_header_block(frame, &bytes, &count))
        return GUARD_FRAME;
    if (hpack_scan_block(&guard->hpack, bytes, count,
                         limits->header_count_max * HEADER_COUNT_FACTOR, &block) != STATUS_OK ||
        block.decoded_bytes > (uint64_t)limits->header_bytes_max * DECODED_FACTOR)
        return GUARD_HEADERS;
    if (frame->stream_id > guard->stream_id_last)
        return open_stream(guard, limits, frame, block.content_length, now_ns);
    struct guard_upload *upload = find_upload(guard, frame->stream_id); /* trailers */
    if (upload == NULL || (frame->flags & FLAG_END_STREAM) == 0 || upload->is_discarded)
        return GUARD_FRAME; /* the library could not follow the table if we removed trailers */
    guard_forget_upload(guard, frame->stream_id);
    *action = FRAME_KEEP;
    return charge(guard, 5);
}

static enum guard_verdict on_data(struct guard *guard, const struct http_limits *limits,
                                  struct frame *frame, enum frame_action *action)
{
    struct guard_upload *upload = find_upload(guard, frame->stream_id);
    bool is_end = (frame->flags & FLAG_END_STREAM) != 0;
    enum guard_verdict verdict = GUARD_PASS;
    if (upload ==
        NULL) /* never opened, or ended: "made you reset" by DATA on a half-closed stream */
        return GUARD_FRAME;
    upload->bytes += frame->bytes;
    if (upload->is_discarded) {
        *action = FRAME_DROP;
        guard->discarded_bytes += frame->bytes;
    } else if (upload->bytes / BODY_SLACK_FACTOR > limits->body_bytes_max && !is_end) {
        frame->head[4] |= FLAG_END_STREAM;
        upload->is_discarded = true;
        verdict = refuse_stream(guard, frame->stream_id);
    }
    if (is_end)
        guard_forget_upload(guard, frame->stream_id);
    if (verdict != GUARD_PASS)
        return verdict;
    if (guard->discarded_bytes > DISCARD_BYTES_MAX)
        return GUARD_UPLOAD;
    if (is_end || frame->bytes >= SMALL_DATA_BYTES)
        return GUARD_PASS;
    return charge(guard, frame->bytes == 0 ? 10 : 1);
}

static enum guard_verdict on_rst_stream(struct guard *guard, const struct frame *frame,
                                        enum frame_action *action)
{
    if (frame->bytes != 4 || frame->stream_id == 0 || frame->stream_id > guard->stream_id_last)
        return GUARD_FRAME;
    struct guard_upload *upload = find_upload(guard, frame->stream_id);
    if (upload != NULL && upload->is_discarded)
        *action = FRAME_DROP; /* it is being answered 413; a reset now would only lose that */
    guard_forget_upload(guard, frame->stream_id);
    return charge(guard, 1);
}

static enum guard_verdict on_settings(struct guard *guard, const struct frame *frame)
{
    if ((frame->flags & FLAG_ACK) != 0)
        return frame->bytes == 0 ? charge(guard, 1) : GUARD_FRAME;
    return frame->bytes <= SETTINGS_BYTES_MAX && frame->bytes % 6 == 0 ? charge(guard, 20)
                                                                       : GUARD_FRAME;
}

static enum guard_verdict on_window_update(struct guard *guard, const struct frame *frame)
{
    if (frame->bytes != 4 || frame->stream_id > guard->stream_id_last)
        return GUARD_FRAME;
    uint32_t increment = (uint32_t)(frame->payload[0] & 0x7f) << 24 |
                         (uint32_t)frame->payload[1] << 16 | (uint32_t)frame->payload[2] << 8 |
                         frame->payload[3];
    return increment != 0 ? charge(guard, 1) : GUARD_FRAME; /* zero: "made you reset" */
}

static enum guard_verdict on_frame(struct guard *guard, const struct http_limits *limits,
                                   struct frame *frame, uint64_t now_ns, enum frame_action *action)
{
    *action = FRAME_KEEP;
    switch (frame->type) {
    case FRAME_DATA:
        return on_data(guard, limits, frame, action);
    case FRAME_HEADERS:
        return on_headers(guard, limits, frame, now_ns, action);
    case FRAME_PRIORITY:
        *action = FRAME_DROP;
        return frame->bytes == 5 ? charge(guard, 2) : GUARD_FRAME;
    case FRAME_RST_STREAM:
        return on_rst_stream(guard, frame, action);
    case FRAME_SETTINGS:
        return on_settings(guard, frame);
    case FRAME_PING:
        *action = (frame->flags & FLAG_ACK) != 0 ? FRAME_DROP : FRAME_KEEP;
        return frame->bytes == 8 ? charge(guard, 10) : GUARD_FRAME;
    case FRAME_GOAWAY:
        return charge(guard, 20);
    case FRAME_WINDOW_UPDATE:
        return on_window_update(guard, frame);
    case FRAME_PUSH_PROMISE:
        return GUARD_FRAME;
    case FRAME_CONTINUATION:
        return GUARD_HEADERS;
    default:
        *action = FRAME_DROP;
        return charge(guard, 20);
    }
}

/* Reads the frame at `at`; false: not complete. */
static bool read_frame(uint8_t *at, size_t count, struct frame *out)
{
    if (count < FRAME_HEAD_BYTES)
        return false;
    out->head = at;
    out->payload = at + FRAME_HEAD_BYTES;
    out->bytes = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
    out->type = at[3];
    out->flags = at[4];
    out->stream_id =
        (uint32_t)(at[5] & 0x7f) << 24 | (uint32_t)at[6] << 16 | (uint32_t)at[7] << 8 | at[8];
    return out->bytes > FRAME_BYTES_MAX || count - FRAME_HEAD_BYTES >= out->bytes;
}

/* An unfinished DATA frame is judged by its upload's age and rate, everything else by the age of
 * its first byte. */
static void note_partial(struct guard *guard, const uint8_t *rest, size_t count, bool is_advanced,
                         uint64_t now_ns)
{
    if (count == 0 || (count > 3 && guard->has_preface && rest[3] == FRAME_DATA))
        guard->partial_since_ns = 0;
    else if (is_advanced || guard->partial_since_ns == 0)
        guard->partial_since_ns = now_ns;
}

enum guard_verdict guard_filter(struct guard *guard, const struct http_limits *limits,
                                uint8_t *bytes, size_t *count, uint64_t written_bytes,
                                uint64_t now_ns)
{
    size_t from = 0, to = 0;
    struct frame frame;
    refill(guard, limits, written_bytes, now_ns);
    if (!guard->has_preface) {
        size_t have = *count < GUARD_PREFACE_BYTES ? *count : GUARD_PREFACE_BYTES;
        if (memcmp(bytes, GUARD_PREFACE, have) != 0)
            return GUARD_FRAME;
        guard->has_preface = have == GUARD_PREFACE_BYTES;
        from = to = guard->has_preface ? have : 0;
    }
    while (guard->has_preface && read_frame(bytes + from, *count - from, &frame)) {
        enum frame_action action;
        if (frame.bytes > FRAME_BYTES_MAX)
            return GUARD_FRAME;
        enum guard_verdict verdict = on_frame(guard, limits, &frame, now_ns, &action);
        if (verdict != GUARD_PASS)
            return verdict;
        size_t frame_bytes = FRAME_HEAD_BYTES + frame.bytes;
        if (action == FRAME_KEEP) {
            if (to != from)
                memmove(bytes + to, bytes + from, frame_bytes);
            to += frame_bytes;
        }
        from += frame_bytes;
    }
    note_partial(guard, bytes + from, *count - from, from != 0, now_ns);
    if (to != from)
        memmove(bytes + to, bytes + from, *count - from);
    *count -= from - to;
    return GUARD_PASS;
}

enum guard_verdict guard_check(const struct guard *guard, const struct http_limits *limits,
                               uint64_t now_ns, uint32_t *stream_id)
{
    *stream_id = 0;
    if (guard->partial_since_ns != 0 &&
        now_ns - guard->partial_since_ns > limits->header_timeout_ns)
        return GUARD_STALLED;
    for (uint32_t i = 0; i < guard->upload_count; i++) {
        const struct guard_upload *upload = &guard->uploads[i];
        uint64_t age_ns = now_ns - upload->since_ns;
        bool is_slow =
            limits->upload_bytes_per_second_min != 0 && age_ns > UPLOAD_GRACE_NS &&
            upload->bytes / (age_ns / NS_PER_SECOND) < limits->upload_bytes_per_second_min;
        if (age_ns > limits->body_timeout_ns || is_slow) {
            *stream_id = upload->stream_id;
            return GUARD_UPLOAD;
        }
    }
    return GUARD_PASS;
}
