#define KERNEL(name) name##_avx2
#include "encoder_kernels.h"
