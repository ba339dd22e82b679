/* WRAP: huge_mapping_is_huge pwrite fsync rename memory_allocate memory_allocate_array memory_allocate_aligned memory_resize */
#include "model_weights_open.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hash.h"
#include "memory.h"
#include "tiny_llama.h"
#include "unit_test.h"

/* The whole way of a tiny model's weights over a cache file, with whatever can happen to that file.
 * What must hold each time: the weights are those that laying out gives, and the next start finds a
 * good cache. */

/* --- the n-th call fails --- */

static int64_t calls_left = INT64_MAX;
static int call_error;

static bool may_call(void)
{
    if (calls_left-- > 0)
        return true;
    errno = call_error;
    return false;
}

ssize_t __real_pwrite(int descriptor, const void *data, size_t bytes, off_t offset);
int __real_fsync(int descriptor);
int __real_rename(const char *from, const char *to);
void *__real_memory_allocate(size_t bytes);
void *__real_memory_allocate_array(size_t count, size_t item_bytes);
void *__real_memory_allocate_aligned(size_t alignment, size_t bytes);
void *__real_memory_resize(void *block, size_t bytes);
ssize_t __wrap_pwrite(int descriptor, const void *data, size_t bytes, off_t offset);
int __wrap_fsync(int descriptor);
int __wrap_rename(const char *from, const char *to);
void *__wrap_memory_allocate(size_t bytes);
void *__wrap_memory_allocate_array(size_t count, size_t item_bytes);
void *__wrap_memory_allocate_aligned(size_t alignment, size_t bytes);
void *__wrap_memory_resize(void *block, size_t bytes);

/* Which way the weights are taken: mapped, or copied. */
static bool mapping_is_huge;
bool __wrap_huge_mapping_is_huge(const void *data, size_t bytes);

bool __wrap_huge_mapping_is_huge(const void *data, size_t bytes)
{
    (void)data;
    (void)bytes;
    return mapping_is_huge;
}

static int64_t allocations_left = INT64_MAX;

/* A disk that fills: the call that fails is preceded by a short one. */
ssize_t __wrap_pwrite(int descriptor, const void *data, size_t bytes, off_t offset)
{
    if (calls_left == 1 && bytes > 1)
        bytes /= 2;
    return may_call() ? __real_pwrite(descriptor, data, bytes, offset) : -1;
}

int __wrap_fsync(int descriptor)
{
    return may_call() ? __real_fsync(descriptor) : -1;
}

int __wrap_rename(const char *from, const char *to)
{
    return may_call() ? __real_rename(from, to) : -1;
}

void *__wrap_memory_allocate(size_t bytes)
{
    return allocations_left-- > 0 ? __real_memory_allocate(bytes) : NULL;
}

void *__wrap_memory_allocate_array(size_t count, size_t item_bytes)
{
    return allocations_left-- > 0 ? __real_memory_allocate_array(count, item_bytes) : NULL;
}

void *__wrap_memory_allocate_aligned(size_t alignment, size_t bytes)
{
    return allocations_left-- > 0 ? __real_memory_allocate_aligned(alignment, bytes) : NULL;
}

void *__wrap_memory_resize(void *block, size_t bytes)
{
    return allocations_left-- > 0 ? __real_memory_resize(block, bytes) : NULL;
}

/* --- a folder with a model file --- */

static char folder[] = "/tmp/penstock-weights-XXXXXX";
static char model_path[64], cache_path[96], new_path[128];
static void *model_data;
static size_t model_bytes;
static backend *b;

static void write_model(void)
{
    int descriptor = open(model_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, model_data, model_bytes), (ssize_t)model_bytes);
    close(descriptor);
}

