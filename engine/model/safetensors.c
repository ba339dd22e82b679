/* A safetensors file is
 *
 *   u64 N      length of the header, little-endian
 *   N bytes    a JSON object: name -> {"dtype", "shape", "data_offsets": [begin, end)}, and "__metadata__"
 *   the rest   the tensors' bytes; offsets count from here
 *
 * The header is parsed once with the limited JSON reader; what remains are tables of fixed entries whose names are copied.
 * The format promises that the tensors fill the data section without holes or overlaps, in any order of the header: the
 * ranges are sorted and compared, so that no two tensors share bytes and no byte is hidden.
 *
 * A model in shards is several such files behind one table. The index file is only a list of who is where; its word is
 * checked against the shards' own headers. Shards are opened next to the index, and only by a bare file name. */
#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "gguf_names.h"
#include "json.h"
#include "memory.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are read in place, which needs a little-endian machine"
#endif

/* The reference implementation's own limit (MAX_HEADER_SIZE). */
#define HEADER_BYTES_MAX (100u * 1000u * 1000u)
/* A mixture with a tensor an expert has about 94,000; the largest models published lie in 200 shards or fewer. */
#define TENSOR_COUNT_MAX (1u << 18)
#define SHARD_COUNT_MAX  1024u
#define PATH_BYTES_MAX   4096u
#define SAMPLES_MAX      1024u
#define SAMPLE_BYTES     4096u

static const struct {
    const char *name;
    uint32_t bytes;
} types[] = {
    [SAFETENSORS_BOOL] = {"BOOL", 1},       [SAFETENSORS_U8] = {"U8", 1},
    [SAFETENSORS_I8] = {"I8", 1},           [SAFETENSORS_F8_E4M3] = {"F8_E4M3", 1},
    [SAFETENSORS_F8_E5M2] = {"F8_E5M2", 1}, [SAFETENSORS_U16] = {"U16", 2},
    [SAFETENSORS_I16] = {"I16", 2},         [SAFETENSORS_F16] = {"F16", 2},
    [SAFETENSORS_BF16] = {"BF16", 2},       [SAFETENSORS_U32] = {"U32", 4},
    [SAFETENSORS_I32] = {"I32", 4},         [SAFETENSORS_F32] = {"F32", 4},
    [SAFETENSORS_U64] = {"U64", 8},         [SAFETENSORS_I64] = {"I64", 8},
    [SAFETENSORS_F64] = {"F64", 8},
};

struct shard {
    char *name;          /* owned; for notes; NULL for memory */
    const uint8_t *data; /* the whole file */
    uint64_t bytes, data_start, modified_ns;
    bool is_mapped;        /* `data` is ours to unmap */
    char *names;           /* owned; the texts of its tensors' names */
    uint64_t first_tensor; /* index of its first in the table */
};

struct safetensors {
    struct shard *shards; /* owned */
    uint32_t shard_count, shard_capacity;
    struct safetensors_tensor *tensors; /* owned */
    uint64_t tensor_count;
    struct gguf_names by_name;
};

const char *safetensors_type_name(enum safetensors_type type)
{
    return types[type].name;
}

uint32_t safetensors_type_bytes(enum safetensors_type type)
{
    return types[type].bytes;
}

static int shown(struct text_slice name)
{
    return name.bytes < 80 ? (int)name.bytes : 80;
}

static status read_type(struct safetensors_tensor *t, const json_t *value, struct error_note *note)
{
    const char *text = json_string_value(value);
    for (size_t i = 0; text != NULL && i < ARRAY_COUNT(types); i++) {
        if (strcmp(text, types[i].name) == 0) {
            t->type = (enum safetensors_type)i;
            return STATUS_OK;
        }
    }
    error_note_set(note, "tensor %.*s: the element type \"%.32s\" is not supported", shown(t->name),
                   t->name.data, text != NULL ? text : "");
    return STATUS_UNSUPPORTED;
}

