/* Products of the host runtime: plain loops over floats. */

#include <string.h>

#include "fake_private.h"

namespace
{

float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* A float of `exponent_bits` and `mantissa_bits` with subnormals; what IEEE keeps for infinities counts as such only where
 * there is one (E4M3 has none, its largest pattern alone is not a number). */
float small_float(uint32_t bits, uint32_t exponent_bits, uint32_t mantissa_bits, bool has_infinity)
{
    uint32_t sign = bits >> (exponent_bits + mantissa_bits) & 1;
    uint32_t exponent = bits >> mantissa_bits & ((1u << exponent_bits) - 1);
    uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
    uint32_t largest = (1u << exponent_bits) - 1, bias = largest / 2;
    bool is_special =
        exponent == largest && (has_infinity || mantissa == (1u << mantissa_bits) - 1);
    if (is_special)
        return float_of_bits(sign << 31 | 0x7f800000u |
                             (has_infinity ? mantissa << (23 - mantissa_bits) : 0x400000u));
    float value =
        exponent == 0
            ? static_cast<float>(mantissa) * float_of_bits((128 - bias - mantissa_bits) << 23)
            : float_of_bits((exponent + 127 - bias) << 23 | mantissa << (23 - mantissa_bits));
    return sign != 0 ? -value : value;
}

float element(gemm_type type, const void *data, uint64_t index)
{
    switch (type) {
    case GEMM_F32:
        return static_cast<const float *>(data)[index];
    case GEMM_F16:
        return small_float(static_cast<const uint16_t *>(data)[index], 5, 10, true);
    case GEMM_BF16:
        return float_of_bits(static_cast<uint32_t>(static_cast<const uint16_t *>(data)[index])
                             << 16);
    case GEMM_E4M3:
        return small_float(static_cast<const uint8_t *>(data)[index], 4, 3, false);
    }
    return 0;
}

uint64_t element_bytes(gemm_type type)
{
    return type == GEMM_F32 ? 4 : type == GEMM_E4M3 ? 1 : 2;
}

/* Nearest even. */
uint16_t bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

std::vector<float> floats_of(gemm_type type, const void *data, uint32_t rows, uint32_t k,
                             uint64_t stride)
{
    std::vector<float> out(static_cast<size_t>(rows) * k);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < k; c++)
            out[static_cast<size_t>(r) * k + c] = element(type, data, r * stride + c);
    return out;
}

/* Eight sums side by side, so that the compiler makes vectors of them. */
float dot(const float *a, const float *b, uint32_t count)
{
    float sums[8] = {};
    uint32_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (uint32_t j = 0; j < 8; j++)
            sums[j] += a[i + j] * b[i + j];
    for (; i < count; i++)
        sums[0] += a[i] * b[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

void multiply(const gemm_args &args)
{
    std::vector<float> a = floats_of(args.type, args.a, args.m, args.k, args.a_stride);
    std::vector<float> w = floats_of(args.type, args.w, args.n, args.k, args.w_stride);
    for (uint32_t n = 0; n < args.n; n++) {
        for (uint32_t m = 0; m < args.m; m++) {
            float y = args.alpha * dot(&a[static_cast<size_t>(m) * args.k],
                                       &w[static_cast<size_t>(n) * args.k], args.k);
            uint64_t at = m * args.y_stride + n;
            if (args.is_bf16_out)
                static_cast<uint16_t *>(args.y)[at] = bf16_of(y);
            else if (args.accumulate)
                static_cast<float *>(args.y)[at] += y;
            else
                static_cast<float *>(args.y)[at] = y;
        }
    }
}

/* Bytes from the first element to the last. */
uint64_t matrix_bytes(uint32_t rows, uint32_t columns, uint64_t stride, uint64_t bytes)
{
    return ((rows - 1) * stride + columns) * bytes;
}

void check_aligned(const void *address, uint64_t stride_bytes)
{
    if ((reinterpret_cast<uintptr_t>(address) | stride_bytes) % 16 != 0)
        fake_abort("product: an address or a stride is no multiple of 16 bytes");
}

} // namespace

void device_gemm(device_stream *s, const struct gemm_args *args)
{
    if (args->m == 0 || args->n == 0)
        return;
    const fake_memory &memory = s->owner->memory;
    uint64_t in = element_bytes(args->type), out = args->is_bf16_out ? 2 : 4;
    check_aligned(args->a, args->a_stride * in);
    check_aligned(args->w, args->w_stride * in);
    fake_operation operation;
    operation.what = "product";
    operation.spans = {
        memory.span("product", args->a, matrix_bytes(args->m, args->k, args->a_stride, in)),
        memory.span("product", args->w, matrix_bytes(args->n, args->k, args->w_stride, in)),
        memory.span("product", args->y, matrix_bytes(args->m, args->n, args->y_stride, out)),
    };
    operation.body = [copy = *args] { multiply(copy); };
    fake_enqueue(s, std::move(operation));
}
