#include "gguf_builder.h"
#include "model.h"
#include "unit_test.h"

/* A byte-level vocabulary of fourteen tokens; ids 11 to 13 are control tokens. */
static const char *const TOKENS[14] = {"a", "b", "c",  "d",  "e",       "f",       "g",
                                       "h", "i", "ab", "cd", "<|end|>", "<|bos|>", "<|eos|>"};
static const int32_t ATTRIBUTES[14] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3};

struct opened {
    void *data;
    model_source *source;
};

static void open_builder(struct gguf_builder *b, struct opened *out)
{
    size_t bytes;
    out->data = gguf_builder_finish(b, &bytes);
    gguf_builder_deinit(b);
    assert_int_equal(model_source_open_memory(out->data, bytes, &out->source, NULL), STATUS_OK);
}

static void close_opened(struct opened *opened)
{
    model_source_close(opened->source);
    free(opened->data);
}

static void begin(struct gguf_builder *b, const char *pre)
{
    gguf_builder_init(b);
    gguf_builder_text(b, "tokenizer.ggml.model", "gpt2");
    if (pre != NULL)
        gguf_builder_text(b, "tokenizer.ggml.pre", pre);
    gguf_builder_texts(b, "tokenizer.ggml.tokens", TOKENS, 14);
    gguf_builder_i32s(b, "tokenizer.ggml.token_type", ATTRIBUTES, 14);
    const char *const merges[2] = {"a b", "c d"};
    gguf_builder_texts(b, "tokenizer.ggml.merges", merges, 2);
}

static status tokenizer_of(const model_source *source, tokenizer **out, struct error_note *note)
{
    struct tokenizer_folder text;
    status s = model_file_text(source, &text, note);
    if (s != STATUS_OK)
        return s;
    *out = text.tokenizer;
    text.tokenizer = NULL;
    tokenizer_folder_deinit(&text);
    return STATUS_OK;
}

/* The ids of "abcd" with whatever the model adds. */
static size_t encode(const model_source *source, int32_t ids[8])
{
    struct error_note note = {""};
    tokenizer *t = NULL;
    if (tokenizer_of(source, &t, &note) != STATUS_OK)
        fail_msg("%s", note.text);
    struct token_list list;
    token_list_init(&list, 8);
    assert_int_equal(tokenizer_encode(t, text_slice_of("abcd"), NULL, 0, true, &list), STATUS_OK);
    memcpy(ids, list.ids, list.count * sizeof *ids);
    size_t count = list.count;
    token_list_deinit(&list);
    tokenizer_destroy(t);
    return count;
}

static void a_file_that_names_no_special_ids_gets_the_defaults(void **state)
{
    (void)state;
    struct gguf_builder b;
    struct opened opened;
    begin(&b, "smollm");
    open_builder(&b, &opened);
    tokenizer *t = NULL;
    assert_int_equal(tokenizer_of(opened.source, &t, NULL), STATUS_OK);
    assert_int_equal(tokenizer_bos(t), 11);
    assert_int_equal(tokenizer_eos(t), 11);
    tokenizer_destroy(t);
    int32_t ids[8];
    assert_int_equal(encode(opened.source, ids), 2);
    assert_int_equal(ids[0], 9);
    assert_int_equal(ids[1], 10);
    close_opened(&opened);
}

static void ids_and_flags_of_the_file_win_and_bad_ids_fall_back(void **state)
{
    (void)state;
    struct gguf_builder b;
    struct opened opened;
    begin(&b, "smollm");
    gguf_builder_u32(&b, "tokenizer.ggml.bos_token_id", 12);
    gguf_builder_u32(&b, "tokenizer.ggml.eos_token_id", 4000000000u);
    gguf_builder_bool(&b, "tokenizer.ggml.add_bos_token", true);
    gguf_builder_bool(&b, "tokenizer.ggml.add_eos_token", true);
    open_builder(&b, &opened);
    int32_t ids[8];
    assert_int_equal(encode(opened.source, ids), 4);
    assert_int_equal(ids[0], 12);
    assert_int_equal(ids[3], 11);
    close_opened(&opened);
}

static void llama3_adds_bos_unless_the_file_forbids_it(void **state)
{
    (void)state;
    for (int is_forbidden = 0; is_forbidden < 2; is_forbidden++) {
        struct gguf_builder b;
        struct opened opened;
        begin(&b, "llama-bpe");
        gguf_builder_u32(&b, "tokenizer.ggml.bos_token_id", 12);
        if (is_forbidden)
            gguf_builder_bool(&b, "tokenizer.ggml.add_bos_token", false);
        open_builder(&b, &opened);
        int32_t ids[8];
        assert_int_equal(encode(opened.source, ids), is_forbidden ? 2 : 3);
        assert_int_equal(ids[0], is_forbidden ? 9 : 12);
        close_opened(&opened);
    }
}

