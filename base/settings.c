#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "settings_private.h"

/* Reading goes text -> tree (settings_yaml.c) -> struct. The second half walks the table, not the
 * file: each row looks for its key, and what no row asked for is an unknown key. Recursion follows
 * the tables, whose depth is ours. A row's default is parsed by the same code as the file, so a
 * default that its own rules refuse is a programmer error and a CHECK. */

#define SCRATCH_BYTES_MAX   (32u << 20) /* 20,000 nodes and their texts */
#define COMPLAINT_BYTES_MAX 480u        /* fits a report's text with the key before it */
#define KNOWN_KEYS_SHOWN    12u

struct reader {
    const char *file;
    const struct setting *root_table;
    arena *memory;  /* the caller's: what the struct points to */
    arena *scratch; /* the tree; freed when done */
    struct settings_report *report;
    settings_document *document;
    bool is_default;                /* reading a row's fallback */
    char path[SETTINGS_PATH_BYTES]; /* dotted key of where we are, for messages */
};

/* --- the dotted path --- */

static size_t path_enter(struct reader *reader, const char *key)
{
    size_t before = strlen(reader->path);
    (void)snprintf(reader->path + before, sizeof reader->path - before, "%s%s",
                   before > 0 ? "." : "", key);
    return before;
}

static size_t path_enter_item(struct reader *reader, uint32_t index)
{
    size_t before = strlen(reader->path);
    (void)snprintf(reader->path + before, sizeof reader->path - before, "[%u]", index);
    return before;
}

static void path_leave(struct reader *reader, size_t before)
{
    reader->path[before] = '\0';
}

/* --- places --- */

static status place_remember(struct reader *reader, const void *address,
                             const struct settings_node *node)
{
    if (reader->is_default)
        return STATUS_OK;
    struct settings_place *place = arena_allocate(reader->memory, sizeof *place);
    if (place == NULL)
        return STATUS_NO_MEMORY;
    *place = (struct settings_place){reader->document->newest, address, node->line, node->column};
    reader->document->newest = place;
    return STATUS_OK;
}

/* --- unknown keys --- */

static size_t row_count(const struct setting *table)
{
    size_t count = 0;
    while (table[count].key != NULL)
        count++;
    return count;
}

static bool table_has(const struct setting *table, struct text_slice key)
{
    for (; table->key != NULL; table++) {
        if (text_slice_is(key, table->key))
            return true;
    }
    return false;
}

/* A section (at the top level) that has the key: the usual slip is a wrong indent. */
static const char *section_with(const struct reader *reader, struct text_slice key)
{
    for (const struct setting *row = reader->root_table; row->key != NULL; row++) {
        bool has_table = row->kind == SETTING_SECTION || row->kind == SETTING_LIST;
        if (has_table && table_has(row->table, key))
            return row->key;
    }
    return NULL;
}

static void report_unknown(struct reader *reader, const struct settings_node *child,
                           const struct setting *table)
{
    struct buffer text;
    buffer_init(&text, COMPLAINT_BYTES_MAX);
    const char *names[SETTINGS_KEY_COUNT_MAX];
    size_t count = row_count(table);
    CHECK(count <= ARRAY_COUNT(names));
    for (size_t i = 0; i < count; i++)
        names[i] = table[i].key;
    const char *nearest = settings_nearest(child->key, names, count);
    const char *section = section_with(reader, child->key);
    if (nearest != NULL) {
        buffer_append_format(&text, "did you mean \"%s\"?", nearest);
    } else if (section != NULL) {
        buffer_append_format(&text, "it belongs under \"%s\"", section);
    } else {
        buffer_append_text(&text, "known here:");
        for (size_t i = 0; i < count && i < KNOWN_KEYS_SHOWN; i++)
            buffer_append_format(&text, "%s %s", i > 0 ? "," : "", names[i]);
        if (count > KNOWN_KEYS_SHOWN)
            buffer_append_text(&text, ", ...");
    }
    bool is_top = reader->path[0] == '\0';
    settings_report_add(reader->report, child->key_line, child->key_column,
                        "unknown key \"%.*s\"%s%s; %s",
                        (int)(child->key.bytes < 100 ? child->key.bytes : 100), child->key.data,
                        is_top ? "" : " in ", reader->path, text.data != NULL ? text.data : "");
    buffer_deinit(&text);
}

/* --- values --- */

static status read_row(struct reader *reader, const struct setting *row,
                       const struct settings_node *node, const struct settings_node *parent,
                       void *target);

