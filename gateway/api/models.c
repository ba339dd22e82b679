/* The small answers: models, tokens. */

#include "openai_response.h"

static void capabilities_write(struct buffer *out, uint32_t capabilities)
{
    static const struct {
        enum api_capability bit;
        const char *name;
    } names[] = {
        {API_CAN_CHAT, "chat"},        {API_CAN_COMPLETE, "completions"},
        {API_CAN_CALL_TOOLS, "tools"}, {API_CAN_STRUCTURE, "structured_output"},
        {API_CAN_INFILL, "infill"},    {API_CAN_EMBED, "embeddings"},
        {API_CAN_RERANK, "rerank"},    {API_CAN_SCORE, "score"},
    };
    json_write_key(out, "capabilities");
    buffer_append_byte(out, '[');
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if ((capabilities & names[i].bit) == 0)
            continue;
        json_write_comma(out);
        json_write_text(out, names[i].name);
    }
    buffer_append_byte(out, ']');
}

void api_model_write(struct buffer *out, const struct api_model *model)
{
    buffer_append_text(out, "{\"id\":");
    json_write_text(out, model->id);
    buffer_append_text(out, ",\"object\":\"model\",\"created\":");
    buffer_append_u64(out, model->created_s);
    buffer_append_text(out, ",\"owned_by\":\"penstock\",\"root\":");
    json_write_text(out, model->root);
    json_write_key(out, "parent");
    json_write_text(out, model->parent);
    if (model->context_max > 0) /* vLLM's name, and the one that others look for */
        buffer_append_format(out, ",\"max_model_len\":%u,\"context_length\":%u", model->context_max,
                             model->context_max);
    if (model->capabilities != 0)
        capabilities_write(out, model->capabilities);
    buffer_append_byte(out, '}');
}

void api_tokenizer_info_write(struct buffer *out, const struct api_tokenizer_info *info)
{
    buffer_append_format(out,
                         "{\"tokenizer_class\":\"penstock\",\"vocab_size\":%u,"
                         "\"model_max_length\":%u",
                         info->vocabulary, info->context_max);
    json_write_key(out, "bos_token");
    json_write_text(out, info->bos);
    json_write_key(out, "eos_token");
    json_write_text(out, info->eos);
    json_write_key(out, "chat_template");
    if (info->chat_template.data != NULL)
        json_write_string(out, info->chat_template);
    else
        json_write_text(out, NULL);
    buffer_append_byte(out, '}');
}

void api_tokenize_write(struct buffer *out, const tokenizer *t, const int32_t *ids, size_t count,
                        uint32_t context_max, bool with_texts)
{
    buffer_append_format(out, "{\"count\":%zu,\"max_model_len\":%u,\"tokens\":[", count,
                         context_max);
    for (size_t i = 0; i < count; i++) {
        json_write_comma(out);
        buffer_append_i64(out, ids[i]);
    }
    buffer_append_text(out, "],\"token_strs\":");
    if (!with_texts) {
        buffer_append_text(out, "null}");
        return;
    }
    buffer_append_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        json_write_comma(out);
        json_write_string(out, tokenizer_piece(t, ids[i], true));
    }
    buffer_append_text(out, "]}");
}

void api_detokenize_write(struct buffer *out, const tokenizer *t, const int32_t *ids, size_t count)
{
    struct buffer text;
    buffer_init(&text, out->bytes_max);
    tokenizer_decode(t, ids, count, true, &text);
    buffer_append_text(out, "{\"prompt\":");
    json_write_string(out, buffer_slice(&text));
    buffer_append_byte(out, '}');
    if (text.failed != STATUS_OK && out->failed == STATUS_OK)
        out->failed = text.failed;
    buffer_deinit(&text);
}
