/* WRAP: malloc calloc realloc aligned_alloc */
#include "safetensors.h"

#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "fail_nth.h"
#include "safetensors_builder.h"
#include "unit_test.h"

static const float NUMBERS[6] = {1, 2, 3, 4, 5, 6};

static const char SAMPLE[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[8,24]},"
    "\"a.scale\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,8]},"
    "\"a.half\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[0,4]},"
    "\"empty\":{\"dtype\":\"I64\",\"shape\":[0,5],\"data_offsets\":[24,24]}}   ";

static status open_text(const char *header, size_t data_bytes, struct error_note *note)
{
    struct buffer text;
    safetensors *file = NULL;
    safetensors_build(&text, header, NUMBERS, data_bytes);
    status s = safetensors_open_memory(text.data, text.bytes, &file, note);
    safetensors_close(file);
    buffer_deinit(&text);
    return s;
}

static void tensors_are_found_by_name(void **state)
{
    (void)state;
    struct buffer text;
    safetensors *file = NULL;
    safetensors_build(&text, SAMPLE, NUMBERS, sizeof NUMBERS);
    assert_int_equal(safetensors_open_memory(text.data, text.bytes, &file, NULL), STATUS_OK);
    assert_int_equal(safetensors_tensor_count(file), 4);
    const struct safetensors_tensor *t = safetensors_tensor_find(file, "b.weight");
    assert_non_null(t);
    assert_int_equal(t->type, SAFETENSORS_F32);
    assert_int_equal(t->dimension_count, 2);
    assert_int_equal(t->dimensions[0], 2);
    assert_int_equal(t->dimensions[2], 1);
    assert_memory_equal(t->data, &NUMBERS[2], 16);
    t = safetensors_tensor_find(file, "a.scale");
    assert_int_equal(t->dimension_count, 0);
    assert_int_equal(t->bytes, 4);
    assert_string_equal(safetensors_type_name(safetensors_tensor_find(file, "a.half")->type),
                        "BF16");
    assert_int_equal(safetensors_tensor_find(file, "empty")->bytes, 0);
    assert_null(safetensors_tensor_find(file, "__metadata__"));
    safetensors_close(file);
    buffer_deinit(&text);
}

static void wrong_headers_are_refused_with_their_reason(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        status expected;
        const char *reason;
    } cases[] = {
        {"[1]", STATUS_INVALID, "not a JSON object"},
        {"{\"a\":", STATUS_INVALID, "the header"},
        {"{\"a\":7}", STATUS_INVALID, "not an object"},
        {"{\"a\":{\"dtype\":\"F99\",\"shape\":[6],\"data_offsets\":[0,24]}}", STATUS_UNSUPPORTED,
         "F99"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":6,\"data_offsets\":[0,24]}}", STATUS_INVALID,
         "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,6],\"data_offsets\":[0,24]}}",
         STATUS_INVALID, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,24]}}", STATUS_INVALID,
         "shape cannot be"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,24]}}",
         STATUS_INVALID, "shape cannot be"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,24]}}", STATUS_INVALID,
         "24 bytes of data for a shape of 20"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[7],\"data_offsets\":[0,28]}}", STATUS_INVALID,
         "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[-1,-1]}}", STATUS_INVALID,
         "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]}}", STATUS_INVALID,
         "4 bytes at the end"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[4,24]}}", STATUS_INVALID,
         "a hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[12,24]}}",
         STATUS_INVALID, "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[12,24]}}",
         STATUS_INVALID, "uplicate"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error_note note = {""};
        assert_int_equal(open_text(cases[i].header, sizeof NUMBERS, &note), cases[i].expected);
        if (strstr(note.text, cases[i].reason) == NULL)
            fail_msg("%s: %s", cases[i].header, note.text);
    }
}

static void a_header_longer_than_the_file_is_refused(void **state)
{
    (void)state;
    struct error_note note;
    safetensors *file;
    uint64_t lengths[] = {1, UINT64_MAX, 0};
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++)
        assert_int_equal(safetensors_open_memory(&lengths[i], 8, &file, &note), STATUS_INVALID);
    assert_int_equal(safetensors_open_memory(lengths, 7, &file, &note), STATUS_INVALID);
}