static int set_up_folder(void **state)
{
    (void)state;
    struct backend_options options = {.path = BACKEND_AUTO, .threads = 2};
    struct error_note note = {""};
    assert_non_null(mkdtemp(folder));
    (void)snprintf(model_path, sizeof model_path, "%s/tiny.gguf", folder);
    (void)snprintf(cache_path, sizeof cache_path, "%s.cpu-weights", model_path);
    (void)snprintf(new_path, sizeof new_path, "%s.new", cache_path);
    (void)setenv("PENSTOCK_HOME", folder, 1);
    model_data = tiny_llama_build(NULL, &model_bytes);
    write_model();
    assert_int_equal(backend_open(&options, &b, &note), STATUS_OK);
    return 0;
}

static int tear_down_folder(void **state)
{
    (void)state;
    backend_close(b);
    free(model_data);
    (void)unlink(cache_path);
    (void)unlink(model_path);
    char weights[96];
    (void)snprintf(weights, sizeof weights, "%s/weights", folder);
    (void)rmdir(weights);
    return rmdir(folder); /* nothing may be left */
}

static int clean(void **state)
{
    mapping_is_huge = *(const bool *)*state;
    calls_left = allocations_left = INT64_MAX;
    (void)unlink(cache_path);
    write_model();
    if (b->operations->layout_name == NULL)
        skip(); /* the reference keeps no weights: on a CPU without vectors there is nothing to test */
    return 0;
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* --- opening --- */

static uint64_t checksum_matrix(const struct matrix *matrix)
{
    static uint8_t bytes[1 << 16];
    uint64_t count = b->operations->weight_bytes(matrix->w);
    assert_true(count <= sizeof bytes);
    b->operations->weight_save(b, matrix->w, 0, count, bytes);
    return checksum64(bytes, count);
}

static uint64_t checksum_weights(const struct model_weights *weights)
{
    uint64_t sum = checksum_matrix(&weights->embedding);
    for (uint32_t i = 0; i < weights->n_layers; i++) {
        const struct model_layer *layer = &weights->layers[i];
        uint64_t chain[5] = {sum, checksum_matrix(&layer->qkv),
                             checksum_matrix(&layer->attention_out),
                             checksum_matrix(&layer->gate_up), checksum_matrix(&layer->down)};
        sum = checksum64(chain, sizeof chain);
    }
    return sum;
}

/* One start with this setting. Returns its status; `sum` of its weights, and where they lie. */
static status start(const char *setting, uint64_t *sum, bool *is_mapped)
{
    struct error_note note = {""};
    model_source *source = NULL;
    struct model_shape shape;
    struct model_part part;
    struct model_weights weights;
    const struct weight_keeping keeping = {setting, model_path};
    int64_t left = allocations_left;
    allocations_left = INT64_MAX; /* only what is under test fails */
    assert_int_equal(model_source_open(model_path, &source, &note), STATUS_OK);
    assert_int_equal(model_shape_read(source, &shape, &note), STATUS_OK);
    assert_int_equal(model_part_of(&shape, 0, 1, &part, &note), STATUS_OK);
    allocations_left = left;
    status s = model_weights_open(source, b, &shape, &part, &keeping, &weights, &note);
    if (s == STATUS_OK) {
        *sum = checksum_weights(&weights);
        *is_mapped = weights.cache != NULL;
        if (*is_mapped)
            assert_int_equal(weight_cache_is_mapped(weights.cache), mapping_is_huge);
        assert_int_equal(weights.bytes > 0, true);
    }
    model_weights_unload(&weights);
    model_source_close(source);
    return s;
}

static uint64_t honest_sum(void)
{
    uint64_t sum = 0;
    bool is_mapped = true;
    assert_int_equal(start("off", &sum, &is_mapped), STATUS_OK);
    assert_false(is_mapped);
    return sum;
}

static void assert_starts_mapped(uint64_t expected)
{
    uint64_t sum = 0;
    bool is_mapped = false;
    assert_int_equal(start("auto", &sum, &is_mapped), STATUS_OK);
    assert_true(is_mapped);
    assert_int_equal(sum, expected);
    assert_false(is_there(new_path));
}

static ino_t inode_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_ino;
}

