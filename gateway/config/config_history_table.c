#include "config_observability_table.h"
#include "observability_settings.h"
#include "setting_rows.h"

#define HOUR (3600 * SEC)
#define DAY  (24 * HOUR)

// clang-format off
const struct setting observability_history_table[] = {
    {FILE_PATH("file", config_history, file, ""), .reload = RELOAD_RESTART,
     .help = "SQLite file of the history. Without it, history.sqlite beside state.database or in state.spool; without these too, it is in memory and ends "
             "with the process.",
     .danger = "Gateways on several machines each need one of their own."},
    {DURATION("keep_minutes", config_history, keep_minutes_ns, "2d", HOUR, 31 * DAY), .reload = RELOAD_RESTART,
     .help = "How long each minute is kept: about 1 KiB a model and minute."},
    {DURATION("keep_hours", config_history, keep_hours_ns, "30d", DAY, 1000 * DAY), .reload = RELOAD_RESTART,
     .help = "How long each hour is kept, and what the anomaly detection has learned."},
    {DURATION("interval", config_history, interval_ns, "10s", 100 * MS, 60 * SEC), .reload = RELOAD_RESTART,
     .help = "How often what has happened is written; a crash loses what was not."},
    {.key = NULL}};
// clang-format on