/* The shape, and how many bytes it needs. */
static status read_shape(struct safetensors_tensor *t, const json_t *value, uint64_t *bytes,
                         struct error_note *note)
{
    if (!json_is_array(value) || json_array_size(value) > SAFETENSORS_DIMENSIONS_MAX) {
        error_note_set(note, "tensor %.*s: \"shape\" must be an array of at most %u numbers",
                       shown(t->name), t->name.data, SAFETENSORS_DIMENSIONS_MAX);
        return STATUS_INVALID;
    }
    t->dimension_count = (uint32_t)json_array_size(value);
    *bytes = types[t->type].bytes;
    for (uint32_t i = 0; i < SAFETENSORS_DIMENSIONS_MAX; i++) {
        t->dimensions[i] = 1;
        if (i >= t->dimension_count)
            continue;
        const json_t *item = json_array_get(value, i);
        json_int_t n = json_is_integer(item) ? json_integer_value(item) : -1;
        if (n < 0 || __builtin_mul_overflow(*bytes, (uint64_t)n, bytes)) {
            error_note_set(note, "tensor %.*s: its shape cannot be", shown(t->name), t->name.data);
            return STATUS_INVALID;
        }
        t->dimensions[i] = (uint64_t)n;
    }
    return STATUS_OK;
}

static status read_range(struct safetensors_tensor *t, const json_t *value,
                         const struct shard *shard, uint64_t bytes, struct error_note *note)
{
    const json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
    uint64_t room = shard->bytes - shard->data_start;
    bool is_good = json_array_size(value) == 2 && json_is_integer(begin) && json_is_integer(end);
    json_int_t first = json_integer_value(begin), last = json_integer_value(end);
    if (!is_good || first < 0 || last < first || (uint64_t)last > room) {
        error_note_set(note,
                       "tensor %.*s: \"data_offsets\" must be two offsets into the %" PRIu64
                       " bytes of data",
                       shown(t->name), t->name.data, room);
        return STATUS_INVALID;
    }
    if ((uint64_t)(last - first) != bytes) {
        error_note_set(note, "tensor %.*s: %" PRIu64 " bytes of data for a shape of %" PRIu64,
                       shown(t->name), t->name.data, (uint64_t)(last - first), bytes);
        return STATUS_INVALID;
    }
    t->data = shard->data + shard->data_start + first;
    t->bytes = bytes;
    return STATUS_OK;
}

static status read_tensor(struct safetensors_tensor *t, const json_t *entry,
                          const struct shard *shard, struct error_note *note)
{
    uint64_t bytes = 0;
    if (!json_is_object(entry)) {
        error_note_set(note, "tensor %.*s: its entry is not an object", shown(t->name),
                       t->name.data);
        return STATUS_INVALID;
    }
    status s = read_type(t, json_object_get(entry, "dtype"), note);
    if (s == STATUS_OK)
        s = read_shape(t, json_object_get(entry, "shape"), &bytes, note);
    if (s == STATUS_OK)
        s = read_range(t, json_object_get(entry, "data_offsets"), shard, bytes, note);
    return s;
}

static int compare_data(const void *left, const void *right)
{
    const struct safetensors_tensor *const *a = left, *const *b = right;
    if ((*a)->data != (*b)->data)
        return (uintptr_t)(*a)->data < (uintptr_t)(*b)->data ? -1 : 1;
    return (*a)->bytes < (*b)->bytes ? -1 : (*a)->bytes > (*b)->bytes;
}

/* The ranges, in order, must follow each other to the end of the file. */
static status check_cover(const safetensors *file, const struct shard *shard,
                          struct error_note *note)
{
    uint64_t count = file->tensor_count - shard->first_tensor;
    const struct safetensors_tensor **order = memory_allocate_array(count, sizeof *order);
    if (order == NULL)
        return STATUS_NO_MEMORY;
    for (uint64_t i = 0; i < count; i++)
        order[i] = &file->tensors[shard->first_tensor + i];
    qsort(order, count, sizeof *order, compare_data);
    const uint8_t *at = shard->data + shard->data_start;
    status s = STATUS_OK;
    for (uint64_t i = 0; i < count && s == STATUS_OK; i++) {
        if (order[i]->data != at) {
            error_note_set(note, "tensor %.*s: its data %s", shown(order[i]->name),
                           order[i]->name.data,
                           (const uint8_t *)order[i]->data < at ? "overlaps another tensor's"
                                                                : "comes after a hole");
            s = STATUS_INVALID;
        }
        at += order[i]->bytes;
    }
    if (s == STATUS_OK && at != shard->data + shard->bytes) {
        error_note_set(note, "%" PRIu64 " bytes at the end belong to no tensor",
                       (uint64_t)(shard->data + shard->bytes - at));
        s = STATUS_INVALID;
    }
    memory_release(order);
    return s;
}