static void a_second_start_takes_what_the_first_wrote(void **state)
{
    (void)state;
    uint64_t honest = honest_sum();
    assert_false(is_there(cache_path));
    assert_starts_mapped(honest);
    struct stat info;
    assert_int_equal(stat(cache_path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_starts_mapped(honest);
    assert_int_equal(inode_of(cache_path), info.st_ino);
}

/* --- damage --- */

static uint8_t *read_cache(size_t *bytes)
{
    struct stat info;
    int descriptor = open(cache_path, O_RDONLY);
    assert_true(descriptor >= 0 && fstat(descriptor, &info) == 0);
    *bytes = (size_t)info.st_size;
    uint8_t *data = malloc(*bytes);
    assert_non_null(data);
    assert_int_equal(read(descriptor, data, *bytes), (ssize_t)*bytes);
    close(descriptor);
    return data;
}

static void flip_bit(uint64_t byte)
{
    uint8_t value;
    int descriptor = open(cache_path, O_RDWR);
    assert_true(descriptor >= 0);
    assert_int_equal(pread(descriptor, &value, 1, (off_t)byte), 1);
    value ^= 0x10;
    assert_int_equal(__real_pwrite(descriptor, &value, 1, (off_t)byte), 1);
    close(descriptor);
}

static void damaged_files_are_replaced(void **state)
{
    (void)state;
    uint64_t honest = honest_sum();
    assert_starts_mapped(honest);
    size_t bytes;
    uint8_t *data = read_cache(&bytes);
    const struct weight_cache_header *header = (const void *)data;
    const struct weight_cache_entry *entries = (const void *)(data + header->table_offset);
    uint64_t places[] = {0,
                         20,
                         offsetof(struct weight_cache_header, file_bytes),
                         entries[0].offset,
                         entries[1].offset + entries[1].bytes - 1,
                         entries[header->weight_count - 1].offset + 5,
                         header->table_offset + 3,
                         bytes - 1};
    free(data);
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        ino_t before = inode_of(cache_path);
        flip_bit(places[i]);
        assert_starts_mapped(honest);
        assert_int_not_equal(inode_of(cache_path), before);
    }
}

static void files_of_another_length_are_replaced(void **state)
{
    (void)state;
    uint64_t honest = honest_sum();
    assert_starts_mapped(honest);
    struct stat info;
    assert_int_equal(stat(cache_path, &info), 0);
    const off_t lengths[] = {0, 1, 111, 112, 4096, 2 << 20, info.st_size - 1, info.st_size + 1};
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        assert_int_equal(truncate(cache_path, lengths[i]), 0);
        assert_starts_mapped(honest);
        assert_int_equal(stat(cache_path, &info), 0);
        assert_true(info.st_size > (2 << 20));
    }
}

/* Every bit of the header and of the table, without touching a disk. */
static void no_changed_bit_of_header_or_table_passes(void **state)
{
    (void)state;
    assert_starts_mapped(honest_sum());
    size_t bytes;
    uint8_t *data = read_cache(&bytes);
    const struct weight_cache_header *header = (const void *)data;
    const struct weight_cache_key key = header->key;
    uint64_t table = header->table_offset;
    struct weight_cache_view view;
    struct error_note note = {""};
    assert_int_equal(weight_cache_parse(data, bytes, &key, &view, &note), STATUS_OK);
    for (uint64_t at = 0; at < bytes; at = at + 1 == sizeof *header ? table : at + 1) {
        for (unsigned bit = 0; bit < 8; bit++) {
            data[at] ^= (uint8_t)(1u << bit);
            note.text[0] = '\0';
            assert_int_equal(weight_cache_parse(data, bytes, &key, &view, &note), STATUS_INVALID);
            assert_true(note.text[0] != '\0');
            data[at] ^= (uint8_t)(1u << bit);
        }
    }
    free(data);
}

