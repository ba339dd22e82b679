#include "gguf.h"

#include <unistd.h>

#include "gguf_builder.h"
#include "unit_test.h"

static const float TWO_BY_THREE[6] = {1, 2, 3, 4, 5, 6};

/* A file with every kind of value and two tensors. */
static void *build_sample(size_t *bytes)
{
    struct gguf_builder b;
    gguf_builder_init(&b);
    gguf_builder_text(&b, "general.architecture", "llama");
    gguf_builder_u32(&b, "a.u32", 4000000000u);
    gguf_builder_key(&b, "a.u64", GGUF_U64);
    gguf_put_u64(&b.keys, UINT64_C(1) << 63);
    gguf_builder_key(&b, "a.i8", GGUF_I8);
    buffer_append_byte(&b.keys, (char)-5);
    gguf_builder_key(&b, "a.i64", GGUF_I64);
    gguf_put_u64(&b.keys, (uint64_t)INT64_MIN);
    gguf_builder_f32(&b, "a.f32", 0.5f);
    double half = 0.25;
    gguf_builder_key(&b, "a.f64", GGUF_F64);
    buffer_append(&b.keys, &half, sizeof half);
    gguf_builder_bool(&b, "a.bool", true);
    const char *texts[3] = {"one", "", "three"};
    gguf_builder_texts(&b, "a.texts", texts, 3);
    int32_t numbers[3] = {-1, 0, 7};
    gguf_builder_i32s(&b, "a.i32s", numbers, 3);
    gguf_builder_array(&b, "a.empty", GGUF_F32, 0);
    gguf_builder_tensor(&b, "matrix", TENSOR_F32, 3, 2, TWO_BY_THREE, sizeof TWO_BY_THREE);
    gguf_builder_tensor(&b, "row", TENSOR_F32, 2, 0, TWO_BY_THREE, 2 * sizeof(float));
    void *file = gguf_builder_finish(&b, bytes);
    gguf_builder_deinit(&b);
    return file;
}

static void scalars_convert_when_the_value_fits(void **state)
{
    (void)state;
    size_t bytes;
    void *data = build_sample(&bytes);
    gguf *file;
    assert_int_equal(gguf_open_memory(data, bytes, &file, NULL), STATUS_OK);
    uint64_t u = 1;
    int64_t i = 1;
    double f;
    bool is_set = false;
    assert_true(gguf_get_u64(file, "a.u32", &u) && u == 4000000000u);
    assert_true(gguf_get_i64(file, "a.u32", &i) && i == 4000000000);
    assert_true(gguf_get_u64(file, "a.u64", &u) && u == UINT64_C(1) << 63);
    assert_false(gguf_get_i64(file, "a.u64", &i));
    assert_true(gguf_get_i64(file, "a.i8", &i) && i == -5);
    assert_false(gguf_get_u64(file, "a.i8", &u));
    assert_true(gguf_get_i64(file, "a.i64", &i) && i == INT64_MIN);
    assert_true(gguf_get_f64(file, "a.i8", &f) && f == -5.0);
    assert_true(gguf_get_f64(file, "a.u64", &f) && f == 9223372036854775808.0);
    assert_true(gguf_get_f64(file, "a.f32", &f) && f == 0.5);
    assert_true(gguf_get_f64(file, "a.f64", &f) && f == 0.25);
    assert_false(gguf_get_u64(file, "a.f32", &u));
    assert_true(gguf_get_bool(file, "a.bool", &is_set) && is_set);
    assert_false(gguf_get_bool(file, "a.u32", &is_set));
    assert_false(gguf_get_f64(file, "a.bool", &f));
    assert_false(gguf_get_u64(file, "a.i32s", &u));
    assert_false(gguf_get_u64(file, "absent", &u));
    gguf_close(file);
    free(data);
}

