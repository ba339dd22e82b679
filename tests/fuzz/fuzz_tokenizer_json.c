#include <string.h>

#include "check.h"
#include "scratch_folder.h"
#include "tokenizer_folder.h"

/* A tokenizer.json. One that opens cuts any text into tokens that it has, and gives each of them a text. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char text[] =
    "The  caf\xC3\xA9's 1234 \xF0\x9F\x8C\x8A\r\n\t\xE4\xB8\xAD <s>\xCC\x81 a a\xFF b";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct tokenizer_folder folder;
    struct error_note note = {""};
    scratch_write("tokenizer.json", data, bytes);
    if (tokenizer_folder_open(scratch_path(), &folder, &note) != STATUS_OK) {
        CHECK(note.text[0] != '\0');
        return 0;
    }
    struct text_span trusted = {10, 30};
    struct token_list ids;
    struct buffer decoded;
    token_list_init(&ids, 1u << 20);
    buffer_init(&decoded, 1u << 24);
    status s = tokenizer_encode(folder.tokenizer, text_slice_of(text), &trusted, 1, true, &ids);
    CHECK(s == STATUS_OK || s == STATUS_TOO_LARGE);
    for (size_t i = 0; s == STATUS_OK && i < ids.count; i++)
        CHECK(ids.ids[i] >= 0 && (uint32_t)ids.ids[i] < tokenizer_token_count(folder.tokenizer));
    if (s == STATUS_OK)
        tokenizer_decode(folder.tokenizer, ids.ids, ids.count, true, &decoded);
    CHECK(decoded.failed == STATUS_OK || decoded.failed == STATUS_TOO_LARGE);
    buffer_deinit(&decoded);
    token_list_deinit(&ids);
    tokenizer_folder_deinit(&folder);
    return 0;
}
