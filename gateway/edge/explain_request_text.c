#include "explain_request_text.h"

#include "check.h"
#include "text_table.h"

#define TABLE_BYTES_MAX (1u << 20)

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL && text[0] != '\0' ? text : "-";
}

static void cell_text(struct buffer *out, const json_t *object, const char *key)
{
    text_table_text(out, text_of(object, key));
    buffer_append_byte(out, '\t');
}

static void cell_number(struct buffer *out, const json_t *object, const char *key, double unit,
                        int decimals)
{
    const json_t *value = json_object_get(object, key);

    if (json_is_number(value))
        buffer_append_format(out, "%.*f\t", decimals, json_number_value(value) / unit);
    else
        buffer_append_text(out, "-\t");
}

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* A table with a blank line before it; nothing where `rows` has none. `row` writes the cells of one. */
static void table_write(const json_t *rows, const char *head,
                        void (*row)(struct buffer *out, const json_t *row), struct buffer *out)
{
    struct buffer lines;

    if (json_array_size(rows) == 0)
        return;
    buffer_init(&lines, TABLE_BYTES_MAX);
    buffer_append_text(&lines, head);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        row(&lines, json_array_get(rows, i));
        buffer_append_byte(&lines, '\n');
    }
    buffer_append_byte(out, '\n');
    text_table_write(&lines, out);
    buffer_deinit(&lines);
}

static void phase_row(struct buffer *out, const json_t *row)
{
    cell_text(out, row, "name");
    cell_number(out, row, "ms", 1, 3);
}

static void place_row(struct buffer *out, const json_t *row)
{
    cell_number(out, row, "at_ms", 1, 1);
    cell_number(out, row, "ahead", 1, 0);
    cell_number(out, row, "eta_ms", 1, 0);
}

static void candidate_row(struct buffer *out, const json_t *row)
{
    buffer_append_format(out, "#%.0f\t", number_of(row, "replica"));
    cell_text(out, row, "outcome");
    cell_number(out, row, "score_ms", 1, 2);
    cell_number(out, row, "cached_tokens", 1, 0);
    cell_number(out, row, "queued_ms", 1, 2);
    cell_number(out, row, "step_ms", 1, 2);
    cell_number(out, row, "outstanding", 1, 0);
    cell_number(out, row, "waiting", 1, 0);
    cell_number(out, row, "running", 1, 0);
}

static void attempt_row(struct buffer *out, const json_t *row)
{
    cell_text(out, row, "replica");
    cell_text(out, row, "member");
    cell_text(out, row, "why");
    cell_number(out, row, "start_ms", 1, 3);
    cell_number(out, row, "head_ms", 1, 3);
    cell_number(out, row, "end_ms", 1, 3);
    cell_text(out, row, "result");
    cell_number(out, row, "status", 1, 0);
}

static void chunk_row(struct buffer *out, const json_t *row)
{
    cell_number(out, row, "end_ns", 1e6, 1);
    cell_number(out, row, "step_ns", 1e6, 1);
    cell_number(out, row, "tokens", 1, 0);
    cell_number(out, row, "other_rows", 1, 0);
}

/* What a replica has told of its part. */
static void told_write(const json_t *attempt, struct buffer *out)
{
    const json_t *told = json_object_get(attempt, "told_by_replica");
    const json_t *moments = json_object_get(told, "moments_ns");

    if (!json_is_object(told))
        return;
    buffer_append_text(out, "\nin replica ");
    text_table_text(out, text_of(attempt, "replica"));
    buffer_append_format(out,
                         ": %.0f waited and %.0f ran before it; submitted at %.1f ms, started at "
                         "%.1f, first token at "
                         "%.1f, last at %.1f\n",
                         number_of(told, "waiting_before"), number_of(told, "running_before"),
                         number_of(moments, "submitted") / 1e6, number_of(moments, "started") / 1e6,
                         number_of(moments, "first_token") / 1e6,
                         number_of(moments, "last_token") / 1e6);
    buffer_append_format(
        out,
        "%.0f prompt tokens, %.0f of them cached; %.0f chunks; %.0f preemptions; %.0f tokens "
        "drafted, %.0f accepted; %.1f ms of its steps' time; ended with %s\n",
        number_of(told, "prompt_tokens"), number_of(told, "cached_tokens"),
        number_of(told, "chunk_count"), number_of(told, "preemption_count"),
        number_of(told, "drafted_tokens"), number_of(told, "accepted_tokens"),
        number_of(told, "busy_ns") / 1e6, text_of(told, "finish"));
    table_write(json_object_get(told, "chunks"),
                "chunk ends (ms)\tstep (ms)\ttokens\tother rows\t\n", chunk_row, out);
}

