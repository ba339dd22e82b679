#include "decimal.h"

bool decimal_take(struct text_slice *text, uint64_t max, uint64_t *out)
{
    uint64_t number = 0;
    size_t at = 0;

    for (; at < text->bytes && text->data[at] >= '0' && text->data[at] <= '9'; at++) {
        uint64_t digit = (uint64_t)(text->data[at] - '0');

        if (digit > max || number > (max - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    if (at == 0)
        return false;
    *out = number;
    *text = (struct text_slice){text->data + at, text->bytes - at};
    return true;
}

bool decimal_read(struct text_slice text, uint64_t max, uint64_t *out)
{
    uint64_t number;

    if (!decimal_take(&text, max, &number) || text.bytes > 0)
        return false;
    *out = number;
    return true;
}
