/* A pre-tokenizer is a list of stages. A stage finds matches of one regular expression from left to
 * right; matches and the text between them become pieces, and each piece is given to the next stage
 * as if it were a text of its own ("isolated" splits in the `tokenizers` library). What the last
 * stage leaves are the words.
 *
 * Time: every matcher looks at a character a bounded number of times before the position moves past
 * it. Where an expression could scan a long run, fail, and scan it again from the next character,
 * the matcher says how far nothing can begin (`skip`). */
#include "pre_tokenizer.h"

#include <stdint.h>
#include <string.h>

#include "check.h"
#include "unicode_class.h"

/* A family's stages, in the order that its tokenizer.json has them. */
#define FAMILY_STAGES_MAX 5
struct stage {
    match_fn *match;
    const void *rules;
};
struct family {
    const char *names[14];
    struct stage stages[FAMILY_STAGES_MAX];
    bool ignores_merges;
};

#define ALNUM (UNICODE_LETTER | UNICODE_NUMBER)

static bool is_newline(uint32_t code_point)
{
    return code_point == '\r' || code_point == '\n';
}

/* End of the run of characters that have a flag of `any` and none of `none`. */
static size_t run_of(const char *text, size_t at, size_t end, uint16_t any, uint16_t none)
{
    while (at < end) {
        struct text_character c = text_character_at(text, at, end);
        if (!(c.flags & any) || (c.flags & none))
            break;
        at += c.bytes;
    }
    return at;
}

/* End of the run of characters that have no flag of `none`. */
static size_t run_without(const char *text, size_t at, size_t end, uint16_t none)
{
    while (at < end) {
        struct text_character c = text_character_at(text, at, end);
        if (c.flags & none)
            break;
        at += c.bytes;
    }
    return at;
}

/* 's 't 're 've 'm 'll 'd at `at`: its length, or 0. Ignoring case, the regex engine also takes
 * U+017F for s. */
