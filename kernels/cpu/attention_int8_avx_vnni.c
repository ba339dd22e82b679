#define KERNEL(name) name##_avx_vnni
#include "attention_int8_kernels.h"
