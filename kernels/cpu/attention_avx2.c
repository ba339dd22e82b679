#define KERNEL(name)  name##_avx2
#define PANELS        1u
#define PANEL_QUERIES 6u
#include "attention_kernels.h"