static size_t contraction_at(const char *text, size_t at, size_t end, bool ignore_case)
{
    if (end - at < 2 || text[at] != '\'')
        return 0;
    unsigned char fold = ignore_case ? 0x20 : 0;
    unsigned char a = (unsigned char)text[at + 1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if (end - at < 3)
        return 0;
    unsigned char b = (unsigned char)text[at + 2];
    if (ignore_case && (unsigned char)text[at + 1] == 0xC5 && b == 0xBF)
        return 3;
    b |= fold;
    bool is_known = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
    return is_known ? 3 : 0;
}

/* `\s*[\r\n]+|\s+(?!\S)|\s+` at a space (without the first alternative unless `newlines`). */
static size_t match_spaces(const char *text, size_t at, size_t end, bool newlines)
{
    size_t stop = at, last_start = at, after_newline = at;
    while (stop < end) {
        struct text_character c = text_character_at(text, stop, end);
        if (!(c.flags & UNICODE_SPACE))
            break;
        last_start = stop;
        stop += c.bytes;
        if (is_newline(c.code_point))
            after_newline = stop;
    }
    if (newlines && after_newline > at)
        return after_newline;
    if (stop == end || last_start == at)
        return stop;
    return last_start;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+   (GPT-2) */
static size_t match_gpt2(const char *text, size_t at, size_t end, const void *rules, size_t *skip)
{
    (void)rules, (void)skip;
    size_t contraction = contraction_at(text, at, end, false);
    if (contraction > 0)
        return at + contraction;
    size_t body = at + (text[at] == ' ' && at + 1 < end ? 1 : 0);
    struct text_character c = text_character_at(text, body, end);
    if (c.flags & UNICODE_SPACE)
        return match_spaces(text, at, end, false);
    if (c.flags & UNICODE_LETTER)
        return run_of(text, body, end, UNICODE_LETTER, 0);
    if (c.flags & UNICODE_NUMBER)
        return run_of(text, body, end, UNICODE_NUMBER, 0);
    return run_without(text, body, end, UNICODE_SPACE | ALNUM);
}

/* The family that began with cl100k. */
struct word_rules {
    uint16_t letters;      /* what a word is made of; 0: GPT-4o's upper part, lower part */
    uint16_t digits_max;   /* of one number piece */
    bool has_contractions; /* (?i:'s|...) as words of their own; with letters == 0 as endings of
                              words */
    bool slash_after;      /* punctuation takes [\r\n/]* after it, else [\r\n]* */
};

/* \p{N}{1,max} */
static size_t run_of_numbers(const char *text, size_t at, size_t end, uint32_t count_max)
{
    for (uint32_t i = 0; i < count_max && at < end; i++) {
        struct text_character c = text_character_at(text, at, end);
        if (!(c.flags & UNICODE_NUMBER))
            break;
        at += c.bytes;
    }
    return at;
}

/* [UPPER]*[LOWER]+ at `at`; both sets share letters without case, so the first part may have to
 * give back. */
static size_t match_upper_lower(const char *text, size_t at, size_t end)
{
    size_t upper = at, last_shared = at;
    while (upper < end) {
        struct text_character c = text_character_at(text, upper, end);
        if (!(c.flags & UNICODE_UPPER))
            break;
        upper += c.bytes;
        if (c.flags & UNICODE_LOWER)
            last_shared = upper;
    }
    size_t lower = run_of(text, upper, end, UNICODE_LOWER, 0);
    return lower > upper ? lower : last_shared;
}

/* [^\r\n\p{L}\p{N}]?[UPPER]*[LOWER]+(ending)?|[^\r\n\p{L}\p{N}]?[UPPER]+[LOWER]*(ending)? (GPT-4o)
 */
static size_t match_cased_word(const char *text, size_t at, size_t end, const struct word_rules *r)
{
    struct text_character c = text_character_at(text, at, end);
    bool may_lead = !is_newline(c.code_point) && !(c.flags & ALNUM);
    size_t body = at + c.bytes, stop = at;
    if (may_lead && body < end) {
        size_t lower = match_upper_lower(text, body, end);
        stop = lower > body ? lower : at;
    }
    if (stop == at)
        stop = match_upper_lower(text, at, end);
    if (stop == at && may_lead) {
        size_t upper = run_of(text, body, end, UNICODE_UPPER, 0);
        stop = upper > body ? upper : at;
    }
    if (stop == at)
        stop = run_of(text, at, end, UNICODE_UPPER, 0);
    if (stop > at && r->has_contractions && stop < end)
        stop += contraction_at(text, stop, end, true);
    return stop;
}

/* [^\r\n\p{L}\p{N}]?[letters]+ */
static size_t match_plain_word(const char *text, size_t at, size_t end, uint16_t letters)
{
    struct text_character c = text_character_at(text, at, end);
    if (c.flags & letters)
        return run_of(text, at, end, letters, 0);
    if (is_newline(c.code_point) || (c.flags & ALNUM))
        return at;
    size_t stop = run_of(text, at + c.bytes, end, letters, 0);
    return stop > at + c.bytes ? stop : at;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|<word>|\p{N}{1,max}|
 * ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t match_word(const char *text, size_t at, size_t end, const void *rules, size_t *skip)
{
    (void)skip;
    const struct word_rules *r = rules;
    if (r->letters != 0 && r->has_contractions) {
        size_t contraction = contraction_at(text, at, end, true);
        if (contraction > 0)
            return at + contraction;
    }
    size_t word = r->letters != 0 ? match_plain_word(text, at, end, r->letters)
                                  : match_cased_word(text, at, end, r);
    if (word > at)
        return word;
    size_t number = run_of_numbers(text, at, end, r->digits_max);
    if (number > at)
        return number;
    size_t body = at + (text[at] == ' ' ? 1 : 0);
    size_t other = run_without(text, body, end, UNICODE_SPACE | ALNUM | r->letters);
    if (other == body)
        return match_spaces(text, at, end, true);
    while (other < end &&
           (is_newline((uint8_t)text[other]) || (r->slash_after && text[other] == '/')))
        other++;
    return other;
}

/* Stages that look for one class. */

static size_t match_digit(const char *text, size_t at, size_t end, const void *rules, size_t *skip)
{
    (void)rules, (void)skip;
    struct text_character c = text_character_at(text, at, end);
    return c.flags & UNICODE_DIGIT ? at + c.bytes : at;
}

/* \p{N}{1,3} */
static size_t match_three_numbers(const char *text, size_t at, size_t end, const void *rules,
                                  size_t *skip)
{
    (void)rules, (void)skip;
    return run_of_numbers(text, at, end, 3);
}

/* \p{N}+ */
static size_t match_numbers(const char *text, size_t at, size_t end, const void *rules,
                            size_t *skip)
{
    (void)rules, (void)skip;
    return run_of(text, at, end, UNICODE_NUMBER, 0);
}

/* [0-9][0-9][0-9] */
static size_t match_three_ascii_digits(const char *text, size_t at, size_t end, const void *rules,
                                       size_t *skip)
{
    (void)rules, (void)skip;
    if (end - at < 3)
        return at;
    for (size_t i = at; i < at + 3; i++) {
        if (text[i] < '0' || text[i] > '9')
            return at;
    }
    return at + 3;
}

/* [\r\n] */
static size_t match_newline(const char *text, size_t at, size_t end, const void *rules,
                            size_t *skip)
{
    (void)rules, (void)skip, (void)end;
    return is_newline((uint8_t)text[at]) ? at + 1 : at;
}

/* [\p{P}<rules>]+: punctuation and the ASCII characters of a string. */
static size_t match_punctuation(const char *text, size_t at, size_t end, const void *rules,
                                size_t *skip)
{
    (void)skip;
    const char *extra = rules;
    while (at < end) {
        struct text_character c = text_character_at(text, at, end);
        bool is_extra = c.code_point > 0 && c.code_point < 0x80 && strchr(extra, (int)c.code_point);
        if (!(c.flags & UNICODE_PUNCTUATION) && !is_extra)
            break;
        at += c.bytes;
    }
    return at;
}

/* \s?<one or more of a flag> */
static size_t match_spaced_flag(const char *text, size_t at, size_t end, const void *rules,
                                size_t *skip)
{
    (void)skip;
    uint16_t flag = *(const uint16_t *)rules;
    struct text_character c = text_character_at(text, at, end);
    size_t body = at + (c.flags & UNICODE_SPACE ? c.bytes : 0);
    size_t stop = run_of(text, body, end, flag, 0);
    return stop > body ? stop : at;
}

struct code_point_range {
    uint32_t first, last;
};

struct code_point_set {
    const struct code_point_range *ranges; /* rising */
    size_t count;
    bool takes_space; /* \s? before */
};

static bool set_has(const struct code_point_set *set, uint32_t code_point)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code_point > set->ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->count && code_point >= set->ranges[low].first;
}

static size_t run_of_set(const char *text, size_t at, size_t end, const struct code_point_set *set)
{
    while (at < end) {
        struct text_character c = text_character_at(text, at, end);
        if (!set_has(set, c.code_point))
            break;
        at += c.bytes;
    }
    return at;
}

/* [set]+ or \s?[set]+ */
static size_t match_set(const char *text, size_t at, size_t end, const void *rules, size_t *skip)
{
    (void)skip;
    const struct code_point_set *set = rules;
    size_t stop = run_of_set(text, at, end, set);
    if (stop > at || !set->takes_space)
        return stop;
    struct text_character c = text_character_at(text, at, end);
    if (!(c.flags & UNICODE_SPACE))
        return at;
    stop = run_of_set(text, at + c.bytes, end, set);
    return stop > at + c.bytes ? stop : at;
}

/* \s+$ (also before a last newline, which `$` allows; the run takes it in any case) */
static size_t match_spaces_at_end(const char *text, size_t at, size_t end, const void *rules,
                                  size_t *skip)
{
    (void)rules;
    size_t stop = run_of(text, at, end, UNICODE_SPACE, 0);
    if (stop == end)
        return stop;
    if (stop > *skip)
        *skip = stop;
    return at;
}

static bool is_ascii_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_ascii_punctuation(char c)
{
    return c > 0x20 && c < 0x7F && !is_ascii_letter(c) && !(c >= '0' && c <= '9');
}

/* [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
 * ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t match_deepseek3(const char *text, size_t at, size_t end, const void *rules,
                              size_t *skip)
{
    (void)rules, (void)skip;
    if (is_ascii_punctuation(text[at]) && at + 1 < end && is_ascii_letter(text[at + 1])) {
        size_t stop = at + 1;
        while (stop < end && is_ascii_letter(text[stop]))
            stop++;
        return stop;
    }
    const uint16_t letters = UNICODE_LETTER | UNICODE_MARK;
    const uint16_t signs = UNICODE_PUNCTUATION | UNICODE_SYMBOL;
    struct text_character c = text_character_at(text, at, end);
    size_t body = at;
    if (!(c.flags & (letters | signs)) && !is_newline(c.code_point))
        body = at + c.bytes;
    size_t stop = run_of(text, body, end, letters, 0);
    if (stop > body)
        return stop;
    body = at + (text[at] == ' ' ? 1 : 0);
    stop = run_of(text, body, end, signs, 0);
    if (stop > body) {
        while (stop < end && is_newline((uint8_t)text[stop]))
            stop++;
        return stop;
    }
    return c.flags & UNICODE_SPACE ? match_spaces(text, at, end, true) : at;
}

/* Sets of single models. */

// clang-format off
static const struct code_point_range cased_ranges[] = { /* deepseek-llm's letters, from its tokenizer.json */
    {'A', 'Z'}, {'a', 'z'}, {0xB5, 0xB5}, {0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x1BA}, {0x1BC, 0x1BF}, {0x1C4, 0x293},
    {0x295, 0x2AF}, {0x370, 0x373}, {0x376, 0x377}, {0x37B, 0x37D}, {0x37F, 0x37F}, {0x386, 0x386}, {0x388, 0x38A},
    {0x38C, 0x38C}, {0x38E, 0x3A1}, {0x3A3, 0x3F5}, {0x3F7, 0x481}, {0x48A, 0x52F}, {0x531, 0x556}, {0x10A0, 0x10C5},
    {0x13A0, 0x13F5}, {0x13F8, 0x13FD}, {0x1C90, 0x1CBA}, {0x1CBD, 0x1CBF}, {0x1D00, 0x1D2B}, {0x1D6B, 0x1D77},
    {0x1D79, 0x1D9A}, {0x1E00, 0x1F15}, {0x1F18, 0x1F1D}, {0x1F20, 0x1F45}, {0x1F48, 0x1F4D}, {0x1F50, 0x1F57},
    {0x1F59, 0x1F59}, {0x1F5B, 0x1F5B}, {0x1F5D, 0x1F5D}, {0x1F5F, 0x1F7D}, {0x1F80, 0x1FB4}, {0x1FB6, 0x1FBC},
    {0x1FBE, 0x1FBE}, {0x1FC2, 0x1FC4}, {0x1FC6, 0x1FCC}, {0x1FD0, 0x1FD3}, {0x1FD6, 0x1FDB}, {0x1FE0, 0x1FEC},
    {0x1FF2, 0x1FF4}, {0x1FF6, 0x1FFC}, {0x2102, 0x2102}, {0x2107, 0x2107}, {0x210A, 0x2113}, {0x2115, 0x2115},
    {0x2119, 0x211D}, {0x2124, 0x2124}, {0x2126, 0x2126}, {0x2128, 0x2128}, {0x212A, 0x212D}, {0x212F, 0x2134},
    {0x2139, 0x2139}, {0x213C, 0x213F}, {0x2145, 0x2149}, {0x214E, 0x214E}, {0x2183, 0x2184}, {0x2C00, 0x2C7B},
    {0x2C7E, 0x2CE4}, {0x2CEB, 0x2CEE}, {0x2CF2, 0x2CF3}, {0xA640, 0xA66D}, {0xA680, 0xA69B}, {0xA722, 0xA76F},
    {0xA771, 0xA787}, {0xA78B, 0xA78E}, {0xAB70, 0xABBF}, {0xFB00, 0xFB06}, {0xFB13, 0xFB17}, {0xFF21, 0xFF3A},
    {0xFF41, 0xFF5A}, {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2},
    {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};
static const struct code_point_range sign_ranges[] = {
    {'!', '/'}, {':', '~'}, {0x2018, 0x201F}, {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E},
};
static const struct code_point_range han_ranges[] = {{0x800, 0x9FA5}, {0xAC00, 0xD7FF}};
static const struct code_point_range kana_ranges[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};
static const struct code_point_set cased_set = {cased_ranges, ARRAY_COUNT(cased_ranges), true};
static const struct code_point_set sign_set = {sign_ranges, ARRAY_COUNT(sign_ranges), true};
static const struct code_point_set han_set = {han_ranges, ARRAY_COUNT(han_ranges), false};
static const struct code_point_set kana_set = {kana_ranges, ARRAY_COUNT(kana_ranges), false};
static const uint16_t letter_flag = UNICODE_LETTER, punctuation_flag = UNICODE_PUNCTUATION;

static const struct word_rules rules_llama3 = {UNICODE_LETTER, 3, true, false};
static const struct word_rules rules_qwen2 = {UNICODE_LETTER, 1, true, false};
static const struct word_rules rules_qwen35 = {UNICODE_LETTER | UNICODE_MARK, 1, true, false};
static const struct word_rules rules_minicpm = {UNICODE_LETTER, UINT16_MAX, true, false};
static const struct word_rules rules_gpt4o = {0, 3, true, true};
static const struct word_rules rules_tekken = {0, 1, false, true};

static const struct family families[] = {
    {{"default"},
     {{match_punctuation, "$+<=>^~|"}, {match_gpt2, NULL}, {match_numbers, NULL}, {match_three_ascii_digits, NULL}}, false},
    {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"},
     {{match_digit, NULL}, {match_gpt2, NULL}}, false},
    {{"gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "modern-bert", "gigachat",
      "mellum"}, {{match_gpt2, NULL}}, false},
    {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "glm4", "glm5"},
     {{match_word, &rules_llama3}}, true},
    {{"dbrx", "smaug-bpe", "chatglm-bpe"}, {{match_word, &rules_llama3}}, false},
    {{"qwen2", "stablelm2", "deepseek-r1-qwen", "hunyuan", "megrez", "solar-open", "grok-2", "kormo", "f2llmv2"},
     {{match_word, &rules_qwen2}}, false},
    {{"qwen35"}, {{match_word, &rules_qwen35}}, false},
    {{"gpt-4o", "llama4", "kanana2", "minimax-m2"}, {{match_word, &rules_gpt4o}}, false},
    {{"tekken"}, {{match_word, &rules_tekken}}, true},
    {{"minicpm5"}, {{match_three_numbers, NULL}, {match_word, &rules_minicpm}}, true},
    {{"deepseek-v3", "hunyuan-dense", "joyai-llm"},
     {{match_three_numbers, NULL}, {match_set, &kana_set}, {match_deepseek3, NULL}}, false},
    {{"deepseek-llm"},
     {{match_newline, NULL}, {match_set, &cased_set}, {match_set, &sign_set}, {match_spaces_at_end, NULL},
      {match_set, &han_set}}, false},
    {{"deepseek-coder"},
     {{match_newline, NULL}, {match_spaced_flag, &letter_flag}, {match_spaced_flag, &punctuation_flag},
      {match_set, &han_set}, {match_digit, NULL}}, false},
    {{"falcon"}, {{match_punctuation, "$+<=>^~|`"}, {match_gpt2, NULL}, {match_three_ascii_digits, NULL}}, false},
};
// clang-format on

static const struct family *family_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(families); i++) {
        const struct family *family = &families[i];
        for (size_t n = 0; n < ARRAY_COUNT(family->names) && family->names[n] != NULL; n++) {
            if (strcmp(family->names[n], name) == 0)
                return family;
        }
    }
    return NULL;
}

