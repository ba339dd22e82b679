#include "roff.h"

void roff_append(struct buffer *out, const char *text)
{
    bool is_line_start = out->bytes == 0 || out->data[out->bytes - 1] == '\n';
    for (; *text != '\0'; text++) {
        if (is_line_start && (*text == '.' || *text == '\''))
            buffer_append_text(out, "\\&");
        if (*text == '\\')
            buffer_append_text(out, "\\e");
        else if (*text == '-')
            buffer_append_text(out, "\\-");
        else
            buffer_append_byte(out, *text);
        is_line_start = *text == '\n';
    }
}
