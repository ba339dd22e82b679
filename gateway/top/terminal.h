#ifndef PENSTOCK_TOP_TERMINAL_H
#define PENSTOCK_TOP_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include "buffer.h"

/* The terminal of standard input and output: its alternate screen, without echo, and keys one by one. Escape sequences are those of ECMA-48
 * and xterm that every terminal of today knows. One thread. */

struct terminal {
    struct termios before; /* as it was found */
    bool is_entered;
};

/* Whether frames can be shown one after the other: both are a terminal, and it can move its cursor. */
bool terminal_is_there(void);
/* Whether colours are wanted (no-color.org) and standard output is a terminal. */
bool terminal_has_colours(void);
/* Columns and lines of standard output; where it is no terminal, or does not say, those of COLUMNS, or 80, and 24 lines. */
void terminal_size(uint32_t *width, uint32_t *height);

/* False: the terminal does not let us; it is as it was. */
bool terminal_enter(struct terminal *terminal);
/* As it was before. Harmless where it was not entered. */
void terminal_leave(struct terminal *terminal);
/* Shows a frame in place of the one before. False: the terminal is gone. */
bool terminal_show(const struct buffer *frame);

enum key { KEY_NONE, KEY_QUIT, KEY_PAUSE, KEY_NEXT, KEY_PREVIOUS };
/* The first key of `bytes` bytes as they were read, and how many of them it was. */
enum key terminal_key(const char *text, size_t bytes, size_t *taken);

#endif
