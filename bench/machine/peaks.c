#include "peaks.h"

#include "cpu/cpu_tiles.h"
#include "cpu/tile_config.h"

/* Registers by name: left to itself the compiler keeps the sums in memory. */

#define ROUNDS     100000u
#define CHAINS     12u /* latency 4 or 5, two a cycle */
#define TILE_SUMS  4u  /* latency 52, one in 16 cycles */
#define TILE_LOOPS 10000u

#define TWELVE(one)                                                                                \
    one(0) one(1) one(2) one(3) one(4) one(5) one(6) one(7) one(8) one(9) one(10) one(11)
#define CLOBBERED                                                                                  \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

#define DOT_AVX512(i)   "vpdpbusd %%zmm31, %%zmm30, %%zmm" #i "\n"
#define DOT_AVX_VNNI(i) "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #i "\n"
/* Without a dot product of its own, AVX2 multiplies to 16-bit pairs and adds those. */
#define DOT_AVX2(i)                                                                                \
    "vpmaddubsw %%ymm15, %%ymm14, %%ymm13\nvpaddw %%ymm13, %%ymm" #i ", %%ymm" #i "\n"
#define FMA_AVX512(i) "vfmadd231ps %%zmm31, %%zmm30, %%zmm" #i "\n"
#define FMA_AVX2(i)   "vfmadd231ps %%ymm15, %%ymm14, %%ymm" #i "\n"

/* Zeroes in every register: a denormal that somebody left would cost each multiply-add an assist. */
#define ZERO_ALL    "vzeroall\n"
#define ZERO_AVX512 "vzeroall\nvpxord %%zmm30, %%zmm30, %%zmm30\nvpxord %%zmm31, %%zmm31, %%zmm31\n"

#define PEAK(name, isa, zero, instruction, ...)                                                    \
    __attribute__((target(isa))) static void name(void *context, uint32_t index)                   \
    {                                                                                              \
        (void)context;                                                                             \
        (void)index;                                                                               \
        uint32_t rounds = ROUNDS;                                                                  \
        __asm__ volatile(zero "1:\n" TWELVE(instruction) "decl %0\njnz 1b\n"                       \
                         : "+r"(rounds)::"cc", CLOBBERED, ##__VA_ARGS__);                          \
    }

PEAK(dot_avx512, "avx512f,avx512vnni", ZERO_AVX512, DOT_AVX512, "xmm30", "xmm31")
PEAK(dot_avx_vnni, "avx2,avxvnni", ZERO_ALL, DOT_AVX_VNNI)
PEAK(dot_avx2, "avx2", ZERO_ALL, DOT_AVX2)
PEAK(fma_avx512, "avx512f", ZERO_AVX512, FMA_AVX512, "xmm30", "xmm31")
PEAK(fma_avx2, "avx2,fma", ZERO_ALL, FMA_AVX2)

/* Multiply-adds of one round of an instruction with `lanes` products a vector, as operations of one call. */
static double ops_of(uint32_t lanes)
{
    return 2.0 * lanes * CHAINS * ROUNDS;
}

struct peak peak_int8(enum backend_path path)
{
    switch (path) {
    case BACKEND_AVX2:
        return (struct peak){dot_avx2, ops_of(32)};
    case BACKEND_AVX_VNNI:
        return (struct peak){dot_avx_vnni, ops_of(32)};
    case BACKEND_AVX512_VNNI:
        return (struct peak){dot_avx512, ops_of(64)};
    case BACKEND_AMX:
        return peak_amx();
    case BACKEND_AUTO:
    case BACKEND_CPU:
    case BACKEND_REFERENCE:
    case BACKEND_CUDA:
    case BACKEND_CUDA_EMULATED:
        break;
    }
    return (struct peak){NULL, 0};
}

struct peak peak_float(enum backend_path path)
{
    switch (path) {
    case BACKEND_AVX2:
    case BACKEND_AVX_VNNI:
        return (struct peak){fma_avx2, ops_of(8)};
    case BACKEND_AVX512_VNNI:
    case BACKEND_AMX:
        return (struct peak){fma_avx512, ops_of(16)};
    case BACKEND_AUTO:
    case BACKEND_CPU:
    case BACKEND_REFERENCE:
    case BACKEND_CUDA:
    case BACKEND_CUDA_EMULATED:
        break;
    }
    return (struct peak){NULL, 0};
}

/* --- AMX --- */

static void dot_amx(void *context, uint32_t index)
{
    (void)context;
    (void)index;
    struct tile_config config = {.palette = 1};
    for (uint32_t i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    tile_config_load(&config);
    for (uint32_t i = 0; i < TILE_LOOPS; i++)
        __asm__ volatile("tdpbusd %%tmm4, %%tmm5, %%tmm0\n"
                         "tdpbusd %%tmm4, %%tmm5, %%tmm1\n"
                         "tdpbusd %%tmm4, %%tmm5, %%tmm2\n"
                         "tdpbusd %%tmm4, %%tmm5, %%tmm3\n" ::);
    tile_config_release();
}

struct peak peak_amx(void)
{
    if (!cpu_tiles_request())
        return (struct peak){NULL, 0};
    /* A tile product is 16 rows of 16 sums of 64 bytes. */
    return (struct peak){dot_amx, 2.0 * 16 * 16 * 64 * TILE_SUMS * TILE_LOOPS};
}
