#ifndef PENSTOCK_GATEWAY_CONFIG_CHECK_H
#define PENSTOCK_GATEWAY_CONFIG_CHECK_H

#include "config.h"

/* What no single row of the table can say: names that must differ, files that must be there, texts
 * with a form. Every mistake is added to the report at the place of its value, with the remedy. `is_elsewhere`: the files are
 * on another machine, and not looked for. */
void config_check(const struct config *config, settings_document *document, bool is_elsewhere,
                  struct settings_report *report);

/* An error of the file as a whole. */
void config_check_fail(struct settings_report *report, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
