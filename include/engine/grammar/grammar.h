#ifndef PENSTOCK_ENGINE_GRAMMAR_H
#define PENSTOCK_ENGINE_GRAMMAR_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "status.h"
#include "text_slice.h"
#include "tokenizer.h"

/* Structured output: a grammar says which texts a model may write, and a matcher, one a sequence, says at each step
 * which tokens keep the text inside it: exactly those after which it can still be completed, and the end exactly
 * where it is complete.
 *
 * A grammar is compiled to byte automata that call one another (a recursive transition network); a matcher follows all
 * readings at once over a graph of shared stacks (Tomita 1987; Scott and Johnstone, GLL, 2010). The tokens that a state
 * of an automaton allows whatever called it are found once, by a walk over the trie of the vocabulary, and kept, most of
 * them when the grammar has just been compiled, so that no step waits for them; only those that leave the automaton are
 * looked at again under the real stack (XGrammar, Dong et al. 2024).
 *
 * What JSON Schema means here, where more than one thing would be possible:
 *  - Properties come in the order of the schema, optional ones may be left out. Required names without a schema follow.
 *    After them come additional ones if additionalProperties or patternProperties are there and allow some. An object
 *    schema with properties and without either has no others.
 *  - A schema without `type` that has keywords of some types only is of these types.
 *  - allOf and what stands beside $ref are merged. oneOf is each of its branches with all others denied, but for those that exclude
 *    it by type, constant, or a required property's type or constant. Beside a `discriminator` (OpenAPI) its property is
 *    required where a branch has a constant for it.
 *  - not, if/then/else and dependent* are kept by what denies each keyword: type, enum, const, required, properties, lengths, pattern,
 *    bounds, counts of items, items, contains, and all that combine schemas. Texts that only the denial of another keyword
 *    would allow (multipleOf, format, additionalProperties, patternProperties, propertyNames, uniqueItems, counts of
 *    properties) are not written; where none is left the schema is refused with that keyword's name. Properties that only `if`
 *    or `not` names are none of a closed object's. Numbers beside an excluded one have up to 9 digits and 6 after the
 *    point. Of a type of which a filled array or object is excluded nothing is written.
 *  - uniqueItems: up to 8 constants come in any order (fewer if they are long), more in the schema's; strings and numbers begin
 *    with different characters (from ' ' to '~', digits), in rising order; of other items there is one at the most.
 *  - contains: the item is one of the first 8; with minContains or maxContains those items come first.
 *  - Names that propertyNames lists by enum or const are properties in that order.
 *  - unevaluatedProperties: false closes an object with all that its own allOf, $ref, anyOf, oneOf and dependentSchemas name.
 *  - Whitespace is a space, or a line break with up to 32 spaces or tabs, after '{', '[' and ',' and before '}' and ']',
 *    and a space after ':', unless the source names another pattern: without a bound small models never stop.
 *  - Numbers have up to 19 digits, 17 after the point and 3 in the exponent; those with bounds have no exponent.
 *  - Strings with a pattern or format escape only what must be. Escapes of surrogates are never used.
 *  - Formats: date, time, date-time, duration, email, hostname, ipv4, ipv6, uri, uuid; texts that every checker takes. Others
 *    are annotations. \d, \w and \s are ASCII, as in ECMA-262.
 *  - Annotations and unknown keywords are ignored. Keywords that cannot be kept are refused by name: unevaluatedItems and
 *    unevaluatedProperties inside or beside other schemas, $dynamicRef, constants that are objects or arrays beside keywords for
 *    their parts, and counts of properties beyond what properties say. */

enum grammar_kind {
    GRAMMAR_JSON_OBJECT, /* any JSON object */
    GRAMMAR_JSON_SCHEMA, /* `text`: the schema, as JSON */
    GRAMMAR_REGEX,       /* `text`: matches the whole output */
    GRAMMAR_CHOICE,      /* one of `choices` */
    GRAMMAR_EBNF /* `text`: GBNF rules, the first one wanted is `root`; %json{schema} and %regex{pattern} embed */
};

