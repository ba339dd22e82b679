#include "unit_test.h"

#include <stdlib.h>

#include "text_slice_find.h"

/* Every length up to some blocks of lanes, at every place, also where only the beginning of the word fits. */
static void words_are_found_where_memmem_finds_them(void **state)
{
    static const char *const words[] = {"\"usage\"", "abca", "aaaa", "ab", "x", "aabaabaa"};
    unsigned random = 7;

    (void)state;
    for (size_t bytes = 0; bytes < 80; bytes++) {
        for (unsigned round = 0; round < 60; round++) {
            const char *word = words[round % 6];
            size_t word_bytes = strlen(word);
            char *text = malloc(bytes + 1); /* of its own, so that sanitizers see a byte beyond */

            assert_non_null(text);
            for (size_t i = 0; i < bytes; i++) {
                random = random * 1664525u + 1013904223u;
                text[i] = "ab\"u"[random >> 30];
            }
            if (bytes >= word_bytes && round % 3 != 0)
                memcpy(text + (random >> 8) % (bytes - word_bytes + 1), word, word_bytes);
            assert_ptr_equal(text_slice_find((struct text_slice){text, bytes}, word, word_bytes),
                             memmem(text, bytes, word, word_bytes));
            free(text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_found_where_memmem_finds_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
