#include "unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slurm_token.h"

/* Made by Python's hmac and base64. */
#define TOKEN_OF_ALICE                                                                             \
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."                                                        \
    "eyJleHAiOjE3OTUyMzM2MDAsImlhdCI6MTc5NTIzMDAwMCwic3VuIjoiYWxpY2UifQ."                          \
    "ISfucfotVxiXp9kCZyIsfLToB72T046cQsZsssbBR7k"

static void a_token_is_what_another_implementation_signs(void **state)
{
    struct buffer out;

    (void)state;
    buffer_init(&out, SLURM_TOKEN_BYTES_MAX);
    assert_int_equal(slurm_token_mint(text_slice_of("0123456789abcdef0123456789abcdef"), "alice",
                                      1795230000, &out),
                     STATUS_OK);
    assert_string_equal(out.data, TOKEN_OF_ALICE);
    buffer_deinit(&out);
}

static void secret_expect(const char *content, size_t bytes, bool is_key, status result,
                          struct text_slice wanted)
{
    char path[] = "/tmp/slurm_secret_XXXXXX";
    int fd = mkstemp(path);
    struct error_note note = {""};
    struct buffer out;

    assert_true(fd >= 0 && write(fd, content, bytes) == (ssize_t)bytes);
    close(fd);
    buffer_init(&out, SLURM_TOKEN_BYTES_MAX);
    assert_int_equal(slurm_secret_read(path, is_key, &out, &note), result);
    if (result == STATUS_OK)
        assert_true(text_slice_equals(buffer_slice(&out), wanted));
    else
        assert_true(note.text[0] != '\0');
    buffer_deinit(&out);
    (void)unlink(path);
}

static void a_key_is_all_bytes_of_its_file(void **state)
{
    (void)state;
    secret_expect("a\0\n b\n", 6, true, STATUS_OK, (struct text_slice){"a\0\n b\n", 6});
    secret_expect("", 0, true, STATUS_INVALID, (struct text_slice){"", 0});
}

static void a_token_is_its_files_first_line(void **state)
{
    (void)state;
    secret_expect("SLURM_JWT=a.b.c\nmore\n", 21, false, STATUS_OK, text_slice_of("a.b.c"));
    secret_expect("a.b.c", 5, false, STATUS_OK, text_slice_of("a.b.c"));
    secret_expect("SLURM_JWT=\n", 11, false, STATUS_INVALID, text_slice_of(""));
}

static void a_file_that_is_not_there_is_said(void **state)
{
    struct error_note note = {""};
    struct buffer out;

    (void)state;
    buffer_init(&out, SLURM_TOKEN_BYTES_MAX);
    assert_int_equal(slurm_secret_read("/nonexistent/key", true, &out, &note), STATUS_IO);
    assert_string_equal(note.text, "/nonexistent/key: ENOENT");
    buffer_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_what_another_implementation_signs),
        cmocka_unit_test(a_key_is_all_bytes_of_its_file),
        cmocka_unit_test(a_token_is_its_files_first_line),
        cmocka_unit_test(a_file_that_is_not_there_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