static void make_folder(char path[64])
{
    snprintf(path, 64, "/tmp/safetensors_test_XXXXXX");
    assert_non_null(mkdtemp(path));
}

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void write_shard(const char *folder, const char *name, const char *tensor)
{
    char path[160], header[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", tensor);
    assert_true(safetensors_write(path, header, NUMBERS, sizeof NUMBERS));
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = {"model.safetensors.index.json", "model.safetensors",
                                        "one.safetensors", "two.safetensors"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

static void shards_are_one_model(void **state)
{
    (void)state;
    char folder[64];
    safetensors *file = NULL;
    struct error_note note = {""};
    make_folder(folder);
    write_shard(folder, "one.safetensors", "first");
    write_shard(folder, "two.safetensors", "second");
    write_text(folder, "model.safetensors.index.json",
               "{\"metadata\":{},\"weight_map\":{\"first\":\"one.safetensors\","
               "\"second\":\"two.safetensors\"}}");
    assert_int_equal(safetensors_open(folder, &file, &note), STATUS_OK);
    assert_int_equal(safetensors_tensor_count(file), 2);
    assert_non_null(safetensors_tensor_find(file, "second"));
    struct safetensors_identity identity;
    safetensors_get_identity(file, &identity);
    assert_true(identity.bytes > 0 && identity.modified_ns > 0 && identity.checksum != 0);
    safetensors_prefetch(file);
    safetensors_close(file);
    remove_folder(folder);
}

static void an_index_that_lies_is_refused(void **state)
{
    (void)state;
    static const char *const maps[] = {
        "{\"first\":\"one.safetensors\",\"other\":\"one.safetensors\"}", /* not there */
        "{\"first\":\"one.safetensors\",\"second\":\"../two.safetensors\"}",
        "{\"first\":\"one.safetensors\",\"second\":\"three.safetensors\"}",
        "{\"first\":7}",
        "[]",
        "{}",
    };
    for (size_t i = 0; i < ARRAY_COUNT(maps); i++) {
        char folder[64], text[256];
        safetensors *file = NULL;
        make_folder(folder);
        write_shard(folder, "one.safetensors", "first");
        snprintf(text, sizeof text, "{\"weight_map\":%s}", maps[i]);
        write_text(folder, "model.safetensors.index.json", text);
        struct error_note note = {""};
        status s = safetensors_open(folder, &file, &note);
        /* An index without tensors is a model without tensors. */
        assert_int_equal(s == STATUS_OK, strcmp(maps[i], "{}") == 0);
        assert_true(s == STATUS_OK || note.text[0] != '\0');
        safetensors_close(file);
        remove_folder(folder);
    }
}

static void the_same_name_in_two_shards_is_refused(void **state)
{
    (void)state;
    char folder[64];
    safetensors *file = NULL;
    struct error_note note = {""};
    make_folder(folder);
    write_shard(folder, "one.safetensors", "first");
    write_shard(folder, "two.safetensors", "first");
    write_text(folder, "model.safetensors.index.json",
               "{\"weight_map\":{\"first\":\"one.safetensors\",\"x\":\"two.safetensors\"}}");
    assert_int_equal(safetensors_open(folder, &file, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "twice"));
    remove_folder(folder);
}

static void identity_changes_with_the_data(void **state)
{
    (void)state;
    float other[6] = {1, 2, 3, 4, 5, 7};
    struct buffer one, two;
    safetensors *file;
    struct safetensors_identity a, b;
    safetensors_build(&one, SAMPLE, NUMBERS, sizeof NUMBERS);
    safetensors_build(&two, SAMPLE, other, sizeof other);
    assert_int_equal(safetensors_open_memory(one.data, one.bytes, &file, NULL), STATUS_OK);
    safetensors_get_identity(file, &a);
    safetensors_close(file);
    assert_int_equal(safetensors_open_memory(two.data, two.bytes, &file, NULL), STATUS_OK);
    safetensors_get_identity(file, &b);
    safetensors_close(file);
    assert_true(a.checksum != b.checksum && a.bytes == b.bytes);
    buffer_deinit(&one);
    buffer_deinit(&two);
}

static void running_out_of_memory_leaves_nothing(void **state)
{
    (void)state;
    struct buffer text;
    safetensors_build(&text, SAMPLE, NUMBERS, sizeof NUMBERS);
    for (unsigned long n = 1; n < 10000; n++) {
        safetensors *file = NULL;
        fail_nth_begin(n);
        status s = safetensors_open_memory(text.data, text.bytes, &file, NULL);
        bool has_failed = fail_nth_end();
        assert_int_equal(s, has_failed ? STATUS_NO_MEMORY : STATUS_OK);
        safetensors_close(file);
        if (!has_failed)
            break;
    }
    buffer_deinit(&text);
}

static void a_missing_file_is_told(void **state)
{
    (void)state;
    safetensors *file;
    struct error_note note = {""};
    assert_int_equal(safetensors_open("/nowhere/model.safetensors", &file, &note),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(note.text, "/nowhere/model.safetensors"));
    char folder[64];
    make_folder(folder);
    assert_int_equal(safetensors_open(folder, &file, &note), STATUS_NOT_FOUND);
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_found_by_name),
        cmocka_unit_test(wrong_headers_are_refused_with_their_reason),
        cmocka_unit_test(a_header_longer_than_the_file_is_refused),
        cmocka_unit_test(shards_are_one_model),
        cmocka_unit_test(an_index_that_lies_is_refused),
        cmocka_unit_test(the_same_name_in_two_shards_is_refused),
        cmocka_unit_test(identity_changes_with_the_data),
        cmocka_unit_test(running_out_of_memory_leaves_nothing),
        cmocka_unit_test(a_missing_file_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
