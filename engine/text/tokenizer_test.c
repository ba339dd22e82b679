#include <stdlib.h>

#include "tokenizer.h"
#include "unit_test.h"
#include "utf8.h"

/* WRAP: malloc calloc realloc */

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
static int allocations_until_failure = -1; /* -1: never */

static int is_failing(void)
{
    if (allocations_until_failure > 0)
        allocations_until_failure--;
    return allocations_until_failure == 0;
}

void *__wrap_malloc(size_t bytes)
{
    return is_failing() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return is_failing() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *block, size_t bytes)
{
    return is_failing() ? NULL : __real_realloc(block, bytes);
}

/* All bytes, then these. */
static const char *const merges[] = {"h e", "l l", "he ll", "hell o", "Ġ w", "a a", "aa aa"};
static const struct {
    const char *text;
    int32_t attribute;
} specials[] = {
    {"<|end|>", TOKEN_CONTROL}, {"<|im_end|>", TOKEN_CONTROL}, {"<tool>", TOKEN_USER_DEFINED}};

enum { MERGES = 7, SPECIALS = 3, TOKENS = 256 + MERGES + SPECIALS };
enum { HE = 256, LL, HELL, HELLO, SPACE_W, AA, AAAA, END, IM_END, TOOL };

struct vocabulary_fixture {
    char texts[TOKENS][16];
    struct text_slice tokens[TOKENS], merges[MERGES];
    int32_t attributes[TOKENS];
    struct tokenizer_source source;
};

static void fill(struct vocabulary_fixture *f)
{
    uint32_t next = 0x100;
    for (uint32_t i = 0; i < TOKENS; i++) {
        size_t length = 0;
        f->attributes[i] = TOKEN_NORMAL;
        if (i < 256) {
            bool is_itself = (i >= 0x21 && i <= 0x7E) || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE;
            length = utf8_encode(is_itself ? i : next++, f->texts[i]);
        } else if (i < 256 + MERGES) {
            f->merges[i - 256] = text_slice_of(merges[i - 256]);
            for (const char *c = merges[i - 256]; *c != '\0'; c++) {
                f->texts[i][length] = *c;
                length += *c != ' ';
            }
        } else {
            length = strlen(specials[i - 256 - MERGES].text);
            memcpy(f->texts[i], specials[i - 256 - MERGES].text, length);
            f->attributes[i] = specials[i - 256 - MERGES].attribute;
        }
        f->tokens[i] = (struct text_slice){f->texts[i], length};
    }
    f->source = (struct tokenizer_source){.kind = "gpt2",
                                          .pre = "smollm",
                                          .token_count = TOKENS,
                                          .tokens = f->tokens,
                                          .attributes = f->attributes,
                                          .merge_count = MERGES,
                                          .merges = f->merges,
                                          .bos = END,
                                          .eos = IM_END,
                                          .eot = -1,
                                          .unknown = -1,
                                          .padding = -1,
                                          .add_bos = true};
}

static tokenizer *create(void)
{
    static struct vocabulary_fixture fixture;
    tokenizer *t = NULL;
    fill(&fixture);
    assert_int_equal(tokenizer_create(&fixture.source, &t, NULL), STATUS_OK);
    return t;
}

static void expect_ids(const tokenizer *t, const char *text, struct text_span trusted,
                       const int32_t *ids, size_t count)
{
    struct token_list list;
    token_list_init(&list, 1000);
    assert_int_equal(tokenizer_encode(t, text_slice_of(text), &trusted, 1, false, &list),
                     STATUS_OK);
    assert_int_equal(list.count, count);
    assert_memory_equal(list.ids, ids, count * sizeof(ids[0]));
    token_list_deinit(&list);
}

