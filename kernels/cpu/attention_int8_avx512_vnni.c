#define KERNEL(name) name##_avx512_vnni
#include "attention_int8_kernels.h"
