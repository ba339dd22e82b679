#ifndef PENSTOCK_OBSERVE_HISTORY_JSON_H
#define PENSTOCK_OBSERVE_HISTORY_JSON_H

#include "history.h"
#include "history_store.h"

/* Appends the answer to a question for rows:
 *   {"step": "hour", "from", "to", "total": [ROW], "rows": [ROW with "model"], "free_slices": [{"start", "states"}]}
 *   ROW: {"start", "seconds", "replica_seconds", "states": {name: seconds}, "requests", "errors", "refused", "prompt_tokens", "cached_tokens",
 *         "output_tokens", "cost", "drafted_tokens", "accepted_tokens", "waiting", "running" (requests at once, on average), "kv_usage" (share; null:
 *         not known), "ttft": QUANTILES, "inter_token": QUANTILES, "words"}
 *   QUANTILES: {"p50", "p90", "p99"} in seconds; null: there were none.
 * STATUS_OK, STATUS_TOO_LARGE, STATUS_NO_MEMORY; STATUS_IO with a note. */
NODISCARD status history_rows_write(history_store *store, const struct history_query *query,
                                    struct buffer *out, struct error_note *note);

#endif
