#include <stdio.h>
#include <string.h>

#include "settings_private.h"

/* The manual is YAML that can be used as it stands: what has a default is commented out, what must
 * be given has an example, and a list that may be empty is commented out as a whole. */

#define REFERENCE_WIDTH 100u

struct place {
    uint32_t indent;       /* columns */
    bool is_off;           /* inside a list that is commented out as a whole */
    bool is_first_of_item; /* the next key begins a list item: "- " before it */
};

static void write_indent(const struct place *place, struct buffer *out)
{
    if (place->is_off)
        buffer_append_byte(out, '#');
    for (uint32_t i = 0; i < place->indent; i++)
        buffer_append_byte(out, ' ');
}

/* A comment paragraph, broken at spaces. Newlines of the text stay. */
static void write_comment(const struct place *place, const char *text, struct buffer *out)
{
    size_t width = REFERENCE_WIDTH - place->indent - 2;
    while (*text != '\0') {
        size_t line = strcspn(text, "\n");
        size_t bytes = line;
        if (bytes > width) {
            bytes = width;
            while (bytes > 0 && text[bytes] != ' ')
                bytes--;
            if (bytes == 0) /* one long word */
                bytes = line;
        }
        write_indent(place, out);
        buffer_append_text(out, bytes > 0 ? "# " : "#");
        buffer_append(out, text, bytes);
        buffer_append_byte(out, '\n');
        text += bytes;
        if (*text == ' ' || *text == '\n')
            text++;
    }
}

static void write_facts(const struct place *place, const struct setting *row, struct buffer *out)
{
    struct buffer facts;
    buffer_init(&facts, 4096);
    settings_facts_write(row, &facts);
    if (facts.data != NULL)
        write_comment(place, facts.data, out);
    buffer_deinit(&facts);
}

/* What stands for a value that has no default. */
static void write_example(const struct setting *row, struct buffer *out)
{
    switch (row->kind) {
    case SETTING_BOOL:
        buffer_append_text(out, "false");
        break;
    case SETTING_INT:
    case SETTING_FLOAT:
    case SETTING_BYTES:
        buffer_append_format(out, "%.0f", row->min);
        break;
    case SETTING_DURATION:
        buffer_append_format(out, "%.0fns", row->min);
        break;
    case SETTING_PATH:
        buffer_append_text(out, "/path/to/file");
        break;
    case SETTING_ENUM:
        buffer_append_text(out, row->words[0]);
        break;
    case SETTING_TEXT_LIST:
        buffer_append_text(out, row->min > 0 ? "[example]" : "[]");
        break;
    case SETTING_TEXT:
    case SETTING_SECTION:
    case SETTING_LIST:
        buffer_append_text(out, "example");
        break;
    }
}

static void write_table(struct place place, const struct setting *table, struct buffer *out);

static void write_leaf(const struct place *place, const struct setting *row, struct buffer *out)
{
    write_indent(place, out);
    if (place->is_first_of_item)
        buffer_append_text(out, "- ");
    else if (!settings_is_required(row))
        buffer_append_text(out, place->is_off ? "# " : "#");
    buffer_append_format(out, "%s: ", row->key);
    if (row->fallback == NULL)
        write_example(row, out);
    else
        buffer_append_text(out, row->fallback[0] != '\0' ? row->fallback : "\"\"");
    buffer_append_byte(out, '\n');
}

static void write_list(struct place place, const struct setting *row, struct buffer *out)
{
    if (row->min <= 0)
        place.is_off = true;
    write_indent(&place, out);
    buffer_append_format(out, "%s:\n", row->key);
    place.indent += 2;
    place.is_first_of_item = true;
    write_table(place, row->table, out);
}

static void write_row(const struct place *place, const struct setting *row, struct buffer *out)
{
    write_comment(place, row->help, out);
    if (row->danger != NULL) {
        char danger[1024];
        (void)snprintf(danger, sizeof danger, "Danger: %s", row->danger);
        write_comment(place, danger, out);
    }
    if (row->kind == SETTING_SECTION) {
        write_indent(place, out);
        buffer_append_format(out, "%s:\n", row->key);
        struct place inside = {place->indent + 2, place->is_off, false};
        write_table(inside, row->table, out);
        return;
    }
    write_facts(place, row, out);
    if (row->kind == SETTING_LIST)
        write_list(*place, row, out);
    else
        write_leaf(place, row, out);
}

static void write_table(struct place place, const struct setting *table, struct buffer *out)
{
    for (const struct setting *row = table; row->key != NULL; row++) {
        if (row != table) {
            if (place.is_off)
                buffer_append_byte(out, '#');
            buffer_append_byte(out, '\n');
        }
        write_row(&place, row, out);
        if (place.is_first_of_item) {
            place.is_first_of_item = false;
            place.indent += 2; /* behind the "- " */
        }
    }
}

void settings_write_reference(const struct setting *table, const char *preface, struct buffer *out)
{
    struct place top = {0, false, false};
    write_comment(&top, preface, out);
    buffer_append_byte(out, '\n');
    write_table(top, table, out);
}
