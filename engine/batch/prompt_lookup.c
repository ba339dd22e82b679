#include "prompt_lookup.h"

#include <string.h>

#include "check.h"

/* A place is the number of tokens before it: a run "ends at" the place of the token that follows it, so a run found at a
 * place is a guess of the token there.
 *
 *      tokens    a b c d e a b c | ?          length_min 2, length_max 3
 *      places    0 1 2 3 4 5 6 7   8          table of length 3:  abc -> 3, bcd -> 4, ...
 *                      ^                      the run before 8 is abc, found at 3: ? = d
 *
 * The run that ends at the very end must not be found, so a run enters the table when the token after it is known.
 *
 * A run of length n + 1 that repeats holds a run of length n one token before that repeats too. So a match that guessed
 * right is one token longer, and none that starts anew is longer than it, up to length_max: following it needs no
 * search, and keeps to one source where several begin alike.
 *
 * With a prediction the index looks at a text of its own, in which the prompt's last tokens stand once more, so that the
 * prediction follows what the output follows, and is found later than the prompt:
 *
 *      prompt        prediction     end of prompt | output
 *      a b .. y z    p q r s t      w x y z       | ?        first guess: p, for w x y z stood before it
 *
 * Cells hold places and no runs: a probe compares tokens, so a hash that two runs share costs a step and finds
 * nothing wrong. At most two thirds of the cells are taken. */

struct run_table {
    uint32_t *cells;     /* [lengths][cell_count]: the place; 0: empty (no run ends there) */
    uint32_t cell_count; /* power of two */
};

struct prompt_index {
    uint32_t length_min, length_max;
    const int32_t *text; /* [text_count]; the prompt, or with a prediction the arena's */
    uint32_t text_count;
    uint32_t prediction_first, prediction_end; /* places of its tokens */
    struct run_table table;
};

struct prompt_lookup {
    const struct prompt_index *index; /* borrowed */
    const int32_t *outputs;           /* borrowed */
    uint32_t output_count, output_count_max;
    struct run_table table; /* runs that end in the output */
    uint32_t place;         /* of the match */
    uint32_t length;        /* of the match; 0: none */
    uint32_t predicted_count;
};

static uint32_t length_count(const struct prompt_index *index)
{
    return index->length_max - index->length_min + 1;
}