bool pre_tokenizer_named(const char *name, struct pre_tokenizer *out, bool *ignores_merges)
{
    const struct family *family = family_find(name == NULL || name[0] == '\0' ? "default" : name);
    if (family == NULL)
        return false;
    *out = (struct pre_tokenizer){.stage_count = 0};
    for (size_t i = 0; i < FAMILY_STAGES_MAX && family->stages[i].match != NULL; i++)
        out->stages[out->stage_count++] = (struct pre_stage){.kind = PRE_STAGE_SPLIT,
                                                             .match = family->stages[i].match,
                                                             .rules = family->stages[i].rules};
    *ignores_merges = family->ignores_merges;
    return true;
}

/* Expressions as tokenizer.json files spell them. */
#define WORDS_CL100K(letters, others, digits)                                                      \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?" letters "+|" digits "| ?[^\\s" others    \
    "]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORDS_CASED(ending, digits)                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"     \
    "+" ending "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{"   \
    "Lo}\\p{M}]*" ending "|" digits                                                                \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

// clang-format off
static const struct {
    const char *expression;
    struct stage stage;
} expressions[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", {match_gpt2, NULL}},
    {WORDS_CL100K("\\p{L}", "\\p{L}\\p{N}", "\\p{N}{1,3}"), {match_word, &rules_llama3}},
    {WORDS_CL100K("\\p{L}", "\\p{L}\\p{N}", "\\p{N}"), {match_word, &rules_qwen2}},
    {WORDS_CL100K("\\p{L}", "\\p{L}\\p{N}", "\\p{N}+"), {match_word, &rules_minicpm}},
    {WORDS_CL100K("[\\p{L}\\p{M}]", "\\p{L}\\p{M}\\p{N}", "\\p{N}"), {match_word, &rules_qwen35}},
    {WORDS_CASED("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "\\p{N}{1,3}"), {match_word, &rules_gpt4o}},
    {WORDS_CASED("", "\\p{N}"), {match_word, &rules_tekken}},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
     "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", {match_deepseek3, NULL}},
    {"\\p{N}{1,3}", {match_three_numbers, NULL}},
    {"\\p{N}+", {match_numbers, NULL}},
    {"[0-9][0-9][0-9]", {match_three_ascii_digits, NULL}},
    {"[\\r\\n]", {match_newline, NULL}},
    {"[\r\n]", {match_newline, NULL}},
    {"\\s?\\p{L}+", {match_spaced_flag, &letter_flag}},
    {"\\s?\\p{P}+", {match_spaced_flag, &punctuation_flag}},
    {"\\s+$", {match_spaces_at_end, NULL}},
    {"[一-龥぀-ゟ゠-ヿ]+", {match_set, &kana_set}},
    {"[一-龥ࠀ-一가-퟿]+", {match_set, &han_set}},
};
// clang-format on

bool pre_tokenizer_expression(struct text_slice expression, struct pre_stage *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(expressions); i++) {
        if (!text_slice_is(expression, expressions[i].expression))
            continue;
        out->kind = PRE_STAGE_SPLIT;
        out->match = expressions[i].stage.match;
        out->rules = expressions[i].stage.rules;
        return true;
    }
    return false;
}

