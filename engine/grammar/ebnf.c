#include "ebnf.h"

#include "json.h"
#include "regex.h"
#include "schema.h"
#include "utf8.h"

#define DEPTH_MAX 100u
/* Rules that a text may name; looking one up goes through all. */
#define RULES_MAX 4096u
/* Nesting and values of an embedded schema. */
static const struct json_limits schema_limits = {.depth_max = 64, .value_count_max = 100000};

struct ebnf {
    struct compile *c;
    struct text_slice text;
    size_t at;
    uint32_t depth;
    uint32_t *numbers; /* rule of each name, [name_count] */
    uint32_t name_count, name_capacity;
};

static const struct expr *parse_choice(struct ebnf *p);

static bool refuse(struct ebnf *p, const char *what)
{
    size_t line = 1;
    for (size_t i = 0; i < p->at && i < p->text.bytes; i++)
        line += p->text.data[i] == '\n';
    return compile_fail(p->c, STATUS_INVALID, "the grammar is wrong in line %zu: %s", line, what);
}

static bool is_over(const struct ebnf *p)
{
    return p->at == p->text.bytes;
}

static char peek(const struct ebnf *p)
{
    return is_over(p) ? '\0' : p->text.data[p->at];
}

static bool is_at(const struct ebnf *p, const char *word)
{
    size_t bytes = strlen(word);
    return p->text.bytes - p->at >= bytes && memcmp(p->text.data + p->at, word, bytes) == 0;
}

static bool take(struct ebnf *p, const char *word)
{
    if (!is_at(p, word))
        return false;
    p->at += strlen(word);
    return true;
}

static void skip_space(struct ebnf *p)
{
    while (!is_over(p)) {
        if (peek(p) == '#') {
            while (!is_over(p) && peek(p) != '\n')
                p->at++;
        } else if (memchr(" \t\r\n", peek(p), 4) != NULL) {
            p->at++;
        } else {
            return;
        }
    }
}

/* --- names --- */

static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.';
}

static struct text_slice read_name(struct ebnf *p)
{
    size_t start = p->at;
    while (!is_over(p) && is_name_byte(peek(p)))
        p->at++;
    return (struct text_slice){p->text.data + start, p->at - start};
}

/* The rule of this name, new if need be; UINT32_MAX: failed. */
static uint32_t rule_of(struct ebnf *p, struct text_slice name)
{
    struct compile *c = p->c;
    for (uint32_t i = 0; i < p->name_count; i++) {
        if (text_slice_equals(c->rules[p->numbers[i]].name, name))
            return p->numbers[i];
    }
    if (p->name_count == RULES_MAX) {
        compile_fail(c, STATUS_TOO_LARGE, "the grammar has more than %u rules", RULES_MAX);
        return UINT32_MAX;
    }
    p->numbers = compile_grow(c, p->numbers, p->name_count, &p->name_capacity, sizeof *p->numbers);
    uint32_t rule = compile_add_rule(c, name);
    if (!compile_go_on(c, p->name_count))
        return UINT32_MAX;
    p->numbers[p->name_count++] = rule;
    return rule;
}

/* Does a rule begin here? Then the one before ends. */
static bool is_rule_start(struct ebnf *p)
{
    size_t start = p->at;
    bool has_name = read_name(p).bytes > 0;
    while (has_name && (peek(p) == ' ' || peek(p) == '\t'))
        p->at++;
    bool is_start = has_name && is_at(p, "::=");
    p->at = start;
    return is_start;
}

/* --- literals and classes --- */

static bool read_escape(struct ebnf *p, uint32_t *out)
{
    static const char letters[] = "nrtfvb0";
    static const char values[] = "\n\r\t\f\v\b";
    char letter = peek(p);
    unsigned digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    const char *found = letter != '\0' ? strchr(letters, letter) : NULL;
    if (is_over(p))
        return refuse(p, "nothing follows the backslash");
    if (digits > 0) {
        p->at++;
        return regex_read_hex(p->text, &p->at, digits, out) ||
               refuse(p, "hexadecimal digits are missing");
    }
    if (found != NULL) {
        p->at++;
        *out = (uint8_t)values[found - letters];
        return true;
    }
    size_t bytes = utf8_decode(p->text.data + p->at, p->text.bytes - p->at, out);
    p->at += bytes;
    return bytes > 0 || refuse(p, "broken UTF-8");
}

