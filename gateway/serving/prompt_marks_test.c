#include "unit_test.h"

#include "prompt_marks.h"

#define FIELD_TOOLS    3
#define FIELD_MESSAGES 7
#define WORDS_BYTES    4096u

/* The n-th word of a text without repetition. */
static void words_append(char *out, size_t *bytes, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++)
        *bytes += (size_t)snprintf(out + *bytes, WORDS_BYTES - *bytes, "word%u ", i);
}

static struct prompt_text messages_of(const char *json)
{
    struct prompt_text text = {0};

    text.fields[FIELD_MESSAGES] = text_slice_of(json);
    return text;
}

static void chunks_end_where_their_last_byte_stands_in_the_prompt(void **state)
{
    static char words[WORDS_BYTES], json[8192], prompt[8192];
    size_t bytes = 0, ends[PROMPT_CHUNKS_MAX];
    struct prompt_text text;
    size_t before, in_prompt;

    (void)state;
    words_append(words, &bytes, 0, 300);
    (void)snprintf(json, sizeof(json), "[{\"role\":\"user\",\"content\":\"%s\"}]", words);
    (void)snprintf(prompt, sizeof(prompt), "<|start|>user\n%s<|end|>\n<|start|>assistant\n", words);
    text = messages_of(json);
    prompt_marks_align(&text, text_slice_of(prompt), ends);
    before = 1 + strlen("[{\"role\":\"user\",\"content\":\""); /* and the field's own byte */
    in_prompt = strlen("<|start|>user\n");
    for (uint32_t i = 0; i < prompt_chunk_count(&text); i++) {
        size_t end = (size_t)(i + 1) * PROMPT_CHUNK_BYTES;
        size_t inside = end - before < bytes ? end - before : bytes;

        assert_int_equal(ends[i], in_prompt + inside);
    }
}

static void escapes_and_skipped_strings_move_both_sides(void **state)
{
    static char json[8192], prompt[8192];
    size_t at = 0, out = 0, ends[PROMPT_CHUNKS_MAX];
    struct prompt_text text;

    (void)state;
    at += (size_t)snprintf(json, sizeof(json), "[{\"role\": \"system\", \"content\": \"");
    out += (size_t)snprintf(prompt, sizeof(prompt), "<s>");
    for (int i = 0; i < 60; i++) { /* é as an escape, a line's end, a pair of surrogates */
        at += (size_t)snprintf(json + at, sizeof(json) - at,
                               "line %d\\n \\u00e9 \\ud83d\\ude00 \\\"x\\\" ", i);
        out += (size_t)snprintf(prompt + out, sizeof(prompt) - out,
                                "line %d\n \xc3\xa9 \xf0\x9f\x98\x80 \"x\" ", i);
    }
    at += (size_t)snprintf(json + at, sizeof(json) - at, "\"}]");
    text = messages_of(json);
    prompt_marks_align(&text, text_slice_of(prompt), ends);
    /* The canonical text up to a chunk's end, read as JSON, is what the prompt has up to there, less an unfinished escape. */
    for (uint32_t i = 0; i + 1 < prompt_chunk_count(&text); i++) {
        size_t end = (size_t)(i + 1) * PROMPT_CHUNK_BYTES - 1, expected = 3;

        for (size_t j = strlen("[{\"role\": \"system\", \"content\": \""); j < end;) {
            size_t step = json[j] != '\\'      ? 1
                          : json[j + 1] != 'u' ? 2
                          : json[j + 2] == 'd' ? 12
                                               : 6;
            size_t gives = json[j] != '\\'      ? 1
                           : json[j + 1] != 'u' ? 1
                           : json[j + 2] == 'd' ? 4
                                                : 2;

            if (j + step <= end)
                expected += gives;
            j += step;
        }
        assert_int_equal(ends[i], expected);
    }
}

static void what_the_template_changed_ends_no_chunk_too_late(void **state)
{
    static char words[WORDS_BYTES], json[16384], prompt[8192];
    size_t bytes = 0, ends[PROMPT_CHUNKS_MAX], found;
    struct prompt_text text;

    (void)state;
    words_append(words, &bytes, 0, 100);
    /* The second message is not in the prompt at all, the third is cut short. */
    (void)snprintf(json, sizeof(json),
                   "[{\"content\":\"%s\"},{\"content\":\"nowhere %s\"},{\"content\":\"third %s\"}]",
                   words, words, words);
    (void)snprintf(prompt, sizeof(prompt), "<s>%s</s>third %.100s</s>", words, words);
    text = messages_of(json);
    prompt_marks_align(&text, text_slice_of(prompt), ends);
    found = 3 + bytes;
    for (uint32_t i = 0; i < prompt_chunk_count(&text); i++) {
        size_t end = (size_t)(i + 1) * PROMPT_CHUNK_BYTES;

        if (end < 1 + 13 + bytes)
            assert_int_equal(ends[i], 3 + end - 14);
        else if (end < 1 + 2 * bytes)
            assert_int_equal(ends[i], found);
        else
            assert_true(ends[i] >= found && ends[i] <= strlen(prompt) - 4);
    }
    assert_int_equal(ends[prompt_chunk_count(&text) - 1], strlen(prompt) - 4);
}

/* Whatever the body and the prompt are, every chunk gets an end inside the prompt, and they rise. */
static void any_text_has_ends_that_rise(void **state)
{
    static const char *const bits[] = {
        "\"", "\\\"", "\\u0041",       "{", "}", ":", "abcdefghijklmnopqrstuvw", "\\\\", "[", "]",
        ",",  " ",    "\\ud83d\\ude00"};
    uint64_t random = 1;

    (void)state;
    for (int round = 0; round < 500; round++) {
        static char json[16384], prompt[16384];
        size_t at = 0, out = 0, ends[PROMPT_CHUNKS_MAX], last = 0;
        struct prompt_text text;

        for (int i = 0; i < 600; i++) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            at += (size_t)snprintf(json + at, sizeof(json) - at, "%s", bits[(random >> 33) % 13]);
            out += (size_t)snprintf(prompt + out, sizeof(prompt) - out, "%s",
                                    bits[(random >> 40) % 13]);
        }
        memcpy(json + at, "            ",
               13); /* room for an escape that is cut: bodies are checked before */
        text = messages_of(json);
        text.fields[FIELD_TOOLS] = text_slice_of("[{\"name\":\"abcdefghijklmnopqrstuvw\"}]");
        prompt_marks_align(&text, text_slice_of(prompt), ends);
        for (uint32_t i = 0; i < prompt_chunk_count(&text); i++) {
            assert_true(ends[i] >= last && ends[i] <= out);
            last = ends[i];
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_end_where_their_last_byte_stands_in_the_prompt),
        cmocka_unit_test(escapes_and_skipped_strings_move_both_sides),
        cmocka_unit_test(what_the_template_changed_ends_no_chunk_too_late),
        cmocka_unit_test(any_text_has_ends_that_rise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