static void head_write(const json_t *request, struct buffer *out)
{
    const json_t *code = json_object_get(request, "status");

    text_table_text(out, text_of(request, "id"));
    buffer_append_text(out, ": ");
    text_table_text(out, text_of(request, "route"));
    buffer_append_text(out, " to ");
    text_table_text(out, text_of(request, "model"));
    if (json_is_number(code))
        buffer_append_format(out, ", %.0f after %.3f s", json_number_value(code),
                             number_of(request, "seconds"));
    else
        buffer_append_format(out, ", under way for %.3f s", number_of(request, "seconds"));
    if (json_is_string(json_object_get(request, "error"))) {
        buffer_append_text(out, ", ");
        text_table_text(out, text_of(request, "error"));
    }
    buffer_append_text(out, "\nby ");
    text_table_text(out, text_of(request, "organisation"));
    buffer_append_byte(out, '/');
    text_table_text(out, text_of(request, "team"));
    buffer_append_byte(out, '/');
    text_table_text(out, text_of(request, "key"));
    buffer_append_format(out, ", band %.0f; trace ", number_of(request, "band"));
    text_table_text(out, text_of(request, "trace_id"));
    buffer_append_byte(out, '\n');
}

static void decision_write(const json_t *decision, struct buffer *out)
{
    if (!json_is_object(decision))
        return;
    buffer_append_text(out, "\nrouted by ");
    text_table_text(out, text_of(decision, "policy"));
    buffer_append_format(out,
                         " at %.3f ms, for attempt %.0f, with a prompt of about %.0f tokens; %.0f "
                         "candidates\n",
                         number_of(decision, "at_ms"), number_of(decision, "attempt") + 1,
                         number_of(decision, "prompt_tokens_guess"),
                         number_of(decision, "candidate_count"));
    table_write(json_object_get(decision, "candidates"),
                "replica\toutcome\tfirst token (ms)\tcached tokens\tprompts before "
                "(ms)\tstep (ms)\toutstanding\twaiting\trunning\t\n",
                candidate_row, out);
}

static void usage_write(const json_t *request, struct buffer *out)
{
    const json_t *usage = json_object_get(request, "usage"),
                 *cost = json_object_get(request, "cost");

    buffer_append_format(out, "\n%.0f retries, %.0f hedges, %.0f continuations, %.0f fallbacks",
                         number_of(request, "retries"), number_of(request, "hedges"),
                         number_of(request, "continuations"), number_of(request, "fallbacks"));
    if (json_is_object(usage))
        buffer_append_format(out, "; %.0f prompt tokens (%.0f cached), %.0f generated%s",
                             number_of(usage, "prompt_tokens"), number_of(usage, "cached_tokens"),
                             number_of(usage, "completion_tokens"),
                             json_is_true(json_object_get(usage, "estimated")) ? ", estimated"
                                                                               : "");
    if (json_is_number(cost))
        buffer_append_format(out, "; cost %.9g", json_number_value(cost));
    buffer_append_byte(out, '\n');
}

void explain_request_write(const json_t *request, struct buffer *out)
{
    const json_t *attempts = json_object_get(request, "attempts");

    head_write(request, out);
    table_write(json_object_get(request, "phases"), "phase\tms\t\n", phase_row, out);
    table_write(json_object_get(request, "queue"),
                "in the queue at (ms)\tbefore it\texpected wait (ms)\t\n", place_row, out);
    decision_write(json_object_get(request, "decision"), out);
    table_write(
        attempts,
        "attempt at\tmember\twhy\tsent (ms)\tanswer begins (ms)\tends (ms)\tresult\tstatus\t\n",
        attempt_row, out);
    for (size_t i = 0; i < json_array_size(attempts); i++)
        told_write(json_array_get(attempts, i), out);
    usage_write(request, out);
}
