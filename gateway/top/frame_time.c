/* Where the selected model's time went: what the bars' letters mean, with its shares. */
#include <math.h>
#include <string.h>

#include "frame_parts.h"

#define ITEMS_MAX (TIME_STATES + 4u)

static const struct minute *selected_of(const struct frame *frame)
{
    return &frame->minutes->models[frame->selected];
}

static bool is_in_any_bar(const struct frame *frame, int state)
{
    for (uint32_t i = 0; i < frame->minutes->count; i++) {
        if (frame->minutes->models[i].shares[state] > 0)
            return true;
    }
    return false;
}

/* What steps cost tells how much of what it can carry it carries. */
static uint32_t capacity_items(const struct frame *frame, struct frame_item *items)
{
    json_t *models = top_facts_rows(frame->facts, FACT_CAPACITY, "models"), *model;
    size_t i;

    json_array_foreach(models, i, model)
    {
        json_t *predicted = json_object_get(model, "predicted");
        double used = fact_number(predicted, "utilisation");

        if (strcmp(fact_text(model, "name"), selected_of(frame)->name) != 0 || !isfinite(used))
            continue;
        items[0] = (struct frame_item){NULL, "of capacity", figure_percent(used), STYLE_STRONG};
        items[1] = (struct frame_item){
            NULL, "req/s at most", figure_short(fact_number(predicted, "requests_per_second_max")),
            STYLE_STRONG};
        return 2;
    }
    return 0;
}

static uint32_t items_find(const struct frame *frame, struct frame_item items[ITEMS_MAX])
{
    const struct minute *minute = selected_of(frame);
    uint32_t count = 2;

    items[0] = (struct frame_item){NULL, minute->name, {""}, STYLE_STRONG};
    items[1] = (struct frame_item){NULL, "last minute", {""}, STYLE_QUIET};
    for (int i = 0; i < TIME_STATES; i++) {
        if (is_in_any_bar(frame, i))
            items[count++] = (struct frame_item){&time_states[i], time_states[i].label,
                                                 figure_percent(minute->shares[i]), STYLE_STRONG};
    }
    return count + capacity_items(frame, &items[count]);
}

static uint32_t lines(const struct frame *frame)
{
    struct frame_item items[ITEMS_MAX];

    if (frame->minutes->count == 0)
        return 0;
    return 1 + frame_items_write(frame, items, items_find(frame, items), 0);
}

static void write(const struct frame *frame, uint32_t given)
{
    struct frame_item items[ITEMS_MAX];
    struct line line = frame_line(frame);

    line_end(&line);
    (void)frame_items_write(frame, items, items_find(frame, items), given - 1);
}

const struct frame_part frame_time = {lines, write, 2};
