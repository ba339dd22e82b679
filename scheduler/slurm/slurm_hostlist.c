#include "slurm_hostlist.h"

#include <stdio.h>
#include <string.h>

#define DIGITS_MAX 9u

/* One name with brackets: what stands before each bracket, and its content. */
struct pattern {
    struct text_slice before[SLURM_BRACKETS_MAX], inside[SLURM_BRACKETS_MAX], tail;
    unsigned bracket_count;
};

/* A number of a bracket's list, and where the list goes on. */
struct range {
    uint32_t at, last;
    int width;
    struct text_slice rest;
};

struct expansion {
    bool (*host)(void *context, const char *name);
    void *context;
    uint32_t host_count;
};

static bool number_read(struct text_slice *text, uint32_t *out, int *width)
{
    uint32_t value = 0;
    unsigned digits = 0;

    while (text->bytes > 0 && text->data[0] >= '0' && text->data[0] <= '9') {
        if (++digits > DIGITS_MAX)
            return false;
        value = value * 10 + (uint32_t)(text->data[0] - '0');
        text->data++;
        text->bytes--;
    }
    *out = value;
    *width = (int)digits;
    return digits > 0;
}

/* The next of "0-3,07-09"; `rest` begins behind the comma. */
static bool range_read(struct range *range)
{
    int width;

    if (!number_read(&range->rest, &range->at, &range->width))
        return false;
    range->last = range->at;
    if (text_slice_skip(&range->rest, "-") && !number_read(&range->rest, &range->last, &width))
        return false;
    return range->last >= range->at && (range->rest.bytes == 0 || range->rest.data[0] == ',');
}

static bool pattern_read(struct text_slice item, struct pattern *out)
{
    *out = (struct pattern){.tail = item};
    for (;;) {
        struct text_slice tail = out->tail;
        const char *open = tail.bytes > 0 ? memchr(tail.data, '[', tail.bytes) : NULL;
        const char *close;
        size_t before;

        if (open == NULL)
            return tail.bytes == 0 || memchr(tail.data, ']', tail.bytes) == NULL;
        before = (size_t)(open - tail.data);
        close = memchr(open, ']', tail.bytes - before);
        if (close == NULL || out->bracket_count == SLURM_BRACKETS_MAX)
            return false;
        out->before[out->bracket_count] = (struct text_slice){tail.data, before};
        out->inside[out->bracket_count++] =
            (struct text_slice){open + 1, (size_t)(close - open) - 1};
        out->tail = (struct text_slice){close + 1, tail.bytes - (size_t)(close + 1 - tail.data)};
    }
}

static status name_tell(const struct pattern *pattern, const struct range *ranges,
                        struct expansion *expansion, bool *is_wanted)
{
    char name[SLURM_HOST_BYTES_MAX + 1];
    size_t used = 0;

    for (unsigned i = 0; i <= pattern->bracket_count; i++) {
        bool is_tail = i == pattern->bracket_count;
        struct text_slice text = is_tail ? pattern->tail : pattern->before[i];
        int wrote = snprintf(name + used, sizeof(name) - used, "%.*s", (int)text.bytes, text.data);

        used += (size_t)wrote;
        if (used < sizeof(name) && !is_tail) {
            wrote =
                snprintf(name + used, sizeof(name) - used, "%0*u", ranges[i].width, ranges[i].at);
            used += (size_t)wrote;
        }
        if (used >= sizeof(name))
            return STATUS_TOO_LARGE;
    }
    if (used == 0)
        return STATUS_INVALID;
    if (++expansion->host_count > SLURM_HOSTS_MAX)
        return STATUS_TOO_LARGE;
    *is_wanted = expansion->host(expansion->context, name);
    return STATUS_OK;
}

/* The next combination, the last bracket first. STATUS_NOT_FOUND: that was the last. */
static status ranges_step(const struct pattern *pattern, struct range *ranges)
{
    for (unsigned i = pattern->bracket_count; i-- > 0;) {
        if (ranges[i].at < ranges[i].last) {
            ranges[i].at++;
            return STATUS_OK;
        }
        if (ranges[i].rest.bytes > 0) {
            ranges[i].rest.data++; /* the comma */
            ranges[i].rest.bytes--;
            return range_read(&ranges[i]) ? STATUS_OK : STATUS_INVALID;
        }
        ranges[i].rest = pattern->inside[i];
        if (!range_read(&ranges[i]))
            return STATUS_INVALID;
    }
    return STATUS_NOT_FOUND;
}

static status pattern_expand(struct text_slice item, struct expansion *expansion, bool *is_wanted)
{
    struct range ranges[SLURM_BRACKETS_MAX];
    struct pattern pattern;
    status result;

    if (item.bytes > INT16_MAX || !pattern_read(item, &pattern))
        return item.bytes > INT16_MAX ? STATUS_TOO_LARGE : STATUS_INVALID;
    for (unsigned i = 0; i < pattern.bracket_count; i++) {
        ranges[i].rest = pattern.inside[i];
        if (!range_read(&ranges[i]))
            return STATUS_INVALID;
    }
    do {
        result = name_tell(&pattern, ranges, expansion, is_wanted);
        if (result == STATUS_OK && *is_wanted)
            result = ranges_step(&pattern, ranges);
        else
            break;
    } while (result == STATUS_OK);
    return result == STATUS_NOT_FOUND ? STATUS_OK : result;
}

status slurm_hostlist_expand(struct text_slice text, bool (*host)(void *context, const char *name),
                             void *context)
{
    struct expansion expansion = {host, context, 0};
    bool is_wanted = true;

    while (text.bytes > 0 && is_wanted) {
        struct text_slice item = {text.data, 0};
        bool is_inside = false;
        status result;

        for (; item.bytes < text.bytes; item.bytes++) {
            char c = text.data[item.bytes];

            if (c == ',' && !is_inside)
                break;
            is_inside = c == '[' || (is_inside && c != ']');
        }
        result = item.bytes > 0 ? pattern_expand(item, &expansion, &is_wanted) : STATUS_INVALID;
        if (result != STATUS_OK)
            return result;
        text.data += item.bytes;
        text.bytes -= item.bytes;
        if (text.bytes == 1)
            return STATUS_INVALID; /* a comma at the end */
        if (text.bytes > 0) {
            text.data++;
            text.bytes--;
        }
    }
    return STATUS_OK;
}
