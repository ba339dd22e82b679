#define KERNEL(name) name##_avx512
#include "encoder_kernels.h"