/* Room for the header's tensors, and their names copied in one block. */
static status reserve_tensors(safetensors *file, struct shard *shard, json_t *header)
{
    const char *name;
    json_t *entry;
    size_t bytes = 0;
    uint64_t total = file->tensor_count + json_object_size(header);
    json_object_foreach(header, name, entry) bytes += strlen(name);
    void *grown = memory_resize(file->tensors, (total + 1) * sizeof file->tensors[0]);
    if (grown == NULL)
        return STATUS_NO_MEMORY;
    file->tensors = grown;
    shard->names = memory_allocate(bytes + 1);
    return shard->names != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static status read_tensors(safetensors *file, struct shard *shard, json_t *header,
                           struct error_note *note)
{
    if (file->tensor_count + json_object_size(header) > TENSOR_COUNT_MAX) {
        error_note_set(note, "more than %u tensors", TENSOR_COUNT_MAX);
        return STATUS_TOO_LARGE;
    }
    status s = reserve_tensors(file, shard, header);
    const char *name;
    json_t *entry;
    char *names = shard->names;
    if (s != STATUS_OK)
        return s;
    json_object_foreach(header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        struct safetensors_tensor t = {.name = {names, strlen(name)}};
        memcpy(names, name, t.name.bytes);
        names += t.name.bytes;
        s = read_tensor(&t, entry, shard, note);
        if (s != STATUS_OK)
            return s;
        file->tensors[file->tensor_count++] = t;
    }
    return check_cover(file, shard, note);
}

static status read_header(safetensors *file, struct shard *shard, struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 8, .value_count_max = 1u << 24};
    uint64_t header_bytes;
    if (shard->bytes < sizeof header_bytes) {
        error_note_set(note, "not a safetensors file: it has only %" PRIu64 " bytes", shard->bytes);
        return STATUS_INVALID;
    }
    memcpy(&header_bytes, shard->data, sizeof header_bytes);
    if (header_bytes > shard->bytes - sizeof header_bytes || header_bytes > HEADER_BYTES_MAX) {
        error_note_set(note,
                       "not a safetensors file: a header of %" PRIu64
                       " bytes (the limit is %u) in a file of %" PRIu64,
                       header_bytes, HEADER_BYTES_MAX, shard->bytes);
        return STATUS_INVALID;
    }
    shard->data_start = sizeof header_bytes + header_bytes;
    struct text_slice text = {(const char *)shard->data + sizeof header_bytes, header_bytes};
    json_t *header = NULL;
    status s = json_load_limited(text, &limits, &header, note);
    if (s != STATUS_OK) {
        error_note_prefix(note, "the header");
        return s;
    }
    if (json_is_object(header)) {
        s = read_tensors(file, shard, header, note);
    } else {
        error_note_set(note, "the header is not a JSON object");
        s = STATUS_INVALID;
    }
    json_decref(header);
    return s;
}

/* The table is whole and stays where it is from here on. */
static status index_names(safetensors *file, struct error_note *note)
{
    status s =
        gguf_names_init(&file->by_name, file->tensors, sizeof file->tensors[0], file->tensor_count);
    for (uint64_t i = 0; i < file->tensor_count && s == STATUS_OK; i++) {
        uint32_t other;
        if (gguf_names_add(&file->by_name, (uint32_t)i, &other))
            continue;
        struct text_slice name = file->tensors[i].name;
        error_note_set(note, "tensor %.*s is there twice", shown(name), name.data);
        s = STATUS_INVALID;
    }
    return s;
}

static status note_errno(const char *path, const char *what, struct error_note *note)
{
    int error = errno;
    char text[128];
    error_note_set(note, "%s: cannot %s: %s", path, what, strerror_r(error, text, sizeof text));
    return error == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
}

static struct shard *add_shard(safetensors *file)
{
    if (file->shard_count == file->shard_capacity) {
        uint32_t capacity = file->shard_capacity * 2 + 1;
        void *grown = memory_resize(file->shards, capacity * sizeof file->shards[0]);
        if (grown == NULL)
            return NULL;
        file->shards = grown;
        file->shard_capacity = capacity;
    }
    struct shard *shard = &file->shards[file->shard_count++];
    *shard = (struct shard){.first_tensor = file->tensor_count};
    return shard;
}

