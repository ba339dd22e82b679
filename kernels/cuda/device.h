#ifndef PENSTOCK_KERNELS_CUDA_DEVICE_H
#define PENSTOCK_KERNELS_CUDA_DEVICE_H

/* The one header that a .cu includes: the words kernels are written in. Two compilers read the same source: nvcc, for which
 * each word is an intrinsic or an instruction (device_nvcc.h), and a C++17 compiler for the host, for which each is a
 * function of the emulator (emulator/emulated_device.h), which runs the kernel and looks for what is wrong with it. Kernels
 * use these words and plain C++ only.
 *
 * Kernels
 *   K_KERNEL void f(...)                          parameters by value, trivially copyable; blocks are one-dimensional
 *   K_KERNEL_BOUNDS(threads, blocks) void f(...)  at most that many threads a block; so many blocks a multiprocessor fit
 *   K_DEVICE                                      before an inline function of kernels
 *   K_CONSTANT                                    before the definition of a constant table that kernels read
 *   K_ARGUMENT                                    before a kernel's parameter: a large one, read where it lies
 *   K_UNROLL                                      before a loop: unrolled as a whole
 *   K_ROLLED                                      before a loop: not unrolled at all
 *   K_LAUNCH(stream, kernel, k_grid(x, y, z), threads, dynamic_shared_bytes, arguments...)
 *       queues it; an error becomes the stream's sticky status. A grid with a zero in it queues nothing. Template
 *       instances in parentheses: (kernel<64, 4>). Host emulation: stream NULL runs it at once.
 *   k_wait_previous()   Every thread calls it before its first read or write of memory that another kernel may write or
 *                       read (weights are written by none: they may be read before). Each block calls it.
 *   k_release_next()    the next kernel of the stream may begin now (and waits, by the above, for the end of this one)
 *
 * Where a thread is (all uint32_t)
 *   k_thread() k_threads() k_block_x() k_block_y() k_block_z() k_grid_x() k_grid_y() k_grid_z() k_lane() k_warp()
 *
 * Shared memory
 *   K_SHARED(T, name, count);     an array of the block, 16-byte aligned; name is a k_sptr<T>
 *   k_dynamic_shared<T>()         the launch's dynamic shared memory, 16-byte aligned
 *   k_sptr<T>                     T * under nvcc; on the host a pointer that checks each access. [i], *, +, -, ++, +=, ==.
 *                                 Declare what is read from it (float x = p[i]): never auto, and no member access
 *                                 (copy a struct whole).
 *   k_sptr_cast<U>(p)             the same bytes as U
 *   k_sload16(p) k_sstore16(p, v) 16 bytes at a 16-byte boundary, as k_u4
 *
 * Threads together. All threads of the block, or of the warp, call the same one at the same place; whole warps only.
 *   k_sync()        barrier of the block          k_sync_warp()   barrier of the warp: both order memory
 *   k_shfl_xor(v, mask) k_shfl(v, lane) k_shfl_down(v, n) k_shfl_up(v, n)     float, double, int32_t, uint32_t, uint64_t; beyond the
 *                   warp: own v
 *   k_ballot(b) k_any(b) k_all(b)         k_warp_sum(v) k_warp_max(v): every lane gets it; sums by xor 16, 8, 4, 2, 1
 *
 * Global memory
 *   k_u4 k_u2                     structs of four uint32_t (x, y, z, w) and of two, aligned as a whole
 *   k_load16(p) k_store16(p, v)   16 bytes at a 16-byte boundary
 *   k_load16_stream(p)            the same for what is read once: not kept in L1. Not for memory that this kernel writes.
 *   k_copy_async16(s, g)          16 bytes from global g to shared s, later: after k_copy_commit() closed the thread's group
 *   k_copy_async16_if(s, g, b)    and k_copy_wait<N>() found all but its newest N groups done (then k_sync() for others).
 *   k_copy_commit()               b false: sixteen zeros, and g is not read. All copies are waited for before a thread ends.
 *   k_copy_wait<N>()
 *   k_atomic_add(p, v) k_atomic_max(p, v)     uint32_t, uint64_t, int32_t, float; global, or a k_sptr; they return what was
 *                               there
 *   k_atomic_or(p, v)             uint32_t, the same
 *   k_fence()                     what was written before is seen by other blocks before what is written after
 *
 * Tensor cores (PTX fragments; whole warps; g = lane / 4, t = lane % 4)
 *   k_ldmatrix4(uint32_t r[4], s) k_ldmatrix4_trans(r, s)     lane l gives the address of row l % 8 of matrix l / 8
 *   k_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])      m16n8k16, c += a b
 *   k_mma_f16(...)                                                       the same with f16 factors, sums in f32
 *   k_mma_s8(int32_t c[4], a, b)                                         m16n8k32
 *       c[r]: row g + 8 (r / 2), column 2 t + r % 2. a[r]: row g + 8 (r % 2), columns from 2 t + 8 (r / 2) (s8: 4 t +
 *       16 (r / 2)); b[r]: column g, rows from 2 t + 8 r (s8: 4 t + 16 r); the lowest bits hold the first.
 *
 * Numbers
 *   k_dp4a(a, b, c)               c + the sum of four products of signed bytes
 *   k_popc(u32)                   bits that are set
 *   k_byte_permute(a, b, selector)     byte i: of the eight of a and b the one that nibble i of the selector tells (with 8: its sign)
 *   k_sub_f16x2(a, b)             a - b of two f16 each, to nearest even
 *   k_f16_to_float(u16) k_float_to_f16(f) k_pack_f16(lo, hi)     nearest even, beyond the largest: the largest; NaN stays
 *   k_bf16_to_float(u16) k_float_to_bf16(f) k_pack_bf16(lo, hi)  nearest even
 *   k_e4m3_to_float(u8) k_float_to_e4m3(f)                       as f16
 *   k_e4m3_pair_to_bf16(u16)                                     two E4M3 as a pair of bf16, which hold them exactly
 *   k_float_bits(f) k_bits_float(u)                              the same 32 bits
 *   k_exp(x) k_exp2(x) k_log(x) k_rsqrt(x) k_divide(a, b)        fast: some 2 units in the last place, tiny results may be zero
 *   double functions, fmaf, fminf, fmaxf, fabsf, floorf, rintf, sqrtf, tanhf, erff as in <math.h> */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "device_runtime.h"

struct alignas(16) k_u4 {
    uint32_t x, y, z, w;
};

struct alignas(8) k_u2 {
    uint32_t x, y;
};

/* The extents of a launch, in blocks. */
struct k_grid {
    uint32_t x, y, z;
    explicit k_grid(uint32_t x_blocks, uint32_t y_blocks = 1, uint32_t z_blocks = 1)
        : x(x_blocks), y(y_blocks), z(z_blocks)
    {
    }
};

#ifdef __CUDACC__
#include "device_nvcc.h"
#else
#include "emulated_device.h"
#endif

#endif