static status read_scalar(struct reader *reader, const struct setting *row,
                          const struct settings_node *node, void *address)
{
    if (node->kind == NODE_BROKEN)
        return STATUS_OK;
    if (node->kind != NODE_SCALAR) {
        settings_report_add(reader->report, node->line, node->column,
                            "%s: one value expected, not a %s", reader->path,
                            node->kind == NODE_MAPPING ? "section" : "list");
        return STATUS_OK;
    }
    struct buffer complaint;
    buffer_init(&complaint, COMPLAINT_BYTES_MAX);
    status result =
        settings_value_parse(row, node, reader->file, reader->memory, address, &complaint);
    if (result == STATUS_INVALID) {
        /* A value too long to be shown is cut by the buffer's ceiling, down to nothing. */
        settings_report_add(reader->report, node->line, node->column, "%s: %s", reader->path,
                            complaint.bytes > 0 ? complaint.data : "is far too long");
        result = STATUS_OK;
    }
    buffer_deinit(&complaint);
    return result;
}

static bool is_empty_plain(const struct settings_node *node)
{
    return node->kind == NODE_SCALAR && node->is_plain && node->text.bytes == 0;
}

/* `node` NULL or without content: all keys at their defaults. `parent` is the place for keys that
 * are missing. */
static status read_struct(struct reader *reader, const struct setting *table,
                          const struct settings_node *node, const struct settings_node *parent,
                          void *target)
{
    const struct settings_node *first = NULL;
    if (node != NULL && !is_empty_plain(node)) {
        if (node->kind == NODE_BROKEN)
            return STATUS_OK;
        if (node->kind != NODE_MAPPING) {
            settings_report_add(reader->report, node->line, node->column,
                                "%s%sa section of keys expected", reader->path,
                                reader->path[0] != '\0' ? ": " : "");
            return STATUS_OK;
        }
        first = node->first;
    }
    for (const struct settings_node *child = first; child != NULL; child = child->next) {
        if (!table_has(table, child->key))
            report_unknown(reader, child, table);
    }
    for (const struct setting *row = table; row->key != NULL; row++) {
        const struct settings_node *child = first;
        while (child != NULL && !text_slice_is(child->key, row->key))
            child = child->next;
        size_t before = path_enter(reader, row->key);
        status result = read_row(reader, row, child, node != NULL ? node : parent, target);
        path_leave(reader, before);
        if (result != STATUS_OK)
            return result;
    }
    return STATUS_OK;
}

static bool list_count_is_good(struct reader *reader, const struct setting *row,
                               const struct settings_node *node)
{
    double max = row->max > 0 ? row->max : (double)SETTINGS_LIST_COUNT_MAX;
    double count = (double)node->child_count;
    if (count >= row->min && count <= max)
        return true;
    settings_report_add(reader->report, node->line, node->column,
                        "%s: %u items, must be between %.0f and %.0f", reader->path,
                        node->child_count, row->min, max);
    return false;
}

/* One text in place of a list of one. */
static status read_one_text(struct reader *reader, const struct setting *row,
                            const struct settings_node *node, struct setting_list *list)
{
    const char **item = arena_allocate_array(reader->memory, 1, sizeof(*item));

    if (item == NULL)
        return STATUS_NO_MEMORY;
    *list = (struct setting_list){item, 1};
    status result = place_remember(reader, item, node);
    return result == STATUS_OK ? read_scalar(reader, row, node, item) : result;
}

static status read_list(struct reader *reader, const struct setting *row,
                        const struct settings_node *node, struct setting_list *list)
{
    if (node->kind == NODE_BROKEN)
        return STATUS_OK;
    if (node->kind == NODE_SCALAR && row->kind == SETTING_TEXT_LIST)
        return read_one_text(reader, row, node, list);
    if (node->kind != NODE_SEQUENCE) {
        settings_report_add(reader->report, node->line, node->column,
                            "%s: a list expected (lines that begin with \"- \")", reader->path);
        return STATUS_OK;
    }
    if (!list_count_is_good(reader, row, node))
        return STATUS_OK;
    size_t item_bytes = row->kind == SETTING_LIST ? row->item_bytes : sizeof(const char *);
    char *items = arena_allocate_array(reader->memory, node->child_count, item_bytes);
    if (items == NULL)
        return STATUS_NO_MEMORY;
    *list = (struct setting_list){items, node->child_count};
    uint32_t index = 0;
    for (const struct settings_node *child = node->first; child != NULL;
         child = child->next, index++) {
        void *item = items + index * item_bytes;
        size_t before = path_enter_item(reader, index);
        status result = place_remember(reader, item, child);
        if (result == STATUS_OK)
            result = row->kind == SETTING_LIST ? read_struct(reader, row->table, child, child, item)
                                               : read_scalar(reader, row, child, item);
        path_leave(reader, before);
        if (result != STATUS_OK)
            return result;
    }
    return STATUS_OK;
}

static status read_value(struct reader *reader, const struct setting *row,
                         const struct settings_node *node, void *address)
{
    if (row->kind == SETTING_LIST || row->kind == SETTING_TEXT_LIST)
        return read_list(reader, row, node, address);
    return read_scalar(reader, row, node, address);
}