static status table_init(struct run_table *table, uint32_t run_count, uint32_t lengths,
                         arena *memory)
{
    CHECK(run_count < UINT32_MAX / 4);
    table->cell_count = 2;
    while (table->cell_count < run_count + run_count / 2)
        table->cell_count *= 2;
    size_t cells = (size_t)table->cell_count * lengths;
    table->cells = arena_allocate_array(memory, cells, sizeof *table->cells);
    return table->cells != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* --- tokens by place; outputs may be NULL while only the index's text is looked at --- */

struct timeline {
    const int32_t *text, *outputs;
    uint32_t text_count;
};

static int32_t token_at(const struct timeline *t, uint32_t place)
{
    return place < t->text_count ? t->text[place] : t->outputs[place - t->text_count];
}

/* Tokens, `limit` at most, that two places have in common before them. */
static uint32_t common_run(const struct timeline *t, uint32_t a, uint32_t b, uint32_t limit)
{
    uint32_t most = a < b ? a : b;
    most = limit < most ? limit : most;
    uint32_t length = 0;
    while (length < most && token_at(t, a - 1 - length) == token_at(t, b - 1 - length))
        length++;
    return length;
}

/* Hashes of the runs of each length that end at `place`; 0 where the timeline is too short. */
static void hash_runs(const struct timeline *t, const struct prompt_index *index, uint32_t place,
                      uint64_t *out)
{
    uint64_t hash = 0;
    for (uint32_t n = 1; n <= index->length_max; n++) {
        if (n <= place) {
            hash = (hash + (uint32_t)token_at(t, place - n) + 1) * 0x9E3779B97F4A7C15ull;
            hash ^= hash >> 32;
        }
        if (n >= index->length_min)
            out[n - index->length_min] = n <= place ? hash : 0;
    }
}

/* The cell of the run of length n that ends at `place`: it holds the run's last place, or 0. */
static uint32_t *find_cell(const struct run_table *table, const struct timeline *t, uint32_t which,
                           uint32_t n, uint32_t place, uint64_t hash)
{
    uint32_t *cells = table->cells + (size_t)which * table->cell_count;
    uint32_t mask = table->cell_count - 1;
    uint32_t at = (uint32_t)hash & mask;
    while (cells[at] != 0 && common_run(t, cells[at], place, n) < n)
        at = (at + 1) & mask;
    return &cells[at];
}

static void enter_runs(const struct run_table *table, const struct timeline *t,
                       const struct prompt_index *index, uint32_t place)
{
    uint64_t hashes[PROMPT_LOOKUP_LENGTH_MAX];
    hash_runs(t, index, place, hashes);
    for (uint32_t i = 0; i < length_count(index) && index->length_min + i <= place; i++)
        *find_cell(table, t, i, index->length_min + i, place, hashes[i]) = place;
}

/* --- the prompt and the prediction --- */

#define TEXT_TOKENS_MAX (1u << 30)

/* The text with the prediction in it. */
static status join_prediction(struct prompt_index *index, const struct prompt_index_options *o,
                              arena *memory)
{
    uint32_t again = o->prompt_count < o->length_max ? o->prompt_count : o->length_max;
    uint64_t count = (uint64_t)o->prompt_count + o->prediction_count + again;
    if (count > TEXT_TOKENS_MAX)
        return STATUS_NO_MEMORY;
    int32_t *text = arena_allocate_array(memory, (size_t)count, sizeof *text);
    if (text == NULL)
        return STATUS_NO_MEMORY;
    index->text = text;
    index->text_count = (uint32_t)count;
    index->prediction_first = o->prompt_count;
    index->prediction_end = o->prompt_count + o->prediction_count;
    memcpy(text, o->prompt, o->prompt_count * sizeof *text);
    memcpy(text + index->prediction_first, o->prediction, o->prediction_count * sizeof *text);
    memcpy(text + index->prediction_end, o->prompt + o->prompt_count - again, again * sizeof *text);
    return STATUS_OK;
}

status prompt_index_create(const struct prompt_index_options *options, arena *memory,
                           prompt_index **out)
{
    CHECK(options->prompt_count > 0 && options->length_min > 0 &&
          options->length_min <= options->length_max &&
          options->length_max <= PROMPT_LOOKUP_LENGTH_MAX);
    struct prompt_index *index = arena_allocate(memory, sizeof *index);
    if (index == NULL)
        return STATUS_NO_MEMORY;
    *index = (struct prompt_index){.length_min = options->length_min,
                                   .length_max = options->length_max,
                                   .text = options->prompt,
                                   .text_count = options->prompt_count};
    status s = STATUS_OK;
    if (options->prediction_count > 0)
        s = join_prediction(index, options, memory);
    if (s == STATUS_OK)
        s = table_init(&index->table, index->text_count, length_count(index), memory);
    if (s != STATUS_OK)
        return s;
    struct timeline t = {index->text, NULL, index->text_count};
    for (uint32_t place = index->length_min; place < index->text_count; place++)
        enter_runs(&index->table, &t, index, place);
    *out = index;
    return STATUS_OK;
}

/* --- a sequence --- */

static struct timeline timeline_of(const struct prompt_lookup *l)
{
    return (struct timeline){l->index->text, l->outputs, l->index->text_count};
}

static uint32_t end_of(const struct prompt_lookup *l)
{
    return l->index->text_count + l->output_count;
}

static bool is_predicted(const struct prompt_index *index, uint32_t place)
{
    return place >= index->prediction_first && place < index->prediction_end;
}

/* Searches for the runs at the end, longest first, the prediction's before the output's before the prompt's. */
static void search(struct prompt_lookup *l)
{
    const struct prompt_index *index = l->index;
    struct timeline t = timeline_of(l);
    uint32_t end = end_of(l);
    uint64_t hashes[PROMPT_LOOKUP_LENGTH_MAX];
    hash_runs(&t, index, end, hashes);
    l->length = 0;
    for (uint32_t n = end < index->length_max ? end : index->length_max; n >= index->length_min;
         n--) {
        uint32_t which = n - index->length_min;
        l->place = *find_cell(&l->table, &t, which, n, end, hashes[which]);
        if (l->place == 0 || index->prediction_end > 0) {
            uint32_t known = *find_cell(&index->table, &t, which, n, end, hashes[which]);
            if (l->place == 0 || is_predicted(index, known))
                l->place = known;
        }
        if (l->place == 0)
            continue;
        l->length = common_run(&t, l->place, end, PROMPT_LOOKUP_RUN_MAX);
        return;
    }
}

status prompt_lookup_create(const prompt_index *index, const int32_t *outputs,
                            uint32_t output_count_max, arena *memory, prompt_lookup **out)
{
    struct prompt_lookup *l = arena_allocate(memory, sizeof *l);
    if (l == NULL)
        return STATUS_NO_MEMORY;
    l->index = index;
    l->outputs = outputs;
    l->output_count_max = output_count_max;
    status s = table_init(&l->table, output_count_max, length_count(index), memory);
    if (s != STATUS_OK)
        return s;
    search(l);
    *out = l;
    return STATUS_OK;
}

bool prompt_lookup_append(prompt_lookup *l)
{
    CHECK(l->output_count < l->output_count_max);
    struct timeline t = timeline_of(l);
    uint32_t place = end_of(l); /* of the new token, which what ends here is followed by */
    bool is_hit = l->length > 0 && token_at(&t, l->place) == token_at(&t, place);
    enter_runs(&l->table, &t, l->index, place);
    l->output_count++;
    if (is_hit) {
        l->predicted_count += is_predicted(l->index, l->place) ? 1 : 0;
        l->place++;
        l->length += l->length < PROMPT_LOOKUP_RUN_MAX ? 1 : 0;
    } else {
        search(l);
    }
    return is_hit;
}

int32_t prompt_lookup_next(const prompt_lookup *l)
{
    struct timeline t = timeline_of(l);
    return l->length > 0 ? token_at(&t, l->place) : -1;
}

uint32_t prompt_lookup_predicted_count(const prompt_lookup *l)
{
    return l->predicted_count;
}

uint32_t prompt_lookup_length(const prompt_lookup *l)
{
    return l->length;
}

void prompt_lookup_draft(const prompt_lookup *l, uint32_t count, int32_t *out)
{
    CHECK(l->length > 0);
    struct timeline t = timeline_of(l);
    uint32_t end = end_of(l);
    for (uint32_t i = 0; i < count; i++)
        out[i] = l->place + i < end ? token_at(&t, l->place + i) : out[l->place + i - end];
}
