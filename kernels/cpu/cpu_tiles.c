#include "cpu_tiles.h"

#include <cpuid.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "memory.h"

bool cpu_tiles_request(void)
{
    enum { ARCH_REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    unsigned eax, ebx, ecx, edx;
    bool has_tiles = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
                     (edx & (1u << 24)) != 0 && (edx & (1u << 25)) != 0; /* AMX-TILE, AMX-INT8 */
    return has_tiles && syscall(SYS_arch_prctl, ARCH_REQUEST_PERMISSION, TILE_DATA) == 0;
}

/* A weight that stays in the L2 cache: what is compared is the work, not the memory. */
#define PROBE_GROUPS 16u
#define PROBE_BLOCKS 16u
#define PROBE_ROUNDS 8u

struct probe {
    struct segment segment;
    struct activation activation;
    float tile[TILE_FLOATS];
};

static uint64_t fastest_ns(gemm_function *gemm, struct probe *probe, uint32_t n_rows)
{
    uint64_t best_ns = UINT64_MAX;
    for (uint32_t round = 0; round < PROBE_ROUNDS; round++) {
        uint64_t start_ns = clock_now_ns();
        for (uint32_t g = 0; g < PROBE_GROUPS; g++)
            gemm(&probe->segment, g, 1, &probe->activation, 0, n_rows, probe->tile, GROUP_OUTPUTS);
        uint64_t ns = clock_now_ns() - start_ns;
        best_ns = ns < best_ns ? ns : best_ns;
    }
    return best_ns;
}

/* Zero codes and scales take as long as any others. */
static bool probe_open(struct probe *probe)
{
    size_t group_bytes = segment_group_bytes(FORMAT_S4, PROBE_BLOCKS * BLOCK_COLS);
    size_t bytes = PROBE_GROUPS * group_bytes + 64;
    probe->segment = (struct segment){
        .format = FORMAT_S4,
        .n_outputs = PROBE_GROUPS * GROUP_OUTPUTS,
        .n_groups = PROBE_GROUPS,
        .n_cols = PROBE_BLOCKS * BLOCK_COLS,
        .group_bytes = group_bytes,
        .data = memory_allocate_aligned(64, bytes),
    };
    size_t tile_bytes = PROBE_BLOCKS * sizeof(struct row_tile);
    probe->activation = (struct activation){
        .n_cols = PROBE_BLOCKS * BLOCK_COLS,
        .n_blocks = PROBE_BLOCKS,
        .span_blocks = SPAN_BLOCKS,
        .rows_max = TILE_ROWS,
        .tiles = memory_allocate_aligned(64, tile_bytes),
    };
    if (probe->segment.data == NULL || probe->activation.tiles == NULL)
        return false;
    memset(probe->segment.data, 0, bytes);
    memset(probe->activation.tiles, 0, tile_bytes);
    return true;
}

uint32_t cpu_tiles_rows_min(const struct cpu_kernels *kernels)
{
    if (kernels->gemm_tiles == NULL)
        return UINT32_MAX;
    struct probe probe;
    uint32_t rows_min = UINT32_MAX;
    if (probe_open(&probe)) {
        for (uint32_t n_rows = TILE_ROWS; n_rows > 0; n_rows--) {
            if (fastest_ns(kernels->gemm_tiles, &probe, n_rows) >=
                fastest_ns(kernels->gemm_codes, &probe, n_rows))
                break;
            rows_min = n_rows;
        }
    }
    memory_release(probe.segment.data);
    memory_release(probe.activation.tiles);
    return rows_min;
}
