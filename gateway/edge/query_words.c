#include "query_words.h"

#include <string.h>

#include "edge.h"

static bool word_take(http_request *request, struct text_slice pair, const char *const *names,
                      uint32_t count, char (*words)[QUERY_WORD_BYTES])
{
    const char *mark = memchr(pair.data, '=', pair.bytes);
    struct text_slice name = {pair.data, mark != NULL ? (size_t)(mark - pair.data) : pair.bytes};
    struct text_slice value;

    for (uint32_t i = 0; mark != NULL && i < count; i++) {
        if (!text_slice_is(name, names[i]))
            continue;
        value = edge_percent_decode(request,
                                    (struct text_slice){mark + 1, pair.bytes - name.bytes - 1});
        if (value.bytes >= QUERY_WORD_BYTES || memchr(value.data, '\0', value.bytes) != NULL)
            return false;
        memcpy(words[i], value.data, value.bytes + 1);
        return true;
    }
    return false;
}

bool query_words_take(http_request *request, const char *const *names, uint32_t count,
                      char (*words)[QUERY_WORD_BYTES])
{
    struct text_slice rest = http_request_query(request);

    while (rest.bytes > 0) {
        const char *end = memchr(rest.data, '&', rest.bytes);
        size_t bytes = end != NULL ? (size_t)(end - rest.data) : rest.bytes;

        if (bytes > 0 &&
            !word_take(request, (struct text_slice){rest.data, bytes}, names, count, words))
            return false;
        rest.data += bytes + (end != NULL);
        rest.bytes -= bytes + (end != NULL);
    }
    return true;
}
