/* An hour in words. The sentences stand in a table; what is less than a twentieth of the time is left out, and what took most comes first. */
#include "check.h"
#include "history_row.h"

#define SHARE_LEAST  0.05 /* of the replicas' time, to be worth a sentence */
#define ERRORS_LEAST 0.01 /* of the requests */

/* Behind "NN % ". */
static const char *const sentences[TIME_COUNT] = {
    [TIME_WAITING_KV] = "waited for room in the KV cache: give it more memory, or add a replica.",
    [TIME_COLD_START] =
        "went into starts: keep a warm spare or a sleeping replica, or scale down later.",
    [TIME_HELD_BY_LIMITS] =
        "stood idle beside requests that limits held back: see the tenants' limits, max_num_seqs, "
        "quotas and the pool's size.",
    [TIME_FRAGMENTATION] =
        "waited for a slice while free ones were too small or too far apart: pack replicas, or cut "
        "slices otherwise.",
    [TIME_IDLE] = "was idle for lack of traffic: fewer replicas would do.",
    [TIME_BROKEN] = "was lost to failures: see the replicas' last failures and the log.",
};

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static void busy_write(const struct history_row *row, double replica_seconds, double seconds,
                       struct buffer *out)
{
    double prefill = share(row->values[TIME_BUSY_PREFILL], replica_seconds),
           decode = share(row->values[TIME_BUSY_DECODE], replica_seconds);

    buffer_append_format(out, "%.1f replicas on average, busy %.0f %% of their time",
                         share(replica_seconds, seconds), 100 * (prefill + decode));
    if (prefill + decode >= SHARE_LEAST)
        buffer_append_format(out, " (prompts %.0f %%, answers %.0f %%)", 100 * prefill,
                             100 * decode);
    buffer_append_byte(out, '.');
}

static void rest_write(const struct history_row *row, double replica_seconds, struct buffer *out)
{
    bool is_told[TIME_COUNT] = {[TIME_BUSY_PREFILL] = true, [TIME_BUSY_DECODE] = true};

    for (;;) {
        int most = -1;

        for (int i = 0; i < TIME_COUNT; i++) {
            if (!is_told[i] && (most < 0 || row->values[i] > row->values[most]))
                most = i;
        }
        if (most < 0 || share(row->values[most], replica_seconds) < SHARE_LEAST)
            return;
        is_told[most] = true;
        buffer_append_format(out, " %.0f %% %s", 100 * share(row->values[most], replica_seconds),
                             sentences[most]);
    }
}

static void requests_write(const struct history_row *row, struct buffer *out)
{
    double requests = row->values[HISTORY_REQUESTS], errors = row->values[HISTORY_ERRORS],
           refused = row->values[HISTORY_REFUSED];

    if (requests <= 0) {
        buffer_append_text(out, " No requests ended.");
        return;
    }
    buffer_append_format(out, " %.0f request%s", requests, requests >= 1.5 ? "s" : "");
    if (errors > 0)
        buffer_append_format(out, ", %.0f failed%s", errors,
                             share(errors, requests) >= ERRORS_LEAST ? " (too many)" : "");
    if (refused > 0)
        buffer_append_format(out, ", %.0f refused by limits", refused);
    buffer_append_byte(out, '.');
}

void history_words_write(const struct history_row *row, double seconds, struct buffer *out)
{
    double replica_seconds = history_row_replica_seconds(row);

    if (replica_seconds > 0) {
        busy_write(row, replica_seconds, seconds, out);
        rest_write(row, replica_seconds, out);
    } else {
        buffer_append_text(out, "No replica ran.");
    }
    requests_write(row, out);
}
