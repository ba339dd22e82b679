#ifndef PENSTOCK_BASE_SETTINGS_PRIVATE_H
#define PENSTOCK_BASE_SETTINGS_PRIVATE_H

#include "settings.h"

#define SETTINGS_FILE_BYTES_MAX (1u << 20)
#define SETTINGS_DEPTH_MAX      32u    /* nesting in the file; the tables reach about 5 */
#define SETTINGS_NODE_COUNT_MAX 20000u /* values and containers of a file */
#define SETTINGS_KEY_COUNT_MAX  256u   /* of one mapping; bounds the search for duplicates */
#define SETTINGS_LIST_COUNT_MAX 4096u  /* items of a list whose row states no maximum */
#define SETTINGS_PATH_BYTES     256u   /* dotted key in a message */

enum node_kind { NODE_SCALAR, NODE_SEQUENCE, NODE_MAPPING, NODE_BROKEN /* reported already */ };

/* A value of the file, with its place. Lives in the reader's scratch arena. */
struct settings_node {
    enum node_kind kind;
    bool is_plain;                 /* scalar without quotes */
    uint32_t line, column;         /* of the value, from 1 */
    uint32_t key_line, key_column; /* member of a mapping */
    struct text_slice key;         /* member of a mapping */
    struct text_slice text;        /* scalar */
    uint32_t child_count;
    struct settings_node *first, *last; /* children in order */
    struct settings_node *next;
};

/* Where each value of the target came from; newest first, so that a struct's first member is found
 * before the struct. */
struct settings_place {
    struct settings_place *older;
    const void *address;
    uint32_t line, column;
};

struct settings_document {
    struct settings_place *newest;
};

/* Text -> tree. A text without content gives an empty mapping. Adds what is wrong to the report and
 * goes on where it can; STATUS_INVALID only when there is no tree. */
NODISCARD status settings_parse_yaml(struct text_slice text, arena *scratch,
                                     struct settings_report *report, struct settings_node **root);

/* Adds an error; control characters are shown as '?'. Past the last one it is dropped. Line 0: the
 * file as a whole. */
void settings_report_add(struct settings_report *report, uint32_t line, uint32_t column,
                         const char *format, ...) PRINTF_LIKE(4, 5);

/* Scalar -> the field at `address`. `complaint` gets the text of what is wrong and how to mend it.
 * `file` is what relative paths start from. Returns STATUS_OK, STATUS_INVALID, STATUS_NO_MEMORY. */
NODISCARD status settings_value_parse(const struct setting *row, const struct settings_node *node,
                                      const char *file, arena *memory, void *address,
                                      struct buffer *complaint);

/* "between 1 and 64 requests", in the row's unit; nothing for kinds without a range. */
void settings_value_write_range(const struct setting *row, struct buffer *out);

/* settings_facts.c: a row but its help, as "whole number between 1 and 8; default 2; needs a restart"; must it be given? */
void settings_facts_write(const struct setting *row, struct buffer *out);
bool settings_is_required(const struct setting *row);

#endif
