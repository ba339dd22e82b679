#define KERNEL(name) name##_avx_vnni
#include "gemm_ymm_kernels.h"
