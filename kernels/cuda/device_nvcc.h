#ifndef PENSTOCK_KERNELS_CUDA_DEVICE_NVCC_H
#define PENSTOCK_KERNELS_CUDA_DEVICE_NVCC_H

/* The words of device.h for nvcc: an intrinsic or an instruction each. Compute capability 8.0 and later; the instructions
 * are described in the PTX ISA, version 8.x, section 9.7. */

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#define K_KERNEL                         static __global__
#define K_KERNEL_BOUNDS(threads, blocks) static __global__ __launch_bounds__(threads, blocks)
#define K_DEVICE                         static __device__ __forceinline__
#define K_CONSTANT                       static __device__ const
#define K_ARGUMENT                       const __grid_constant__
#define K_UNROLL                         _Pragma("unroll")
#define K_ROLLED                         _Pragma("unroll 1")
#define K_SHARED(T, name, count)         __shared__ __align__(16) T name[count]
#define K_ALL_LANES                      0xffffffffu

template <class T> using k_sptr = T *;

K_DEVICE uint32_t k_thread()
{
    return threadIdx.x;
}
K_DEVICE uint32_t k_threads()
{
    return blockDim.x;
}
K_DEVICE uint32_t k_block_x()
{
    return blockIdx.x;
}
K_DEVICE uint32_t k_block_y()
{
    return blockIdx.y;
}
K_DEVICE uint32_t k_block_z()
{
    return blockIdx.z;
}
K_DEVICE uint32_t k_grid_x()
{
    return gridDim.x;
}
K_DEVICE uint32_t k_grid_y()
{
    return gridDim.y;
}
K_DEVICE uint32_t k_grid_z()
{
    return gridDim.z;
}
K_DEVICE uint32_t k_lane()
{
    return threadIdx.x % 32;
}
K_DEVICE uint32_t k_warp()
{
    return threadIdx.x / 32;
}

/* --- programmatic dependent launch --- */

K_DEVICE void k_wait_previous()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

K_DEVICE void k_release_next()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* --- shared memory --- */

template <class T> K_DEVICE T *k_dynamic_shared()
{
    extern __shared__ __align__(16) unsigned char k_dynamic_shared_bytes[];
    return reinterpret_cast<T *>(k_dynamic_shared_bytes);
}

template <class U, class T> K_DEVICE U *k_sptr_cast(T *p)
{
    return reinterpret_cast<U *>(p);
}

K_DEVICE k_u4 k_sload16(const void *p)
{
    return *static_cast<const k_u4 *>(p);
}

K_DEVICE void k_sstore16(void *p, k_u4 v)
{
    *static_cast<k_u4 *>(p) = v;
}

/* --- threads together --- */

K_DEVICE void k_sync()
{
    __syncthreads();
}

K_DEVICE void k_sync_warp()
{
    __syncwarp();
}

template <class T> K_DEVICE T k_shfl_xor(T v, uint32_t mask)
{
    return __shfl_xor_sync(K_ALL_LANES, v, static_cast<int>(mask));
}

template <class T> K_DEVICE T k_shfl(T v, uint32_t lane)
{
    return __shfl_sync(K_ALL_LANES, v, static_cast<int>(lane));
}

template <class T> K_DEVICE T k_shfl_down(T v, uint32_t n)
{
    return __shfl_down_sync(K_ALL_LANES, v, n);
}

template <class T> K_DEVICE T k_shfl_up(T v, uint32_t n)
{
    return __shfl_up_sync(K_ALL_LANES, v, n);
}

K_DEVICE uint32_t k_ballot(bool b)
{
    return __ballot_sync(K_ALL_LANES, b);
}

K_DEVICE bool k_any(bool b)
{
    return __any_sync(K_ALL_LANES, b) != 0;
}

K_DEVICE bool k_all(bool b)
{
    return __all_sync(K_ALL_LANES, b) != 0;
}

template <class T> K_DEVICE T k_warp_sum(T v)
{
    K_UNROLL
    for (uint32_t mask = 16; mask > 0; mask /= 2)
        v += k_shfl_xor(v, mask);
    return v;
}