static void texts_and_arrays_are_read_from_the_mapping(void **state)
{
    (void)state;
    size_t bytes;
    void *data = build_sample(&bytes);
    gguf *file;
    assert_int_equal(gguf_open_memory(data, bytes, &file, NULL), STATUS_OK);
    struct text_slice text, texts[3];
    assert_true(gguf_get_text(file, "general.architecture", &text) && text_slice_is(text, "llama"));
    assert_true(text.data >= (char *)data && text.data < (char *)data + bytes);
    assert_false(gguf_get_text(file, "a.texts", &text));
    assert_true(gguf_read_texts(file, "a.texts", texts, 3));
    assert_true(text_slice_is(texts[0], "one") && texts[1].bytes == 0 &&
                text_slice_is(texts[2], "three"));
    assert_false(gguf_read_texts(file, "a.texts", texts, 2)); /* another length */
    assert_false(gguf_read_texts(file, "a.i32s", texts, 3));
    int32_t numbers[3];
    float floats[3];
    assert_true(gguf_read_i32(file, "a.i32s", numbers, 3) && numbers[0] == -1 && numbers[2] == 7);
    assert_true(gguf_read_f32(file, "a.i32s", floats, 3) && floats[0] == -1.0f &&
                floats[2] == 7.0f);
    enum gguf_type element;
    uint64_t count;
    assert_true(gguf_get_array(file, "a.empty", &element, &count) && element == GGUF_F32 &&
                count == 0);
    assert_false(gguf_get_array(file, "a.u32", &element, &count));
    assert_int_equal(gguf_metadata_count(file), 11);
    assert_true(text_slice_is(gguf_metadata_key(file, 10), "a.empty"));
    assert_int_equal(gguf_metadata_key(file, 11).bytes, 0);
    gguf_close(file);
    free(data);
}

static void tensors_are_found_by_name_with_their_shape_and_data(void **state)
{
    (void)state;
    size_t bytes;
    void *data = build_sample(&bytes);
    gguf *file;
    assert_int_equal(gguf_open_memory(data, bytes, &file, NULL), STATUS_OK);
    assert_int_equal(gguf_tensor_count(file), 2);
    const struct gguf_tensor *matrix = gguf_tensor_find(file, "matrix");
    assert_non_null(matrix);
    assert_ptr_equal(matrix, gguf_tensor_at(file, 0));
    assert_int_equal(matrix->dimension_count, 2);
    assert_int_equal(matrix->dimensions[0], 3);
    assert_int_equal(matrix->dimensions[1], 2);
    assert_int_equal(matrix->dimensions[3], 1);
    assert_int_equal(matrix->bytes, sizeof TWO_BY_THREE);
    assert_memory_equal(matrix->data, TWO_BY_THREE, sizeof TWO_BY_THREE);
    assert_memory_equal(gguf_tensor_find(file, "row")->data, TWO_BY_THREE, 8);
    assert_null(gguf_tensor_find(file, "absent"));
    assert_null(gguf_tensor_at(file, 2));
    gguf_close(file);
    free(data);
}

/* Also under the address sanitizer: each shorter file lies in a block of its own length. */
static void a_file_cut_at_any_byte_is_refused_with_a_note(void **state)
{
    (void)state;
    size_t bytes;
    char *data = build_sample(&bytes);
    for (size_t cut = 0; cut < bytes; cut++) {
        char *shorter = malloc(cut != 0 ? cut : 1);
        memcpy(shorter, data, cut);
        struct error_note note = {""};
        gguf *file = NULL;
        assert_int_equal(gguf_open_memory(shorter, cut, &file, &note), STATUS_INVALID);
        assert_null(file);
        assert_true(strstr(note.text, "byte ") != NULL);
        free(shorter);
    }
    free(data);
}

/* Any one byte set to any of a few nasty values: open may accept or refuse, but reads nothing
 * outside. */
