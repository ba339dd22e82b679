/* Products by cuBLASLt.
 *
 * The library counts columns first: what it calls D, of n rows and m columns, is our y read so; A is w (k x n, transposed), B is
 * a (k x m). That is the one order in which it takes E4M3.
 *
 * Its heuristic, some 100 us of host time, is asked once for each kind of product: types, n, k and the power of two that holds
 * m. The answer is used for every m up to it, when the library says that it may be. Descriptions live on the stack:
 * a product allocates nothing. */

#include <string.h>

#include "cuda_private.h"

namespace
{

struct description {
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatrixLayoutOpaque_t w, a, y;
};

cudaDataType_t data_type(gemm_type type)
{
    switch (type) {
    case GEMM_F32:
        return CUDA_R_32F;
    case GEMM_F16:
        return CUDA_R_16F;
    case GEMM_BF16:
        return CUDA_R_16BF;
    case GEMM_E4M3:
        break;
    }
    return CUDA_R_8F_E4M3;
}

bool describe(const gemm_args &args, uint32_t m, description *out)
{
    cudaDataType_t in = data_type(args.type), to = args.is_bf16_out ? CUDA_R_16BF : CUDA_R_32F;
    cublasOperation_t transposed = CUBLAS_OP_T;
    return cublasLtMatmulDescInit(&out->product, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(&out->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                          sizeof(transposed)) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutInit(&out->w, in, args.k, args.n,
                                    static_cast<int64_t>(args.w_stride)) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutInit(&out->a, in, args.k, m, static_cast<int64_t>(args.a_stride)) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutInit(&out->y, to, args.n, m, static_cast<int64_t>(args.y_stride)) ==
               CUBLAS_STATUS_SUCCESS;
}

/* The largest power of two up to 256 that divides y's address and row bytes. */
uint32_t y_alignment(const gemm_args &args)
{
    uint64_t row_bytes = args.y_stride * (args.is_bf16_out ? 2 : 4);
    uint64_t both = reinterpret_cast<uintptr_t>(args.y) | row_bytes | 256;
    return static_cast<uint32_t>(both & (~both + 1));
}

uint32_t bucket_of(uint32_t m)
{
    uint32_t bucket = 16;
    while (bucket < m && bucket < 1u << 31)
        bucket *= 2;
    return bucket;
}

cublasStatus_t ask(device *d, const description &described, uint32_t y_bytes,
                   cublasLtMatmulAlgo_t *out)
{
    cublasLtMatmulPreferenceOpaque_t preference;
    size_t workspace = GEMM_WORKSPACE_BYTES;
    uint32_t in_bytes = 16;
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t bytes;
    } wishes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof(workspace)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &in_bytes, sizeof(in_bytes)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &in_bytes, sizeof(in_bytes)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &y_bytes, sizeof(y_bytes)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &y_bytes, sizeof(y_bytes)},
    };
    cublasStatus_t result = cublasLtMatmulPreferenceInit(&preference);
    for (const auto &wish : wishes)
        if (result == CUBLAS_STATUS_SUCCESS)
            result = cublasLtMatmulPreferenceSetAttribute(&preference, wish.name, wish.value,
                                                          wish.bytes);
    if (result != CUBLAS_STATUS_SUCCESS)
        return result;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    description own = described; /* the library takes pointers to what it may not change */
    result = cublasLtMatmulAlgoGetHeuristic(d->library, &own.product, &own.w, &own.a, &own.y,
                                            &own.y, &preference, 1, &found, &count);
    if (result != CUBLAS_STATUS_SUCCESS)
        return result;
    if (count == 0)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *out = found.algo;
    return CUBLAS_STATUS_SUCCESS;
}

bool is_choice(const gemm_choice &choice, const gemm_choice &wanted)
{
    return choice.is_set && choice.type == wanted.type &&
           choice.is_bf16_out == wanted.is_bf16_out && choice.accumulate == wanted.accumulate &&
           choice.m_bucket == wanted.m_bucket && choice.n == wanted.n && choice.k == wanted.k &&
           choice.y_alignment == wanted.y_alignment;
}

/* Where a choice is, or is to be: its own place, one of the seven after it, or else the first of them. */
gemm_choice *place_of(device *d, const gemm_choice &wanted)
{
    uint64_t hash = (static_cast<uint64_t>(wanted.n) * 0x9e3779b97f4a7c15ull) ^
                    (static_cast<uint64_t>(wanted.k) * 0xc2b2ae3d27d4eb4full) ^
                    (static_cast<uint64_t>(wanted.m_bucket) * 0x165667b19e3779f9ull) ^
                    (wanted.type + 5ull * wanted.accumulate);
    uint32_t first = static_cast<uint32_t>(hash >> 40);
    for (uint32_t i = 0; i < 8; i++) {
        gemm_choice *at = &d->choices[(first + i) % GEMM_CHOICES_MAX];
        if (!at->is_set || is_choice(*at, wanted))
            return at;
    }
    return &d->choices[first % GEMM_CHOICES_MAX];
}

cublasStatus_t choose(device *d, const gemm_args &args, const description &described,
                      cublasLtMatmulAlgo_t *out)
{
    gemm_choice wanted = {};
    wanted.is_set = true;
    wanted.type = args.type;
    wanted.is_bf16_out = args.is_bf16_out;
    wanted.accumulate = args.accumulate;
    wanted.m_bucket = bucket_of(args.m);
    wanted.n = args.n;
    wanted.k = args.k;
    wanted.y_alignment = y_alignment(args);
    gemm_choice *choice = place_of(d, wanted);
    if (!is_choice(*choice, wanted)) {
        description largest;
        if (!describe(args, wanted.m_bucket, &largest))
            return CUBLAS_STATUS_INVALID_VALUE;
        cublasStatus_t result = ask(d, largest, wanted.y_alignment, &wanted.algorithm);
        if (result != CUBLAS_STATUS_SUCCESS)
            return result;
        *choice = wanted;
    }
    cublasLtMatmulHeuristicResult_t checked;
    description own = described;
    *out = choice->algorithm;
    cublasStatus_t result = cublasLtMatmulAlgoCheck(d->library, &own.product, &own.w, &own.a,
                                                    &own.y, &own.y, out, &checked);
    bool may_be_used =
        result == CUBLAS_STATUS_SUCCESS && checked.workspaceSize <= GEMM_WORKSPACE_BYTES;
    return may_be_used ? result : ask(d, described, wanted.y_alignment, out);
}

} // namespace

void device_gemm(device_stream *s, const struct gemm_args *args)
{
    device *d = s->owner;
    description described;
    cublasLtMatmulAlgo_t algorithm;
    if (args->m == 0 || args->n == 0 || d->has_failed)
        return;
    cublasStatus_t result = describe(*args, args->m, &described)
                                ? choose(d, *args, described, &algorithm)
                                : CUBLAS_STATUS_INVALID_VALUE;
    float beta = args->accumulate ? 1.0f : 0.0f;
    if (result == CUBLAS_STATUS_SUCCESS)
        result =
            cublasLtMatmul(d->library, &described.product, &args->alpha, args->w, &described.w,
                           args->a, &described.a, &beta, args->y, &described.y, args->y,
                           &described.y, &algorithm, d->workspace, GEMM_WORKSPACE_BYTES, s->stream);
    if (result != CUBLAS_STATUS_SUCCESS)
        cuda_fail(d, "cuBLASLt product", cublasLtGetStatusString(result));
}
