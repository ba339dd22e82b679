/* The small answers: models, tokens. */

#include "openai_response.h"

void api_model_write(struct buffer *out, const struct api_model *model)
{
    buffer_append_text(out, "{\"id\":");
    json_write_text(out, model->id);
    buffer_append_text(out, ",\"object\":\"model\",\"created\":");
    buffer_append_u64(out, model->created_s);
    buffer_append_text(out, ",\"owned_by\":\"penstock\",\"root\":");
    json_write_text(out, model->root);
    buffer_append_text(out, ",\"max_model_len\":");
    buffer_append_u64(out, model->context_max);
    buffer_append_byte(out, '}');
}

void api_models_write(struct buffer *out, const struct api_model *models, size_t count)
{
    buffer_append_text(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < count; i++) {
        json_write_comma(out);
        api_model_write(out, &models[i]);
    }
    buffer_append_text(out, "]}");
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
