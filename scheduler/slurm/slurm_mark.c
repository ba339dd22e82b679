#include "slurm_mark.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "decimal.h"
#include "hex.h"
#include "pool.h"
#include "slurm_hostlist.h"

#define UID_DIGITS 16u
#define PLACE_MAX  9999u
#define NAME_TEXT  "%.*s"

/* --- ids of slices: "<node>/<device>" of cores, "<node>/<device>/<place>" of a GPU --- */

struct text_slice slurm_slice_node(struct text_slice id)
{
    const char *slash = id.bytes > 0 ? memchr(id.data, '/', id.bytes) : NULL;

    return (struct text_slice){id.data, slash != NULL ? (size_t)(slash - id.data) : 0};
}

struct text_slice slurm_slice_device(struct text_slice id)
{
    size_t bytes = slurm_slice_node(id).bytes;

    return bytes > 0 ? (struct text_slice){id.data + bytes + 1, id.bytes - bytes - 1}
                     : (struct text_slice){"", 0};
}

struct text_slice slurm_slice_kind(struct text_slice id)
{
    struct text_slice device = slurm_slice_device(id);
    const char *slash = device.bytes > 0 ? memrchr(device.data, '/', device.bytes) : NULL;

    if (slash != NULL)
        device.bytes = (size_t)(slash - device.data);
    return device;
}

/* --- writing --- */

struct spot {
    struct text_slice node;
    unsigned place;
};

/* A node: its spots are [first, first + count). */
struct seat {
    struct text_slice node;
    uint32_t first, count;
    bool is_written;
};

static unsigned place_of(struct text_slice id)
{
    struct text_slice device = slurm_slice_device(id), kind = slurm_slice_kind(id);

    return device.bytes > kind.bytes ? (unsigned)strtoul(device.data + kind.bytes + 1, NULL, 10)
                                     : 0;
}

/* By length first, so that n9 stands before n10. */
static int spot_compare(const void *left, const void *right)
{
    const struct spot *a = left, *b = right;
    int order = (a->node.bytes > b->node.bytes) - (a->node.bytes < b->node.bytes);

    if (order == 0)
        order = memcmp(a->node.data, b->node.data, a->node.bytes);
    return order != 0 ? order : (a->place > b->place) - (a->place < b->place);
}

static uint32_t seats_find(const struct spot *spots, uint32_t count, struct seat *seats)
{
    uint32_t found = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || !text_slice_equals(spots[i].node, spots[i - 1].node))
            seats[found++] = (struct seat){.node = spots[i].node, .first = i};
        seats[found - 1].count++;
    }
    return found;
}

static bool has_same_places(const struct spot *spots, const struct seat *a, const struct seat *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (spots[a->first + i].place != spots[b->first + i].place)
            return false;
    return true;
}

/* "0-3+6" */
static void places_write(struct buffer *out, const struct spot *spots, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t last = i;

        while (last + 1 < count && spots[last + 1].place == spots[last].place + 1)
            last++;
        buffer_append_format(out, "%s%u", i > 0 ? "+" : "", spots[i].place);
        if (last > i)
            buffer_append_format(out, "-%u", spots[last].place);
        i = last;
    }
}

/* The digits at a name's end; at most nine, so that they are a number of 32 bits. */
static size_t digits_of(struct text_slice name)
{
    size_t digits = 0;

    while (digits < name.bytes && digits < 9 && name.data[name.bytes - 1 - digits] >= '0' &&
           name.data[name.bytes - 1 - digits] <= '9')
        digits++;
    return digits;
}

/* Does `next` follow `name` in a range "n[7-9]"? */
static bool is_next(struct text_slice name, struct text_slice next)
{
    size_t digits = digits_of(name), before = name.bytes - digits;

    return digits > 0 && name.bytes == next.bytes && digits_of(next) == digits &&
           memcmp(name.data, next.data, before) == 0 &&
           strtoul(next.data + before, NULL, 10) == strtoul(name.data + before, NULL, 10) + 1;
}

static void hosts_write(struct buffer *out, const struct text_slice *names, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t last = i;
        size_t digits = digits_of(names[i]), before = names[i].bytes - digits;

        while (last + 1 < count && is_next(names[last], names[last + 1]))
            last++;
        buffer_append_text(out, i > 0 ? "," : "");
        if (last == i)
            buffer_append_slice(out, names[i]);
        else
            buffer_append_format(out, NAME_TEXT "[" NAME_TEXT "-" NAME_TEXT "]", (int)before,
                                 names[i].data, (int)digits, names[i].data + before, (int)digits,
                                 names[last].data + before);
        i = last;
    }
}

/* All nodes that have the places of `seats[0]`. */
static void group_write(struct buffer *out, const struct spot *spots, struct seat *seats,
                        uint32_t count)
{
    struct text_slice names[POOL_GANG_MAX];
    uint32_t found = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (seats[i].is_written || !has_same_places(spots, &seats[0], &seats[i]))
            continue;
        names[found++] = seats[i].node;
        seats[i].is_written = true;
    }
    buffer_append_byte(out, ';');
    places_write(out, spots + seats[0].first, seats[0].count);
    buffer_append_byte(out, '@');
    hosts_write(out, names, found);
}