static void a_file_with_any_byte_changed_is_read_safely(void **state)
{
    (void)state;
    static const unsigned char VALUES[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    size_t bytes, refused = 0;
    unsigned char *data = build_sample(&bytes);
    for (size_t at = 0; at < bytes; at++) {
        unsigned char before = data[at];
        for (size_t v = 0; v < sizeof VALUES; v++) {
            data[at] = VALUES[v];
            gguf *file;
            if (gguf_open_memory(data, bytes, &file, NULL) == STATUS_OK) {
                struct text_slice texts[3];
                (void)gguf_read_texts(file, "a.texts", texts, 3);
                gguf_close(file);
            } else {
                refused++;
            }
        }
        data[at] = before;
    }
    assert_true(refused > bytes / 2);
    free(data);
}

/* Builds with `fill`, expects `expected` and `part` in the note. */
static void expect_refusal(void (*fill)(struct gguf_builder *), status expected, const char *part)
{
    struct gguf_builder b;
    gguf_builder_init(&b);
    fill(&b);
    size_t bytes;
    void *data = gguf_builder_finish(&b, &bytes);
    struct error_note note = {""};
    gguf *file = NULL;
    status s = gguf_open_memory(data, bytes, &file, &note);
    if (s != expected || strstr(note.text, part) == NULL)
        fail_msg("got %s '%s', expected %s with '%s'", status_name(s), note.text,
                 status_name(expected), part);
    gguf_builder_deinit(&b);
    free(data);
}

static void fill_hostile_array(struct gguf_builder *b)
{
    gguf_builder_array(b, "k", GGUF_U64, UINT64_C(1) << 63);
}

static void fill_array_longer_than_file(struct gguf_builder *b)
{
    gguf_builder_array(b, "k", GGUF_U64, 1u << 20);
}

static void fill_nested_array(struct gguf_builder *b)
{
    gguf_builder_array(b, "k", GGUF_ARRAY, 1);
}

static void fill_hostile_text(struct gguf_builder *b)
{
    gguf_builder_key(b, "k", GGUF_STRING);
    gguf_put_u64(&b->keys, UINT64_MAX - 7);
}

static void fill_unknown_type(struct gguf_builder *b)
{
    gguf_builder_key(b, "k", (enum gguf_type)13);
    gguf_put_u64(&b->keys, 0);
}

static void fill_odd_bool(struct gguf_builder *b)
{
    gguf_builder_key(b, "k", GGUF_BOOL);
    buffer_append_byte(&b->keys, 2);
}

static void fill_duplicate_key(struct gguf_builder *b)
{
    gguf_builder_u32(b, "twice", 1);
    gguf_builder_u32(b, "twice", 1);
}

static void fill_unprintable_key(struct gguf_builder *b)
{
    gguf_builder_u32(b, "line\nbreak", 1);
}

static void fill_empty_key(struct gguf_builder *b)
{
    gguf_builder_u32(b, "", 1);
}

static void fill_bad_alignment(struct gguf_builder *b)
{
    gguf_builder_u32(b, "general.alignment", 48);
    gguf_builder_tensor(b, "t", TENSOR_F32, 3, 2, TWO_BY_THREE, sizeof TWO_BY_THREE);
}

static void fill_duplicate_tensor(struct gguf_builder *b)
{
    gguf_builder_tensor(b, "t", TENSOR_F32, 3, 2, TWO_BY_THREE, sizeof TWO_BY_THREE);
    gguf_builder_tensor(b, "t", TENSOR_F32, 3, 2, TWO_BY_THREE, sizeof TWO_BY_THREE);
}

static void fill_row(struct gguf_builder *b, uint32_t type, uint64_t n_cols, uint64_t n_outputs,
                     uint64_t offset)
{
    uint64_t dimensions[2] = {n_cols, n_outputs};
    gguf_builder_row(b, "t", type, 2, dimensions, offset);
    for (int i = 0; i < 64; i++)
        gguf_put_u64(&b->data, 0);
}

static void fill_misaligned_tensor(struct gguf_builder *b)
{
    fill_row(b, TENSOR_F32, 1, 1, 8);
}

static void fill_tensor_past_the_end(struct gguf_builder *b)
{
    fill_row(b, TENSOR_F32, 4, 4, 480);
}

static void fill_tensor_far_past_the_end(struct gguf_builder *b)
{
    fill_row(b, TENSOR_F32, 4, 4, UINT64_MAX - 31);
}

static void fill_overflowing_dimensions(struct gguf_builder *b)
{
    fill_row(b, TENSOR_F32, UINT64_C(1) << 40, UINT64_C(1) << 40, 0);
}

static void fill_zero_dimension(struct gguf_builder *b)
{
    fill_row(b, TENSOR_F32, 4, 0, 0);
}

static void fill_broken_block(struct gguf_builder *b)
{
    fill_row(b, TENSOR_Q4_0, 33, 1, 0);
}

static void fill_unknown_tensor_type(struct gguf_builder *b)
{
    fill_row(b, 99, 32, 1, 0);
}

static void fill_five_dimensions(struct gguf_builder *b)
{
    uint64_t dimensions[5] = {1, 1, 1, 1, 1};
    gguf_builder_row(b, "t", TENSOR_F32, 5, dimensions, 0);
}

static void fill_overlap(struct gguf_builder *b)
{
    uint64_t dimensions[1] = {16};
    gguf_builder_row(b, "second", TENSOR_F32, 1, dimensions, 32);
    gguf_builder_row(b, "first", TENSOR_F32, 1, dimensions, 0);
    for (int i = 0; i < 64; i++)
        gguf_put_u64(&b->data, 0);
}

static void fill_long_tensor_name(struct gguf_builder *b)
{
    char name[66];
    memset(name, 'x', sizeof name);
    name[65] = '\0';
    uint64_t dimensions[1] = {1};
    gguf_builder_row(b, name, TENSOR_F32, 1, dimensions, 0);
}

static void hostile_files_are_refused_by_name(void **state)
{
    (void)state;
    expect_refusal(fill_hostile_array, STATUS_TOO_LARGE,
                   "key 'k': byte 37: an array of 9223372036854775808");
    expect_refusal(fill_array_longer_than_file, STATUS_INVALID,
                   "ends inside a value of 1048576 elements");
    expect_refusal(fill_nested_array, STATUS_INVALID, "array of arrays");
    expect_refusal(fill_hostile_text, STATUS_TOO_LARGE, "length of 18446744073709551608");
    expect_refusal(fill_unknown_type, STATUS_INVALID, "value type 13 does not exist");
    expect_refusal(fill_odd_bool, STATUS_INVALID, "neither 0 nor 1");
    expect_refusal(fill_duplicate_key, STATUS_INVALID, "'twice' appears twice");
    expect_refusal(fill_unprintable_key, STATUS_INVALID, "not printable");
    expect_refusal(fill_empty_key, STATUS_INVALID, "empty");
    expect_refusal(fill_bad_alignment, STATUS_INVALID, "power of two");
    expect_refusal(fill_duplicate_tensor, STATUS_INVALID, "'t' appears twice");
    expect_refusal(fill_misaligned_tensor, STATUS_INVALID, "not a multiple of the alignment 32");
    expect_refusal(fill_tensor_past_the_end, STATUS_INVALID, "64 bytes at offset 480");
    expect_refusal(fill_tensor_far_past_the_end, STATUS_INVALID, "18446744073709551584");
    expect_refusal(fill_overflowing_dimensions, STATUS_INVALID, "overflows");
    expect_refusal(fill_zero_dimension, STATUS_INVALID, "dimension of zero");
    expect_refusal(fill_broken_block, STATUS_INVALID, "no whole number of");
    expect_refusal(fill_unknown_tensor_type, STATUS_UNSUPPORTED, "tensor type 99");
    expect_refusal(fill_five_dimensions, STATUS_INVALID, "5 dimensions");
    expect_refusal(fill_overlap, STATUS_INVALID, "'first' and 'second' overlap");
    expect_refusal(fill_long_tensor_name, STATUS_TOO_LARGE, "65 bytes; the limit is 64");
}

static void hostile_counts_in_the_header_cost_nothing(void **state)
{
    (void)state;
    static const struct {
        uint64_t tensors, keys;
        status expected;
        const char *part;
    } ROWS[] = {
        {UINT64_C(1) << 63, 0, STATUS_TOO_LARGE, "byte 8: a tensor count of 9223372036854775808"},
        {0, UINT64_C(1) << 63, STATUS_TOO_LARGE, "byte 16: a key count of 9223372036854775808"},
        {UINT64_C(1) << 18, 0, STATUS_INVALID, "262144 tensors cannot fit"},
        {0, UINT64_C(1) << 16, STATUS_INVALID, "65536 keys cannot fit"},
        {(UINT64_C(1) << 18) + 1, 0, STATUS_TOO_LARGE, "the limit is 262144"},
        {0, (UINT64_C(1) << 16) + 1, STATUS_TOO_LARGE, "the limit is 65536"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        _Alignas(8) struct {
            char magic[4];
            uint32_t version;
            uint64_t tensors, keys;
        } header = {{'G', 'G', 'U', 'F'}, 3, ROWS[i].tensors, ROWS[i].keys};
        struct error_note note = {""};
        gguf *file;
        assert_int_equal(gguf_open_memory(&header, sizeof header, &file, &note), ROWS[i].expected);
        if (strstr(note.text, ROWS[i].part) == NULL)
            fail_msg("row %zu: %s", i, note.text);
    }
}

static void other_versions_and_byte_orders_are_named(void **state)
{
    (void)state;
    _Alignas(8) unsigned char header[24] = "GGUF\2";
    struct error_note note;
    gguf *file;
    assert_int_equal(gguf_open_memory(header, sizeof header, &file, &note), STATUS_UNSUPPORTED);
    assert_non_null(strstr(note.text, "version 2"));
    header[4] = 0;
    header[7] = 3;
    assert_int_equal(gguf_open_memory(header, sizeof header, &file, &note), STATUS_UNSUPPORTED);
    assert_non_null(strstr(note.text, "big-endian"));
}

static void a_file_without_tensors_may_end_with_its_header(void **state)
{
    (void)state;
    struct gguf_builder b;
    gguf_builder_init(&b);
    gguf_builder_text(&b, "general.architecture", "llama");
    size_t bytes;
    void *data = gguf_builder_finish(&b, &bytes);
    gguf *file;
    assert_int_equal(gguf_open_memory(data, bytes, &file, NULL), STATUS_OK);
    assert_int_equal(gguf_tensor_count(file), 0);
    gguf_close(file);
    gguf_builder_deinit(&b);
    free(data);
}

static void a_mapped_file_is_the_same_as_one_in_memory(void **state)
{
    (void)state;
    size_t bytes;
    void *data = build_sample(&bytes);
    char path[] = "/tmp/gguf_test_XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, data, bytes), (ssize_t)bytes);
    close(descriptor);
    gguf *file;
    assert_int_equal(gguf_open(path, &file, NULL), STATUS_OK);
    assert_memory_equal(gguf_tensor_find(file, "matrix")->data, TWO_BY_THREE, sizeof TWO_BY_THREE);
    gguf_close(file);
    assert_int_equal(truncate(path, (off_t)bytes - 1), 0);
    struct error_note note;
    assert_int_equal(gguf_open(path, &file, &note), STATUS_INVALID);
    assert_true(strncmp(note.text, path, strlen(path)) == 0);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(gguf_open(path, &file, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "empty"));
    unlink(path);
    free(data);
}

static void what_is_no_file_is_refused_with_the_reason(void **state)
{
    (void)state;
    struct error_note note;
    gguf *file;
    assert_int_equal(gguf_open("/nonexistent/model.gguf", &file, &note), STATUS_NOT_FOUND);
    assert_non_null(strstr(note.text, "/nonexistent/model.gguf"));
    assert_int_equal(gguf_open("/dev/null", &file, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "not a regular file"));
    assert_int_equal(gguf_open("/", &file, &note), STATUS_INVALID);
    gguf_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_convert_when_the_value_fits),
        cmocka_unit_test(texts_and_arrays_are_read_from_the_mapping),
        cmocka_unit_test(tensors_are_found_by_name_with_their_shape_and_data),
        cmocka_unit_test(a_file_cut_at_any_byte_is_refused_with_a_note),
        cmocka_unit_test(a_file_with_any_byte_changed_is_read_safely),
        cmocka_unit_test(hostile_files_are_refused_by_name),
        cmocka_unit_test(hostile_counts_in_the_header_cost_nothing),
        cmocka_unit_test(other_versions_and_byte_orders_are_named),
        cmocka_unit_test(a_file_without_tensors_may_end_with_its_header),
        cmocka_unit_test(a_mapped_file_is_the_same_as_one_in_memory),
        cmocka_unit_test(what_is_no_file_is_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