static status map_file(struct shard *shard, const char *path, struct error_note *note)
{
    struct stat info;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hang us */
    if (descriptor < 0)
        return note_errno(path, "open it", note);
    status s = fstat(descriptor, &info) == 0 ? STATUS_OK : note_errno(path, "read its size", note);
    if (s == STATUS_OK && (!S_ISREG(info.st_mode) || info.st_size == 0)) {
        error_note_set(note, "%s: %s", path,
                       S_ISREG(info.st_mode) ? "the file is empty" : "not a regular file");
        s = STATUS_INVALID;
    }
    void *mapping = s != STATUS_OK
                        ? MAP_FAILED
                        : mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (s == STATUS_OK && mapping == MAP_FAILED)
        s = note_errno(path, "map it", note);
    close(descriptor); /* the mapping keeps the file */
    if (s != STATUS_OK)
        return s;
    shard->data = mapping;
    shard->bytes = (uint64_t)info.st_size;
    shard->is_mapped = true;
    shard->modified_ns =
        (uint64_t)info.st_mtim.tv_sec * NS_PER_SECOND + (uint64_t)info.st_mtim.tv_nsec;
    return STATUS_OK;
}

/* The last part of `path`. */
static char *copy_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t bytes = strlen(name) + 1;
    char *copy = memory_allocate(bytes);
    if (copy != NULL)
        memcpy(copy, name, bytes);
    return copy;
}

static status open_shard(safetensors *file, const char *path, struct error_note *note)
{
    struct shard *shard = add_shard(file);
    if (shard == NULL)
        return STATUS_NO_MEMORY;
    status s = map_file(shard, path, note);
    if (s != STATUS_OK)
        return s;
    shard->name = copy_name(path);
    s = shard->name != NULL ? read_header(file, shard, note) : STATUS_NO_MEMORY;
    if (s != STATUS_OK)
        error_note_prefix(note, "%s", path);
    return s;
}

static bool has_shard(const safetensors *file, const char *name)
{
    for (uint32_t i = 0; i < file->shard_count; i++)
        if (strcmp(file->shards[i].name, name) == 0)
            return true;
    return false;
}

/* A file name of the index: no folder, no way out of this one. */
static bool is_bare_name(const char *name)
{
    return name != NULL && name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL &&
           strlen(name) < 256;
}

static status open_shards(safetensors *file, const char *folder, json_t *map,
                          struct error_note *note)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        char path[PATH_BYTES_MAX];
        const char *name = json_string_value(value);
        if (!is_bare_name(name)) {
            error_note_set(note, "weight_map names a file that cannot be for %.80s", tensor);
            return STATUS_INVALID;
        }
        if (has_shard(file, name))
            continue;
        if (file->shard_count == SHARD_COUNT_MAX) {
            error_note_set(note, "more than %u shards", SHARD_COUNT_MAX);
            return STATUS_TOO_LARGE;
        }
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
            return STATUS_TOO_LARGE;
        status s = open_shard(file, path, note);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* Every tensor of the index must be there, and none may be beside it. */
static status check_map(const safetensors *file, json_t *map, struct error_note *note)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        if (safetensors_tensor_find(file, tensor) == NULL) {
            error_note_set(note, "%.80s is not in %.80s, where the index has it", tensor,
                           json_string_value(value));
            return STATUS_INVALID;
        }
    }
    if (file->tensor_count == json_object_size(map))
        return STATUS_OK;
    error_note_set(note, "the shards hold %" PRIu64 " tensors, the index names %zu",
                   file->tensor_count, json_object_size(map));
    return STATUS_INVALID;
}

static status open_index(safetensors *file, const char *folder, const char *index_path,
                         struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 8, .value_count_max = 1u << 20};
    struct shard text = {.first_tensor = 0};
    status s = map_file(&text, index_path, note);
    if (s != STATUS_OK)
        return s;
    json_t *index = NULL;
    s = text.bytes <= HEADER_BYTES_MAX
            ? json_load_limited((struct text_slice){(const char *)text.data, text.bytes}, &limits,
                                &index, note)
            : STATUS_TOO_LARGE;
    munmap((void *)(uintptr_t)text.data, text.bytes);
    json_t *map = json_object_get(index, "weight_map");
    if (s == STATUS_OK && !json_is_object(map)) {
        error_note_set(note, "\"weight_map\" is missing or not an object");
        s = STATUS_INVALID;
    }
    if (s == STATUS_OK)
        s = open_shards(file, folder, map, note);
    if (s == STATUS_OK)
        s = index_names(file, note);
    if (s == STATUS_OK)
        s = check_map(file, map, note);
    json_decref(index);
    if (s != STATUS_OK)
        error_note_prefix(note, "%s", index_path);
    return s;
}

