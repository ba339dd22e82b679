#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Stands in for libFuzzer in every preset but fuzz: runs each file of the folders (or each file)
 * given as arguments through the target, and then MUTATION_COUNT changed copies of it. The changes
 * come from a generator with a fixed seed, so a failure repeats; the input that was running is
 * named on stderr. Ends non-zero when there was nothing to run. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

#define INPUT_BYTES_MAX (4u << 20)
#define MUTATION_COUNT  200u
#define CHANGES_MAX     8u
#define SMALL_BYTES_MAX 65536u /* larger seeds get a tenth of the mutations: a test has seconds */

static char running[512]; /* name of the input being run, for the signal handler */

static void name_and_die(int signal_number)
{
    static const char front[] = "\nwhile running ";
    ssize_t written = write(STDERR_FILENO, front, sizeof front - 1);
    written = write(STDERR_FILENO, running, strnlen(running, sizeof running));
    written = write(STDERR_FILENO, "\n", 1);
    (void)written;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* xorshift64* (Vigna 2016). */
static uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717ull;
}

static size_t random_below(uint64_t *state, size_t limit)
{
    return (size_t)(random_next(state) % limit);
}

/* One change to `data`, which has room for one byte more. Returns the new length. */
static size_t mutate(uint8_t *data, size_t bytes, uint64_t *state)
{
    static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', '\\', '\n', '0', '-'};
    if (bytes == 0) {
        data[0] = (uint8_t)random_next(state);
        return 1;
    }
    size_t at = random_below(state, bytes);
    switch (random_below(state, 6)) {
    case 0: /* flip a bit */
        data[at] ^= (uint8_t)(1u << random_below(state, 8));
        return bytes;
    case 1: /* put a telling byte */
        data[at] = telling[random_below(state, sizeof telling)];
        return bytes;
    case 2: /* cut the end */
        return at;
    case 3: { /* remove a piece */
        size_t count = 1 + random_below(state, bytes - at < 32 ? bytes - at : 32);
        memmove(data + at, data + at + count, bytes - at - count);
        return bytes - count;
    }
    case 4: { /* copy a piece over another place */
        size_t from = random_below(state, bytes);
        size_t most = bytes - (from > at ? from : at);
        size_t count = 1 + random_below(state, most < 64 ? most : 64);
        memmove(data + at, data + from, count);
        return bytes;
    }
    default: /* insert a byte */
        memmove(data + at + 1, data + at, bytes - at);
        data[at] = (uint8_t)random_next(state);
        return bytes + 1;
    }
}

/* Runs exactly sized heap copies, so that a sanitizer sees a read past the end. */
static void run(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    if (copy == NULL)
        abort();
    if (bytes > 0)
        memcpy(copy, data, bytes);
    LLVMFuzzerTestOneInput(copy, bytes);
    free(copy);
}

static bool replay_file(const char *path)
{
    static uint8_t seed[INPUT_BYTES_MAX];
    static uint8_t work[INPUT_BYTES_MAX + CHANGES_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    size_t bytes = fread(seed, 1, sizeof seed, file);
    fclose(file);
    snprintf(running, sizeof running, "%s", path);
    run(seed, bytes);
    uint64_t state = 0x9e3779b97f4a7c15ull;
    unsigned count = bytes <= SMALL_BYTES_MAX ? MUTATION_COUNT : MUTATION_COUNT / 10;
    for (unsigned i = 0; i < count; i++) {
        size_t length = bytes;
        memcpy(work, seed, bytes);
        snprintf(running, sizeof running, "%s, mutation %u", path, i);
        for (size_t changes = 1 + random_below(&state, CHANGES_MAX); changes > 0; changes--)
            length = mutate(work, length, &state);
        run(work, length);
    }
    return true;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Returns how many files were run; -1 when one could not be read. */
static int replay_folder(const char *folder)
{
    struct dirent **entries;
    int entry_count = scandir(folder, &entries, NULL, compare_names);
    if (entry_count < 0) {
        fprintf(stderr, "%s: %s\n", folder, strerror(errno));
        return -1;
    }
    int run_count = 0;
    for (int i = 0; i < entry_count; i++) {
        char path[4096];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        bool is_file =
            entries[i]->d_name[0] != '.' && stat(path, &info) == 0 && S_ISREG(info.st_mode);
        free(entries[i]);
        if (is_file && run_count >= 0)
            run_count = replay_file(path) ? run_count + 1 : -1;
    }
    free(entries);
    return run_count;
}

int main(int argc, char **argv)
{
    signal(SIGABRT, name_and_die);
    if (LLVMFuzzerInitialize != NULL)
        LLVMFuzzerInitialize(&argc, &argv);
    int total = 0;
    for (int i = 1; i < argc; i++) {
        struct stat info;
        bool is_folder = stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode);
        int count = is_folder ? replay_folder(argv[i]) : replay_file(argv[i]) ? 1 : -1;
        if (count < 0)
            return 1;
        total += count;
    }
    printf("%d seeds replayed, %u mutations each at most\n", total, MUTATION_COUNT);
    return total > 0 ? 0 : 1;
}
