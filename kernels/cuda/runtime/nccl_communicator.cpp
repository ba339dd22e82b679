/* Ranks on GPUs: NCCL's collectives on the rank's own stream.
 *
 * Sums are ncclAllReduce in place, which gives all ranks the same bits: each number is summed once and the sum is passed on. Columns
 * come to rank 0 as messages, each rank's rows lying together, and are put side by side by copies of two dimensions.
 *
 * NCCL makes its connections at the first call of each kind, for which it waits for the other ranks. So both kinds are called once at
 * opening; later ones only queue, and whoever has to abort never waits for a rank that waits for another.
 *
 * A lock keeps an abort, which frees the communicator from whichever thread, apart from the rank's calls. */

#include <dlfcn.h>

#include <mutex>
#include <new>

#include <cuda_runtime.h>

#include "nccl_communicator.h"

/* What of NCCL's interface is used, version 2. */
struct nccl_id {
    char bytes[COMMUNICATOR_ID_BYTES];
};
using nccl_comm = struct nccl_comm_opaque *;
enum { NCCL_SUCCESS = 0, NCCL_IN_PROGRESS = 7, NCCL_FLOAT32 = 7, NCCL_SUM = 0 };

struct nccl_library {
    int (*get_unique_id)(nccl_id *id);
    int (*comm_init_rank)(nccl_comm *comm, int size, nccl_id id, int rank);
    int (*comm_abort)(nccl_comm comm);
    int (*comm_destroy)(nccl_comm comm);
    int (*comm_get_async_error)(nccl_comm comm, int *error);
    int (*all_reduce)(const void *from, void *to, size_t count, int type, int operation,
                      nccl_comm comm, cudaStream_t stream);
    int (*send)(const void *from, size_t count, int type, int peer, nccl_comm comm,
                cudaStream_t stream);
    int (*receive)(void *to, size_t count, int type, int peer, nccl_comm comm, cudaStream_t stream);
    int (*group_start)();
    int (*group_end)();
    const char *(*get_error_string)(int result);
};

struct nccl_communicator {
    communicator base;
    const nccl_library *library;
    device *owner;
    device_stream *stream;
    cudaStream_t handle;
    float *received; /* rank 0: owned; [floats_max] the other ranks' columns */
    std::mutex lock;
    nccl_comm comm; /* owned; null: aborted */
    uint32_t rank, size;
};

/* --- the library --- */

template <typename T> static bool find(void *handle, const char *name, T *out)
{
    *out = reinterpret_cast<T>(dlsym(handle, name));
    return *out != nullptr;
}

static bool load(nccl_library *out, struct error_note *note)
{
    void *handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        error_note_set(note, "NCCL is not there: %s", dlerror());
        return false;
    }
    bool is_whole = find(handle, "ncclGetUniqueId", &out->get_unique_id) &&
                    find(handle, "ncclCommInitRank", &out->comm_init_rank) &&
                    find(handle, "ncclCommAbort", &out->comm_abort) &&
                    find(handle, "ncclCommDestroy", &out->comm_destroy) &&
                    find(handle, "ncclCommGetAsyncError", &out->comm_get_async_error) &&
                    find(handle, "ncclAllReduce", &out->all_reduce) &&
                    find(handle, "ncclSend", &out->send) &&
                    find(handle, "ncclRecv", &out->receive) &&
                    find(handle, "ncclGroupStart", &out->group_start) &&
                    find(handle, "ncclGroupEnd", &out->group_end) &&
                    find(handle, "ncclGetErrorString", &out->get_error_string);
    if (!is_whole)
        error_note_set(note, "libnccl.so.2 is older than 2.7: it has no %s",
                       "point-to-point calls");
    return is_whole;
}

/* Loaded once and never unloaded: its threads may outlive a model. Null: not there, with a note. */
static const nccl_library *library_get(struct error_note *note)
{
    static nccl_library library;
    static std::mutex lock;
    static bool is_loaded;
    std::lock_guard<std::mutex> guard(lock);
    if (!is_loaded)
        is_loaded = load(&library, note);
    return is_loaded ? &library : nullptr;
}

