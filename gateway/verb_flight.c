/* `penstock flight`: the last steps of a replica, of a file or of a running gateway. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin_get.h"
#include "check.h"
#include "flight_recorder.h"
#include "verbs.h"

#define OUT_BYTES_MAX (1u << 30)

static const char verb[] = "penstock flight";

/* False: what is wrong has been printed. */
static bool file_read(const char *path, struct buffer *out)
{
    char chunk[65536];
    FILE *file = fopen(path, "rb");
    size_t got;
    bool is_good;

    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s: %s\n", verb, path, strerror(errno));
        return false;
    }
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
        buffer_append(out, chunk, got);
    is_good = ferror(file) == 0 && out->failed == STATUS_OK;
    if (!is_good)
        (void)fprintf(stderr, "%s: %s: %s\n", verb, path,
                      out->failed != STATUS_OK ? "it is too large to be a recording"
                                               : "it cannot be read");
    (void)fclose(file);
    return is_good;
}

static bool text_print(const char *where, const struct buffer *file, uint32_t steps, bool is_json)
{
    struct error_note note = {""};
    struct buffer text;
    bool is_fine;

    buffer_init(&text, OUT_BYTES_MAX);
    is_fine = (is_json ? flight_write_json : flight_write_table)(buffer_slice(file), steps, &text,
                                                                 &note) == STATUS_OK;
    if (is_json && is_fine)
        buffer_append_byte(&text, '\n');
    if (!is_fine)
        (void)fprintf(stderr, "%s: %s: %s\n", verb, where,
                      note.text[0] != '\0' ? note.text : "the table is too large");
    else if (fwrite(text.data, 1, text.bytes, stdout) != text.bytes || fflush(stdout) != 0)
        is_fine = false;
    buffer_deinit(&text);
    return is_fine;
}

int verb_flight(int argument_count, char **arguments)
{
    const char *where = NULL;
    int32_t steps = 50;
    bool is_json = false, is_fine;
    struct buffer file;
    const struct flag flags[] = {
        {.name = "--steps", .number = &steps, .number_max = (int32_t)FLIGHT_STEPS_MAX},
        {.name = "--json", .is_given = &is_json}};

    if (!arguments_read("flight", argument_count, arguments, flags, ARRAY_COUNT(flags), &where))
        return EXIT_USAGE;
    if (where == NULL || steps == 0) {
        (void)fprintf(stderr, "%s: %s; `penstock help flight` shows how\n", verb,
                      where == NULL ? "which file or URL?" : "--steps must be above 0");
        return EXIT_USAGE;
    }
    buffer_init(&file, FLIGHT_BYTES_MAX);
    is_fine =
        (strstr(where, "://") != NULL ? admin_get(verb, where, &file) : file_read(where, &file)) &&
        text_print(where, &file, (uint32_t)steps, is_json);
    buffer_deinit(&file);
    return is_fine ? 0 : 1;
}
