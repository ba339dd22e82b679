#define KERNEL(name) name##_avx2
#include "gemm_ymm_kernels.h"
