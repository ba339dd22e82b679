#ifndef PENSTOCK_KERNELS_CPU_UNROLL_H
#define PENSTOCK_KERNELS_CPU_UNROLL_H

/* For kernels whose formats and counts are constants once inlined: functions that are inlined always, and loops that
 * are unrolled whole. */
#define INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#endif
