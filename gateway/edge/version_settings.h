#ifndef PENSTOCK_EDGE_VERSION_SETTINGS_H
#define PENSTOCK_EDGE_VERSION_SETTINGS_H

#include "edge.h"
#include "gateway.h"

/* Main's side of model_versions.h: which settings each model's replicas should have after a reload, and what of the config is in force
 * while a rollout has not proven them.
 *
 * In force is the newest text, with the settings of RELOAD_ROLLOUT as the proven version of each model has them. So a version that was
 * given up leaves its model as it was, whatever the file says; the next reload tries what the file says then.
 *
 * Replicas read the same: the newest copy of the config, and beside it the text of their version (run_directory_version_path).
 * Thread: main. */

/* What becomes of each model; [edge->model_count]. */
struct version_change {
    enum { VERSION_STAYS, VERSION_IS_NEW, VERSION_IS_TAKEN_BACK } kind;
    uint32_t number; /* of the version that is wanted then */
};

/* By the config that was read from the file; `changed` is told of each setting of a new version. */
void version_settings_compare(
    struct edge *edge, const struct config *config, struct version_change *changes,
    void (*changed)(void *context, const char *key, const struct setting *row), void *context);

/* Keeps the text for each new version: loaded anew, and written to the run directory. On failure nothing has changed. STATUS_OK; STATUS_FULL:
 * changes come too fast; STATUS_IO, STATUS_INVALID, STATUS_NO_MEMORY. */
NODISCARD status version_settings_keep(struct edge *edge, const struct gateway_options *options,
                                       struct text_slice text,
                                       const struct version_change *changes);
/* Undoes that. */
void version_settings_drop(struct edge *edge, const struct version_change *changes);
/* Has the control thread begin, and tells it of the policies of `config`. */
void version_settings_want(struct edge *edge, const struct config *config,
                           const struct version_change *changes);

/* What is in force by the copy of the newest text in the run directory. STATUS_OK and config_load's. */
NODISCARD status version_settings_load(struct edge *edge, const struct gateway_options *options,
                                       struct config **out, struct settings_report *report);

/* Does what the end of a rollout asks for: puts its settings in force, writes down how it ended, lets go of what is not used any more. */
void version_settings_settle(struct edge *edge, const struct gateway_options *options);

/* The version that the newest text asks for: replicas of others are no use to a gateway that takes over with it. Thread: main. */
uint32_t version_settings_newest(const struct edge_model *model);

#endif