status nccl_communicator_id(uint8_t *id, struct error_note *note)
{
    const nccl_library *library = library_get(note);
    if (library == nullptr)
        return STATUS_NOT_FOUND;
    nccl_id made;
    int result = library->get_unique_id(&made);
    if (result != NCCL_SUCCESS) {
        error_note_set(note, "ncclGetUniqueId: %s", library->get_error_string(result));
        return STATUS_INTERNAL;
    }
    for (uint32_t i = 0; i < COMMUNICATOR_ID_BYTES; i++)
        id[i] = static_cast<uint8_t>(made.bytes[i]);
    return STATUS_OK;
}

/* --- calls --- */

static nccl_communicator *nccl_of(communicator *c)
{
    return reinterpret_cast<nccl_communicator *>(c);
}

/* The device has failed with it, which whoever waits for the device learns. */
static void check(nccl_communicator *c, int result, const char *what)
{
    if (result != NCCL_SUCCESS)
        device_stream_fail(c->stream, what, c->library->get_error_string(result));
}

static void nccl_all_reduce_sum(communicator *base, float *x, uint64_t count)
{
    nccl_communicator *c = nccl_of(base);
    std::lock_guard<std::mutex> guard(c->lock);
    if (c->comm != nullptr)
        check(c, c->library->all_reduce(x, x, count, NCCL_FLOAT32, NCCL_SUM, c->comm, c->handle),
              "ncclAllReduce");
}

static uint32_t share_width(const nccl_communicator *c, const column_share *share, uint32_t rank,
                            uint32_t *first)
{
    *first = rank_share_first(share->n_cols, share->unit, rank, c->size);
    return rank_share_first(share->n_cols, share->unit, rank + 1, c->size) - *first;
}

/* Rank 0 takes each rank's columns to where they would begin if the shares lay one behind the other. */
static void exchange(nccl_communicator *c, const column_share *share)
{
    uint32_t first, width;
    check(c, c->library->group_start(), "ncclGroupStart");
    if (c->rank != 0) {
        width = share_width(c, share, c->rank, &first);
        check(c,
              c->library->send(share->part, static_cast<size_t>(share->n_rows) * width,
                               NCCL_FLOAT32, 0, c->comm, c->handle),
              "ncclSend");
    }
    for (uint32_t r = 1; c->rank == 0 && r < c->size; r++) {
        width = share_width(c, share, r, &first);
        check(c,
              c->library->receive(c->received + static_cast<size_t>(share->n_rows) * first,
                                  static_cast<size_t>(share->n_rows) * width, NCCL_FLOAT32,
                                  static_cast<int>(r), c->comm, c->handle),
              "ncclRecv");
    }
    check(c, c->library->group_end(), "ncclGroupEnd");
}

static void put_side_by_side(nccl_communicator *c, const column_share *share)
{
    for (uint32_t r = 0; r < c->size; r++) {
        uint32_t first, width = share_width(c, share, r, &first);
        const float *from =
            r == 0 ? share->part : c->received + static_cast<size_t>(share->n_rows) * first;
        cudaError_t error = cudaMemcpy2DAsync(share->whole + first, share->n_cols * sizeof(float),
                                              from, width * sizeof(float), width * sizeof(float),
                                              share->n_rows, cudaMemcpyDeviceToDevice, c->handle);
        if (error != cudaSuccess)
            device_stream_fail(c->stream, "copy of columns", cudaGetErrorString(error));
    }
}

static void nccl_gather_columns(communicator *base, const column_share *share)
{
    nccl_communicator *c = nccl_of(base);
    std::lock_guard<std::mutex> guard(c->lock);
    if (c->comm == nullptr)
        return;
    exchange(c, share);
    if (c->rank == 0)
        put_side_by_side(c, share);
}

static status nccl_check(communicator *base)
{
    nccl_communicator *c = nccl_of(base);
    std::lock_guard<std::mutex> guard(c->lock);
    int error = NCCL_SUCCESS;
    if (c->comm != nullptr)
        check(c, c->library->comm_get_async_error(c->comm, &error), "ncclCommGetAsyncError");
    if (error != NCCL_IN_PROGRESS)
        check(c, error, "NCCL");
    return device_status(c->owner);
}

