#define KERNEL(name) name##_avx512
#define FLOAT_ROWS   8
#include "float_gemm_kernels.h"
