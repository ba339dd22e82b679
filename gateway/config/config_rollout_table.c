#include "config_rollout_table.h"

#include "rollout.h"
#include "rollout_settings.h"
#include "setting_rows.h"

#define DAY (86400 * SEC)

static const char *const kind_words[] = {
    [ROLLOUT_ROLLING] = "rolling", [ROLLOUT_CANARY] = "canary", NULL};

// clang-format off
const struct setting model_rollout_table[] = {
    {WORD("kind", config_rollout, kind, "rolling", kind_words), .reload = RELOAD_LIVE,
     .help = "rolling: one replica after the other. canary: first a few, which get canary_share of the requests for canary_time."},
    {INT("surge", config_rollout, surge, "1", 0, 64), .reload = RELOAD_LIVE, .unit = "replicas",
     .help = "Processes beyond the usual number, meanwhile; at most one and a quarter of that number.",
     .danger = "0 with one replica: requests wait while the next one starts."},
    {INT("unavailable", config_rollout, unavailable_max, "0", 0, 64), .reload = RELOAD_LIVE, .unit = "replicas",
     .help = "Ready replicas that may be lacking, meanwhile; at least 1 where there is no surge."},
    {FLOAT("canary_share", config_rollout, canary_share, "0.1", 0.001, 1), .reload = RELOAD_LIVE,
     .help = "Of the requests (a session's all go one way), and of the replicas, at least one."},
    {DURATION("canary_time", config_rollout, canary_ns, "5m", 0, 30 * DAY), .reload = RELOAD_LIVE,
     .help = "From the canary's first ready replica until the rest follows, if it has had enough requests."},
    {DURATION("canary_time_max", config_rollout, canary_ns_max, "30m", 0, 30 * DAY), .reload = RELOAD_LIVE,
     .help = "When the rest follows with too few requests for a judgement."},
    {DURATION("watch_time", config_rollout, watch_ns, "1m", 0, 30 * DAY), .reload = RELOAD_LIVE,
     .help = "For so long after the last replica was replaced the version may still be given up."},
    {DURATION("progress_timeout", config_rollout, progress_ns, "10m", 100 * MS, 30 * DAY), .reload = RELOAD_LIVE,
     .help = "A version is given up when a replica of it takes longer than this to get ready, its wait for a slice included."},
    {INT("failures", config_rollout, failures_max, "3", 1, 1000), .reload = RELOAD_LIVE, .unit = "replicas",
     .help = "A version is given up when so many of its replicas have ended unasked, before they were ready or after."},
    {INT("requests_min", config_rollout, requests_min, "20", 1, 1000000), .reload = RELOAD_LIVE, .unit = "requests",
     .help = "With fewer of the new version there is no judgement by its requests."},
    {FLOAT("error_rate_max", config_rollout, error_rate_max, "0.05", 0, 1), .reload = RELOAD_LIVE,
     .help = "A version is given up when a greater share of its requests fails (5xx, or the replica is lost), and more than of the old "
             "version's, neither by chance."},
    {FLOAT("slow_rate_max", config_rollout, slow_rate_max, "0.1", 0, 1), .reload = RELOAD_LIVE,
     .help = "The same of streams that miss autoscale.first_token or, on average, autoscale.inter_token."},
    {.key = NULL}};
// clang-format on
