#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "audit_head.h"
#include "audit_log.h"

struct walk {
    struct audit_verdict *verdict;
    struct audit_link last, head;
};

static void fail(struct audit_verdict *verdict, uint64_t line, const char *format, ...)
    PRINTF_LIKE(3, 4);

static void fail(struct audit_verdict *verdict, uint64_t line, const char *format, ...)
{
    va_list arguments;

    verdict->bad_line = line;
    va_start(arguments, format);
    (void)vsnprintf(verdict->reason, sizeof(verdict->reason), format, arguments);
    va_end(arguments);
}

/* False: it is not what should stand here. */
static bool line_check(struct walk *walk, struct text_slice line)
{
    uint64_t number = walk->last.seq + 1;
    char previous[AUDIT_HASH_DIGITS + 1];
    struct audit_link link;

    if (!audit_line_read(line, &link, previous))
        fail(walk->verdict, number, "it has been changed: its hash is not that of its bytes");
    else if (link.seq != number)
        fail(walk->verdict, number,
             "it has the number %llu: lines were removed, added or moved here",
             (unsigned long long)link.seq);
    else if (strcmp(previous, walk->last.hash) != 0)
        fail(walk->verdict, number, "it does not follow the line before it, or that was replaced");
    else if (link.seq == walk->head.seq && strcmp(link.hash, walk->head.hash) != 0)
        fail(walk->verdict, number, "it is not the one that the state database knows");
    else {
        walk->last = link;
        walk->verdict->line_count++;
        return true;
    }
    return false;
}

/* fgets with room for one byte more than a line may have. */
static status file_walk(FILE *file, struct walk *walk)
{
    char text[AUDIT_LINE_BYTES_MAX + 2];

    while (fgets(text, sizeof(text), file) != NULL) {
        size_t bytes = strlen(text);

        if (bytes == 0 || text[bytes - 1] != '\n') {
            fail(walk->verdict, walk->last.seq + 1, "it is not whole");
            return STATUS_OK;
        }
        if (!line_check(walk, (struct text_slice){text, bytes - 1}))
            return STATUS_OK;
    }
    if (ferror(file))
        return STATUS_IO;
    if (walk->last.seq < walk->head.seq)
        fail(walk->verdict, walk->last.seq + 1,
             "the end is missing: the state database knows %llu lines",
             (unsigned long long)walk->head.seq);
    return STATUS_OK;
}

status audit_log_verify(const char *path, state_database *database, struct audit_verdict *out,
                        struct error_note *note)
{
    struct walk walk = {.verdict = out};
    status result = STATUS_OK;
    FILE *file = fopen(path, "re");

    *out = (struct audit_verdict){0};
    audit_link_first(&walk.last);
    audit_link_first(&walk.head);
    if (file == NULL || flock(fileno(file), LOCK_SH) != 0) {
        error_note_set(note, "%s cannot be read: %s", path, strerror(errno));
        if (file != NULL)
            (void)fclose(file);
        return STATUS_IO;
    }
    if (database != NULL)
        result = audit_head_read(database, path, &walk.head, note);
    out->has_head = result == STATUS_OK && database != NULL;
    if (result == STATUS_OK)
        result = file_walk(file, &walk);
    if (result != STATUS_OK && note->text[0] == '\0')
        error_note_set(note, "%s cannot be read: %s", path, strerror(errno));
    (void)fclose(file);
    return result;
}