/* Runs of one class, for the library's own splitters. */

/* One or more of a flag */
static size_t match_flags(const char *text, size_t at, size_t end, const void *rules, size_t *skip)
{
    (void)skip;
    return run_of(text, at, end, *(const uint16_t *)rules, 0);
}

/* One of a flag */
static size_t match_flag(const char *text, size_t at, size_t end, const void *rules, size_t *skip)
{
    (void)skip;
    struct text_character c = text_character_at(text, at, end);
    return c.flags & *(const uint16_t *)rules ? at + c.bytes : at;
}

/* \w+|[^\w\s]+ */
static size_t match_word_or_sign(const char *text, size_t at, size_t end, const void *rules,
                                 size_t *skip)
{
    (void)rules, (void)skip;
    size_t stop = run_of(text, at, end, UNICODE_WORD, 0);
    return stop > at ? stop : run_without(text, at, end, UNICODE_WORD | UNICODE_WHITESPACE);
}

static const uint16_t whitespace_flag = UNICODE_WHITESPACE, digit_flag = UNICODE_DIGIT,
                      bert_punctuation_flag = UNICODE_BERT_PUNCTUATION;

void pre_tokenizer_class(enum pre_class which, struct pre_stage *out)
{
    static const struct stage stages[] = {
        [PRE_CLASS_GPT2] = {match_gpt2, NULL},
        [PRE_CLASS_DIGIT] = {match_digit, NULL},
        [PRE_CLASS_DIGITS] = {match_flags, &digit_flag},
        [PRE_CLASS_WHITESPACE] = {match_flag, &whitespace_flag},
        [PRE_CLASS_PUNCTUATION] = {match_flag, &bert_punctuation_flag},
        [PRE_CLASS_WORD_OR_SIGN] = {match_word_or_sign, NULL},
    };
    out->kind = PRE_STAGE_SPLIT;
    out->match = stages[which].match;
    out->rules = stages[which].rules;
}

