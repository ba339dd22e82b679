#include <yaml.h>

#include "check.h"
#include "settings_private.h"

/* Builds the tree from libyaml's events with a stack of our own, so nesting costs no C stack.
 * Anchors, aliases, tags and second documents have no use in a config and much in an attack: each
 * is an error at its place. */

struct tree_builder {
    arena *scratch;
    struct settings_report *report;
    struct settings_node *stack[SETTINGS_DEPTH_MAX]; /* open containers */
    uint32_t depth;
    uint32_t node_count;
    uint32_t document_count;
    struct settings_node *root;
    struct settings_node *pending_key; /* scalar read as key of the innermost mapping */
};

static struct settings_node *node_create(struct tree_builder *builder, enum node_kind kind,
                                         const yaml_mark_t *mark)
{
    struct settings_node *node = arena_allocate(builder->scratch, sizeof *node);
    if (node == NULL)
        return NULL;
    node->kind = kind;
    node->line = (uint32_t)mark->line + 1;
    node->column = (uint32_t)mark->column + 1;
    return node;
}

/* Gives the key that waits to its value. A key that is there already is reported, and its new value
 * left out. */
static bool take_key(struct tree_builder *builder, struct settings_node *mapping,
                     struct settings_node *node)
{
    const struct settings_node *key = builder->pending_key;
    builder->pending_key = NULL;
    for (const struct settings_node *child = mapping->first; child != NULL; child = child->next) {
        if (text_slice_equals(child->key, key->text)) {
            settings_report_add(builder->report, key->line, key->column,
                                "key \"%.*s\" twice (first at line %u): remove one",
                                (int)key->text.bytes, key->text.data, child->key_line);
            return false;
        }
    }
    if (mapping->child_count == SETTINGS_KEY_COUNT_MAX) {
        settings_report_add(builder->report, key->line, key->column,
                            "more than %u keys in one section", SETTINGS_KEY_COUNT_MAX);
        return false;
    }
    node->key = key->text;
    node->key_line = key->line;
    node->key_column = key->column;
    return true;
}

/* Hangs a finished or just opened node into the tree. */
static status node_attach(struct tree_builder *builder, struct settings_node *node)
{
    if (builder->depth == 0) {
        builder->root = node;
        return STATUS_OK;
    }
    struct settings_node *parent = builder->stack[builder->depth - 1];
    CHECK(parent != NULL);
    if (parent->kind == NODE_MAPPING) {
        if (builder->pending_key == NULL) {
            if (node->kind != NODE_SCALAR) {
                settings_report_add(builder->report, node->line, node->column,
                                    "a key must be a plain word");
                return STATUS_INVALID;
            }
            builder->pending_key = node;
            return STATUS_OK;
        }
        if (!take_key(builder, parent, node))
            return STATUS_OK;
    }
    if (parent->last != NULL)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->child_count++;
    return STATUS_OK;
}

static status container_open(struct tree_builder *builder, struct settings_node *node)
{
    status result = node_attach(builder, node);
    if (result != STATUS_OK)
        return result;
    if (builder->depth == SETTINGS_DEPTH_MAX) {
        settings_report_add(builder->report, node->line, node->column, "nesting deeper than %u",
                            SETTINGS_DEPTH_MAX);
        return STATUS_INVALID;
    }
    builder->stack[builder->depth++] = node;
    return STATUS_OK;
}

static void refuse_extras(struct tree_builder *builder, const yaml_mark_t *mark, bool has_anchor,
                          bool has_tag)
{
    uint32_t line = (uint32_t)mark->line + 1;
    uint32_t column = (uint32_t)mark->column + 1;
    if (has_anchor)
        settings_report_add(builder->report, line, column,
                            "anchors are not supported: write the value out");
    if (has_tag)
        settings_report_add(builder->report, line, column, "tags are not supported: remove it");
}

static status scalar_add(struct tree_builder *builder, const yaml_event_t *event)
{
    struct settings_node *node = node_create(builder, NODE_SCALAR, &event->start_mark);
    if (node == NULL)
        return STATUS_NO_MEMORY;
    refuse_extras(builder, &event->start_mark, event->data.scalar.anchor != NULL,
                  event->data.scalar.tag != NULL);
    node->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text.bytes = event->data.scalar.length;
    node->text.data =
        arena_copy_text(builder->scratch, (const char *)event->data.scalar.value, node->text.bytes);
    if (node->text.data == NULL)
        return STATUS_NO_MEMORY;
    return node_attach(builder, node);
}

