#include <stdbool.h>
#include <string.h>
#include <yaml.h>

#include "kube_text.h"

#define DEPTH_MAX  32
#define VALUES_MAX 100000u /* aliases count each time they are used */

struct yaml_tree {
    yaml_document_t document;
    uint32_t values_left;
};

static json_t *node_build(struct yaml_tree *tree, int index, int depth);

static json_t *scalar_build(const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
        (*text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0))
        return json_null();
    return json_stringn(text, node->data.scalar.length);
}

static json_t *sequence_build(struct yaml_tree *tree, const yaml_node_t *node, int depth)
{
    json_t *array = json_array();
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         array != NULL && item < node->data.sequence.items.top; item++) {
        json_t *value = node_build(tree, *item, depth);
        if (value == NULL || json_array_append_new(array, value) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *mapping_build(struct yaml_tree *tree, const yaml_node_t *node, int depth)
{
    json_t *object = json_object();
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         object != NULL && pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&tree->document, pair->key);
        json_t *value = key != NULL && key->type == YAML_SCALAR_NODE
                            ? node_build(tree, pair->value, depth)
                            : NULL;
        if (value == NULL ||
            json_object_set_new(object, (const char *)key->data.scalar.value, value) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* The depth is bounded, so is the recursion. */
static json_t *node_build(struct yaml_tree *tree, int index, int depth)
{
    const yaml_node_t *node = yaml_document_get_node(&tree->document, index);
    if (node == NULL || depth == DEPTH_MAX || tree->values_left == 0)
        return NULL;
    tree->values_left--;
    if (node->type == YAML_MAPPING_NODE)
        return mapping_build(tree, node, depth + 1);
    if (node->type == YAML_SEQUENCE_NODE)
        return sequence_build(tree, node, depth + 1);
    return scalar_build(node);
}

status kube_yaml_read(struct text_slice text, json_t **out, struct error_note *note)
{
    yaml_parser_t parser;
    struct yaml_tree tree = {.values_left = VALUES_MAX};
    if (yaml_parser_initialize(&parser) == 0)
        return STATUS_NO_MEMORY;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.bytes);
    if (yaml_parser_load(&parser, &tree.document) == 0) {
        error_note_set(note, "line %zu: %s", parser.problem_mark.line + 1,
                       parser.problem != NULL ? parser.problem : "broken YAML");
        yaml_parser_delete(&parser);
        return STATUS_INVALID;
    }
    *out = yaml_document_get_root_node(&tree.document) != NULL ? node_build(&tree, 1, 0) : NULL;
    yaml_document_delete(&tree.document);
    yaml_parser_delete(&parser);
    if (*out != NULL)
        return STATUS_OK;
    error_note_set(note, "empty, or not YAML of plain keys within %d levels", DEPTH_MAX);
    return STATUS_INVALID;
}
