#define KERNEL(name) name##_avx2
#include "row_kernels.h"