static status alias_refuse(struct tree_builder *builder, const yaml_event_t *event)
{
    struct settings_node *node = node_create(builder, NODE_BROKEN, &event->start_mark);
    if (node == NULL)
        return STATUS_NO_MEMORY;
    settings_report_add(builder->report, node->line, node->column,
                        "aliases are not supported: write the value out");
    return node_attach(builder, node);
}

static status sequence_open(struct tree_builder *builder, const yaml_event_t *event)
{
    struct settings_node *node = node_create(builder, NODE_SEQUENCE, &event->start_mark);
    refuse_extras(builder, &event->start_mark, event->data.sequence_start.anchor != NULL,
                  event->data.sequence_start.tag != NULL);
    return node != NULL ? container_open(builder, node) : STATUS_NO_MEMORY;
}

static status mapping_open(struct tree_builder *builder, const yaml_event_t *event)
{
    struct settings_node *node = node_create(builder, NODE_MAPPING, &event->start_mark);
    refuse_extras(builder, &event->start_mark, event->data.mapping_start.anchor != NULL,
                  event->data.mapping_start.tag != NULL);
    return node != NULL ? container_open(builder, node) : STATUS_NO_MEMORY;
}

static status document_open(struct tree_builder *builder, const yaml_event_t *event)
{
    if (++builder->document_count == 1)
        return STATUS_OK;
    settings_report_add(builder->report, (uint32_t)event->start_mark.line + 1, 1,
                        "a second document: a config is one document, remove the \"---\"");
    return STATUS_INVALID;
}

static status event_take(struct tree_builder *builder, const yaml_event_t *event)
{
    bool is_node = event->type == YAML_SCALAR_EVENT || event->type == YAML_SEQUENCE_START_EVENT ||
                   event->type == YAML_MAPPING_START_EVENT || event->type == YAML_ALIAS_EVENT;
    if (is_node && ++builder->node_count > SETTINGS_NODE_COUNT_MAX) {
        settings_report_add(builder->report, (uint32_t)event->start_mark.line + 1, 1,
                            "more than %u values", SETTINGS_NODE_COUNT_MAX);
        return STATUS_INVALID;
    }
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return document_open(builder, event);
    case YAML_SCALAR_EVENT:
        return scalar_add(builder, event);
    case YAML_ALIAS_EVENT:
        return alias_refuse(builder, event);
    case YAML_SEQUENCE_START_EVENT:
        return sequence_open(builder, event);
    case YAML_MAPPING_START_EVENT:
        return mapping_open(builder, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        builder->depth--;
        return STATUS_OK;
    default:
        return STATUS_OK;
    }
}

static status report_parser(const yaml_parser_t *parser, struct settings_report *report)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return STATUS_NO_MEMORY;
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";
    if (parser->error == YAML_READER_ERROR)
        settings_report_add(report, 0, 0, "%s at byte %zu: the file must be UTF-8 text", problem,
                            parser->problem_offset);
    else
        settings_report_add(report, (uint32_t)parser->problem_mark.line + 1,
                            (uint32_t)parser->problem_mark.column + 1, "%s%s%s", problem,
                            parser->context != NULL ? " " : "",
                            parser->context != NULL ? parser->context : "");
    return STATUS_INVALID;
}

static status events_read(yaml_parser_t *parser, struct tree_builder *builder)
{
    for (;;) {
        yaml_event_t event;
        if (yaml_parser_parse(parser, &event) == 0)
            return report_parser(parser, builder->report);
        bool is_end = event.type == YAML_STREAM_END_EVENT;
        status result = event_take(builder, &event);
        yaml_event_delete(&event);
        if (result != STATUS_OK || is_end)
            return result;
    }
}

status settings_parse_yaml(struct text_slice text, arena *scratch, struct settings_report *report,
                           struct settings_node **root)
{
    struct tree_builder builder = {.scratch = scratch, .report = report};
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) == 0)
        return STATUS_NO_MEMORY;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.bytes > 0 ? text.data : ""),
                                 text.bytes);
    status result = events_read(&parser, &builder);
    yaml_parser_delete(&parser);
    if (result != STATUS_OK)
        return result;
    if (builder.root == NULL) {
        yaml_mark_t start = {0, 0, 0};
        builder.root = node_create(&builder, NODE_MAPPING, &start);
        if (builder.root == NULL)
            return STATUS_NO_MEMORY;
    }
    *root = builder.root;
    return STATUS_OK;
}