/* Everything is borrowed during the call only. */
struct grammar_source {
    enum grammar_kind kind;
    struct text_slice text;
    const struct text_slice *choices;
    uint32_t choice_count;
    /* Free text until one of these has come, then what the grammar says, then free text again, and so on. The grammar
     * begins after the trigger. None: the grammar is the whole output. */
    const struct text_slice *triggers;
    uint32_t trigger_count;
    struct text_slice whitespace; /* regex between JSON's signs; no data: the bounded default */
    /* Control tokens ("<tool_call>") may stand for their text. Else they are never allowed. */
    bool with_control;
};

struct grammar_limits {
    uint32_t states_max;         /* of all automata together */
    uint64_t compile_timeout_ns; /* 0: none */
    uint64_t learn_time_ns; /* for masks, once it is compiled; 0: they are learnt when first met */
    uint64_t memory_bytes_max; /* while compiling */
    uint64_t mask_bytes_max;   /* masks that a grammar keeps */
    uint32_t depth_max;        /* nesting that a matcher can follow */
};

/* The texts of a vocabulary as a trie. Immutable; any thread. Made once a model. `t` is borrowed for its life;
 * end_tokens is copied. row_tokens: tokens of a row of logits; those that `t` lacks are never allowed. STATUS_NO_MEMORY. */
typedef struct grammar_vocabulary grammar_vocabulary;
NODISCARD status grammar_vocabulary_create(const tokenizer *t, uint32_t row_tokens,
                                           const int32_t *end_tokens, uint32_t end_token_count,
                                           grammar_vocabulary **out);
void grammar_vocabulary_destroy(grammar_vocabulary *v); /* accepts NULL */

/* Words of 32 tokens that a mask has; bit t % 32 of word t / 32 is token t. */
uint32_t grammar_mask_words(const grammar_vocabulary *v);

/* A compiled grammar: counted, immutable but for the masks that it learns. Any thread. */
typedef struct grammar grammar;

/* STATUS_INVALID, STATUS_UNSUPPORTED (a keyword that cannot be kept), STATUS_TOO_LARGE (over a limit): the note tells the place
 * in the source and what is wrong with it; STATUS_NO_MEMORY. Takes up to the limit's time: never on a loop or step
 * thread. The vocabulary is borrowed for the grammar's life. */
NODISCARD status grammar_compile(const struct grammar_source *source, const grammar_vocabulary *v,
                                 const struct grammar_limits *limits, grammar **out,
                                 struct error_note *note);
void grammar_retain(grammar *g);
void grammar_release(grammar *g); /* accepts NULL */
uint64_t grammar_bytes(const grammar *g);

/* Grammars by source, the least recently used dropped beyond `bytes_max`; equal sources that come at once are compiled once.
 * Any thread. */
typedef struct grammar_cache grammar_cache;
NODISCARD status grammar_cache_create(const grammar_vocabulary *v,
                                      const struct grammar_limits *limits, uint64_t bytes_max,
                                      grammar_cache **out);
void grammar_cache_destroy(grammar_cache *c); /* accepts NULL */
/* Like grammar_compile; the caller releases. Waits where another thread compiles the same. */
NODISCARD status grammar_cache_get(grammar_cache *c, const struct grammar_source *source,
                                   grammar **out, struct error_note *note);

/* Where one sequence stands in its grammar. One thread at a time. All its memory comes from the arena at its creation; the
 * grammar must outlive it. A preempted sequence keeps its matcher, as it keeps its tokens; siblings (n > 1) have one each. */
typedef struct grammar_matcher grammar_matcher;
NODISCARD status grammar_matcher_create(grammar *g, arena *memory, grammar_matcher **out);

/* Sets the bits of the tokens that may come next, end tokens included where the text is complete, and clears all others.
 * mask: [grammar_mask_words]. STATUS_TOO_LARGE: more readings at once than a matcher can follow. */
NODISCARD status grammar_matcher_fill(grammar_matcher *m, uint32_t *mask);

/* Goes on by a token. STATUS_INVALID: it is not allowed (an end token never is), nothing has changed; STATUS_TOO_LARGE. */
NODISCARD status grammar_matcher_accept(grammar_matcher *m, int32_t token);
/* The text may end here. */
bool grammar_matcher_is_complete(const grammar_matcher *m);
/* It may end here, and cannot go on. */
bool grammar_matcher_is_finished(const grammar_matcher *m);

#endif
