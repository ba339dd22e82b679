/* Log-probabilities of a model over a token sequence, for tests that compare them with other engines'.
 *
 *   logits_tool MODEL BACKEND CONTEXT CHUNK DECODE_FROM < ids > logprobs
 *
 * ids: u32 count, then so many i32. The sequence is read in steps of CHUNK rows up to DECODE_FROM, one row each after it.
 * logprobs: for every position but the last, f32 for each token of the vocabulary. Exit status 77: this CPU cannot run the
 * backend; 2: wrong use; else the reason is on standard error. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "forced_model.h"

#define IDS_MAX 65536u

static bool find_backend(const char *name, enum backend_path *out)
{
    for (int path = BACKEND_REFERENCE; path <= BACKEND_AMX; path++) {
        if (strcmp(backend_path_name((enum backend_path)path), name) != 0)
            continue;
        *out = (enum backend_path)path;
        return true;
    }
    return false;
}

static void write_row(void *context, uint32_t position, const float *logprobs)
{
    (void)position;
    uint32_t vocabulary = *(const uint32_t *)context;
    if (fwrite(logprobs, sizeof *logprobs, vocabulary, stdout) != vocabulary)
        exit(1);
}

static uint32_t read_ids(int32_t *ids)
{
    uint32_t count;
    if (fread(&count, sizeof count, 1, stdin) != 1 || count == 0 || count > IDS_MAX ||
        fread(ids, sizeof *ids, count, stdin) != count) {
        (void)fprintf(stderr, "logits_tool: no token ids\n");
        exit(2);
    }
    return count;
}

int main(int argc, char **argv)
{
    static int32_t ids[IDS_MAX];
    enum backend_path path;
    if (argc != 6 || !find_backend(argv[2], &path)) {
        (void)fprintf(stderr, "usage: logits_tool MODEL BACKEND CONTEXT CHUNK DECODE_FROM < ids\n");
        return 2;
    }
    if (!backend_path_is_supported(path))
        return 77;
    struct forced_model forced;
    forced_model_open(&forced, argv[1], path, KV_F16, (uint32_t)strtoul(argv[3], NULL, 10));
    struct forced_run run = {.ids = ids,
                             .count = read_ids(ids),
                             .chunk = (uint32_t)strtoul(argv[4], NULL, 10),
                             .decode_from = (uint32_t)strtoul(argv[5], NULL, 10)};
    uint32_t vocabulary = model_get_info(forced.m)->vocabulary;
    forced_model_run(&forced, &run, write_row, &vocabulary);
    forced_model_close(&forced);
    return fflush(stdout) == 0 ? 0 : 1;
}
