#include "http1_head.h"

#include <string.h>
#include <strings.h>

#include "decimal.h"

#define LENGTH_DIGITS_MAX 18u /* cannot overflow */

/* RFC 9110, 5.6.2: a token's bytes, as themselves but letters in lower case; 0: no tchar. Every byte
 * of every header's name goes through here, so it is one look into a table. */
#define AS_IT_IS(c) [c] = (c)
// clang-format off
static const uint8_t token_bytes[256] = {
    AS_IT_IS('!'), AS_IT_IS('#'), AS_IT_IS('$'), AS_IT_IS('%'), AS_IT_IS('&'), AS_IT_IS('\''), AS_IT_IS('*'), AS_IT_IS('+'),
    AS_IT_IS('-'), AS_IT_IS('.'), AS_IT_IS('^'), AS_IT_IS('_'), AS_IT_IS('`'), AS_IT_IS('|'), AS_IT_IS('~'),
    AS_IT_IS('0'), AS_IT_IS('1'), AS_IT_IS('2'), AS_IT_IS('3'), AS_IT_IS('4'), AS_IT_IS('5'), AS_IT_IS('6'), AS_IT_IS('7'),
    AS_IT_IS('8'), AS_IT_IS('9'),
    AS_IT_IS('a'), AS_IT_IS('b'), AS_IT_IS('c'), AS_IT_IS('d'), AS_IT_IS('e'), AS_IT_IS('f'), AS_IT_IS('g'), AS_IT_IS('h'),
    AS_IT_IS('i'), AS_IT_IS('j'), AS_IT_IS('k'), AS_IT_IS('l'), AS_IT_IS('m'), AS_IT_IS('n'), AS_IT_IS('o'), AS_IT_IS('p'),
    AS_IT_IS('q'), AS_IT_IS('r'), AS_IT_IS('s'), AS_IT_IS('t'), AS_IT_IS('u'), AS_IT_IS('v'), AS_IT_IS('w'), AS_IT_IS('x'),
    AS_IT_IS('y'), AS_IT_IS('z'),
    ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i',
    ['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r',
    ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z',
};
// clang-format on

bool http1_is_token(struct text_slice text)
{
    for (size_t i = 0; i < text.bytes; i++)
        if (token_bytes[(unsigned char)text.data[i]] == 0)
            return false;
    return text.bytes > 0;
}

bool http1_is_lower_case_token(struct text_slice text)
{
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == 0 || token_bytes[c] != c)
            return false;
    }
    return text.bytes > 0;
}

/* False: not a token. */
static bool lower_token(char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char c = (char)token_bytes[(unsigned char)text[i]];
        if (c == 0)
            return false;
        text[i] = c;
    }
    return bytes > 0;
}

/* Looks at all bytes before it answers, which the compiler turns into vectors. */
bool http1_is_field_value(struct text_slice text)
{
    unsigned is_bad = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned char c = (unsigned char)text.data[i];
        is_bad |= (unsigned)((c < 0x20) & (c != '\t')) | (unsigned)(c == 0x7f);
    }
    return is_bad == 0;
}

status http1_head_find(const char *bytes, size_t count, size_t *scanned, size_t *head_bytes)
{
    size_t at = *scanned;
    const char *feed;
    while (at < count && (feed = memchr(bytes + at, '\n', count - at)) != NULL) {
        size_t line_end = (size_t)(feed - bytes);
        if (line_end == 0 || bytes[line_end - 1] != '\r')
            return STATUS_INVALID;
        at = line_end + 1;
        /* the empty line: "\r\n" right after another line's "\r\n" */
        if (line_end >= 3 && bytes[line_end - 2] == '\n') {
            *head_bytes = at;
            return STATUS_OK;
        }
    }
    *scanned = at;
    return STATUS_AGAIN;
}

/* Takes the next line (without CRLF) off the head. */
static struct text_slice next_line(const char **at, const char *end)
{
    const char *feed = memchr(*at, '\n', (size_t)(end - *at));
    struct text_slice line = {*at, (size_t)(feed - 1 - *at)};
    *at = feed + 1;
    return line;
}

static struct text_slice trim(struct text_slice text)
{
    while (text.bytes > 0 && (*text.data == ' ' || *text.data == '\t'))
        text = (struct text_slice){text.data + 1, text.bytes - 1};
    while (text.bytes > 0 &&
           (text.data[text.bytes - 1] == ' ' || text.data[text.bytes - 1] == '\t'))
        text.bytes--;
    return text;
}