static void merges_go_by_rank_and_words_are_cut_first(void **unused)
{
    (void)unused;
    tokenizer *t = create();
    expect_ids(t, "hello", (struct text_span){0, 0}, (int32_t[]){HELLO}, 1);
    expect_ids(t, "hello w1", (struct text_span){0, 0}, (int32_t[]){HELLO, SPACE_W, '1'}, 3);
    expect_ids(t, "aaaaa", (struct text_span){0, 0}, (int32_t[]){AAAA, 'a'}, 2);
    expect_ids(t, "12", (struct text_span){0, 0}, (int32_t[]){'1', '2'}, 2);
    tokenizer_destroy(t);
}

static void control_tokens_exist_only_inside_trusted_spans(void **unused)
{
    (void)unused;
    tokenizer *t = create();
    const char *text = "<|end|>a<|end|>";
    struct token_list list;
    token_list_init(&list, 1000);
    assert_int_equal(tokenizer_encode(t, text_slice_of(text), NULL, 0, false, &list), STATUS_OK);
    for (size_t i = 0; i < list.count; i++)
        assert_false(tokenizer_is_control(t, list.ids[i]));
    token_list_deinit(&list);
    expect_ids(t, "<|end|>", (struct text_span){0, 7}, (int32_t[]){END}, 1);
    struct text_span almost[] = {{0, 6}, {1, 7}};
    for (size_t i = 0; i < 2; i++) {
        token_list_init(&list, 1000);
        assert_int_equal(tokenizer_encode(t, text_slice_of("<|end|>"), &almost[i], 1, false, &list),
                         STATUS_OK);
        assert_int_equal(list.count, 7);
        token_list_deinit(&list);
    }
    expect_ids(t, "a<tool>", (struct text_span){0, 0}, (int32_t[]){'a', TOOL}, 2);
    tokenizer_destroy(t);
}

static void broken_utf8_goes_byte_by_byte_and_comes_back(void **unused)
{
    (void)unused;
    tokenizer *t = create();
    const char broken[] = "\xff\xc3(\xe2\x82 \xf0\x9f\x98 a\x80";
    expect_ids(t, "\xff\xc3", (struct text_span){0, 0}, (int32_t[]){0xFF, 0xC3}, 2);
    struct token_list list;
    struct buffer out;
    token_list_init(&list, 1000);
    buffer_init(&out, 1000);
    assert_int_equal(tokenizer_encode(t, text_slice_of(broken), NULL, 0, false, &list), STATUS_OK);
    tokenizer_decode(t, list.ids, list.count, false, &out);
    assert_true(text_slice_is(buffer_slice(&out), broken));
    buffer_deinit(&out);
    token_list_deinit(&list);
    tokenizer_destroy(t);
}

static void the_list_is_filled_up_to_its_ceiling_and_not_past_it(void **unused)
{
    (void)unused;
    tokenizer *t = create();
    struct token_list list;
    token_list_init(&list, 3);
    assert_int_equal(tokenizer_encode(t, text_slice_of("123"), NULL, 0, false, &list), STATUS_OK);
    assert_int_equal(list.count, 3);
    assert_int_equal(tokenizer_encode(t, text_slice_of("4"), NULL, 0, false, &list),
                     STATUS_TOO_LARGE);
    token_list_deinit(&list);
    token_list_init(&list, 3);
    assert_int_equal(tokenizer_encode(t, text_slice_of("123"), NULL, 0, true, &list),
                     STATUS_TOO_LARGE);
    token_list_deinit(&list);
    tokenizer_destroy(t);
}

static void pieces_hide_control_tokens_unless_asked(void **unused)
{
    (void)unused;
    tokenizer *t = create();
    assert_int_equal(tokenizer_piece(t, END, false).bytes, 0);
    assert_true(text_slice_is(tokenizer_piece(t, END, true), "<|end|>"));
    assert_true(text_slice_is(tokenizer_piece(t, SPACE_W, false), " w"));
    assert_int_equal(tokenizer_piece(t, -1, true).bytes, 0);
    assert_int_equal(tokenizer_piece(t, TOKENS, true).bytes, 0);
    assert_int_equal(tokenizer_find(t, text_slice_of("<tool>")), TOOL);
    assert_int_equal(tokenizer_find(t, text_slice_of("<nope>")), -1);
    assert_true(tokenizer_is_end(t, IM_END));
    assert_true(tokenizer_is_end(t, END));
    assert_false(tokenizer_is_end(t, TOOL));
    tokenizer_destroy(t);
}

