/* Text up to a mark, as rules: the automaton that looks for the mark (Knuth, Morris and Pratt, 1977), written as a regular
 * expression. A mark's first character stands in it once, so a search that fails goes back to its beginning, or to behind that
 * character, and nowhere else:
 *
 *     plain ::= (not the first | first back away)*     nothing of the mark has come
 *     back  ::= detours that end behind the first character again
 *     away  ::= detours that end where nothing of it has come */

#include "tool_text.h"

void tool_literal_write(struct buffer *out, struct text_slice text)
{
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.bytes; i++) {
        char c = text.data[i];
        if (c == '"' || c == '\\')
            buffer_append_format(out, "\\%c", c);
        else if ((unsigned char)c < 0x20)
            buffer_append_format(out, "\\x%02x", (unsigned)c);
        else
            buffer_append_byte(out, c);
    }
    buffer_append_byte(out, '"');
}

/* One character inside a class. */
static void write_class_character(struct buffer *out, char c)
{
    if (c == ']' || c == '\\' || c == '-' || c == '^')
        buffer_append_byte(out, '\\');
    buffer_append_byte(out, c);
}

/* The length of the first character. */
static size_t character_bytes(const char *text)
{
    size_t bytes = 1;
    while (((unsigned char)text[bytes] & 0xC0u) == 0x80u)
        bytes++;
    return bytes;
}

static void write_character(struct buffer *out, const char *text, size_t bytes)
{
    if (bytes == 1)
        write_class_character(out, text[0]);
    else
        buffer_append(out, text, bytes);
}

/* (p0 | p1 | ...): what follows the mark's first character and leads back to it (`is_back`), or away from it. */
static void write_detours(struct buffer *out, const char *mark, bool is_back)
{
    size_t first = character_bytes(mark);
    const char *separator = "(";
    for (size_t at = first; mark[at] != '\0'; at += character_bytes(mark + at)) {
        buffer_append_text(out, separator);
        separator = " | ";
        if (at > first) {
            tool_literal_write(out, (struct text_slice){mark + first, at - first});
            buffer_append_byte(out, ' ');
        }
        if (is_back) {
            tool_literal_write(out, (struct text_slice){mark, first});
            continue;
        }
        buffer_append_text(out, "[^");
        write_character(out, mark, first);
        write_character(out, mark + at, character_bytes(mark + at));
        buffer_append_byte(out, ']');
    }
    buffer_append_byte(out, ')');
}

void tool_text_write(struct buffer *out, const char *name, const char *mark)
{
    size_t first = character_bytes(mark);
    buffer_append_format(out, "%s-back ::= ", name);
    write_detours(out, mark, true);
    buffer_append_format(out, "*\n%s-away ::= ", name);
    write_detours(out, mark, false);
    buffer_append_format(out, "\n%s-plain ::= ([^", name);
    write_character(out, mark, first);
    buffer_append_text(out, "] | ");
    tool_literal_write(out, (struct text_slice){mark, first});
    buffer_append_format(out, " %s-back %s-away)*\n", name, name);
    /* up to and with the mark */
    buffer_append_format(out, "%s ::= %s-plain ", name, name);
    tool_literal_write(out, (struct text_slice){mark, first});
    buffer_append_format(out, " %s-back ", name);
    tool_literal_write(out, text_slice_of(mark + first));
    /* and text that has none: its end may look like a beginning */
    buffer_append_format(out, "\n%s-none ::= %s-plain (", name, name);
    tool_literal_write(out, (struct text_slice){mark, first});
    buffer_append_format(out, " %s-back (\"\"", name);
    for (size_t at = first; mark[at] != '\0'; at += character_bytes(mark + at)) {
        if (at == first)
            continue;
        buffer_append_text(out, " | ");
        tool_literal_write(out, (struct text_slice){mark + first, at - first});
    }
    buffer_append_text(out, "))?\n");
}