static void a_cache_of_another_layout_or_model_is_refused(void **state)
{
    (void)state;
    assert_starts_mapped(honest_sum());
    size_t bytes;
    uint8_t *data = read_cache(&bytes);
    struct weight_cache_view view;
    struct error_note note = {""};
    for (size_t at = 0; at < sizeof(struct weight_cache_key); at++) {
        struct weight_cache_key key = ((const struct weight_cache_header *)(void *)data)->key;
        ((uint8_t *)&key)[at] ^= 1;
        assert_int_equal(weight_cache_parse(data, bytes, &key, &view, &note), STATUS_INVALID);
    }
    free(data);
}

static void a_foreign_file_is_replaced(void **state)
{
    (void)state;
    uint64_t honest = honest_sum();
    int descriptor = open(cache_path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(descriptor, model_data, model_bytes), (ssize_t)model_bytes);
    close(descriptor);
    assert_starts_mapped(honest);
}

/* Same length, same time, other weights: what a packer that sets all times makes of a model that was
 * trained further. */
static void a_changed_model_is_laid_out_again(void **state)
{
    (void)state;
    uint64_t honest = honest_sum();
    assert_starts_mapped(honest);
    struct stat info;
    assert_int_equal(stat(model_path, &info), 0);
    float value;
    int descriptor = open(model_path, O_RDWR);
    /* The first element of the last tensor, down of the last layer. */
    off_t at = (off_t)(model_bytes - sizeof value * TINY_WIDTH * TINY_FFN);
    assert_int_equal(pread(descriptor, &value, sizeof value, at), sizeof value);
    value += 1;
    assert_int_equal(__real_pwrite(descriptor, &value, sizeof value, at), sizeof value);
    const struct timespec times[2] = {info.st_atim, info.st_mtim};
    assert_int_equal(futimens(descriptor, times), 0);
    close(descriptor);
    uint64_t changed = honest_sum();
    assert_int_not_equal(changed, honest);
    assert_starts_mapped(changed);
}

static void a_model_file_with_another_time_is_laid_out_again(void **state)
{
    (void)state;
    uint64_t honest = honest_sum();
    assert_starts_mapped(honest);
    ino_t before = inode_of(cache_path);
    const struct timespec times[2] = {{0, UTIME_OMIT}, {1, 1}};
    assert_int_equal(utimensat(AT_FDCWD, model_path, times, 0), 0);
    assert_starts_mapped(honest);
    assert_int_not_equal(inode_of(cache_path), before);
}

/* --- writing fails --- */

static void a_full_disk_leaves_weights_in_memory_and_no_file(void **state)
{
    (void)state;
    uint64_t honest = honest_sum(), sum;
    bool is_mapped = false;
    int64_t n = 0;
    for (; !is_mapped; n++) { /* both places fail at the n-th write, fsync or rename */
        calls_left = n;
        call_error = ENOSPC;
        assert_int_equal(start("auto", &sum, &is_mapped), STATUS_OK);
        assert_int_equal(sum, honest);
        assert_false(is_there(new_path));
        assert_int_equal(is_there(cache_path), is_mapped);
    }
    assert_true(n > 4); /* data, table, header, fsync, rename */
}

static void an_unwritable_folder_gives_way_to_the_users_own(void **state)
{
    (void)state;
    uint64_t honest = honest_sum(), sum;
    bool is_mapped;
    assert_int_equal(mkdir(new_path, 0700), 0); /* also root cannot open it for writing */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(start("auto", &sum, &is_mapped), STATUS_OK);
        assert_true(is_mapped);
        assert_int_equal(sum, honest);
        assert_false(is_there(cache_path));
    }
    assert_int_equal(rmdir(new_path), 0);
    char command[128];
    (void)snprintf(command, sizeof command, "rm %s/weights/tiny.gguf-*.cpu-weights", folder);
    assert_int_equal(system(command), 0);
}

static void a_folder_that_cannot_be_made_is_no_error(void **state)
{
    (void)state;
    uint64_t honest = honest_sum(), sum;
    bool is_mapped;
    char inside_a_file[128];
    (void)snprintf(inside_a_file, sizeof inside_a_file, "%s/folder", model_path);
    assert_int_equal(start(inside_a_file, &sum, &is_mapped), STATUS_OK);
    assert_false(is_mapped);
    assert_int_equal(sum, honest);
}

