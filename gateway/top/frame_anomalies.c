/* What is unusual now, a line each. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "frame_parts.h"

static const struct {
    const char *name, *label;
    bool is_time;
} signals[] = {{"ttft", "time to the first token", true},
               {"inter_token", "time between tokens", true},
               {"error_rate", "share of errors", false},
               {"acceptance_rate", "share of accepted drafts", false}};

static bool is_shown(const json_t *row)
{
    return json_is_true(json_object_get(row, "anomalous"));
}

static uint32_t lines(const struct frame *frame)
{
    json_t *rows = top_facts_rows(frame->facts, FACT_ANOMALIES, "anomalies"), *row;
    uint32_t count = 0;
    size_t i;

    json_array_foreach(rows, i, row) count += is_shown(row);
    return count;
}

static void anomaly_write(const struct frame *frame, const json_t *row)
{
    const char *signal = fact_text(row, "signal"), *label = signal;
    double value = fact_number(row, "value"), expected = fact_number(row, "expected");
    bool is_time = false;
    struct line line = frame_line(frame);
    char text[CELL_BYTES];

    for (size_t i = 0; i < ARRAY_COUNT(signals); i++) {
        if (strcmp(signals[i].name, signal) == 0) {
            label = signals[i].label;
            is_time = signals[i].is_time;
        }
    }
    (void)snprintf(text, sizeof(text), "! %s: %s is %s, usual at this hour: %s (score %s)",
                   fact_text(row, "model"), label,
                   (is_time ? figure_seconds(value) : figure_percent(value)).text,
                   (is_time ? figure_seconds(expected) : figure_percent(expected)).text,
                   figure_short(fact_number(row, "score")).text);
    line_text(&line, STYLE_BAD, text);
    line_end(&line);
}

static void write(const struct frame *frame, uint32_t given)
{
    json_t *rows = top_facts_rows(frame->facts, FACT_ANOMALIES, "anomalies"), *row;
    uint32_t count = lines(frame), room = count > given ? given - 1 : given, shown = 0;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (shown == room || !is_shown(row))
            continue;
        anomaly_write(frame, row);
        shown++;
    }
    if (count > shown)
        frame_more_write(frame, count - shown);
}

const struct frame_part frame_anomalies = {lines, write, 1};