static void bad_sources_are_refused_with_a_reason(void **unused)
{
    (void)unused;
    static struct vocabulary_fixture f;
    struct error_note note = {{0}};
    tokenizer *t = NULL;
    fill(&f);
    f.source.kind = "rwkv";
    assert_int_equal(tokenizer_create(&f.source, &t, &note), STATUS_UNSUPPORTED);
    assert_non_null(strstr(note.text, "rwkv"));
    f.source.kind = "llama"; /* and no scores */
    assert_int_equal(tokenizer_create(&f.source, &t, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "scores"));
    fill(&f);
    f.source.pre = "no-such-thing";
    assert_int_equal(tokenizer_create(&f.source, &t, &note), STATUS_UNSUPPORTED);
    assert_non_null(strstr(note.text, "no-such-thing"));
    fill(&f);
    f.source.eos = TOKENS;
    assert_int_equal(tokenizer_create(&f.source, &t, &note), STATUS_INVALID);
    fill(&f);
    f.merges[2] = text_slice_of("nope nope");
    assert_int_equal(tokenizer_create(&f.source, &t, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "merge 2"));
    fill(&f);
    f.merges[0] = text_slice_of("he");
    assert_int_equal(tokenizer_create(&f.source, &t, &note), STATUS_INVALID);
    fill(&f);
    f.source.token_count = 0;
    assert_int_equal(tokenizer_create(&f.source, &t, &note), STATUS_INVALID);
    assert_null(t);
}

static void a_merge_cannot_build_a_control_token(void **unused)
{
    (void)unused;
    static struct vocabulary_fixture f;
    tokenizer *t = NULL;
    fill(&f);
    f.attributes[HE] = TOKEN_CONTROL;
    assert_int_equal(tokenizer_create(&f.source, &t, NULL), STATUS_OK);
    expect_ids(t, "he", (struct text_span){0, 0}, (int32_t[]){'h', 'e'}, 2);
    tokenizer_destroy(t);
}

static void any_failed_allocation_is_reported_and_leaks_nothing(void **unused)
{
    (void)unused;
    static struct vocabulary_fixture f;
    char text[200];
    fill(&f);
    memset(text, 'a', sizeof(text));
    for (int nth = 1;; nth++) {
        tokenizer *t = NULL;
        struct token_list list;
        token_list_init(&list, 1000);
        allocations_until_failure = nth;
        status result = tokenizer_create(&f.source, &t, NULL);
        if (result == STATUS_OK)
            result =
                tokenizer_encode(t, (struct text_slice){text, sizeof(text)}, NULL, 0, true, &list);
        bool is_done = allocations_until_failure > 0;
        allocations_until_failure = -1;
        token_list_deinit(&list);
        tokenizer_destroy(t);
        if (is_done) {
            assert_int_equal(result, STATUS_OK);
            break;
        }
        assert_int_equal(result, STATUS_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_go_by_rank_and_words_are_cut_first),
        cmocka_unit_test(control_tokens_exist_only_inside_trusted_spans),
        cmocka_unit_test(broken_utf8_goes_byte_by_byte_and_comes_back),
        cmocka_unit_test(the_list_is_filled_up_to_its_ceiling_and_not_past_it),
        cmocka_unit_test(pieces_hide_control_tokens_unless_asked),
        cmocka_unit_test(bad_sources_are_refused_with_a_reason),
        cmocka_unit_test(a_merge_cannot_build_a_control_token),
        cmocka_unit_test(any_failed_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
