#include "config_observability_table.h"
#include "observability_settings.h"
#include "setting_rows.h"

// clang-format off
const struct setting observability_requests_table[] = {
    {INT("kept", config_requests, kept, "1000", 0, 100000), .reload = RELOAD_RESTART, .unit = "requests",
     .help = "Requests that have ended of which the gateway can still tell what happened (/admin/requests, `penstock explain`), at "
             "about 3 KiB each; nothing of their text is kept."},
    {INT("replica_kept", config_requests, replica_kept, "1000", 0, 100000), .reload = RELOAD_RESTART, .unit = "requests",
     .help = "The same in each replica, at about 2 KiB each: chunks of the prompt, preemptions, speculation."},
    {INT("flight_steps", config_requests, flight_steps, "4096", 0, 1048576), .reload = RELOAD_RESTART, .unit = "steps",
     .help = "The last steps of each replica on this machine are kept in a file of its own, at 128 bytes each, which is still "
             "there when the process was killed (`penstock flight`). 0 keeps none."},
    {INT("flights_kept", config_requests, flights_kept, "8", 0, 1000), .reload = RELOAD_RESTART, .unit = "files",
     .help = "Such files of replicas that have crashed or hung; the oldest go first."},
    {.key = NULL}};
// clang-format on
