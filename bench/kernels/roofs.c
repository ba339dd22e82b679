#include "roofs.h"

#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "clock.h"

#define READ_BYTES  ((size_t)256 << 20)
#define READ_SLICES 256u
#define REPEATS     12
#define DOT_ROUNDS  100000u
#define DOT_CHAINS  12u
#define DOT_REPEATS 60

struct read_job {
    const uint8_t *data;
    uint64_t sums[READ_SLICES];
};

__attribute__((target("avx2"))) static void read_slice(void *context, uint32_t index)
{
    struct read_job *job = context;
    const uint8_t *slice = job->data + index * (READ_BYTES / READ_SLICES);
    __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                       _mm256_setzero_si256()};
    for (size_t i = 0; i < READ_BYTES / READ_SLICES; i += 128) {
        _mm_prefetch((const char *)slice + i + 2048, _MM_HINT_T0);
        _mm_prefetch((const char *)slice + i + 2112, _MM_HINT_T0);
        for (int k = 0; k < 4; k++)
            sums[k] =
                _mm256_xor_si256(sums[k], _mm256_load_si256((const __m256i *)(slice + i + 32 * k)));
    }
    uint64_t words[16];
    memcpy(words, sums, sizeof(words));
    for (int k = 0; k < 16; k++)
        job->sums[index] ^= words[k];
}

static double measure_read(backend *b)
{
    struct read_job job = {0};
    uint8_t *data = aligned_alloc((size_t)2 << 20, READ_BYTES);
    CHECK(data != NULL);
    (void)madvise(data, READ_BYTES, MADV_HUGEPAGE);
    for (size_t i = 0; i < READ_BYTES; i++)
        data[i] = (uint8_t)(i * 31);
    job.data = data;
    double best = 0;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        uint64_t start_ns = clock_now_ns();
        b->operations->parallel_for(b, READ_SLICES, read_slice, &job);
        double seconds = (double)(clock_now_ns() - start_ns) * 1e-9;
        best = (double)READ_BYTES / seconds > best ? (double)READ_BYTES / seconds : best;
    }
    free(data);
    return best;
}

/* Twelve independent sums a round, in registers by name: left to itself the compiler keeps them in
 * memory. */
#define TWELVE(one)                                                                                \
    one(0) one(1) one(2) one(3) one(4) one(5) one(6) one(7) one(8) one(9) one(10) one(11)
#define DOT_AVX512(i) "vpdpbusd %%zmm31, %%zmm30, %%zmm" #i "\n"
#define DOT_AVX2(i)                                                                                \
    "vpmaddubsw %%ymm15, %%ymm14, %%ymm13\nvpaddw %%ymm13, %%ymm" #i ", %%ymm" #i "\n"

__attribute__((target("avx512f,avx512vnni"))) static void dot_avx512(void *context, uint32_t index)
{
    (void)context;
    (void)index;
    for (uint32_t i = 0; i < DOT_ROUNDS; i++)
        __asm__ volatile(TWELVE(DOT_AVX512)::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11");
}

__attribute__((target("avx2"))) static void dot_avx2(void *context, uint32_t index)
{
    (void)context;
    (void)index;
    for (uint32_t i = 0; i < DOT_ROUNDS; i++)
        __asm__ volatile(TWELVE(DOT_AVX2)::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11", "xmm13");
}

static double measure_int8(backend *b, enum backend_path path, uint32_t threads)
{
    bool is_wide = path == BACKEND_AVX512_VNNI;
    double best = 0;
    for (int repeat = 0; repeat < DOT_REPEATS; repeat++) {
        uint64_t start_ns = clock_now_ns();
        b->operations->parallel_for(b, threads, is_wide ? dot_avx512 : dot_avx2, NULL);
        double seconds = (double)(clock_now_ns() - start_ns) * 1e-9;
        double ops = (double)threads * DOT_ROUNDS * DOT_CHAINS * (is_wide ? 128 : 64);
        best = ops / seconds > best ? ops / seconds : best;
    }
    return best;
}

static void nothing(void *context, uint32_t index)
{
    (void)context;
    (void)index;
}

static double measure_dispatch(backend *b, uint32_t threads)
{
    double best = 1e9;
    for (int repeat = 0; repeat < 50; repeat++) {
        uint64_t start_ns = clock_now_ns();
        for (int i = 0; i < 200; i++)
            b->operations->parallel_for(b, threads, nothing, NULL);
        double ns = (double)(clock_now_ns() - start_ns) / 200;
        best = ns < best ? ns : best;
    }
    return best;
}

struct roofs roofs_measure(backend *b, enum backend_path path, uint32_t threads)
{
    return (struct roofs){measure_read(b), measure_int8(b, path, threads),
                          measure_dispatch(b, threads)};
}