static void what_a_killed_writer_left_is_taken_over(void **state)
{
    (void)state;
    uint64_t honest = honest_sum();
    int descriptor = open(new_path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(descriptor, model_data, model_bytes), (ssize_t)model_bytes);
    close(descriptor);
    assert_starts_mapped(honest);
}

static void a_link_in_the_writers_place_is_not_followed(void **state)
{
    (void)state;
    uint64_t honest = honest_sum(), sum;
    bool is_mapped;
    assert_int_equal(symlink(model_path, new_path), 0);
    (void)setenv("PENSTOCK_HOME", model_path, 1); /* no other place */
    assert_int_equal(start("auto", &sum, &is_mapped), STATUS_OK);
    (void)setenv("PENSTOCK_HOME", folder, 1);
    assert_false(is_mapped);
    assert_int_equal(sum, honest);
    struct stat info;
    assert_int_equal(stat(model_path, &info), 0);
    assert_int_equal(info.st_size, (off_t)model_bytes);
    assert_int_equal(unlink(new_path), 0);
}

static void a_lost_allocation_is_survived_or_reported(void **state)
{
    (void)state;
    uint64_t honest = honest_sum(), sum;
    bool is_mapped;
    uint32_t failures = 0, mapped = 0;
    for (int64_t n = 0; n < 200; n++) {
        (void)unlink(cache_path);
        allocations_left = n;
        status s = start("auto", &sum, &is_mapped);
        bool was_hit = allocations_left < 0;
        allocations_left = INT64_MAX;
        assert_true(s == STATUS_OK || s == STATUS_NO_MEMORY);
        assert_false(is_there(new_path));
        if (s == STATUS_OK) {
            assert_int_equal(sum, honest);
            mapped += is_mapped;
        }
        failures += s != STATUS_OK;
        if (!was_hit)
            break;
        assert_starts_mapped(honest);
    }
    assert_true(failures > 0 && mapped > 0);
}

/* --- several processes --- */

/* Runs in a child: a start of its own, with a team of its own. 0: as expected. */
static int child_start(uint64_t expected)
{
    struct backend_options options = {.path = BACKEND_AUTO, .threads = 2};
    struct error_note note = {""};
    uint64_t sum = 0;
    bool is_mapped = false;
    if (backend_open(&options, &b, &note) != STATUS_OK)
        return 2;
    if (start("auto", &sum, &is_mapped) != STATUS_OK)
        return 3;
    return is_mapped && sum == expected ? 0 : 4;
}

static void processes_that_start_together_end_with_one_file(void **state)
{
    (void)state;
    enum { CHILDREN = 4 };
    uint64_t honest = honest_sum();
    for (int round = 0; round < 3; round++) {
        pid_t children[CHILDREN];
        (void)unlink(cache_path);
        (void)fflush(NULL);
        for (int i = 0; i < CHILDREN; i++) {
            children[i] = fork();
            assert_true(children[i] >= 0);
            if (children[i] == 0)
                _exit(child_start(honest));
        }
        for (int i = 0; i < CHILDREN; i++) {
            int code = -1;
            assert_int_equal(waitpid(children[i], &code, 0), children[i]);
            assert_int_equal(code, 0);
        }
        assert_starts_mapped(honest);
    }
}

/* A writer at work: another start waits for it, and takes its file when it is done. */
static void a_start_waits_for_the_writer_before_it(void **state)
{
    (void)state;
    uint64_t honest = honest_sum();
    assert_starts_mapped(honest);
    assert_int_equal(__real_rename(cache_path, new_path), 0); /* finished but for the rename */
    int descriptor = open(new_path, O_RDWR);
    assert_int_equal(flock(descriptor, LOCK_EX), 0);
    ino_t written = inode_of(new_path);
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        close(descriptor); /* the lock stays: the parent has the description too */
        _exit(child_start(honest));
    }
    int code = -1;
    assert_int_equal(waitpid(child, &code, WNOHANG), 0); /* it cannot have ended */
    assert_int_equal(__real_rename(new_path, cache_path), 0);
    close(descriptor);
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    assert_int_equal(inode_of(cache_path), written);
}

