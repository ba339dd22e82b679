#include "roofs.h"

#include <immintrin.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "peaks.h"

#define PIECE_BYTES ((uint64_t)1 << 20) /* of a read: large beside the cost of handing it out */
#define HUGE_BYTES  ((uint64_t)2 << 20)
/* Tries of a read go on for this long, so that a small set gets many of them. */
#define READ_NS    (400 * NS_PER_MS)
#define TRIES_MIN  3u
#define PEAK_TRIES 60u
#define FAR_CACHES                                                                                 \
    4u /* times the last-level cache: three quarters of it cannot be left from the last pass */
#define FAR_BYTES    ((uint64_t)512 << 20) /* at least; and where the cache is not known */
#define FAR_DIVISOR  4u                    /* of the free memory, at most */
#define EMPTY_ROUNDS 50u
#define EMPTY_JOBS   200u

struct read_job {
    const uint8_t *data;
    _Atomic uint64_t sum; /* keeps the loads alive */
};

__attribute__((target("avx2"))) static void read_piece(void *context, uint32_t index)
{
    struct read_job *job = context;
    const uint8_t *piece = job->data + index * PIECE_BYTES;
    __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                       _mm256_setzero_si256()};
    for (size_t i = 0; i < PIECE_BYTES; i += 128) {
        _mm_prefetch((const char *)piece + i + 2048, _MM_HINT_T0);
        _mm_prefetch((const char *)piece + i + 2112, _MM_HINT_T0);
        for (int k = 0; k < 4; k++)
            sums[k] =
                _mm256_xor_si256(sums[k], _mm256_load_si256((const __m256i *)(piece + i + 32 * k)));
    }
    uint64_t words[16], sum = 0;
    memcpy(words, sums, sizeof(words));
    for (int k = 0; k < 16; k++)
        sum ^= words[k];
    atomic_fetch_xor_explicit(&job->sum, sum, memory_order_relaxed);
}

static void fill_piece(void *context, uint32_t index)
{
    struct read_job *job = context;
    memset((uint8_t *)(uintptr_t)job->data + index * PIECE_BYTES, (int)index, PIECE_BYTES);
}

/* Bytes a second that the team reads front to back, over and over. */
static double measure_read(backend *b, uint64_t bytes)
{
    uint64_t mapped = (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
    uint8_t *data = aligned_alloc(HUGE_BYTES, mapped);
    CHECK(data != NULL);
    (void)madvise(data, mapped, MADV_HUGEPAGE);
    struct read_job job = {.data = data};
    uint32_t pieces = (uint32_t)(bytes / PIECE_BYTES);
    b->operations->parallel_for(b, pieces, fill_piece, &job);
    double best = 0;
    uint64_t begin_ns = clock_now_ns(), end_ns = begin_ns;
    for (uint32_t i = 0; i < TRIES_MIN || end_ns - begin_ns < READ_NS; i++) {
        uint64_t start_ns = clock_now_ns();
        b->operations->parallel_for(b, pieces, read_piece, &job);
        end_ns = clock_now_ns();
        double speed = (double)pieces * PIECE_BYTES * 1e9 / (double)(end_ns - start_ns);
        best = speed > best ? speed : best;
    }
    free(data);
    return best;
}

static uint64_t far_bytes(void)
{
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    uint64_t free_bytes = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t wanted = cache > 0 ? (uint64_t)cache * FAR_CACHES : 0;
    wanted = wanted > FAR_BYTES ? wanted : FAR_BYTES;
    return wanted < free_bytes / FAR_DIVISOR ? wanted : free_bytes / FAR_DIVISOR;
}

/* Operations a second of the fastest try, and of all together. */
struct rate {
    double best, mean;
};

static struct rate measure_peak(backend *b, struct peak peak, uint32_t threads)
{
    struct rate rate = {0, 0};
    double all_seconds = 0;
    for (uint32_t i = 0; peak.run != NULL && i < PEAK_TRIES; i++) {
        uint64_t start_ns = clock_now_ns();
        b->operations->parallel_for(b, threads, peak.run, NULL);
        double seconds = (double)(clock_now_ns() - start_ns) * 1e-9;
        double ops_per_s = threads * peak.ops / seconds;
        rate.best = ops_per_s > rate.best ? ops_per_s : rate.best;
        all_seconds += seconds;
        rate.mean = (i + 1) * threads * peak.ops / all_seconds;
    }
    return rate;
}

static void nothing(void *context, uint32_t index)
{
    (void)context;
    (void)index;
}

static double measure_dispatch(backend *b, uint32_t threads)
{
    double best = 1e9;
    for (uint32_t round = 0; round < EMPTY_ROUNDS; round++) {
        uint64_t start_ns = clock_now_ns();
        for (uint32_t i = 0; i < EMPTY_JOBS; i++)
            b->operations->parallel_for(b, threads, nothing, NULL);
        double ns = (double)(clock_now_ns() - start_ns) / EMPTY_JOBS;
        best = ns < best ? ns : best;
    }
    return best;
}

struct roofs roofs_measure(backend *b, enum backend_path path, uint32_t threads,
                           uint64_t near_bytes)
{
    uint64_t pieces = near_bytes / PIECE_BYTES > 0 ? near_bytes / PIECE_BYTES : 1;
    struct roofs roofs = {.near_bytes = pieces * PIECE_BYTES,
                          .far_bytes = far_bytes() / PIECE_BYTES * PIECE_BYTES};
    roofs.near_bytes_per_s = measure_read(b, roofs.near_bytes);
    roofs.far_bytes_per_s = measure_read(b, roofs.far_bytes);
    struct rate one = measure_peak(b, peak_float(path), 1);
    struct rate all = measure_peak(b, peak_float(path), threads);
    roofs.float_ops_per_s = all.best;
    roofs.cores_given = one.best > 0 ? all.mean / one.best : 0;
    roofs.int8_ops_per_s = measure_peak(b, peak_int8(path), threads).best;
    roofs.amx_ops_per_s = measure_peak(b, peak_amx(), threads).best;
    roofs.dispatch_ns = measure_dispatch(b, threads);
    return roofs;
}

json_t *roofs_json(const struct roofs *roofs)
{
    return json_pack(
        "{s:I,s:f,s:I,s:f,s:f,s:f,s:f,s:f,s:f}", "near_bytes", (json_int_t)roofs->near_bytes,
        "near_bytes_per_s", roofs->near_bytes_per_s, "far_bytes", (json_int_t)roofs->far_bytes,
        "far_bytes_per_s", roofs->far_bytes_per_s, "int8_ops_per_s", roofs->int8_ops_per_s,
        "float_ops_per_s", roofs->float_ops_per_s, "amx_ops_per_s", roofs->amx_ops_per_s,
        "cores_given", roofs->cores_given, "dispatch_ns", roofs->dispatch_ns);
}

void roofs_print(const struct roofs *roofs, const char *path, uint32_t threads)
{
    fprintf(
        stderr,
        "%s, %u threads: read %.1f GB/s (%llu MiB) and %.1f GB/s (%llu MiB), int8 %.0f GOP/s, f32 "
        "%.0f GFLOP/s, AMX int8 %.0f GOP/s, %.2f cores given, dispatch %.0f ns\n",
        path, threads, roofs->near_bytes_per_s / 1e9, (unsigned long long)roofs->near_bytes >> 20,
        roofs->far_bytes_per_s / 1e9, (unsigned long long)roofs->far_bytes >> 20,
        roofs->int8_ops_per_s / 1e9, roofs->float_ops_per_s / 1e9, roofs->amx_ops_per_s / 1e9,
        roofs->cores_given, roofs->dispatch_ns);
}
