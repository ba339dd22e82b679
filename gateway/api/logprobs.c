/* Log probabilities on the wire. A token is shown by its text; one whose bytes are no whole
 * characters is shown by escapes ("\xf0\x9f", with "bytes:" before it in text completions), as
 * OpenAI does, so that different tokens stay different. */

#include "openai_response.h"

#include <math.h>

#include "utf8.h"

/* JSON has no infinity; vLLM's value for "never". */
#define LOGPROB_MIN (-9999.0)

enum { ITEM_TOKENS, ITEM_LOGPROBS, ITEM_TOP, ITEM_OFFSETS };

void api_logprobs_init(struct api_logprobs *logprobs, bool is_chat, const tokenizer *t,
                       size_t bytes_max)
{
    *logprobs = (struct api_logprobs){.is_chat = is_chat, .tokenizer = t};
    for (int i = 0; i < 4; i++)
        buffer_init(&logprobs->items[i], bytes_max);
}

void api_logprobs_deinit(struct api_logprobs *logprobs)
{
    for (int i = 0; i < 4; i++)
        buffer_deinit(&logprobs->items[i]);
}

/* By its number where the client wants that (vLLM's return_tokens_as_token_ids): then no two tokens
 * look alike. */
static void write_token(const struct api_logprobs *logprobs, struct buffer *out, int32_t id,
                        const char *prefix)
{
    struct text_slice piece = tokenizer_piece(logprobs->tokenizer, id, true);
    if (logprobs->shows_ids) {
        buffer_append_format(out, "\"token_id:%d\"", id);
        return;
    }
    if (utf8_is_valid(piece.data, piece.bytes)) {
        json_write_string(out, piece);
        return;
    }
    buffer_append_byte(out, '"');
    buffer_append_text(out, prefix);
    for (size_t i = 0; i < piece.bytes; i++)
        buffer_append_format(out, "\\\\x%02x", (unsigned char)piece.data[i]);
    buffer_append_byte(out, '"');
}

static void write_logprob(struct buffer *out, float logprob)
{
    json_write_double(out, isnan(logprob) ? NAN : fmax((double)logprob, LOGPROB_MIN));
}

/* {"token":...,"logprob":...,"bytes":[...] without the closing brace. */
static void write_chat_token(const struct api_logprobs *logprobs, struct buffer *out, int32_t id,
                             float logprob)
{
    struct text_slice piece = tokenizer_piece(logprobs->tokenizer, id, true);
    buffer_append_text(out, "{\"token\":");
    write_token(logprobs, out, id, "");
    buffer_append_text(out, ",\"logprob\":");
    write_logprob(out, logprob);
    buffer_append_text(out, ",\"bytes\":[");
    for (size_t i = 0; i < piece.bytes; i++) {
        json_write_comma(out);
        buffer_append_u64(out, (unsigned char)piece.data[i]);
    }
    buffer_append_byte(out, ']');
}

static void add_chat(struct api_logprobs *logprobs, const struct engine_token *token)
{
    struct buffer *out = &logprobs->items[0];
    if (out->bytes > 0)
        buffer_append_byte(out, ',');
    write_chat_token(logprobs, out, token->id, token->logprob);
    buffer_append_text(out, ",\"top_logprobs\":[");
    for (uint32_t i = 0; i < token->alternative_count; i++) {
        json_write_comma(out);
        write_chat_token(logprobs, out, token->alternatives[i].token,
                         token->alternatives[i].logprob);
        buffer_append_byte(out, '}');
    }
    buffer_append_text(out, "]}");
}

static uint64_t count_characters(struct text_slice text)
{
    uint64_t count = 0;
    for (size_t at = 0; at < text.bytes; count++) {
        uint32_t point;
        size_t bytes = utf8_decode(text.data + at, text.bytes - at, &point);
        at += bytes > 0 ? bytes : utf8_broken_length(text.data + at, text.bytes - at);
    }
    return count;
}

/* An object cannot have a key twice: of tokens with equal text the likelier is shown. */
static bool is_shown_before(const struct api_logprobs *logprobs, const struct engine_token *token,
                            uint32_t index, struct text_slice piece)
{
    for (uint32_t i = 0; i < index; i++) {
        struct text_slice earlier =
            tokenizer_piece(logprobs->tokenizer, token->alternatives[i].token, true);
        if (text_slice_equals(earlier, piece))
            return true;
    }
    return false;
}

static bool is_among_alternatives(const struct engine_token *token)
{
    for (uint32_t i = 0; i < token->alternative_count; i++)
        if (token->alternatives[i].token == token->id)
            return true;
    return false;
}

static void write_text_top(const struct api_logprobs *logprobs, struct buffer *out,
                           const struct engine_token *token)
{
    buffer_append_byte(out, '{');
    for (uint32_t i = 0; i <= token->alternative_count; i++) {
        bool is_own = i == token->alternative_count; /* the chosen one is always among them */
        int32_t id = is_own ? token->id : token->alternatives[i].token;
        struct text_slice piece = tokenizer_piece(logprobs->tokenizer, id, true);
        bool is_twice = is_own && is_among_alternatives(token);
        if (is_twice || (!logprobs->shows_ids && is_shown_before(logprobs, token, i, piece)))
            continue;
        json_write_comma(out);
        write_token(logprobs, out, id, "bytes:");
        buffer_append_byte(out, ':');
        write_logprob(out, is_own ? token->logprob : token->alternatives[i].logprob);
    }
    buffer_append_byte(out, '}');
}