/* --- sleep --- */

static void weights_that_slept_are_as_they_were_or_are_refused(void **state)
{
    (void)state;
    uint64_t honest = honest_sum();
    assert_starts_mapped(honest);
    struct error_note note = {""};
    model_source *source = NULL;
    struct model_shape shape;
    struct model_part part;
    struct model_weights weights;
    const struct weight_keeping keeping = {"auto", model_path};
    assert_int_equal(model_source_open(model_path, &source, &note), STATUS_OK);
    assert_int_equal(model_shape_read(source, &shape, &note), STATUS_OK);
    assert_int_equal(model_part_of(&shape, 0, 1, &part, &note), STATUS_OK);
    assert_int_equal(model_weights_open(source, b, &shape, &part, &keeping, &weights, &note),
                     STATUS_OK);
    assert_non_null(weights.cache);
    assert_int_equal(weight_cache_wake(weights.cache, b, &note), STATUS_OK); /* it does not sleep */
    for (int i = 0; i < 2; i++) {
        weight_cache_sleep(weights.cache);
        if (!mapping_is_huge) /* its memory has gone */
            assert_int_not_equal(checksum_weights(&weights), honest);
        assert_int_equal(weight_cache_wake(weights.cache, b, &note), STATUS_OK);
        assert_int_equal(checksum_weights(&weights), honest);
    }
    size_t bytes;
    uint8_t *data = read_cache(&bytes);
    const struct weight_cache_header *header = (const void *)data;
    const struct weight_cache_entry *entries = (const void *)(data + header->table_offset);
    uint64_t place = entries[1].offset + 7;
    free(data);
    weight_cache_sleep(weights.cache);
    flip_bit(place);
    assert_int_equal(weight_cache_wake(weights.cache, b, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "weight 1 "));
    flip_bit(place);
    assert_int_equal(weight_cache_wake(weights.cache, b, &note), STATUS_OK);
    assert_int_equal(checksum_weights(&weights), honest);
    model_weights_unload(&weights);
    model_source_close(source);
}

static bool mapped = true, copied = false;

#define MAPPED(name)                                                                               \
    {                                                                                              \
#name ", mapped", name, clean, NULL, &mapped                                               \
    }
#define COPIED(name)                                                                               \
    {                                                                                              \
#name ", copied", name, clean, NULL, &copied                                               \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        MAPPED(a_second_start_takes_what_the_first_wrote),
        MAPPED(damaged_files_are_replaced),
        MAPPED(files_of_another_length_are_replaced),
        MAPPED(no_changed_bit_of_header_or_table_passes),
        MAPPED(a_cache_of_another_layout_or_model_is_refused),
        MAPPED(a_foreign_file_is_replaced),
        MAPPED(a_changed_model_is_laid_out_again),
        MAPPED(a_model_file_with_another_time_is_laid_out_again),
        MAPPED(a_full_disk_leaves_weights_in_memory_and_no_file),
        MAPPED(an_unwritable_folder_gives_way_to_the_users_own),
        MAPPED(a_folder_that_cannot_be_made_is_no_error),
        MAPPED(what_a_killed_writer_left_is_taken_over),
        MAPPED(a_link_in_the_writers_place_is_not_followed),
        MAPPED(a_lost_allocation_is_survived_or_reported),
        MAPPED(processes_that_start_together_end_with_one_file),
        MAPPED(a_start_waits_for_the_writer_before_it),
        MAPPED(weights_that_slept_are_as_they_were_or_are_refused),
        COPIED(weights_that_slept_are_as_they_were_or_are_refused),
        COPIED(a_second_start_takes_what_the_first_wrote),
        COPIED(damaged_files_are_replaced),
        COPIED(files_of_another_length_are_replaced),
        COPIED(a_lost_allocation_is_survived_or_reported),
        COPIED(processes_that_start_together_end_with_one_file),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
