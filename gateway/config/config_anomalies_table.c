#include "config_observability_table.h"
#include "observability_settings.h"
#include "setting_rows.h"

// clang-format off
const struct setting observability_anomalies_table[] = {
    {DURATION("window", config_anomalies, window_ns, "5m", 1 * SEC, 3600 * SEC), .reload = RELOAD_RESTART,
     .help = "Whole seconds. What a model did within it is compared with what is usual at that hour of the week; 8640 windows are remembered.",
     .danger = "Another length begins to learn anew. With less than 5m the weeks before are no longer remembered."},
    {FLOAT("threshold", config_anomalies, threshold, "6", 2, 100), .reload = RELOAD_RESTART, .unit = "deviations",
     .help = "An anomaly begins with two windows in a row that are so many robust standard deviations off, and ends "
             "after two windows below half of it. At 6, less than one false alarm comes in four weeks of a signal; less finds more, and cries wolf more often."},
    {INT("requests_min", config_anomalies, requests_min, "20", 1, 1000000), .reload = RELOAD_RESTART, .unit = "requests",
     .help = "A window with fewer (of streams, tokens or drafts, by the signal) is not judged."},
    {.key = NULL}};
// clang-format on