static size_t match_literal(const char *text, size_t at, size_t end, const void *rules,
                            size_t *skip)
{
    const struct pre_stage *stage = rules;
    const char *found = memmem(text + at, end - at, stage->text, stage->text_bytes);
    if (found == text + at)
        return at + stage->text_bytes;
    *skip = found != NULL ? (size_t)(found - text) : end;
    return at;
}

/* One text on its way through the stages. */
struct splitter {
    const struct pre_tokenizer *pre;
    struct pre_scratch *scratch;
    bool is_text_start; /* of the whole text, for Metaspace's "first" */
    word_fn *on_word;
    void *context;
    status failed;
};

static void run_stage(struct splitter *s, uint32_t stage, struct text_slice piece, bool is_first);

/* What a stage holds back while it does not know what its neighbour will be. */
struct held_piece {
    size_t start, end;
    bool is_there, is_match;
};

struct stage_run {
    struct splitter *splitter;
    uint32_t next; /* the stage that pieces go to */
    struct text_slice text;
    bool is_first;
    struct held_piece held;
};

static void give(struct stage_run *run, size_t start, size_t end)
{
    if (start < end)
        run_stage(run->splitter, run->next,
                  (struct text_slice){run->text.data + start, end - start},
                  run->is_first && start == 0);
}

