#ifndef PENSTOCK_BASE_LOG_H
#define PENSTOCK_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Log lines for people and machines, one a line on stderr:
 *   2026-01-02T03:04:05.678Z info [gateway] gateway/http request_id=... message
 * or JSON with the same fields. Formatting happens on the caller's thread; writing happens on the
 * writer thread through a bounded ring, so no loop or step thread ever blocks on a slow disk, and
 * nothing is allocated. When the ring is full the line is dropped and counted. Control characters
 * and broken UTF-8 are escaped, lines over 2 KiB are cut. Prompt text, keys and bodies are never
 * logged. */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log_options {
    enum log_level level;
    bool is_json;
    const char *role; /* borrowed for ever: "gateway", "replica smollm2#0" */
};

/* Starts the writer thread. Before it, lines go straight to stderr. Call once, from main. */
NODISCARD status log_start(const struct log_options *options);
/* Writes what is queued and stops the thread. */
void log_stop(void);
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);

/* Lines dropped since the process began. Any thread. */
uint64_t log_dropped_count(void);

/* `area` is the folder or module. Any thread; nothing is formatted when the level is off. */
void log_write(enum log_level level, const char *area, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_error(area, ...) log_write(LOG_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...)  log_write(LOG_WARN, area, __VA_ARGS__)
#define log_info(area, ...)  log_write(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...)                                                                       \
    do {                                                                                           \
        if (log_is_on(LOG_DEBUG))                                                                  \
            log_write(LOG_DEBUG, area, __VA_ARGS__);                                               \
    } while (0)

#endif
