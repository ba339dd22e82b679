#define KERNEL(name) name##_avx2
#define FLOAT_ROWS   3
#include "float_gemm_kernels.h"
