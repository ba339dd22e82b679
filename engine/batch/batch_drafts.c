#include "batcher_private.h"

/* How many tokens to draft beside each sequence that generates. A draft takes a row of the step, and brings a token if it
 * and all drafts before it are what is sampled. So with the chance p of each (draft_odds.h) and the prices of the cost
 * model the step's worth is
 *
 *      tokens      decodes + sum of the drafts' chances
 *      ------  =   ------------------------------------   ,   chance of a sequence's i-th draft = p1 p2 .. pi
 *       time          time of the step with all rows
 *
 * and the best set takes a draft when its chance over its own time is more than that ratio, which itself depends on the set.
 * Dinkelbach's method (1967) finds it: with the ratio of some set take all that pay at it, which gives a better ratio,
 * and so on; from the ratio without drafts the second round is as good as the best.
 *
 * In a small batch a row costs a fifth of a step, so poor guesses pay; in one of dozens it costs what its share of
 * the batch does, so only sure ones would: speculation ends by itself there. Prompt rows in the step change nothing: a draft
 * must pay beside decodes alone. It comes last, into what the prompts leave of the step's length. */

/* Chances and prices are estimates. A step takes 5 to 15 % longer than predicted in half of the cases (bench/NOTES.md),
 * and drafts that bring just what they cost are work for nothing. */
#define MARGIN 1.2

static struct step_shape with_draft(struct step_shape shape, uint32_t position)
{
    shape.rows++;
    shape.logit_rows++;
    shape.context += context_of_rows(position, 1);
    return shape;
}

/* How long a step with drafts may be; 0: as long as it gets. Prompts come first: what a step with some may take is theirs. */
static double limit_ns(const batcher *b)
{
    bool has_prompts = b->plan.row_count > b->plan.decode_count + b->plan.draft_count;
    return has_prompts ? b->plan_limit_ns : (double)b->options.inter_token_target_ns;
}

/* A set of drafts in the making, and what it is expected to bring and to take. */
struct draft_set {
    struct step_shape shape; /* of the step with them */
    double step_ns;          /* its time */
    double tokens;           /* expected of the step */
    uint32_t count;
};

/* How many drafts an entry could have at most, whatever they are worth. */
static uint32_t drafts_possible(const batcher *b, const struct step_entry *entry)
{
    const struct sequence *s = entry->sequence;
    if (s->lookup == NULL || prompt_lookup_length(s->lookup) == 0)
        return 0;
    /* The last draft is followed by a token. */
    uint32_t left = s->output_count_max - s->output_count - s->unknown_count - 1;
    return left < b->options.draft_tokens_max ? left : b->options.draft_tokens_max;
}

/* Adds to `set` the drafts of one entry that pay at `rate` tokens a nanosecond; returns how many. */
static uint32_t choose_drafts(const batcher *b, const struct step_entry *entry, double rate,
                              struct draft_set *set)
{
    const struct sequence *s = entry->sequence;
    uint32_t most = drafts_possible(b, entry);
    uint32_t rows_left = b->options.batch_tokens_max - set->shape.rows;
    double limit = limit_ns(b);
    double chance = 1.0;
    uint32_t count = 0;
    while (count < most && count < rows_left && set->count < STEP_DRAFTS_MAX) {
        struct step_shape shape = with_draft(set->shape, entry->first + 1 + count);
        double step_ns = cost_model_predict_ns(&b->cost, &shape);
        chance *= draft_odds_of(&s->odds, &b->draft_odds, prompt_lookup_length(s->lookup) + count);
        bool pays = chance >= MARGIN * rate * (step_ns - set->step_ns);
        if (!pays || (limit > 0.0 && step_ns > limit))
            break;
        set->shape = shape;
        set->step_ns = step_ns;
        set->tokens += chance;
        set->count++;
        count++;
    }
    return count;
}

static struct draft_set empty_set(const batcher *b)
{
    struct draft_set set = {.shape = plan_shape(b), .tokens = b->plan.decode_count};
    set.step_ns = cost_model_predict_ns(&b->cost, &set.shape);
    return set;
}

/* Tokens a nanosecond of the best set, nearly. */
static double best_rate(const batcher *b)
{
    double decodes_ns = b->plan_decodes_ns;
    double rate = b->plan.decode_count / decodes_ns;
    struct draft_set empty = empty_set(b);
    struct draft_set set = empty;
    for (uint32_t i = 0; i < b->plan.decode_count; i++)
        (void)choose_drafts(b, &b->entries[i], rate, &set);
    return set.tokens / (decodes_ns + set.step_ns - empty.step_ns);
}

/* Makes the positions first .. first + count - 1 of `s` writable as far as blocks are there that nobody will miss: one
 * for each running sequence is left, or a draft would be paid for by a preemption. Returns how many there are. */
static uint32_t find_room(batcher *b, struct sequence *s, uint32_t first, uint32_t count)
{
    while (s->table.count < blocks_for_tokens((uint64_t)first + count)) {
        if (block_available_count(b->blocks) <= b->running_count)
            break;
        if (block_table_extend(&s->table, b->blocks, s->table.count + 1) != STATUS_OK)
            break;
    }
    uint32_t room = s->table.count * BLOCK_TOKENS - first;
    return room < count ? room : count;
}

static void add_drafts(batcher *b, struct step_entry *entry, uint32_t count)
{
    struct sequence *s = entry->sequence;
    uint32_t first = entry->first + entry->count;
    count = find_room(b, s, first, count);
    if (count == 0)
        return;
    int32_t *drafts = b->drafts + b->plan.draft_count;
    prompt_lookup_draft(s->lookup, count, drafts);
    entry->drafts = drafts;
    entry->draft_count = count;
    entry->count += count;
    b->plan.draft_count += count;
    b->plan.row_count += count;
    b->plan.logit_row_count += count;
    b->plan.context += context_of_rows(first, count);
}

/* The logit rows of what follows move back. */
static void number_logit_rows(batcher *b)
{
    uint32_t row = 0;
    for (uint32_t i = 0; i < b->plan.entry_count; i++) {
        struct step_entry *entry = &b->entries[i];
        entry->score_row = row;
        row += entry->score_count;
        if (entry->logit_row == UINT32_MAX)
            continue;
        entry->logit_row = row;
        row += 1 + entry->draft_count;
    }
}

void batcher_plan_drafts(batcher *b)
{
    if (b->options.draft_tokens_max == 0 || b->plan.decode_count == 0 || b->plan_decodes_ns <= 0.0)
        return;
    double rate = best_rate(b);
    struct draft_set set = empty_set(b);
    for (uint32_t i = 0; i < b->plan.decode_count; i++) {
        struct step_entry *entry = &b->entries[i];
        uint32_t count = choose_drafts(b, entry, rate, &set);
        if (count > 0 && entry->sequence->unknown_count > 0)
            b->plan.awaits_drafts = true;
        else if (count > 0)
            add_drafts(b, entry, count);
    }
    if (b->plan.draft_count > 0)
        number_logit_rows(b);
}
