/* A row in words: its kind, words, range, default and when it takes effect. */
#include "settings_private.h"

static const char *const reload_texts[] = {[RELOAD_LIVE] = "takes effect on reload",
                                           [RELOAD_ROLLOUT] =
                                               "on reload the model's replicas are replaced",
                                           [RELOAD_RESTART] = "needs a restart"};

static const char *kind_name(const struct setting *row)
{
    switch (row->kind) {
    case SETTING_BOOL:
        return "true or false";
    case SETTING_INT:
        return "whole number";
    case SETTING_FLOAT:
        return "number";
    case SETTING_BYTES:
        return "size";
    case SETTING_DURATION:
        return "duration";
    case SETTING_TEXT:
        return "text";
    case SETTING_PATH:
        return "path (~/ is the home folder; relative to this file)";
    case SETTING_ENUM:
        return "one of";
    case SETTING_TEXT_LIST:
        return "text, or list of texts";
    case SETTING_LIST:
        return "list";
    case SETTING_SECTION:
        break;
    }
    return "section";
}

static bool is_list(const struct setting *row)
{
    return row->kind == SETTING_LIST || row->kind == SETTING_TEXT_LIST;
}

bool settings_is_required(const struct setting *row)
{
    return row->fallback == NULL && (!is_list(row) || row->min > 0);
}

void settings_facts_write(const struct setting *row, struct buffer *out)
{
    buffer_append_text(out, kind_name(row));
    if (row->kind == SETTING_ENUM) {
        for (const char *const *word = row->words; *word != NULL; word++)
            buffer_append_format(out, "%s %s", word == row->words ? "" : ",", *word);
    }
    if (is_list(row)) {
        double max = row->max > 0 ? row->max : (double)SETTINGS_LIST_COUNT_MAX;
        buffer_append_format(out, ", %.0f to %.0f items", row->min, max);
    } else {
        struct buffer range;
        buffer_init(&range, 256);
        settings_value_write_range(row, &range);
        if (range.bytes > 0)
            buffer_append_format(out, " %s", range.data);
        buffer_deinit(&range);
    }
    if (settings_is_required(row))
        buffer_append_text(out, "; required");
    else if (row->fallback != NULL)
        buffer_append_format(out, "; default %s",
                             row->fallback[0] != '\0' ? row->fallback : "\"\"");
    buffer_append_format(out, "; %s", reload_texts[row->reload]);
}
