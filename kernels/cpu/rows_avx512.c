#define KERNEL(name) name##_avx512
#include "row_kernels.h"
