#define KERNEL(name) name##_avx2
#include "attention_int8_kernels.h"