template <class T> K_DEVICE T k_warp_max(T v)
{
    K_UNROLL
    for (uint32_t mask = 16; mask > 0; mask /= 2) {
        T other = k_shfl_xor(v, mask);
        v = other > v ? other : v;
    }
    return v;
}

/* --- global memory --- */

K_DEVICE k_u4 k_load16(const void *p)
{
    return *static_cast<const k_u4 *>(p);
}

/* volatile: never moved before k_wait_previous. Not "nc": what an earlier kernel wrote may still be on its way when this one
 * begins. */
K_DEVICE k_u4 k_load16_stream(const void *p)
{
    k_u4 v;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(__cvta_generic_to_global(p)));
    return v;
}

K_DEVICE void k_store16(void *p, k_u4 v)
{
    *static_cast<k_u4 *>(p) = v;
}

K_DEVICE void k_copy_async16(void *s, const void *g)
{
    uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(s));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to),
                 "l"(__cvta_generic_to_global(g))
                 : "memory");
}

K_DEVICE void k_copy_async16_if(void *s, const void *g, bool is_wanted)
{
    uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(s)), bytes = is_wanted ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
                 "l"(__cvta_generic_to_global(g)), "r"(bytes)
                 : "memory");
}

K_DEVICE void k_copy_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N> K_DEVICE void k_copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

K_DEVICE uint32_t k_atomic_add(uint32_t *p, uint32_t v)
{
    return atomicAdd(p, v);
}

K_DEVICE int32_t k_atomic_add(int32_t *p, int32_t v)
{
    return atomicAdd(p, v);
}

K_DEVICE uint64_t k_atomic_add(uint64_t *p, uint64_t v)
{
    return atomicAdd(reinterpret_cast<unsigned long long *>(p), static_cast<unsigned long long>(v));
}

K_DEVICE float k_atomic_add(float *p, float v)
{
    return atomicAdd(p, v);
}

K_DEVICE uint32_t k_atomic_max(uint32_t *p, uint32_t v)
{
    return atomicMax(p, v);
}

K_DEVICE int32_t k_atomic_max(int32_t *p, int32_t v)
{
    return atomicMax(p, v);
}

K_DEVICE uint64_t k_atomic_max(uint64_t *p, uint64_t v)
{
    return atomicMax(reinterpret_cast<unsigned long long *>(p), static_cast<unsigned long long>(v));
}

/* Floats of one sign are ordered as their bits are: those without a sign bit upwards, the others downwards. */
K_DEVICE float k_atomic_max(float *p, float v)
{
    if (__float_as_int(v) >= 0)
        return __int_as_float(atomicMax(reinterpret_cast<int *>(p), __float_as_int(v)));
    return __uint_as_float(atomicMin(reinterpret_cast<unsigned int *>(p), __float_as_uint(v)));
}

K_DEVICE uint32_t k_atomic_or(uint32_t *p, uint32_t v)
{
    return atomicOr(p, v);
}

K_DEVICE void k_fence()
{
    __threadfence();
}

/* --- tensor cores --- */

