#include <math.h>
#include <string.h>

#include "base64.h"
#include "pooling.h"

static void write_usage(struct buffer *out, uint64_t tokens)
{
    buffer_append_format(out,
                         "\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu,"
                         "\"completion_tokens\":0,\"prompt_tokens_details\":null}",
                         (unsigned long long)tokens, (unsigned long long)tokens);
}

/* The shortest text that reads back as the same float: nine digits always do, fewer mostly. */
static void write_float(struct buffer *out, float value)
{
    if (!isfinite(value)) {
        buffer_append_text(out, "null");
        return;
    }
    buffer_append_format(out, "%.9g", (double)value);
}

/* 1 / length of the first `width` numbers; 1 where nothing is to be done. */
static float factor_of(const float *vector, uint32_t width, bool is_needed)
{
    double squares = 0;
    if (!is_needed)
        return 1;
    for (uint32_t i = 0; i < width; i++)
        squares += (double)vector[i] * (double)vector[i];
    return squares > 0 ? (float)(1.0 / sqrt(squares)) : 1;
}

static void write_vector(struct buffer *out, const float *vector, uint32_t width, float factor,
                         bool is_base64)
{
    buffer_append_byte(out, is_base64 ? '"' : '[');
    for (uint32_t i = 0; i < width && !is_base64; i++) {
        if (i > 0)
            buffer_append_byte(out, ',');
        write_float(out, vector[i] * factor);
    }
    /* three floats are twelve bytes, which are sixteen digits without padding */
    for (uint32_t i = 0; i < width && is_base64; i += 3) {
        float values[3];
        uint32_t count = width - i < 3 ? width - i : 3;
        for (uint32_t k = 0; k < count; k++)
            values[k] = vector[i + k] * factor;
        base64_write(out, BASE64_STANDARD, values, count * sizeof values[0]);
    }
    buffer_append_byte(out, is_base64 ? '"' : ']');
}

void api_embeddings_write(struct buffer *out, const struct api_pooling_request *request,
                          const struct api_pooling_answer *answer, const float *vectors,
                          uint32_t width, bool is_normalized)
{
    bool is_cut = request->dimensions > 0 && request->dimensions < width;
    uint32_t shown = is_cut ? request->dimensions : width;
    buffer_append_text(out, "{\"id\":");
    json_write_text(out, answer->id);
    buffer_append_text(out, ",\"object\":\"list\",\"created\":");
    buffer_append_u64(out, answer->created_s);
    buffer_append_text(out, ",\"model\":");
    json_write_text(out, answer->model);
    buffer_append_text(out, ",\"data\":[");
    for (uint32_t i = 0; i < request->input_count; i++) {
        const float *vector = vectors + (size_t)i * width;
        json_write_comma(out);
        buffer_append_format(out, "{\"index\":%u,\"object\":\"embedding\",\"embedding\":", i);
        write_vector(out, vector, shown, factor_of(vector, shown, is_cut && is_normalized),
                     request->is_base64);
        buffer_append_byte(out, '}');
    }
    buffer_append_text(out, "],");
    write_usage(out, answer->prompt_tokens);
    buffer_append_byte(out, '}');
}

/* Highest first; of equal scores the earlier. Merge sort; depth: the logarithm of the count. */
static void sort_by_score(const float *scores, uint32_t *order, uint32_t *spare, uint32_t count)
{
    if (count < 2)
        return;
    uint32_t half = count / 2, i = 0, j = half, k = 0;
    sort_by_score(scores, order, spare, half);
    sort_by_score(scores, order + half, spare, count - half);
    while (i < half || j < count) {
        bool takes_left = j == count || (i < half && !(scores[order[j]] > scores[order[i]]));
        spare[k++] = takes_left ? order[i++] : order[j++];
    }
    memcpy(order, spare, count * sizeof order[0]);
}

void api_rerank_write(struct buffer *out, const struct api_pooling_request *request,
                      const struct api_pooling_answer *answer, const float *scores, uint32_t *order)
{
    uint32_t count = api_pooling_pair_count(request);
    uint32_t shown = request->top_n > 0 && request->top_n < count ? request->top_n : count;
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    sort_by_score(scores, order, order + count, count);
    buffer_append_text(out, "{\"id\":");
    json_write_text(out, answer->id);
    buffer_append_text(out, ",\"model\":");
    json_write_text(out, answer->model);
    buffer_append_byte(out, ',');
    write_usage(out, answer->prompt_tokens);
    buffer_append_text(out, ",\"results\":[");
    for (uint32_t i = 0; i < shown; i++) {
        json_write_comma(out);
        buffer_append_format(out, "{\"index\":%u,", order[i]);
        if (request->return_documents) {
            buffer_append_text(out, "\"document\":{\"text\":");
            json_write_string(out, request->inputs[request->first_count + order[i]].text);
            buffer_append_text(out, "},");
        }
        buffer_append_text(out, "\"relevance_score\":");
        write_float(out, scores[order[i]]);
        buffer_append_byte(out, '}');
    }
    buffer_append_text(out, "]}");
}

void api_score_write(struct buffer *out, const struct api_pooling_request *request,
                     const struct api_pooling_answer *answer, const float *scores)
{
    buffer_append_text(out, "{\"id\":");
    json_write_text(out, answer->id);
    buffer_append_text(out, ",\"object\":\"list\",\"created\":");
    buffer_append_u64(out, answer->created_s);
    buffer_append_text(out, ",\"model\":");
    json_write_text(out, answer->model);
    buffer_append_text(out, ",\"data\":[");
    for (uint32_t i = 0; i < api_pooling_pair_count(request); i++) {
        json_write_comma(out);
        buffer_append_format(out, "{\"index\":%u,\"object\":\"score\",\"score\":", i);
        write_float(out, scores[i]);
        buffer_append_byte(out, '}');
    }
    buffer_append_text(out, "],");
    write_usage(out, answer->prompt_tokens);
    buffer_append_byte(out, '}');
}
