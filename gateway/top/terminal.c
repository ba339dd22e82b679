#include "terminal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "check.h"

#define FRAME_BYTES_MAX (16u << 20)
#define SIZE_MAX_CELLS  1000 /* columns and lines beyond it are nobody's terminal */

/* Alternate screen, no cursor, lines are cut instead of going on in the next one; and back. */
static const char enter[] = "\033[?1049h\033[?25l\033[?7l\033[2J";
static const char leave[] = "\033[0m\033[?7h\033[?25h\033[?1049l";

bool terminal_is_there(void)
{
    const char *kind = getenv("TERM"); // NOLINT: nothing sets it

    return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 && kind != NULL &&
           strcmp(kind, "dumb") != 0;
}

bool terminal_has_colours(void)
{
    const char *none = getenv("NO_COLOR"), *kind = getenv("TERM"); // NOLINT: nothing sets them

    return (none == NULL || none[0] == '\0') && isatty(STDOUT_FILENO) == 1 && kind != NULL &&
           strcmp(kind, "dumb") != 0;
}

void terminal_size(uint32_t *width, uint32_t *height)
{
    struct winsize size = {0};
    const char *columns = getenv("COLUMNS"); // NOLINT: nothing sets it
    long wanted = columns != NULL ? strtol(columns, NULL, 10) : 0;

    *width = wanted > 0 && wanted <= SIZE_MAX_CELLS ? (uint32_t)wanted : 80;
    *height = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        return;
    *width = size.ws_col < SIZE_MAX_CELLS ? size.ws_col : SIZE_MAX_CELLS;
    *height = size.ws_row < SIZE_MAX_CELLS ? size.ws_row : SIZE_MAX_CELLS;
}

static bool bytes_write(const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t written = write(STDOUT_FILENO, data, bytes);

        if (written < 0 && errno == EAGAIN) { /* another program may have made it so */
            struct pollfd room = {STDOUT_FILENO, POLLOUT, 0};

            (void)poll(&room, 1, -1);
        } else if (written < 0 && errno != EINTR) {
            return false;
        }
        data += written > 0 ? written : 0;
        bytes -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

bool terminal_enter(struct terminal *terminal)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &terminal->before) != 0)
        return false;
    raw = terminal->before;
    /* Ctrl-C and Ctrl-Z go on being signals. */
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) != 0)
        return false;
    terminal->is_entered = true;
    return bytes_write(enter, sizeof(enter) - 1);
}

void terminal_leave(struct terminal *terminal)
{
    if (!terminal->is_entered)
        return;
    terminal->is_entered = false;
    (void)bytes_write(leave, sizeof(leave) - 1);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal->before);
}

bool terminal_show(const struct buffer *frame)
{
    struct buffer out;
    bool is_shown;

    buffer_init(&out, FRAME_BYTES_MAX);
    /* In one write, and each line over the one before it: so nothing flickers. */
    buffer_append_text(&out, "\033[H");
    for (size_t at = 0; at < frame->bytes;) {
        const char *end = memchr(frame->data + at, '\n', frame->bytes - at);
        size_t bytes = end != NULL ? (size_t)(end - frame->data) - at : frame->bytes - at;

        buffer_append_text(&out, at > 0 ? "\r\n" : "");
        buffer_append(&out, frame->data + at, bytes);
        buffer_append_text(&out, "\033[K");
        at += bytes + 1;
    }
    buffer_append_text(&out, "\033[J");
    is_shown = out.failed == STATUS_OK && bytes_write(out.data, out.bytes);
    buffer_deinit(&out);
    return is_shown;
}

enum key terminal_key(const char *text, size_t bytes, size_t *taken)
{
    static const struct {
        const char *text;
        enum key key;
    } keys[] = {{"\033[A", KEY_PREVIOUS}, {"\033[D", KEY_PREVIOUS}, {"\033[B", KEY_NEXT},
                {"\033[C", KEY_NEXT},     {"\033OA", KEY_PREVIOUS}, {"\033OD", KEY_PREVIOUS},
                {"\033OB", KEY_NEXT},     {"\033OC", KEY_NEXT},     {"q", KEY_QUIT},
                {"Q", KEY_QUIT},          {" ", KEY_PAUSE},         {"m", KEY_NEXT},
                {"M", KEY_PREVIOUS},      {"\t", KEY_NEXT}};

    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        *taken = strlen(keys[i].text);
        if (*taken <= bytes && memcmp(text, keys[i].text, *taken) == 0)
            return keys[i].key;
    }
    *taken = 1;
    return KEY_NONE;
}