static void give_held(struct stage_run *run)
{
    if (run->held.is_there)
        give(run, run->held.start, run->held.end);
    run->held.is_there = false;
}

static bool joins_held(const struct held_piece *held, enum split_behaviour behaviour, bool is_match)
{
    if (!held->is_there)
        return false;
    switch (behaviour) {
    case SPLIT_CONTIGUOUS:
        return held->is_match == is_match;
    case SPLIT_MERGED_WITH_PREVIOUS:
        return is_match && !held->is_match;
    case SPLIT_MERGED_WITH_NEXT:
        return held->is_match && !is_match;
    case SPLIT_ISOLATED:
    case SPLIT_REMOVED:
        break;
    }
    return false;
}

/* The next part of the text: a match, or what lies between two. */
static void take_part(struct stage_run *run, const struct pre_stage *stage, size_t start,
                      size_t end, bool is_match)
{
    if (start == end)
        return;
    is_match = is_match != stage->inverts;
    if (stage->behaviour == SPLIT_ISOLATED || stage->behaviour == SPLIT_REMOVED) {
        if (stage->behaviour == SPLIT_ISOLATED || !is_match)
            give(run, start, end);
        return;
    }
    if (joins_held(&run->held, stage->behaviour, is_match)) {
        /* a match that has joined is closed: the next one stands alone */
        run->held.end = end;
        run->held.is_match = stage->behaviour == SPLIT_MERGED_WITH_NEXT ? false : is_match;
        return;
    }
    give_held(run);
    run->held = (struct held_piece){start, end, true, is_match};
}