static void nccl_abort(communicator *base)
{
    nccl_communicator *c = nccl_of(base);
    std::lock_guard<std::mutex> guard(c->lock);
    if (c->comm != nullptr)
        (void)c->library->comm_abort(c->comm); /* the group has failed anyway */
    c->comm = nullptr;
}

/* --- life --- */

static void nccl_destroy(communicator *base)
{
    nccl_communicator *c = nccl_of(base);
    bool is_good = base->group == nullptr || communicator_group_status(base->group) == STATUS_OK;
    if (c->comm != nullptr)
        (void)(is_good ? c->library->comm_destroy(c->comm) : c->library->comm_abort(c->comm));
    device_release(c->owner, c->received);
    delete c;
}

static const communicator_operations nccl_operations = {
    "nccl", true, nccl_all_reduce_sum, nccl_gather_columns, nccl_check, nccl_abort, nccl_destroy};

/* Both kinds of calls once, with what is there to be overwritten. */
static status connect(nccl_communicator *c, uint64_t floats_max, struct error_note *note)
{
    float *numbers = static_cast<float *>(device_allocate(c->owner, 2 * sizeof(float) * c->size));
    column_share share = {};
    share.part = numbers;
    share.whole = numbers;
    share.n_rows = 1;
    share.n_cols = c->size;
    share.unit = 1;
    if (numbers == nullptr || floats_max < c->size) {
        device_release(c->owner, numbers);
        error_note_set(note, "no device memory to connect ranks");
        return STATUS_NO_MEMORY;
    }
    device_fill(c->stream, numbers, 0, 2 * sizeof(float) * c->size);
    nccl_all_reduce_sum(&c->base, numbers, c->size);
    share.whole = numbers + c->size;
    nccl_gather_columns(&c->base, &share);
    status s = device_stream_synchronize(c->stream);
    device_release(c->owner, numbers);
    if (s != STATUS_OK)
        error_note_set(note, "the ranks' devices do not connect: %s", device_failure(c->owner));
    return s;
}

static status init(nccl_communicator *c, const communicator_place *place, struct error_note *note)
{
    nccl_id id;
    if (place->rank == 0) {
        c->received =
            static_cast<float *>(device_allocate(c->owner, place->floats_max * sizeof(float)));
        if (c->received == nullptr) {
            error_note_set(note, "no device memory for the logits of other ranks");
            return STATUS_NO_MEMORY;
        }
    }
    for (uint32_t i = 0; i < COMMUNICATOR_ID_BYTES; i++)
        id.bytes[i] = static_cast<char>(place->id[i]);
    int result = c->library->comm_init_rank(&c->comm, static_cast<int>(place->size), id,
                                            static_cast<int>(place->rank));
    if (result != NCCL_SUCCESS) {
        c->comm = nullptr;
        error_note_set(note, "ncclCommInitRank: %s", c->library->get_error_string(result));
        return STATUS_INTERNAL;
    }
    return connect(c, place->floats_max, note);
}

status nccl_communicator_open(device *d, device_stream *s, const struct communicator_place *place,
                              communicator **out, struct error_note *note)
{
    const nccl_library *library = library_get(note);
    if (library == nullptr)
        return STATUS_INTERNAL;
    nccl_communicator *c = new (std::nothrow) nccl_communicator();
    if (c == nullptr) {
        error_note_set(note, "no memory for a communicator");
        return STATUS_NO_MEMORY;
    }
    c->base.operations = &nccl_operations;
    c->library = library;
    c->owner = d;
    c->stream = s;
    c->handle = static_cast<cudaStream_t>(device_stream_handle(s));
    c->rank = place->rank;
    c->size = place->size;
    status made = init(c, place, note);
    if (made != STATUS_OK) {
        nccl_destroy(&c->base);
        return made;
    }
    *out = &c->base;
    return STATUS_OK;
}
