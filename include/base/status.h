#ifndef PENSTOCK_BASE_STATUS_H
#define PENSTOCK_BASE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* How every fallible function of the program reports: one small enum, plus, on cold paths (config,
 * load), a text for the person who must mend it. One table (gateway/api/error.c) maps a status to its
 * HTTP code and OpenAI error type. */

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, args_index)                                                      \
    __attribute__((format(printf, format_index, args_index)))

typedef enum status {
    STATUS_OK = 0,
    STATUS_AGAIN,     /* nothing wrong, nothing ready: call again later */
    STATUS_FULL,      /* a bounded container or queue is at its limit */
    STATUS_NO_MEMORY, /* the system or a block pool has none left */
    STATUS_INVALID,   /* what came from outside is wrong */
    STATUS_NOT_FOUND,
    STATUS_UNSUPPORTED, /* well-formed, but not something this build can do */
    STATUS_TOO_LARGE,   /* over a named limit */
    STATUS_IO,          /* the operating system said no; errno tells */
    STATUS_TIMEOUT,
    STATUS_CANCELLED,
    STATUS_CLOSED,   /* the other side is gone, or we are shutting down */
    STATUS_DENIED,   /* not authenticated, or not allowed */
    STATUS_INTERNAL, /* a bug or a failed device */
    STATUS_COUNT
} status;

/* Lower-case name for logs ("no_memory"). Never NULL. Any thread. */
const char *status_name(status s);

/* Text for people, filled on cold paths by the function that failed. Truncates, never overflows. */
struct error_note {
    char text[1024];
};

/* Sets the text, control characters but for line ends and tabs as "?"; `note` may be NULL (then nothing happens). Any thread that owns `note`. */
void error_note_set(struct error_note *note, const char *format, ...) PRINTF_LIKE(2, 3);

/* Puts "<prefix>: " before the text already there. */
void error_note_prefix(struct error_note *note, const char *format, ...) PRINTF_LIKE(2, 3);

#ifdef __cplusplus
}
#endif

#endif