static void split_text(struct splitter *s, uint32_t at_stage, struct text_slice text, bool is_first)
{
    const struct pre_stage *stage = &s->pre->stages[at_stage];
    const void *rules = stage->kind == PRE_STAGE_LITERAL ? stage : stage->rules;
    match_fn *match = stage->kind == PRE_STAGE_LITERAL ? match_literal : stage->match;
    struct stage_run run = {
        .splitter = s, .next = at_stage + 1, .text = text, .is_first = is_first};
    size_t gap = 0, at = 0;
    while (at < text.bytes && s->failed == STATUS_OK) {
        size_t skip = at + text_character_at(text.data, at, text.bytes).bytes;
        size_t stop = match(text.data, at, text.bytes, rules, &skip);
        if (stop == at) {
            at = skip;
            continue;
        }
        take_part(&run, stage, gap, at, false);
        take_part(&run, stage, at, stop, true);
        gap = at = stop;
    }
    take_part(&run, stage, gap, text.bytes, false);
    give_held(&run);
}

/* Spaces become the stage's text, which also goes in front where the scheme says so. */
static void write_metaspace(struct splitter *s, uint32_t at_stage, struct text_slice piece,
                            bool is_first)
{
    const struct pre_stage *stage = &s->pre->stages[at_stage];
    struct buffer *out = &s->scratch->texts[at_stage];
    bool has_prefix =
        piece.data[0] == ' ' || (piece.bytes >= stage->text_bytes &&
                                 memcmp(piece.data, stage->text, stage->text_bytes) == 0);
    buffer_clear(out);
    if (!has_prefix && (stage->prepend == PREPEND_ALWAYS ||
                        (stage->prepend == PREPEND_FIRST && is_first && s->is_text_start)))
        buffer_append(out, stage->text, stage->text_bytes);
    for (size_t i = 0; i < piece.bytes; i++) {
        if (piece.data[i] == ' ' && stage->replaces_spaces)
            buffer_append(out, stage->text, stage->text_bytes);
        else
            buffer_append_byte(out, piece.data[i]);
    }
}