static void the_tokens_for_filling_in_are_those_that_the_file_names(void **state)
{
    (void)state;
    static const char *const keys[2][3] = {
        {"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.fim_suf_token_id",
         "tokenizer.ggml.fim_mid_token_id"},
        {"tokenizer.ggml.prefix_token_id", "tokenizer.ggml.suffix_token_id",
         "tokenizer.ggml.middle_token_id"}};
    for (int form = 0; form < 4; form++) {
        struct gguf_builder b;
        struct opened opened;
        struct error_note note = {""};
        tokenizer *t = NULL;
        begin(&b, "smollm");
        /* 2: one is missing; 3: one is not in the vocabulary */
        for (uint32_t i = 0; i < (form == 2 ? 2 : 3); i++)
            gguf_builder_u32(&b, keys[form & 1][i], form == 3 && i == 1 ? 999 : 11 + i);
        open_builder(&b, &opened);
        assert_int_equal(tokenizer_of(opened.source, &t, &note), STATUS_OK);
        struct fim_tokens tokens;
        assert_true(model_file_fim_tokens(opened.source, t, &tokens) == (form < 2));
        assert_int_equal(tokens.prefix, 11);
        if (form < 2)
            assert_int_equal(tokens.middle, 13);
        tokenizer_destroy(t);
        close_opened(&opened);
    }
}

static void expect_refusal(struct gguf_builder *b, status expected, const char *part)
{
    struct opened opened;
    struct error_note note = {""};
    tokenizer *t = NULL;
    open_builder(b, &opened);
    status s = tokenizer_of(opened.source, &t, &note);
    if (s != expected || strstr(note.text, part) == NULL)
        fail_msg("%s '%s', expected '%s'", status_name(s), note.text, part);
    close_opened(&opened);
}

static void broken_vocabularies_are_refused(void **state)
{
    (void)state;
    struct gguf_builder b;
    gguf_builder_init(&b);
    gguf_builder_text(&b, "tokenizer.ggml.model", "gpt2");
    expect_refusal(&b, STATUS_INVALID, "tokenizer.ggml.tokens is missing");
    gguf_builder_init(&b);
    gguf_builder_i32s(&b, "tokenizer.ggml.tokens", ATTRIBUTES, 14);
    expect_refusal(&b, STATUS_INVALID, "array of 1 to 4194304 texts");
    gguf_builder_init(&b);
    gguf_builder_texts(&b, "tokenizer.ggml.tokens", TOKENS, 14);
    gguf_builder_i32s(&b, "tokenizer.ggml.token_type", ATTRIBUTES, 13);
    expect_refusal(&b, STATUS_INVALID, "each of the 14 tokens");
    gguf_builder_init(&b);
    gguf_builder_text(&b, "tokenizer.ggml.model", "rwkv");
    gguf_builder_texts(&b, "tokenizer.ggml.tokens", TOKENS, 14);
    expect_refusal(&b, STATUS_UNSUPPORTED, "rwkv");
    char name[65];
    memset(name, 'x', sizeof name - 1);
    name[64] = '\0';
    begin(&b, name);
    expect_refusal(&b, STATUS_INVALID, "tokenizer.ggml.pre is longer than 63 bytes");
}

/* A vocabulary, and a template where `source` is not NULL. */
static void open_text(const char *source, struct opened *opened, struct tokenizer_folder *text)
{
    struct gguf_builder b;
    begin(&b, "smollm");
    if (source != NULL)
        gguf_builder_text(&b, "tokenizer.chat_template", source);
    open_builder(&b, opened);
    assert_int_equal(model_file_text(opened->source, text, NULL), STATUS_OK);
}

static void the_chat_template_is_where_the_file_has_one(void **state)
{
    (void)state;
    struct opened opened;
    struct tokenizer_folder text;
    open_text(NULL, &opened, &text);
    assert_int_equal(text.chat_template.bytes, 0);
    tokenizer_folder_deinit(&text);
    close_opened(&opened);
    open_text("{{ x }}", &opened, &text);
    assert_true(text_slice_is(buffer_slice(&text.chat_template), "{{ x }}"));
    tokenizer_folder_deinit(&text);
    close_opened(&opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_names_no_special_ids_gets_the_defaults),
        cmocka_unit_test(ids_and_flags_of_the_file_win_and_bad_ids_fall_back),
        cmocka_unit_test(llama3_adds_bos_unless_the_file_forbids_it),
        cmocka_unit_test(the_tokens_for_filling_in_are_those_that_the_file_names),
        cmocka_unit_test(broken_vocabularies_are_refused),
        cmocka_unit_test(the_chat_template_is_where_the_file_has_one),
    };
    return cmocka_run_group_tests_name("model vocabulary", tests, NULL, NULL);
}
