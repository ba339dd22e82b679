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
#define DOT_ROUNDS  200000u
#define DOT_CHAINS  12u

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

__attribute__((target("avx512f,avx512vnni"))) static void dot_avx512(void *context, uint32_t index)
{
    volatile int32_t *out = context;
    __m512i a = _mm512_set1_epi8(3), x = _mm512_set1_epi8((char)index);
    __m512i sums[DOT_CHAINS];
    for (uint32_t k = 0; k < DOT_CHAINS; k++)
        sums[k] = _mm512_setzero_si512();
    for (uint32_t i = 0; i < DOT_ROUNDS; i++) {
#pragma GCC unroll 12
        for (uint32_t k = 0; k < DOT_CHAINS; k++)
            __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sums[k]) : "v"(a), "v"(x));
    }
    for (uint32_t k = 0; k < DOT_CHAINS; k++)
        out[index] += _mm512_reduce_add_epi32(sums[k]);
}

__attribute__((target("avx2"))) static void dot_avx2(void *context, uint32_t index)
{
    volatile int32_t *out = context;
    __m256i a = _mm256_set1_epi8(3), x = _mm256_set1_epi8((char)index);
    __m256i sums[DOT_CHAINS];
    for (uint32_t k = 0; k < DOT_CHAINS; k++)
        sums[k] = _mm256_setzero_si256();
    for (uint32_t i = 0; i < DOT_ROUNDS; i++) {
#pragma GCC unroll 12
        for (uint32_t k = 0; k < DOT_CHAINS; k++) {
            __m256i products;
            __asm__ volatile("vpmaddubsw %2, %1, %0" : "=x"(products) : "x"(a), "x"(x));
            sums[k] = _mm256_add_epi16(sums[k], products);
        }
    }
    for (uint32_t k = 0; k < DOT_CHAINS; k++)
        out[index] += _mm256_extract_epi32(sums[k], 0);
}

static double measure_int8(backend *b, enum backend_path path, uint32_t threads)
{
    bool is_wide = path == BACKEND_AVX512_VNNI;
    int32_t *sums = calloc(threads, sizeof(*sums));
    CHECK(sums != NULL);
    double best = 0;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        uint64_t start_ns = clock_now_ns();
        b->operations->parallel_for(b, threads, is_wide ? dot_avx512 : dot_avx2, sums);
        double seconds = (double)(clock_now_ns() - start_ns) * 1e-9;
        double ops = (double)threads * DOT_ROUNDS * DOT_CHAINS * (is_wide ? 128 : 64);
        best = ops / seconds > best ? ops / seconds : best;
    }
    free(sums);
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
