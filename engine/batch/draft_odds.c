#include "draft_odds.h"

/* About 1 / (1 - KEEP) tokens are remembered: a sequence that stops quoting is believed after a few misses, an engine
 * that hardly any client's text repeats in after a few hundred tokens. */
#define KEEP_OWN 0.9f
#define KEEP_ALL 0.995f

/* The engine's rate counts as this many tries of the sequence's own, and what was measured once as this many of the
 * engine's. */
#define WEIGHT_ALL      2.0f
#define WEIGHT_MEASURED 10.0f

static uint32_t class_of(uint32_t length)
{
    static const uint32_t longest[DRAFT_CLASSES - 1] = {2, 3, 5, 8, 15, 31};
    uint32_t i = 0;
    while (i < DRAFT_CLASSES - 1 && length > longest[i])
        i++;
    return i;
}

void draft_odds_init(struct draft_odds *odds)
{
    static const float measured[DRAFT_CLASSES] = {0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.8f, 0.9f};
    for (uint32_t i = 0; i < DRAFT_CLASSES; i++) {
        odds->tries[i] = WEIGHT_MEASURED;
        odds->hits[i] = WEIGHT_MEASURED * measured[i];
    }
}

static void note(struct draft_odds *odds, uint32_t class, bool is_hit, float keep)
{
    odds->tries[class] = keep * odds->tries[class] + 1.0f;
    odds->hits[class] = keep * odds->hits[class] + (is_hit ? 1.0f : 0.0f);
}

void draft_odds_note(struct draft_odds *own, struct draft_odds *all, uint32_t length, bool is_hit)
{
    note(own, class_of(length), is_hit, KEEP_OWN);
    note(all, class_of(length), is_hit, KEEP_ALL);
}

double draft_odds_of(const struct draft_odds *own, const struct draft_odds *all, uint32_t length)
{
    uint32_t class = class_of(length);
    double rate = (double)all->hits[class] / (double)all->tries[class];
    return ((double)own->hits[class] + (double)WEIGHT_ALL * rate) /
           ((double)own->tries[class] + (double)WEIGHT_ALL);
}