static bool is_same_word(struct text_slice text, const char *lower_case_word)
{
    return text.bytes == strlen(lower_case_word) &&
           strncasecmp(text.data, lower_case_word, text.bytes) == 0;
}

/* Does the comma-separated list have the word? */
static bool list_has(struct text_slice list, const char *lower_case_word)
{
    while (list.bytes > 0) {
        const char *comma = memchr(list.data, ',', list.bytes);
        size_t item_bytes = comma != NULL ? (size_t)(comma - list.data) : list.bytes;
        if (is_same_word(trim((struct text_slice){list.data, item_bytes}), lower_case_word))
            return true;
        size_t taken = comma != NULL ? item_bytes + 1 : item_bytes;
        list = (struct text_slice){list.data + taken, list.bytes - taken};
    }
    return false;
}

static bool parse_length(struct text_slice text, uint64_t *out)
{
    return text.bytes <= LENGTH_DIGITS_MAX && decimal_read(text, UINT64_MAX, out);
}

struct head_facts { /* what the fields say together */
    unsigned host_count;
    bool says_close, says_keep_alive;
};

/* The fields that decide where the message ends. */
static status note_field(struct http1_head *head, struct head_facts *facts,
                         struct http_header field, const char **why)
{
    if (text_slice_is(field.name, "content-length")) {
        uint64_t length;
        if (!parse_length(field.value, &length) ||
            (head->content_length != HTTP1_NO_LENGTH && head->content_length != length)) {
            *why = "Content-Length must be one number";
            return STATUS_INVALID;
        }
        head->content_length = length;
    } else if (text_slice_is(field.name, "transfer-encoding")) {
        if (head->is_chunked || !is_same_word(field.value, "chunked")) {
            *why = "the only Transfer-Encoding understood is chunked";
            return STATUS_UNSUPPORTED;
        }
        head->is_chunked = true;
    } else if (text_slice_is(field.name, "host")) {
        facts->host_count++;
    } else if (text_slice_is(field.name, "connection")) {
        facts->says_close |= list_has(field.value, "close");
        facts->says_keep_alive |= list_has(field.value, "keep-alive");
    } else if (text_slice_is(field.name, "expect")) {
        if (!is_same_word(field.value, "100-continue")) {
            *why = "the only Expect understood is 100-continue";
            return STATUS_UNSUPPORTED;
        }
        head->expects_continue = true;
    }
    return STATUS_OK;
}

