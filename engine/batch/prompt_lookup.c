#include "prompt_lookup.h"

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
 * Cells hold places and no runs: a probe compares tokens, so a hash that two runs share costs a step and finds
 * nothing wrong. At most two thirds of the cells are taken. */

struct run_table {
    uint32_t *cells;     /* [lengths][cell_count]: the place; 0: empty (no run ends there) */
    uint32_t cell_count; /* power of two */
};

struct prompt_index {
    struct prompt_index_options options;
    struct run_table table;
};

struct prompt_lookup {
    const struct prompt_index *index; /* borrowed */
    const int32_t *outputs;           /* borrowed */
    uint32_t output_count, output_count_max;
    struct run_table table; /* runs that end in the output */
    uint32_t place;         /* of the match */
    uint32_t length;        /* of the match; 0: none */
};

static uint32_t length_count(const struct prompt_index_options *o)
{
    return o->length_max - o->length_min + 1;
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

/* --- tokens by place; outputs may be NULL while only the prompt is looked at --- */

struct timeline {
    const int32_t *prompt, *outputs;
    uint32_t prompt_count;
};

static int32_t token_at(const struct timeline *t, uint32_t place)
{
    return place < t->prompt_count ? t->prompt[place] : t->outputs[place - t->prompt_count];
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
static void hash_runs(const struct timeline *t, const struct prompt_index_options *o,
                      uint32_t place, uint64_t *out)
{
    uint64_t hash = 0;
    for (uint32_t n = 1; n <= o->length_max; n++) {
        if (n <= place) {
            hash = (hash + (uint32_t)token_at(t, place - n) + 1) * 0x9E3779B97F4A7C15ull;
            hash ^= hash >> 32;
        }
        if (n >= o->length_min)
            out[n - o->length_min] = n <= place ? hash : 0;
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
                       const struct prompt_index_options *o, uint32_t place)
{
    uint64_t hashes[PROMPT_LOOKUP_LENGTH_MAX];
    hash_runs(t, o, place, hashes);
    for (uint32_t i = 0; i < length_count(o) && o->length_min + i <= place; i++)
        *find_cell(table, t, i, o->length_min + i, place, hashes[i]) = place;
}

/* --- the prompt --- */

status prompt_index_create(const struct prompt_index_options *options, arena *memory,
                           prompt_index **out)
{
    CHECK(options->prompt_count > 0 && options->length_min > 0 &&
          options->length_min <= options->length_max &&
          options->length_max <= PROMPT_LOOKUP_LENGTH_MAX);
    struct prompt_index *index = arena_allocate(memory, sizeof *index);
    if (index == NULL)
        return STATUS_NO_MEMORY;
    index->options = *options;
    status s = table_init(&index->table, options->prompt_count, length_count(options), memory);
    if (s != STATUS_OK)
        return s;
    struct timeline t = {options->prompt, NULL, options->prompt_count};
    for (uint32_t place = options->length_min; place < options->prompt_count; place++)
        enter_runs(&index->table, &t, options, place);
    *out = index;
    return STATUS_OK;
}

/* --- a sequence --- */

static struct timeline timeline_of(const struct prompt_lookup *l)
{
    return (struct timeline){l->index->options.prompt, l->outputs, l->index->options.prompt_count};
}

static uint32_t end_of(const struct prompt_lookup *l)
{
    return l->index->options.prompt_count + l->output_count;
}

/* Searches for the runs at the end, longest first, the output's before the prompt's. */
static void search(struct prompt_lookup *l)
{
    const struct prompt_index_options *o = &l->index->options;
    struct timeline t = timeline_of(l);
    uint32_t end = end_of(l);
    uint64_t hashes[PROMPT_LOOKUP_LENGTH_MAX];
    hash_runs(&t, o, end, hashes);
    l->length = 0;
    for (uint32_t n = end < o->length_max ? end : o->length_max; n >= o->length_min; n--) {
        uint32_t which = n - o->length_min;
        l->place = *find_cell(&l->table, &t, which, n, end, hashes[which]);
        if (l->place == 0)
            l->place = *find_cell(&l->index->table, &t, which, n, end, hashes[which]);
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
    status s = table_init(&l->table, output_count_max, length_count(&index->options), memory);
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
    enter_runs(&l->table, &t, &l->index->options, place);
    l->output_count++;
    if (is_hit) {
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