static bool read_character(struct ebnf *p, uint32_t *out)
{
    if (take(p, "\\"))
        return read_escape(p, out);
    size_t bytes = is_over(p) ? 0 : utf8_decode(p->text.data + p->at, p->text.bytes - p->at, out);
    p->at += bytes;
    return bytes > 0 || refuse(p, is_over(p) ? "it ends inside a literal" : "broken UTF-8");
}

/* After the opening quote. */
static const struct expr *parse_literal(struct ebnf *p, const char *quote)
{
    struct buffer text;
    buffer_init(&text, p->text.bytes * 4);
    while (p->c->failed == STATUS_OK && !take(p, quote)) {
        uint32_t code_point = 0;
        char bytes[4];
        if (!read_character(p, &code_point))
            break;
        if (code_point >= 0xD800 && code_point <= 0xDFFF)
            refuse(p, "a surrogate is no character");
        else
            buffer_append(&text, bytes, utf8_encode(code_point, bytes));
    }
    if (text.failed != STATUS_OK)
        compile_fail(p->c, STATUS_NO_MEMORY, "no memory for a literal");
    const struct expr *e = p->c->failed == STATUS_OK ? expr_text(p->c, buffer_slice(&text)) : NULL;
    buffer_deinit(&text);
    return e;
}

/* After the '['. */
static const struct expr *parse_class(struct ebnf *p)
{
    struct char_range *ranges = NULL;
    uint32_t count = 0;
    uint32_t capacity = 0;
    bool is_negated = take(p, "^");
    while (!take(p, "]")) {
        struct char_range range;
        if (!read_character(p, &range.low))
            return NULL;
        range.high = range.low;
        if (is_at(p, "-") && !is_at(p, "-]")) {
            p->at++;
            if (!read_character(p, &range.high))
                return NULL;
        }
        if (range.high < range.low) {
            refuse(p, "a range ends before it begins");
            return NULL;
        }
        ranges = compile_grow(p->c, ranges, count, &capacity, sizeof *ranges);
        if (ranges == NULL)
            return NULL;
        ranges[count++] = range;
    }
    return expr_set(p->c, ranges, count, is_negated);
}

/* --- embedded languages --- */

