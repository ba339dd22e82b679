#include "slurm_gres.h"

#include "check.h"

/* Cuts off what stands before the first comma outside of parentheses. */
static struct text_slice item_cut(struct text_slice *rest)
{
    struct text_slice item = {rest->data, 0};
    int depth = 0;

    while (item.bytes < rest->bytes) {
        char c = rest->data[item.bytes];

        if (c == ',' && depth <= 0)
            break;
        depth += (c == '(') - (c == ')');
        item.bytes++;
    }
    rest->data += item.bytes;
    rest->bytes -= item.bytes;
    if (rest->bytes > 0) {
        rest->data++;
        rest->bytes--;
    }
    return item;
}

static uint64_t unit_of(char c)
{
    switch (c) {
    case 'K':
    case 'k':
        return 1ull << 10;
    case 'M':
    case 'm':
        return 1ull << 20;
    case 'G':
    case 'g':
        return 1ull << 30;
    default:
        return 0;
    }
}

static bool count_read(struct text_slice text, uint64_t *out)
{
    uint64_t count = 0, unit = text.bytes > 1 ? unit_of(text.data[text.bytes - 1]) : 0;

    if (unit != 0)
        text.bytes--;
    if (text.bytes == 0)
        return false;
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        count = count * 10 + (uint64_t)(text.data[i] - '0');
        if (count > SLURM_GRES_COUNT_MAX)
            return false;
    }
    if (unit != 0 && count > SLURM_GRES_COUNT_MAX / unit)
        return false;
    *out = unit != 0 ? count * unit : count;
    return true;
}

/* The suffix in parentheses, if there is one. */
static bool suffix_cut(struct text_slice *item, struct slurm_gres *out)
{
    const char *open = item->bytes > 0 ? memchr(item->data, '(', item->bytes) : NULL;
    struct text_slice inside;

    if (open == NULL)
        return true;
    inside.data = open + 1;
    inside.bytes = item->bytes - (size_t)(inside.data - item->data);
    item->bytes = (size_t)(open - item->data);
    if (inside.bytes == 0 || inside.data[inside.bytes - 1] != ')')
        return false;
    inside.bytes--;
    if (text_slice_skip(&inside, "IDX:") && !text_slice_is(inside, "N/A"))
        out->indices = inside;
    return true;
}

static bool item_read(struct text_slice item, struct slurm_gres *out)
{
    struct text_slice words[3];
    unsigned count = 0;

    if (!suffix_cut(&item, out))
        return false;
    if (!text_slice_skip(&item, "gres/"))
        (void)text_slice_skip(&item, "gres:");
    for (;;) {
        size_t bytes = 0;

        while (bytes < item.bytes && item.data[bytes] != ':' && item.data[bytes] != '=')
            bytes++;
        if (count == ARRAY_COUNT(words) || bytes == 0)
            return false;
        words[count++] = (struct text_slice){item.data, bytes};
        if (bytes == item.bytes)
            break;
        item.data += bytes + 1;
        item.bytes -= bytes + 1;
    }
    out->name = words[0];
    out->count = 1;
    if (count == 1)
        return true;
    if (count_read(words[count - 1], &out->count)) {
        if (count == 3)
            out->type = words[1];
        return true;
    }
    out->type = words[1]; /* "gpu:h100": one of them */
    return count == 2;
}

status slurm_gres_next(struct text_slice *rest, struct slurm_gres *out)
{
    struct text_slice item;

    do {
        if (rest->bytes == 0)
            return STATUS_NOT_FOUND;
        item = item_cut(rest);
    } while (item.bytes == 0 || text_slice_is(item, "(null)") || text_slice_is(item, "N/A"));
    *out = (struct slurm_gres){.type = {"", 0}, .indices = {"", 0}};
    return item_read(item, out) ? STATUS_OK : STATUS_INVALID;
}
