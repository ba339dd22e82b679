#define KERNEL(name)  name##_avx512
#define PANELS        4u
#define PANEL_QUERIES 6u
#include "attention_kernels.h"
