#include "regex.h"

#include "utf8.h"

/* A parser by recursive descent, one function a level of binding. '^' and '$' stand for two bytes that no text has, before and
 * after it; a pattern with one of them is cut with "mark, text, mark", and then the marks are taken away. So they mean what they
 * should wherever they stand. */

#define DEPTH_MAX      100u
#define MARK_BEFORE    0xFEu
#define MARK_AFTER     0xFFu
#define CODE_POINT_MAX 0x10FFFFu

struct regex {
    struct compile *c;
    struct text_slice text;
    size_t at;
    uint32_t depth;
    bool has_marks;
    const char *where;
};

static const struct expr *parse_choice(struct regex *r);

static bool refuse(struct regex *r, const char *what)
{
    return compile_fail(r->c, STATUS_INVALID, "%s: the pattern is wrong at byte %zu: %s", r->where,
                        r->at, what);
}

static bool refuse_feature(struct regex *r, const char *what)
{
    return compile_fail(r->c, STATUS_UNSUPPORTED,
                        "%s: the pattern has %s at byte %zu, which no automaton can follow",
                        r->where, what, r->at);
}

static bool is_at(const struct regex *r, const char *word)
{
    size_t bytes = strlen(word);
    return r->text.bytes - r->at >= bytes && memcmp(r->text.data + r->at, word, bytes) == 0;
}

static bool take(struct regex *r, const char *word)
{
    if (!is_at(r, word))
        return false;
    r->at += strlen(word);
    return true;
}

static bool is_over(const struct regex *r)
{
    return r->at == r->text.bytes;
}

/* --- characters --- */

