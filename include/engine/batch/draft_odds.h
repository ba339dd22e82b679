#ifndef PENSTOCK_ENGINE_BATCH_DRAFT_ODDS_H
#define PENSTOCK_ENGINE_BATCH_DRAFT_ODDS_H

#include <stdbool.h>
#include <stdint.h>

/* How often the token that a match foretells is the one that comes, by the length of the match. Every token of a sequence
 * says something about it, whether it was drafted or not: what the match foretold is compared with what was sampled.
 * So nothing need be drafted to find out that drafts would pay, or that they no longer do. */

/* Classes of lengths: to 2, 3, to 5, to 8, to 15, to 31, beyond. */
#define DRAFT_CLASSES 7u

struct draft_odds {
    float hits[DRAFT_CLASSES], tries[DRAFT_CLASSES]; /* faded sums */
};

/* Of a whole engine: recent tokens of all its sequences, and before there are any a guess. */
void draft_odds_init(struct draft_odds *odds);

/* A match of this length was right or wrong, in a sequence of its own odds (all zero at first) and in an engine. */
void draft_odds_note(struct draft_odds *own, struct draft_odds *all, uint32_t length, bool is_hit);

/* The chance that the next token is the one that a match of this length foretells: the sequence's own experience, and
 * while that is small the engine's. Within 0 and 1. */
double draft_odds_of(const struct draft_odds *own, const struct draft_odds *all, uint32_t length);

#endif
