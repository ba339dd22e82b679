#include <stdio.h>

#include "roff.h"
#include "settings_private.h"

#define PATH_MAX_BYTES 256u

static void write_rows(const char *path, const struct setting *table, struct buffer *out);

static void write_paragraph(const char *text, struct buffer *out)
{
    buffer_append_text(out, ".IP\n");
    roff_append(out, text);
    buffer_append_byte(out, '\n');
}

static void write_row(const char *path, const struct setting *row, struct buffer *out)
{
    struct buffer facts;
    buffer_append_text(out, ".TP\n.B ");
    roff_append(out, path);
    buffer_append_byte(out, '\n');
    buffer_init(&facts, 4096);
    settings_facts_write(row, &facts);
    roff_append(out, facts.data != NULL ? facts.data : "");
    buffer_append_byte(out, '\n');
    buffer_deinit(&facts);
    write_paragraph(row->help, out);
    if (row->danger != NULL) {
        buffer_append_text(out, ".IP\n.I Danger:\n");
        roff_append(out, row->danger);
        buffer_append_byte(out, '\n');
    }
}

static void write_section(const char *path, const struct setting *row, struct buffer *out)
{
    buffer_append_text(out, ".SS ");
    roff_append(out, path);
    buffer_append_byte(out, '\n');
    roff_append(out, row->help);
    buffer_append_byte(out, '\n');
}

static void write_rows(const char *path, const struct setting *table, struct buffer *out)
{
    for (const struct setting *row = table; row->key != NULL; row++) {
        char own[PATH_MAX_BYTES];
        const char *dot = path[0] != '\0' ? "." : "";
        (void)snprintf(own, sizeof own, "%s%s%s%s", path, dot, row->key,
                       row->kind == SETTING_LIST ? "[]" : "");
        if (row->kind == SETTING_SECTION)
            write_section(own, row, out);
        else
            write_row(own, row, out);
        if (row->kind == SETTING_SECTION || row->kind == SETTING_LIST)
            write_rows(own, row->table, out);
    }
}

void settings_write_manual(const struct setting *table, struct buffer *out)
{
    write_rows("", table, out);
}