void slurm_mark_write(struct buffer *out, const char *pool, const struct member_order *order)
{
    struct spot spots[POOL_GANG_MAX];
    struct seat seats[POOL_GANG_MAX];
    struct text_slice kind = slurm_slice_kind(text_slice_of(order->parts[0].slice_id));
    uint32_t seat_count;

    CHECK(order->part_count <= POOL_GANG_MAX);
    for (uint32_t i = 0; i < order->part_count; i++) {
        struct text_slice id = text_slice_of(order->parts[i].slice_id);

        spots[i] = (struct spot){slurm_slice_node(id), place_of(id)};
    }
    qsort(spots, order->part_count, sizeof(spots[0]), spot_compare);
    seat_count = seats_find(spots, order->part_count, seats);
    buffer_append_format(out, "penstock=%s;uid=%016llx;at=" NAME_TEXT "*%u*%llu", pool,
                         (unsigned long long)order->uid, (int)kind.bytes, kind.data,
                         order->parts[0].compute_milli,
                         (unsigned long long)order->parts[0].memory_bytes);
    for (uint32_t i = 0; i < seat_count; i++)
        if (!seats[i].is_written)
            group_write(out, spots, seats + i, seat_count - i);
}

/* --- reading --- */

static bool uid_read(struct text_slice *text, uint64_t *out)
{
    uint64_t uid = 0;

    if (text->bytes < UID_DIGITS)
        return false;
    for (unsigned i = 0; i < UID_DIGITS; i++) {
        int digit = hex_digit_value(text->data[i]);

        if (digit < 0)
            return false;
        uid = uid << 4 | (unsigned)digit;
    }
    text->data += UID_DIGITS;
    text->bytes -= UID_DIGITS;
    *out = uid;
    return uid != 0;
}

bool slurm_mark_read(const char *comment, const char *pool, struct slurm_mark *out)
{
    struct text_slice rest = text_slice_of(comment);

    if (!text_slice_skip(&rest, "penstock=") || !text_slice_skip(&rest, pool) ||
        !text_slice_skip(&rest, ";uid=") || !uid_read(&rest, &out->uid))
        return false;
    out->parts = text_slice_skip(&rest, ";at=") ? rest : (struct text_slice){"", 0};
    return true;
}

/* Takes off what stands before the first `end`, which goes too; all where there is none. */
static struct text_slice cut(struct text_slice *text, char end)
{
    const char *at = text->bytes > 0 ? memchr(text->data, end, text->bytes) : NULL;
    struct text_slice head = {text->data, at != NULL ? (size_t)(at - text->data) : text->bytes};
    size_t taken = head.bytes + (at != NULL);

    text->data += taken;
    text->bytes -= taken;
    return head;
}

struct reading {
    bool (*part)(void *context, const struct member_part *part);
    void *context;
    struct text_slice kind, places;
    struct member_part told;
    uint32_t count;
    status result;
    bool is_over;
};

static bool part_tell(struct reading *reading, const char *host, uint64_t place)
{
    char id[SLICE_NAME_BYTES_MAX + 1];
    int bytes;

    if (reading->count++ == POOL_GANG_MAX) {
        reading->result = STATUS_TOO_LARGE;
        return false;
    }
    if (text_slice_is(reading->kind, "cpu"))
        bytes = snprintf(id, sizeof(id), "%s/cpu", host);
    else
        bytes = snprintf(id, sizeof(id), "%s/" NAME_TEXT "/%u", host, (int)reading->kind.bytes,
                         reading->kind.data, (unsigned)place);
    if (bytes < 0 || (size_t)bytes >= sizeof(id)) {
        reading->result = STATUS_INVALID;
        return false;
    }
    reading->told.slice_id = id;
    reading->is_over = !reading->part(reading->context, &reading->told);
    return !reading->is_over;
}

/* Nodes and types of devices are named with these; what else there is in a comment is not of us. */
static bool is_name(struct text_slice text)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:_-";

    for (size_t i = 0; i < text.bytes; i++)
        if (memchr(letters, text.data[i], sizeof(letters) - 1) == NULL)
            return false;
    return text.bytes > 0;
}

static bool host_read(void *context, const char *host)
{
    struct reading *reading = context;
    struct text_slice places = reading->places;

    if (!is_name(text_slice_of(host))) {
        reading->result = STATUS_INVALID;
        return false;
    }
    while (places.bytes > 0) {
        struct text_slice last_text = cut(&places, '+'), first_text = cut(&last_text, '-');
        uint64_t first, last;

        if (!decimal_read(first_text, PLACE_MAX, &first)) {
            reading->result = STATUS_INVALID;
            return false;
        }
        last = first;
        if (last_text.bytes > 0 && !decimal_read(last_text, PLACE_MAX, &last)) {
            reading->result = STATUS_INVALID;
            return false;
        }
        for (uint64_t place = first; place <= last; place++)
            if (!part_tell(reading, host, place))
                return false;
    }
    return true;
}

status slurm_mark_parts(const struct slurm_mark *mark,
                        bool (*part)(void *context, const struct member_part *part), void *context)
{
    struct reading reading = {.part = part, .context = context, .result = STATUS_OK};
    struct text_slice rest = mark->parts, head = cut(&rest, ';');
    uint64_t milli;

    if (mark->parts.bytes == 0)
        return STATUS_OK;
    reading.kind = cut(&head, '*');
    if (!is_name(reading.kind) || !decimal_read(cut(&head, '*'), SLICE_COMPUTE_MILLI_MAX, &milli) ||
        !decimal_read(head, SLICE_MEMORY_BYTES_MAX, &reading.told.memory_bytes))
        return STATUS_INVALID;
    reading.told.compute_milli = (uint32_t)milli;
    while (rest.bytes > 0 && reading.result == STATUS_OK && !reading.is_over) {
        struct text_slice hosts = cut(&rest, ';');
        status result;

        reading.places = cut(&hosts, '@');
        if (reading.places.bytes == 0)
            return STATUS_INVALID;
        result = slurm_hostlist_expand(hosts, host_read, &reading);
        if (result != STATUS_OK)
            return result;
    }
    return reading.result;
}
