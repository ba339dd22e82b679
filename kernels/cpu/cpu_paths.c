/* Which kernels this CPU can run. */

#include <cpuid.h>

#include "cpu_backend.h"
#include "cpu_tiles.h"

#define KERNELS(path_name, isa, gemm_isa, tiles)                                                   \
    {                                                                                              \
        .name = path_name, .gemm_codes = gemm_codes_##gemm_isa, .gemm_floats = gemm_floats_##isa,  \
        .gemm_tiles = tiles, .tile_store = tile_store_##isa, .gate_apply = gate_apply_##isa,       \
        .quantise_span = quantise_span_##isa, .rms_norm_row = rms_norm_row_##isa,                  \
        .rope_head = rope_head_##isa, .attention_merge = attention_merge_##isa,                    \
        .attention_sink = attention_sink_##isa, .attention_finish = attention_finish_##isa,        \
        .soft_cap = soft_cap_##isa, .add_scaled = add_scaled_##isa, .dot = dot_##isa,              \
        .layer_norm_row = layer_norm_row_##isa, .add_row = add_row_##isa,                          \
        .attend_rows = attend_rows_##isa,                                                          \
        .kv[KV_F16] = {kv_store_f16_##isa, NULL, attention_f16_##isa},                             \
        .kv[KV_INT8] = {kv_store_int8_##isa, quantise_query_##gemm_isa,                            \
                        attention_int8_##gemm_isa},                                                \
    }

#define DECLARE_LANES(isa)                                                                         \
    gemm_function gemm_floats_##isa;                                                               \
    void tile_store_##isa(const float *tile, size_t tile_stride, uint32_t n_rows,                  \
                          uint32_t n_outputs, const float *bias, bool accumulate, float *y,        \
                          size_t y_stride);                                                        \
    void gate_apply_##isa(enum gate_kind kind, const float *gate, const float *up, uint32_t count, \
                          float *out);                                                             \
    void quantise_span_##isa(struct activation *a, uint32_t row, uint32_t n_rows, uint32_t span);  \
    void rms_norm_row_##isa(const float *x, const float *gain, float epsilon, uint32_t d,          \
                            float *out);                                                           \
    void rope_head_##isa(const float *head, uint32_t d_head, uint32_t d_rope, bool is_interleaved, \
                         const float *cosines, const float *sines, float *out);                    \
    kv_store_function kv_store_f16_##isa, kv_store_int8_##isa;                                     \
    attention_function attention_f16_##isa;                                                        \
    void attention_merge_##isa(const float *partial, uint32_t d_head, float *total);               \
    void attention_sink_##isa(float score, uint32_t d_head, float *total);                         \
    void attention_finish_##isa(float *total, uint32_t d_head);                                    \
    void soft_cap_##isa(float *x, uint64_t count, float cap);                                      \
    void layer_norm_row_##isa(float *x, const float *gain, const float *bias, float epsilon,       \
                              uint32_t d, float *out);                                             \
    void add_row_##isa(const float *x, uint32_t d, float *y);                                      \
    void attend_rows_##isa(const struct full_tile *tile, float *scores);                           \
    float dot_##isa(const float *x, const float *y, uint32_t count);                               \
    void add_scaled_##isa(const float *x, float factor, uint32_t count, float *y);

DECLARE_LANES(avx2)
DECLARE_LANES(avx512)
gemm_function gemm_codes_avx2;
gemm_function gemm_codes_avx_vnni;
gemm_function gemm_codes_avx512_vnni;
gemm_function gemm_codes_amx;
query_function quantise_query_avx2, quantise_query_avx_vnni, quantise_query_avx512_vnni;
attention_function attention_int8_avx2, attention_int8_avx_vnni, attention_int8_avx512_vnni;

static const struct cpu_kernels kernels_avx2 = KERNELS("cpu-avx2", avx2, avx2, NULL);
static const struct cpu_kernels kernels_avx_vnni = KERNELS("cpu-avx-vnni", avx2, avx_vnni, NULL);
static const struct cpu_kernels kernels_avx512_vnni =
    KERNELS("cpu-avx512-vnni", avx512, avx512_vnni, NULL);
static const struct cpu_kernels kernels_amx =
    KERNELS("cpu-amx", avx512, avx512_vnni, gemm_codes_amx);

/* The compiler's check covers the system's side (XCR0) as well. clang 14 does not know f16c by
 * name: leaf 1, ECX bit 29. */
static bool has_avx2(void)
{
    unsigned eax, ebx, ecx, edx;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & (1u << 29)) != 0;
}

/* gcc 12's list of features lacks this one: leaf 7, sub-leaf 1, EAX bit 4. */
static bool has_avx_vnni(void)
{
    unsigned eax, ebx, ecx, edx;
    return has_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
           (eax & (1u << 4)) != 0;
}

static bool has_avx512_vnni(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

const struct cpu_kernels *cpu_kernels_find(enum backend_path path)
{
    switch (path) {
    case BACKEND_AVX2:
        return has_avx2() ? &kernels_avx2 : NULL;
    case BACKEND_AVX_VNNI:
        return has_avx_vnni() ? &kernels_avx_vnni : NULL;
    case BACKEND_AVX512_VNNI:
        return has_avx512_vnni() ? &kernels_avx512_vnni : NULL;
    case BACKEND_AMX:
        return has_avx512_vnni() && cpu_tiles_request() ? &kernels_amx : NULL;
    case BACKEND_AUTO:
    case BACKEND_CPU:
    case BACKEND_REFERENCE:
    case BACKEND_CUDA:
    case BACKEND_CUDA_EMULATED:
        break;
    }
    return NULL;
}