K_DEVICE void k_ldmatrix4(uint32_t r[4], const void *s)
{
    uint32_t from = static_cast<uint32_t>(__cvta_generic_to_shared(s));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

K_DEVICE void k_ldmatrix4_trans(uint32_t r[4], const void *s)
{
    uint32_t from = static_cast<uint32_t>(__cvta_generic_to_shared(s));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

K_DEVICE void k_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

K_DEVICE void k_mma_f16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

K_DEVICE void k_mma_s8(int32_t c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* --- numbers --- */

K_DEVICE int32_t k_dp4a(int32_t a, int32_t b, int32_t c)
{
    return __dp4a(a, b, c);
}

K_DEVICE uint32_t k_popc(uint32_t v)
{
    return static_cast<uint32_t>(__popc(v));
}

K_DEVICE uint32_t k_byte_permute(uint32_t a, uint32_t b, uint32_t selector)
{
    return __byte_perm(a, b, selector);
}

K_DEVICE uint32_t k_sub_f16x2(uint32_t a, uint32_t b)
{
    uint32_t difference;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(difference) : "r"(a), "r"(b));
    return difference;
}

K_DEVICE uint32_t k_float_bits(float f)
{
    return __float_as_uint(f);
}

K_DEVICE float k_bits_float(uint32_t bits)
{
    return __uint_as_float(bits);
}

/* max.NaN and min.NaN keep NaN, where fmaxf would lose it. */
K_DEVICE float k_clamp_to_f16(float f)
{
    float clamped;
    asm("{ .reg .f32 low; max.NaN.f32 low, %1, 0fC77FE000; min.NaN.f32 %0, low, 0f477FE000; }"
        : "=f"(clamped)
        : "f"(f));
    return clamped;
}

K_DEVICE float k_f16_to_float(uint16_t bits)
{
    return __half2float(__ushort_as_half(bits));
}

K_DEVICE uint16_t k_float_to_f16(float f)
{
    return __half_as_ushort(__float2half_rn(k_clamp_to_f16(f)));
}

K_DEVICE uint32_t k_pack_f16(float lo, float hi)
{
    __half2 pair = __floats2half2_rn(k_clamp_to_f16(lo), k_clamp_to_f16(hi));
    return *reinterpret_cast<uint32_t *>(&pair);
}

K_DEVICE float k_bf16_to_float(uint16_t bits)
{
    return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

K_DEVICE uint16_t k_float_to_bf16(float f)
{
    return __bfloat16_as_ushort(__float2bfloat16_rn(f));
}

K_DEVICE uint32_t k_pack_bf16(float lo, float hi)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(lo, hi);
    return *reinterpret_cast<uint32_t *>(&pair);
}

K_DEVICE float k_e4m3_to_float(uint8_t bits)
{
    __half_raw half = __nv_cvt_fp8_to_halfraw(bits, __NV_E4M3);
    return __half2float(__half(half));
}

K_DEVICE uint32_t k_e4m3_pair_to_bf16(uint16_t pair)
{
    __half2_raw halves = __nv_cvt_fp8x2_to_halfraw2(pair, __NV_E4M3);
    float2 both = __half22float2(__half2(halves));
    return k_pack_bf16(both.x, both.y);
}

K_DEVICE uint8_t k_float_to_e4m3(float f)
{
    return __nv_cvt_float_to_fp8(f, __NV_SATFINITE, __NV_E4M3);
}

K_DEVICE float k_exp(float x)
{
    return __expf(x);
}

K_DEVICE float k_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

K_DEVICE float k_log(float x)
{
    return __logf(x);
}

K_DEVICE float k_rsqrt(float x)
{
    return rsqrtf(x);
}

K_DEVICE float k_divide(float a, float b)
{
    return __fdividef(a, b);
}

/* --- launches --- */

/* The parameter's own type: arguments are converted to it, not guessed from. */
template <class T> struct k_identity {
    using type = T;
};

template <class... P>
void k_launch(device_stream *stream, const char *name, void (*kernel)(P...), k_grid grid,
              uint32_t threads, uint32_t shared_bytes, typename k_identity<P>::type... arguments)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
    cudaError_t error = cudaSuccess;
    if (shared_bytes > 48 * 1024) /* more than every kernel may have unasked */
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(shared_bytes));
    if (error == cudaSuccess) {
        cudaLaunchAttribute overlap = {};
        overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        overlap.val.programmaticStreamSerializationAllowed = 1;
        cudaLaunchConfig_t config = {};
        config.gridDim = dim3(grid.x, grid.y, grid.z);
        config.blockDim = dim3(threads);
        config.dynamicSmemBytes = shared_bytes;
        config.stream = static_cast<cudaStream_t>(device_stream_handle(stream));
        config.attrs = &overlap;
        config.numAttrs = device_stream_overlaps(stream) ? 1 : 0;
        error = cudaLaunchKernelEx(&config, kernel, arguments...);
    }
    if (error != cudaSuccess)
        device_stream_fail(stream, name, cudaGetErrorString(error));
}

#define K_LAUNCH(stream, kernel, grid, threads, shared_bytes, ...)                                 \
    k_launch((stream), #kernel, kernel, (grid), (threads), (shared_bytes), __VA_ARGS__)

#endif