static status parse_field(char *line, size_t bytes, struct http_header *out, const char **why)
{
    char *colon = memchr(line, ':', bytes);
    if (line[0] == ' ' || line[0] == '\t') {
        *why = "header folded over several lines";
        return STATUS_INVALID;
    }
    if (colon == NULL) {
        *why = "header line without a colon";
        return STATUS_INVALID;
    }
    out->name = (struct text_slice){line, (size_t)(colon - line)};
    out->value = trim((struct text_slice){colon + 1, bytes - out->name.bytes - 1});
    if (!lower_token(line, out->name.bytes)) {
        *why = "header name is not a token (or a space stands before the colon)";
        return STATUS_INVALID;
    }
    if (!http1_is_field_value(out->value)) {
        *why = "control character in a header value";
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static status parse_fields(char *at, char *end, size_t header_count_max, struct http1_head *head,
                           struct head_facts *facts, const char **why)
{
    head->content_length = HTTP1_NO_LENGTH;
    const char *next = at;
    for (;;) {
        char *line_start = at + (next - at);
        struct text_slice line = next_line(&next, end);
        if (line.bytes == 0)
            break;
        if (head->header_count == header_count_max) {
            *why = "too many header fields";
            return STATUS_TOO_LARGE;
        }
        struct http_header *field = &head->headers[head->header_count];
        status s = parse_field(line_start, line.bytes, field, why);
        if (s == STATUS_OK)
            s = note_field(head, facts, *field, why);
        if (s != STATUS_OK)
            return s;
        head->header_count++;
    }
    if (head->is_chunked && (head->content_length != HTTP1_NO_LENGTH || head->minor_version == 0)) {
        *why = "Transfer-Encoding beside Content-Length, or in HTTP/1.0";
        return STATUS_INVALID;
    }
    head->is_keep_alive =
        !facts->says_close && (head->minor_version >= 1 || facts->says_keep_alive);
    return STATUS_OK;
}

/* "HTTP/1.x"; a version that is well-formed but not ours is STATUS_UNSUPPORTED. */
static status parse_version(struct text_slice text, int *minor, const char **why)
{
    if (text.bytes == 8 && memcmp(text.data, "HTTP/1.", 7) == 0 &&
        (text.data[7] == '0' || text.data[7] == '1')) {
        *minor = text.data[7] - '0';
        return STATUS_OK;
    }
    bool is_other = text.bytes == 8 && memcmp(text.data, "HTTP/", 5) == 0 && text.data[6] == '.';
    *why = is_other ? "HTTP version not supported" : "malformed request line";
    return is_other ? STATUS_UNSUPPORTED : STATUS_INVALID;
}

static bool split_target(struct text_slice target, struct http1_head *out)
{
    for (size_t i = 0; i < target.bytes; i++) {
        unsigned char c = (unsigned char)target.data[i];
        if (c <= ' ' || c >= 0x7f || c == '#')
            return false;
    }
    size_t scheme = target.bytes > 7 && strncasecmp(target.data, "http://", 7) == 0    ? 7
                    : target.bytes > 8 && strncasecmp(target.data, "https://", 8) == 0 ? 8
                                                                                       : 0;
    if (scheme != 0) { /* absolute-form (RFC 9112, 3.2.2) */
        const char *slash = memchr(target.data + scheme, '/', target.bytes - scheme);
        if (slash == NULL)
            return false;
        target = (struct text_slice){slash, target.bytes - (size_t)(slash - target.data)};
    }
    if (target.bytes == 0 || (target.data[0] != '/' && !text_slice_is(target, "*")))
        return false;
    const char *mark = memchr(target.data, '?', target.bytes);
    out->path = target;
    out->query = (struct text_slice){target.data + target.bytes, 0};
    if (mark != NULL) {
        out->path.bytes = (size_t)(mark - target.data);
        out->query = (struct text_slice){mark + 1, target.bytes - out->path.bytes - 1};
    }
    return true;
}

static status parse_request_line(struct text_slice line, struct http1_head *out, const char **why)
{
    const char *first = memchr(line.data, ' ', line.bytes);
    const char *last = memrchr(line.data, ' ', line.bytes);
    *why = "malformed request line";
    if (first == NULL || last == first)
        return STATUS_INVALID;
    out->method = (struct text_slice){line.data, (size_t)(first - line.data)};
    if (!http1_is_token(out->method) || out->method.bytes > HTTP1_METHOD_BYTES_MAX)
        return STATUS_INVALID;
    status s =
        parse_version((struct text_slice){last + 1, line.bytes - (size_t)(last + 1 - line.data)},
                      &out->minor_version, why);
    if (s != STATUS_OK)
        return s;
    *why = "malformed request target";
    return split_target((struct text_slice){first + 1, (size_t)(last - first - 1)}, out)
               ? STATUS_OK
               : STATUS_INVALID;
}

status http1_request_parse(char *bytes, size_t head_bytes, struct http_header *headers,
                           size_t header_count_max, struct http1_head *out, const char **why)
{
    struct head_facts facts = {.host_count = 0};
    const char *at = bytes;
    *out = (struct http1_head){.headers = headers};
    status s = parse_request_line(next_line(&at, bytes + head_bytes), out, why);
    if (s == STATUS_OK)
        s = parse_fields(bytes + (at - bytes), bytes + head_bytes, header_count_max, out, &facts,
                         why);
    if (s == STATUS_OK &&
        (facts.host_count > 1 || (facts.host_count == 0 && out->minor_version >= 1))) {
        *why = "a request has exactly one Host";
        return STATUS_INVALID;
    }
    return s;
}

status http1_response_parse(char *bytes, size_t head_bytes, struct http_header *headers,
                            size_t header_count_max, struct http1_head *out, const char **why)
{
    struct head_facts facts = {.host_count = 0};
    const char *at = bytes;
    *out = (struct http1_head){.headers = headers};
    struct text_slice line = next_line(&at, bytes + head_bytes);
    *why = "malformed status line";
    if (line.bytes < 12 || line.data[8] != ' ' || (line.bytes > 12 && line.data[12] != ' '))
        return STATUS_INVALID;
    status s = parse_version((struct text_slice){line.data, 8}, &out->minor_version, why);
    if (s != STATUS_OK)
        return s;
    for (unsigned i = 9; i < 12; i++) {
        if (line.data[i] < '0' || line.data[i] > '9')
            return STATUS_INVALID;
        out->status_code = out->status_code * 10 + (line.data[i] - '0');
    }
    if (out->status_code < 100)
        return STATUS_INVALID;
    return parse_fields(bytes + (at - bytes), bytes + head_bytes, header_count_max, out, &facts,
                        why);
}