/* Depth: the number of stages. */
static void run_stage(struct splitter *s, uint32_t stage, struct text_slice piece, bool is_first)
{
    if (piece.bytes == 0 || s->failed != STATUS_OK)
        return;
    if (stage == s->pre->stage_count) {
        s->on_word(s->context, piece);
        return;
    }
    if (s->pre->stages[stage].kind != PRE_STAGE_PREFIX) {
        split_text(s, stage, piece, is_first);
        return;
    }
    write_metaspace(s, stage, piece, is_first);
    s->failed = s->scratch->texts[stage].failed;
    run_stage(s, stage + 1, buffer_slice(&s->scratch->texts[stage]), is_first);
}

status pre_tokenizer_split(const struct pre_tokenizer *pre, struct text_slice text,
                           bool is_text_start, struct pre_scratch *scratch, word_fn *on_word,
                           void *context)
{
    struct splitter s = {.pre = pre,
                         .scratch = scratch,
                         .is_text_start = is_text_start,
                         .on_word = on_word,
                         .context = context};
    run_stage(&s, 0, text, true);
    return s.failed;
}

void pre_scratch_init(struct pre_scratch *scratch, size_t bytes_max)
{
    for (size_t i = 0; i < PRE_STAGES_MAX; i++)
        buffer_init(&scratch->texts[i], bytes_max);
}

void pre_scratch_deinit(struct pre_scratch *scratch)
{
    for (size_t i = 0; i < PRE_STAGES_MAX; i++)
        buffer_deinit(&scratch->texts[i]);
}