static status open_path(safetensors *file, const char *path, struct error_note *note)
{
    char inside[PATH_BYTES_MAX];
    struct stat info;
    status s;
    if (stat(path, &info) != 0)
        return note_errno(path, "open it", note);
    if (!S_ISDIR(info.st_mode)) {
        s = open_shard(file, path, note);
        return s == STATUS_OK ? index_names(file, note) : s;
    }
    if (strlen(path) + 64 > sizeof inside) {
        error_note_set(note, "the folder's path is too long");
        return STATUS_TOO_LARGE;
    }
    snprintf(inside, sizeof inside, "%s/model.safetensors.index.json", path);
    if (access(inside, F_OK) == 0)
        return open_index(file, path, inside, note);
    snprintf(inside, sizeof inside, "%s/model.safetensors", path);
    s = open_shard(file, inside, note);
    return s == STATUS_OK ? index_names(file, note) : s;
}

status safetensors_open(const char *path, safetensors **out, struct error_note *note)
{
    safetensors *file = memory_allocate_array(1, sizeof *file);
    status s = file != NULL ? open_path(file, path, note) : STATUS_NO_MEMORY;
    if (s == STATUS_NO_MEMORY)
        error_note_set(note, "no memory for the tables of %s", path);
    if (s != STATUS_OK) {
        safetensors_close(file);
        return s;
    }
    *out = file;
    return STATUS_OK;
}

status safetensors_open_memory(const void *data, uint64_t bytes, safetensors **out,
                               struct error_note *note)
{
    safetensors *file = memory_allocate_array(1, sizeof *file);
    struct shard *shard = file != NULL ? add_shard(file) : NULL;
    status s = STATUS_NO_MEMORY;
    if (shard != NULL) {
        shard->data = data;
        shard->bytes = bytes;
        s = read_header(file, shard, note);
    }
    if (s == STATUS_OK)
        s = index_names(file, note);
    if (s != STATUS_OK) {
        safetensors_close(file);
        return s;
    }
    *out = file;
    return STATUS_OK;
}

void safetensors_close(safetensors *file)
{
    if (file == NULL)
        return;
    gguf_names_deinit(&file->by_name);
    memory_release(file->tensors);
    for (uint32_t i = 0; i < file->shard_count; i++) {
        struct shard *shard = &file->shards[i];
        memory_release(shard->names);
        memory_release(shard->name);
        if (shard->is_mapped)
            munmap((void *)(uintptr_t)shard->data, shard->bytes);
    }
    memory_release(file->shards);
    memory_release(file);
}

void safetensors_prefetch(const safetensors *file)
{
    for (uint32_t i = 0; i < file->shard_count; i++) {
        const struct shard *shard = &file->shards[i];
        if (shard->is_mapped) /* a refusal costs only time */
            (void)madvise((void *)(uintptr_t)shard->data, shard->bytes, MADV_WILLNEED);
    }
}

uint64_t safetensors_tensor_count(const safetensors *file)
{
    return file->tensor_count;
}

const struct safetensors_tensor *safetensors_tensor_at(const safetensors *file, uint64_t index)
{
    CHECK(index < file->tensor_count);
    return &file->tensors[index];
}

const struct safetensors_tensor *safetensors_tensor_find(const safetensors *file, const char *name)
{
    uint32_t index;
    bool is_there = gguf_names_find(&file->by_name, text_slice_of(name), &index);
    return is_there ? &file->tensors[index] : NULL;
}

void safetensors_get_identity(const safetensors *file, struct safetensors_identity *out)
{
    *out = (struct safetensors_identity){0};
    for (uint32_t i = 0; i < file->shard_count; i++) {
        const struct shard *shard = &file->shards[i];
        out->bytes += shard->bytes;
        if (shard->modified_ns > out->modified_ns)
            out->modified_ns = shard->modified_ns;
        uint64_t both[2] = {out->checksum, checksum64(shard->data, shard->data_start)};
        out->checksum = checksum64(both, sizeof both);
    }
    uint64_t step = file->tensor_count / SAMPLES_MAX + 1;
    for (uint64_t i = 0; i < file->tensor_count; i += step) {
        const struct safetensors_tensor *t = &file->tensors[i];
        uint64_t bytes = t->bytes < SAMPLE_BYTES ? t->bytes : SAMPLE_BYTES;
        uint64_t both[2] = {out->checksum, checksum64(t->data, bytes)};
        out->checksum = checksum64(both, sizeof both);
    }
}