/* A token that nothing is known about, a prompt's first, has null in both lists. */
static void add_text(struct api_logprobs *logprobs, const struct engine_token *token, bool is_shown)
{
    for (int i = 0; i < 4; i++)
        if (logprobs->items[i].bytes > 0)
            buffer_append_byte(&logprobs->items[i], ',');
    write_token(logprobs, &logprobs->items[ITEM_TOKENS], token->id, "bytes:");
    write_logprob(&logprobs->items[ITEM_LOGPROBS], token->logprob);
    if (isnan(token->logprob))
        buffer_append_text(&logprobs->items[ITEM_TOP], "null");
    else
        write_text_top(logprobs, &logprobs->items[ITEM_TOP], token);
    buffer_append_u64(&logprobs->items[ITEM_OFFSETS], logprobs->text_offset);
    logprobs->text_offset +=
        count_characters(tokenizer_piece(logprobs->tokenizer, token->id, is_shown));
}

void api_logprobs_add_prompt(struct api_logprobs *logprobs, const struct api_prompt_scores *scores,
                             bool has_bos)
{
    for (uint32_t i = 0; i < scores->count; i++) {
        const struct token_logprob *alternatives = scores->alternatives + (size_t)i * scores->width;
        struct engine_token token = {
            .id = scores->ids[i],
            .logprob = i > 0 ? scores->scores[i].logprob : NAN,
            .alternatives = alternatives,
        };
        while (i > 0 && token.alternative_count < scores->shown_count &&
               alternatives[token.alternative_count].token >= 0)
            token.alternative_count++;
        add_text(logprobs, &token, i > 0 || !has_bos);
    }
}

/* {"logprob":...,"rank":...,"decoded_token":...} under the token's id; rank 0: not known. */
static void write_scored(const struct api_prompt_scores *scores, struct buffer *out, int32_t id,
                         float logprob, uint32_t rank)
{
    json_write_comma(out);
    buffer_append_format(out, "\"%d\":{\"logprob\":", id);
    write_logprob(out, logprob);
    json_write_key(out, "rank");
    buffer_append_u64(out, rank);
    json_write_key(out, "decoded_token");
    json_write_string(out, tokenizer_piece(scores->tokenizer, id, true));
    buffer_append_byte(out, '}');
}

void api_prompt_scores_write(const struct api_prompt_scores *scores, struct buffer *out)
{
    buffer_append_text(out, "[null");
    for (uint32_t i = 1; i < scores->count; i++) {
        const struct token_logprob *alternatives = scores->alternatives + (size_t)i * scores->width;
        buffer_append_text(out, ",{");
        write_scored(scores, out, scores->ids[i], scores->scores[i].logprob,
                     scores->scores[i].rank);
        for (uint32_t j = 0; j < scores->asked_count && alternatives[j].token >= 0; j++)
            if (alternatives[j].token != scores->ids[i])
                write_scored(scores, out, alternatives[j].token, alternatives[j].logprob, j + 1);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
}

void api_logprobs_add(struct api_logprobs *logprobs, const struct engine_token *tokens,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (logprobs->is_chat)
            add_chat(logprobs, &tokens[i]);
        else
            add_text(logprobs, &tokens[i], logprobs->shows_special);
    }
}

static void write_items(struct buffer *out, const char *name, struct buffer *items)
{
    json_write_key(out, name);
    buffer_append_byte(out, '[');
    buffer_append_slice(out, buffer_slice(items));
    buffer_append_byte(out, ']');
    if (items->failed != STATUS_OK && out->failed == STATUS_OK)
        out->failed = items->failed;
    buffer_clear(items);
}

void api_logprobs_write(struct api_logprobs *logprobs, struct buffer *out)
{
    buffer_append_byte(out, '{');
    if (logprobs->is_chat) {
        write_items(out, "content", &logprobs->items[0]);
        buffer_append_text(out, ",\"refusal\":null");
    } else {
        write_items(out, "tokens", &logprobs->items[ITEM_TOKENS]);
        write_items(out, "token_logprobs", &logprobs->items[ITEM_LOGPROBS]);
        write_items(out, "top_logprobs", &logprobs->items[ITEM_TOP]);
        write_items(out, "text_offset", &logprobs->items[ITEM_OFFSETS]);
    }
    buffer_append_byte(out, '}');
}

/* Moves what is new to what has been written. */
static void content_keep(struct api_logprobs *logprobs)
{
    struct buffer *fresh = &logprobs->items[0], *kept = &logprobs->items[1];
    if (fresh->bytes > 0 && kept->bytes > 0)
        buffer_append_byte(kept, ',');
    buffer_append_slice(kept, buffer_slice(fresh));
    if (fresh->failed != STATUS_OK)
        kept->failed = fresh->failed;
    buffer_clear(fresh);
}

static void list_write(struct buffer *out, const struct buffer *items)
{
    buffer_append_byte(out, '[');
    buffer_append_slice(out, buffer_slice(items));
    buffer_append_byte(out, ']');
    if (items->failed != STATUS_OK && out->failed == STATUS_OK)
        out->failed = items->failed;
}

void api_logprobs_write_new(struct api_logprobs *logprobs, struct buffer *out)
{
    if (logprobs == NULL) {
        buffer_append_text(out, "[]");
        return;
    }
    list_write(out, &logprobs->items[0]);
    content_keep(logprobs);
}

void api_logprobs_write_all(struct api_logprobs *logprobs, struct buffer *out)
{
    if (logprobs == NULL) {
        buffer_append_text(out, "[]");
        return;
    }
    content_keep(logprobs);
    list_write(out, &logprobs->items[1]);
}
