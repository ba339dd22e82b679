#ifndef PENSTOCK_BASE_SETTINGS_H
#define PENSTOCK_BASE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buffer.h"
#include "status.h"

/* The settings table: one row a key. The YAML reader, the range errors, `--help` and configs/reference.yaml all follow
 * from the rows, so adding a setting is adding a row. A table describes one C struct; a row of kind SECTION or LIST
 * points to the table of a nested struct.
 *
 * Errors carry file, line, column, the offending key or value, and the remedy: unknown keys get "did you mean", numbers
 * their range and unit, enums their words. All errors of a file are reported, not just the first (up to 20). */

enum setting_kind {
    SETTING_BOOL,     /* bool */
    SETTING_INT,      /* int64_t; range [min, max] */
    SETTING_FLOAT,    /* double */
    SETTING_BYTES,    /* uint64_t; "512MiB", "2GB", "4096" */
    SETTING_DURATION, /* uint64_t nanoseconds; "250ms", "30s", "5m", "1h" */
    SETTING_TEXT,     /* const char * in the arena */
    SETTING_PATH, /* const char *; a leading ~/ is expanded, relative to the config file's folder */
    SETTING_ENUM, /* int; `words` */
    SETTING_TEXT_LIST, /* struct setting_list of const char *; one text is a list of one */
    SETTING_SECTION,   /* nested struct, `table` */
    SETTING_LIST       /* struct setting_list of nested structs, `table`, `item_bytes` */
};

struct setting_list {
    void *items; /* const char **, or an array of structs; in the arena */
    uint32_t count;
};

enum setting_reload {
    RELOAD_LIVE,    /* takes effect at once for new requests */
    RELOAD_ROLLOUT, /* of a model: replicas that have it take the place of those that run */
    RELOAD_RESTART  /* needs a restart: a reload that changes it is refused, naming it */
};

struct setting {
    const char *key;
    enum setting_kind kind;
    size_t offset;            /* in the struct that the table describes */
    const char *fallback;     /* default as YAML text; NULL: required (TEXT..) or empty list */
    double min, max;          /* INT, FLOAT; BYTES and DURATION in bytes and ns; list: item count */
    const char *const *words; /* ENUM: NULL-terminated */
    const struct setting *table; /* SECTION, LIST: rows, ended by key == NULL */
    size_t item_bytes;           /* LIST */
    enum setting_reload reload;
    const char *unit;   /* "tokens", "requests"; NULL */
    const char *help;   /* what it does, in one or two sentences */
    const char *danger; /* what goes wrong when it is set badly; NULL */
};

/* Position of a value in the file, for checks after reading (a path that does not exist, two models of one name). */
struct settings_error {
    uint32_t line, column; /* from 1 */
    char text[512];
};

#define SETTINGS_ERROR_COUNT_MAX 20

struct settings_report {
    const char *file;
    uint32_t error_count;
    struct settings_error errors[SETTINGS_ERROR_COUNT_MAX];
};

/* Where a value stood; a document remembers it for every value it read. */
typedef struct settings_document settings_document;

/* Reads `file` (at most 1 MiB) into `target`, a zeroed struct described by `table`. Everything that the struct points to
 * lives in `memory`. Returns STATUS_OK, STATUS_INVALID (report filled, target undefined), STATUS_IO, STATUS_NO_MEMORY.
 * `document` (may be NULL) is for settings_fail_at and is owned by `memory`. Thread: any. */
NODISCARD status settings_read(const char *file, const struct setting *table, void *target,
                               arena *memory, struct settings_report *report,
                               settings_document **document);

/* The same from a text; `file` is only the name in messages. The fuzz target's way in. */
NODISCARD status settings_read_text(struct text_slice text, const char *file,
                                    const struct setting *table, void *target, arena *memory,
                                    struct settings_report *report, settings_document **document);

/* Adds an error at the place of the value stored at `address` inside the target struct. */
void settings_fail_at(settings_document *document, struct settings_report *report,
                      const void *address, const char *format, ...) PRINTF_LIKE(4, 5);

/* Appends "file:line:column: error: text" lines. */
void settings_report_write(const struct settings_report *report, struct buffer *out);

/* Appends the manual: each key with its help, unit, default, range, reload rule and danger above it, commented out at its
 * default where it has one. This is configs/reference.yaml. */
void settings_write_reference(const struct setting *table, const char *preface, struct buffer *out);

/* Appends the manual as the rows of a page of troff's man macros: each key with its path ("server.listen"), facts, help and
 * danger. */
void settings_write_manual(const struct setting *table, struct buffer *out);

/* Compares two structs that the table describes; calls `changed` with the dotted key of each leaf that differs. */
void settings_compare(const struct setting *table, const void *before, const void *after,
                      void (*changed)(void *context, const char *key, const struct setting *row),
                      void *context);

/* Sets the rows of `target` that have this reload rule, in sections too, to what `source` has; lists as a whole. What they point to stays
 * where it is: both are in one arena. */
void settings_take(const struct setting *table, enum setting_reload reload, const void *source,
                   void *target);

/* "Did you mean": the candidate nearest to `word` by edit distance, NULL when none is near enough to
 * be meant. Pure. */
const char *settings_nearest(struct text_slice word, const char *const *candidates, size_t count);

#endif