static const struct char_range digit_ranges[] = {{'0', '9'}};
static const struct char_range word_ranges[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct char_range space_ranges[] = {{'\t', '\r'}, {' ', ' '}};

struct class_letter {
    char letter;
    const struct char_range *ranges;
    uint32_t count;
};

static const struct class_letter class_letters[] = {
    {'d', digit_ranges, 1}, {'w', word_ranges, 4}, {'s', space_ranges, 2}};

/* \d and its kin; NULL: another letter. */
static const struct class_letter *find_class(char letter)
{
    for (size_t i = 0; i < sizeof class_letters / sizeof class_letters[0]; i++) {
        if (class_letters[i].letter == (letter | 0x20))
            return &class_letters[i];
    }
    return NULL;
}

bool regex_read_hex(struct text_slice text, size_t *at, unsigned digits, uint32_t *out)
{
    uint32_t value = 0;
    if (text.bytes - *at < digits)
        return false;
    for (unsigned i = 0; i < digits; i++) {
        char digit = text.data[*at + i];
        uint32_t number = digit >= '0' && digit <= '9' ? (uint32_t)(digit - '0')
                          : (digit | 0x20) >= 'a' && (digit | 0x20) <= 'f'
                              ? (uint32_t)((digit | 0x20) - 'a' + 10)
                              : 16;
        if (number == 16)
            return false;
        value = value << 4 | number;
    }
    *at += digits;
    *out = value;
    return value <= CODE_POINT_MAX;
}

/* \u{1F600}, after the brace. */
static bool read_braced_hex(struct regex *r, uint32_t *out)
{
    size_t end = r->at;
    while (end < r->text.bytes && r->text.data[end] != '}')
        end++;
    size_t digits = end - r->at;
    if (end == r->text.bytes || digits == 0 || digits > 6 ||
        !regex_read_hex(r->text, &r->at, (unsigned)digits, out))
        return false;
    r->at = end + 1;
    return true;
}

/* \uD83D\uDE00: the second half belongs to the first. */
static void join_surrogates(struct regex *r, uint32_t *code_point)
{
    size_t at = r->at + 2;
    uint32_t low;
    if (*code_point < 0xD800 || *code_point > 0xDBFF || !is_at(r, "\\u") ||
        !regex_read_hex(r->text, &at, 4, &low) || low < 0xDC00 || low > 0xDFFF)
        return;
    r->at = at;
    *code_point = 0x10000 + ((*code_point - 0xD800) << 10) + (low - 0xDC00);
}

/* One character after the backslash, which has been read. */
static bool read_escape(struct regex *r, uint32_t *out)
{
    if (is_over(r))
        return refuse(r, "nothing follows the backslash");
    char letter = r->text.data[r->at];
    static const char letters[] = "nrtfv0";
    static const char values[] = "\n\r\t\f\v";
    const char *found = strchr(letters, letter);
    if (letter == 'x' || letter == 'u' || letter == 'U') {
        r->at++;
        bool is_good = letter == 'u' && take(r, "{") ? read_braced_hex(r, out)
                                                     : regex_read_hex(r->text, &r->at,
                                                                      letter == 'x'   ? 2
                                                                      : letter == 'u' ? 4
                                                                                      : 8,
                                                                      out);
        join_surrogates(r, out);
        return is_good || refuse(r, "hexadecimal digits are missing");
    }
    if (letter >= '1' && letter <= '9')
        return refuse_feature(r, "a back reference");
    if (found != NULL && letter != '\0') {
        r->at++;
        *out = (uint8_t)values[found - letters];
        return true;
    }
    if ((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z'))
        return letter == 'b' || letter == 'B'   ? refuse_feature(r, "a word border")
               : letter == 'p' || letter == 'P' ? refuse_feature(r, "a Unicode property")
                                                : refuse(r, "an unknown escape");
    size_t bytes = utf8_decode(r->text.data + r->at, r->text.bytes - r->at, out);
    r->at += bytes;
    return bytes > 0 || refuse(r, "broken UTF-8");
}

static bool read_character(struct regex *r, uint32_t *out)
{
    size_t bytes = utf8_decode(r->text.data + r->at, r->text.bytes - r->at, out);
    if (bytes == 0)
        return refuse(r, "broken UTF-8");
    r->at += bytes;
    return *out != '\\' || read_escape(r, out);
}

/* --- classes --- */

struct class
{
    struct char_range *ranges;
    uint32_t count, capacity;
};

static bool class_add(struct regex *r, struct class *k, uint32_t low, uint32_t high)
{
    k->ranges = compile_grow(r->c, k->ranges, k->count, &k->capacity, sizeof *k->ranges);
    if (k->ranges == NULL)
        return false;
    k->ranges[k->count++] = (struct char_range){low, high};
    return true;
}

/* \d, \D and their kin inside a class. */
static bool class_add_letter(struct regex *r, struct class *k, char letter)
{
    const struct class_letter *found = find_class(letter);
    bool is_negated = (letter & 0x20) == 0;
    const struct expr *set = expr_set(r->c, found->ranges, found->count, is_negated);
    for (uint32_t i = 0; set != NULL && i < set->count; i++) {
        if (!class_add(r, k, set->ranges[i].low, set->ranges[i].high))
            return false;
    }
    return set != NULL;
}

static bool is_class_letter(const struct regex *r)
{
    return is_at(r, "\\") && r->at + 1 < r->text.bytes &&
           find_class(r->text.data[r->at + 1]) != NULL &&
           strchr("dwsDWS", r->text.data[r->at + 1]) != NULL;
}

static bool class_item(struct regex *r, struct class *k)
{
    if (is_class_letter(r)) {
        r->at += 2;
        return class_add_letter(r, k, r->text.data[r->at - 1]);
    }
    uint32_t low;
    if (is_at(r, "\\b")) { /* in a class it is the backspace */
        r->at += 2;
        low = '\b';
    } else if (!read_character(r, &low)) {
        return false;
    }
    bool is_range = is_at(r, "-") && r->at + 1 < r->text.bytes && r->text.data[r->at + 1] != ']';
    if (!is_range)
        return class_add(r, k, low, low);
    r->at++;
    if (is_class_letter(r))
        return refuse(r, "a range cannot end in a class");
    uint32_t high;
    if (!read_character(r, &high))
        return false;
    if (high < low)
        return refuse(r, "a range ends before it begins");
    return class_add(r, k, low, high);
}

/* After the '['. */
static const struct expr *parse_class(struct regex *r)
{
    struct class k = {0};
    bool is_negated = take(r, "^");
    bool is_first = true;
    while (is_first || !take(r, "]")) {
        if (is_over(r)) {
            refuse(r, "a ']' is missing");
            return NULL;
        }
        if (is_first && is_at(r, "]") && r->text.bytes - r->at > 1 && is_negated == false &&
            memchr(r->text.data + r->at + 1, ']', r->text.bytes - r->at - 1) == NULL) {
            r->at++; /* [] matches nothing */
            break;
        }
        is_first = false;
        if (!class_item(r, &k))
            return NULL;
    }
    return expr_set(r->c, k.ranges, k.count, is_negated);
}

/* --- atoms and what repeats them --- */

static const struct expr *mark(struct regex *r, uint8_t byte)
{
    r->has_marks = true;
    return expr_text(r->c, (struct text_slice){(const char *)&byte, 1});
}

/* After the '('. */
static const struct expr *parse_group(struct regex *r)
{
    if (take(r, "?")) {
        bool is_named = take(r, "P<") || (is_at(r, "<") && !is_at(r, "<=") && !is_at(r, "<!"));
        if (is_named) {
            while (!is_over(r) && !is_at(r, ">"))
                r->at++;
            if (!take(r, ">"))
                refuse(r, "a '>' is missing");
        } else if (!take(r, ":")) {
            refuse_feature(r, "look-around, a flag or a condition");
        }
    }
    if (r->depth == DEPTH_MAX)
        refuse(r, "groups are nested too deeply");
    if (r->c->failed != STATUS_OK)
        return NULL;
    r->depth++;
    const struct expr *inner = parse_choice(r);
    r->depth--;
    if (inner != NULL && !take(r, ")"))
        refuse(r, "a ')' is missing");
    return r->c->failed == STATUS_OK ? inner : NULL;
}

static const struct expr *parse_escape(struct regex *r)
{
    char letter = r->at + 1 < r->text.bytes ? r->text.data[r->at + 1] : '\0';
    if (letter == 'A' || letter == 'Z' || letter == 'z') {
        r->at += 2;
        return mark(r, letter == 'A' ? MARK_BEFORE : MARK_AFTER);
    }
    if (is_class_letter(r)) {
        const struct class_letter *found = find_class(letter);
        r->at += 2;
        return expr_set(r->c, found->ranges, found->count, (letter & 0x20) == 0);
    }
    uint32_t code_point;
    return read_character(r, &code_point) ? expr_range(r->c, code_point, code_point) : NULL;
}

static const struct expr *parse_atom(struct regex *r)
{
    static const struct char_range line_break = {'\n', '\n'};
    if (take(r, "("))
        return parse_group(r);
    if (take(r, "["))
        return parse_class(r);
    if (take(r, "."))
        return expr_set(r->c, &line_break, 1, true);
    if (take(r, "^"))
        return mark(r, MARK_BEFORE);
    if (take(r, "$"))
        return mark(r, MARK_AFTER);
    if (is_at(r, "\\"))
        return parse_escape(r);
    if (is_at(r, "*") || is_at(r, "+") || is_at(r, "?")) {
        refuse(r, "nothing to repeat");
        return NULL;
    }
    uint32_t code_point;
    return read_character(r, &code_point) ? expr_range(r->c, code_point, code_point) : NULL;
}

static bool read_number(struct regex *r, uint32_t *out)
{
    size_t start = r->at;
    uint64_t value = 0;
    while (!is_over(r) && r->text.data[r->at] >= '0' && r->text.data[r->at] <= '9') {
        value = value * 10 + (uint64_t)(r->text.data[r->at++] - '0');
        if (value >= EXPR_UNBOUNDED)
            value = EXPR_UNBOUNDED - 1;
    }
    if (r->at > start)
        *out = (uint32_t)value;
    return r->at > start;
}

/* {2}, {2,}, {2,5} or {,5}; false: it is just text, and nothing was read. */
static bool read_bounds(struct regex *r, uint32_t *min, uint32_t *max)
{
    size_t start = r->at;
    *min = 0;
    bool has_min = take(r, "{") && read_number(r, min);
    bool has_comma = r->at > start && take(r, ",");
    *max = has_comma ? EXPR_UNBOUNDED : *min;
    bool has_max = has_comma && read_number(r, max);
    if (r->at > start && (has_min || has_max) && take(r, "}"))
        return true;
    r->at = start;
    return false;
}

static const struct expr *parse_repeat(struct regex *r)
{
    const struct expr *atom = parse_atom(r);
    for (;;) {
        uint32_t min = 0;
        uint32_t max = EXPR_UNBOUNDED;
        if (atom == NULL || r->c->failed != STATUS_OK)
            return NULL;
        if (take(r, "+"))
            min = 1;
        else if (take(r, "?"))
            max = 1;
        else if (!take(r, "*") && !read_bounds(r, &min, &max))
            return atom;
        if (max < min) {
            refuse(r, "the most is less than the least");
            return NULL;
        }
        if (is_at(r, "+"))
            refuse_feature(r, "a possessive repetition");
        take(r, "?"); /* the lazy form has the same texts */
        atom = expr_repeat(r->c, atom, NULL, min, max);
    }
}

static const struct expr *parse_sequence(struct regex *r)
{
    struct expr_list list = {0};
    while (!is_over(r) && !is_at(r, "|") && !is_at(r, ")")) {
        if (!expr_list_add(r->c, &list, parse_repeat(r)))
            return NULL;
    }
    return expr_sequence(r->c, list.items, list.count);
}

static const struct expr *parse_choice(struct regex *r)
{
    struct expr_list list = {0};
    do {
        if (!expr_list_add(r->c, &list, parse_sequence(r)))
            return NULL;
    } while (take(r, "|"));
    return list.count == 1 ? list.items[0] : expr_choice(r->c, list.items, list.count);
}

/* --- the whole --- */

static const struct expr *parse(struct regex *r)
{
    const struct expr *e = parse_choice(r);
    if (e != NULL && !is_over(r)) {
        refuse(r, "a '(' is missing");
        return NULL;
    }
    return e;
}

static const struct expr *any_text(struct compile *c)
{
    return expr_repeat(c, expr_range(c, 0, CODE_POINT_MAX), NULL, 0, EXPR_UNBOUNDED);
}

/* The texts that `e`, between its two surroundings, has with both marks around them; then without the marks. */
static const struct automaton *resolve_marks(struct regex *r, const struct expr *e,
                                             const struct expr *around)
{
    struct compile *c = r->c;
    /* As often as it is asked for: ^^a is ^a. */
    const struct expr *before = expr_repeat(c, mark(r, MARK_BEFORE), NULL, 1, EXPR_UNBOUNDED);
    const struct expr *after = expr_repeat(c, mark(r, MARK_AFTER), NULL, 1, EXPR_UNBOUNDED);
    const struct expr *any = any_text(c);
    if (c->failed != STATUS_OK)
        return NULL;
    const struct expr *start = expr_optional(c, expr_join(c, before, around, NULL, NULL));
    const struct expr *end = expr_optional(c, expr_join(c, around, after, NULL, NULL));
    const struct automaton *marked = automaton_from_expr(c, expr_join(c, start, e, end, NULL));
    const struct automaton *frame = automaton_from_expr(c, expr_join(c, before, any, after, NULL));
    if (c->failed != STATUS_OK)
        return NULL;
    return automaton_drop_marks(c, automaton_intersect(c, marked, frame), MARK_BEFORE);
}

const struct expr *regex_whole(struct compile *c, struct text_slice pattern, const char *where)
{
    struct regex r = {.c = c, .text = pattern, .where = where};
    const struct expr *e = parse(&r);
    if (e == NULL || !r.has_marks)
        return e;
    const struct automaton *a = resolve_marks(&r, e, expr_word(c, ""));
    return a != NULL ? expr_automaton(c, a) : NULL;
}

const struct automaton *regex_search(struct compile *c, struct text_slice pattern,
                                     const char *where)
{
    struct regex r = {.c = c, .text = pattern, .where = where};
    const struct expr *e = parse(&r);
    const struct expr *any = any_text(c);
    if (c->failed != STATUS_OK)
        return NULL;
    if (r.has_marks)
        return resolve_marks(&r, e, any);
    return automaton_from_expr(c, expr_join(c, any, e, any, NULL));
}