/* After %json. The value's end is where its brackets close. */
static const struct expr *parse_json(struct ebnf *p)
{
    json_error_t error;
    json_t *found =
        json_loadb(p->text.data + p->at, p->text.bytes - p->at,
                   JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (found == NULL) {
        refuse(p, "no JSON object follows %json");
        return NULL;
    }
    struct text_slice text = {p->text.data + p->at, (size_t)error.position};
    p->at += text.bytes;
    json_decref(found);
    json_t *schema = NULL;
    struct error_note note = {""};
    status s = json_load_limited(text, &schema_limits, &schema, &note);
    if (s != STATUS_OK) {
        compile_fail(p->c, s, "the schema in the grammar: %s", note.text);
        return NULL;
    }
    const struct expr *e = schema_expr(p->c, schema);
    json_decref(schema);
    return e;
}

/* After %regex{. The pattern ends at the brace that closes; one in a class or after a backslash does not count. */
static const struct expr *parse_regex(struct ebnf *p)
{
    size_t start = p->at;
    uint32_t depth = 1;
    bool is_in_class = false;
    for (; !is_over(p); p->at++) {
        char byte = peek(p);
        if (byte == '\\' && p->at + 1 < p->text.bytes)
            p->at++;
        else if (byte == '[' || byte == ']')
            is_in_class = byte == '[';
        else if (!is_in_class && byte == '{')
            depth++;
        else if (!is_in_class && byte == '}' && --depth == 0)
            break;
    }
    struct text_slice pattern = {p->text.data + start, p->at - start};
    if (!take(p, "}")) {
        refuse(p, "the brace after %regex does not close");
        return NULL;
    }
    return regex_whole(p->c, pattern, "%regex");
}

/* --- structure --- */

static const struct expr *parse_group(struct ebnf *p)
{
    if (p->depth == DEPTH_MAX) {
        refuse(p, "groups are nested too deeply");
        return NULL;
    }
    p->depth++;
    const struct expr *inner = parse_choice(p);
    p->depth--;
    if (inner != NULL && !take(p, ")")) {
        refuse(p, "a ')' is missing");
        return NULL;
    }
    return inner;
}

static const struct expr *parse_atom(struct ebnf *p)
{
    static const struct char_range line_break = {'\n', '\n'};
    if (take(p, "\""))
        return parse_literal(p, "\"");
    if (take(p, "'"))
        return parse_literal(p, "'");
    if (take(p, "["))
        return parse_class(p);
    if (take(p, "("))
        return parse_group(p);
    if (take(p, "."))
        return expr_set(p->c, &line_break, 1, true);
    if (take(p, "%json"))
        return parse_json(p);
    if (take(p, "%regex{"))
        return parse_regex(p);
    struct text_slice name = read_name(p);
    if (name.bytes == 0) {
        refuse(p, "a literal, a class, a group or a name is missing");
        return NULL;
    }
    uint32_t rule = rule_of(p, name);
    return rule != UINT32_MAX ? expr_rule(p->c, rule) : NULL;
}

static bool read_number(struct ebnf *p, uint32_t *out)
{
    size_t start = p->at;
    uint64_t value = 0;
    while (peek(p) >= '0' && peek(p) <= '9') {
        value = value * 10 + (uint64_t)(p->text.data[p->at++] - '0');
        value = value < EXPR_UNBOUNDED ? value : EXPR_UNBOUNDED - 1;
    }
    *out = (uint32_t)value;
    return p->at > start;
}

/* After the '{'. */
static bool read_bounds(struct ebnf *p, uint32_t *min, uint32_t *max)
{
    bool has_min = read_number(p, min);
    *max = *min;
    if (take(p, ",")) {
        if (!read_number(p, max))
            *max = EXPR_UNBOUNDED;
    } else if (!has_min) {
        return refuse(p, "a number is missing after '{'");
    }
    if (!take(p, "}"))
        return refuse(p, "a '}' is missing");
    return *max >= *min || refuse(p, "the most is less than the least");
}

static const struct expr *parse_repeat(struct ebnf *p)
{
    const struct expr *e = parse_atom(p);
    while (e != NULL) {
        uint32_t min = 0;
        uint32_t max = EXPR_UNBOUNDED;
        if (take(p, "+"))
            min = 1;
        else if (take(p, "?"))
            max = 1;
        else if (take(p, "{") ? !read_bounds(p, &min, &max) : !take(p, "*"))
            return p->c->failed == STATUS_OK ? e : NULL;
        e = expr_repeat(p->c, e, NULL, min, max);
    }
    return NULL;
}

static const struct expr *parse_sequence(struct ebnf *p)
{
    struct expr_list list = {0};
    skip_space(p);
    while (!is_over(p) && peek(p) != '|' && peek(p) != ')' && !is_rule_start(p)) {
        if (!expr_list_add(p->c, &list, parse_repeat(p)))
            return NULL;
        skip_space(p);
    }
    return expr_sequence(p->c, list.items, list.count);
}

static const struct expr *parse_choice(struct ebnf *p)
{
    struct expr_list list = {0};
    do {
        if (!expr_list_add(p->c, &list, parse_sequence(p)))
            return NULL;
    } while (take(p, "|"));
    return expr_choice(p->c, list.items, list.count);
}

static bool parse_rule(struct ebnf *p)
{
    struct text_slice name = read_name(p);
    if (name.bytes == 0)
        return refuse(p, "a rule's name is missing");
    uint32_t rule = rule_of(p, name);
    skip_space(p);
    if (!take(p, "::="))
        return refuse(p, "'::=' is missing");
    const struct expr *body = rule != UINT32_MAX ? parse_choice(p) : NULL;
    if (body == NULL)
        return false;
    if (p->c->rules[rule].body != NULL)
        return refuse(p, "a rule is there twice");
    p->c->rules[rule].body = body;
    return is_over(p) || is_rule_start(p) || refuse(p, "a '(' is missing");
}

const struct expr *ebnf_expr(struct compile *c, struct text_slice text)
{
    struct ebnf p = {.c = c, .text = text};
    const struct expr *root = NULL;
    skip_space(&p);
    while (!is_over(&p)) {
        if (!parse_rule(&p))
            return NULL;
        skip_space(&p);
    }
    for (uint32_t i = 0; i < p.name_count; i++) {
        const struct rule *rule = &c->rules[p.numbers[i]];
        if (rule->body == NULL) {
            compile_fail(c, STATUS_INVALID, "the grammar names the rule '%.*s', which it lacks",
                         rule->name.bytes < 100 ? (int)rule->name.bytes : 100, rule->name.data);
            return NULL;
        }
        if (text_slice_is(rule->name, "root"))
            root = expr_rule(c, p.numbers[i]);
    }
    if (root == NULL)
        compile_fail(c, STATUS_INVALID, "the grammar has no rule 'root'");
    return root;
}