/* The fallback is YAML too; only lists and quoted texts need the parser. "" is the empty text. */
static status read_fallback(struct reader *reader, const struct setting *row, void *address)
{
    struct settings_node scalar = {.kind = NODE_SCALAR, .text = text_slice_of(row->fallback)};
    struct settings_node *node = &scalar;
    uint32_t errors_before = reader->report->error_count;
    scalar.is_plain = scalar.text.bytes > 0;
    if (scalar.is_plain && strchr("[\"'", row->fallback[0]) != NULL) {
        status result = settings_parse_yaml(scalar.text, reader->scratch, reader->report, &node);
        CHECK(result == STATUS_OK || result == STATUS_NO_MEMORY);
        if (result != STATUS_OK)
            return result;
    }
    reader->is_default = true;
    status result = read_value(reader, row, node, address);
    reader->is_default = false;
    if (row->kind != SETTING_PATH) /* a default path may need HOME, which is the outside's matter */
        CHECK(reader->report->error_count == errors_before ||
              errors_before == SETTINGS_ERROR_COUNT_MAX);
    return result;
}

static status read_row(struct reader *reader, const struct setting *row,
                       const struct settings_node *node, const struct settings_node *parent,
                       void *target)
{
    void *address = (char *)target + row->offset;
    CHECK(parent != NULL);
    status result = place_remember(reader, address, node != NULL ? node : parent);
    if (result != STATUS_OK)
        return result;
    if (row->kind == SETTING_SECTION)
        return read_struct(reader, row->table, node, parent, address);
    if (node != NULL)
        return read_value(reader, row, node, address);
    if (row->fallback != NULL)
        return read_fallback(reader, row, address);
    bool is_list = row->kind == SETTING_LIST || row->kind == SETTING_TEXT_LIST;
    if (!is_list || row->min > 0)
        settings_report_add(reader->report, parent->line, parent->column, "%s is missing: %s",
                            reader->path, row->help);
    return STATUS_OK;
}

status settings_read_text(struct text_slice text, const char *file, const struct setting *table,
                          void *target, arena *memory, struct settings_report *report,
                          settings_document **document)
{
    struct reader reader = {.file = file, .root_table = table, .memory = memory, .report = report};
    struct settings_node *root = NULL;
    *report = (struct settings_report){.file = file};
    reader.document = arena_allocate(memory, sizeof *reader.document);
    if (reader.document == NULL)
        return STATUS_NO_MEMORY;
    if (text.bytes > SETTINGS_FILE_BYTES_MAX) {
        settings_report_add(report, 0, 0, "larger than %u bytes", SETTINGS_FILE_BYTES_MAX);
        return STATUS_INVALID;
    }
    status result = arena_create(SCRATCH_BYTES_MAX, &reader.scratch);
    if (result != STATUS_OK)
        return result;
    result = settings_parse_yaml(text, reader.scratch, report, &root);
    if (result == STATUS_OK)
        result = read_struct(&reader, table, root, root, target);
    arena_destroy(reader.scratch);
    if (result != STATUS_OK)
        return result;
    if (document != NULL)
        *document = reader.document;
    return report->error_count == 0 ? STATUS_OK : STATUS_INVALID;
}

/* Whole file into `out`. */
static status file_read(const char *file, struct buffer *out)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return STATUS_IO;
    status result = STATUS_OK;
    for (;;) {
        char piece[16384];
        ssize_t bytes = read(fd, piece, sizeof piece);
        if (bytes < 0 && errno == EINTR)
            continue;
        if (bytes < 0)
            result = STATUS_IO;
        if (bytes <= 0)
            break;
        buffer_append(out, piece, (size_t)bytes);
        if (out->failed != STATUS_OK) {
            result = out->failed;
            break;
        }
    }
    int reason = errno;
    (void)close(fd); /* nothing was written */
    errno = reason;
    return result;
}

status settings_read(const char *file, const struct setting *table, void *target, arena *memory,
                     struct settings_report *report, settings_document **document)
{
    struct buffer text;
    buffer_init(&text, SETTINGS_FILE_BYTES_MAX);
    *report = (struct settings_report){.file = file};
    status result = file_read(file, &text);
    if (result == STATUS_IO) {
        char reason[128];
        settings_report_add(report, 0, 0, "cannot be read: %s",
                            strerror_r(errno, reason, sizeof reason));
    } else if (result == STATUS_TOO_LARGE) {
        settings_report_add(report, 0, 0, "larger than %u bytes", SETTINGS_FILE_BYTES_MAX);
        result = STATUS_INVALID;
    } else if (result == STATUS_OK) {
        result =
            settings_read_text(buffer_slice(&text), file, table, target, memory, report, document);
    }
    buffer_deinit(&text);
    return result;
}
