#ifndef PENSTOCK_KERNELS_CPU_TILE_CONFIG_H
#define PENSTOCK_KERNELS_CPU_TILE_CONFIG_H

#include <stdint.h>

/* The operand of ldtilecfg: rows and bytes a row of each of the eight tile registers (Intel 64 and IA-32 Architectures
 * Software Developer's Manual, volume 1, chapter 18). Instructions are assembly instead of intrinsics: those of gcc 12
 * do not say which memory they read and write, and stores move behind them. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "ldtilecfg reads 64 bytes");

/* cpu_tiles_request has been granted. */
static inline void tile_config_load(const struct tile_config *config)
{
    __asm__ volatile("ldtilecfg %0" ::"m"(*config));
}

static inline void tile_config_release(void)
{
    __asm__ volatile("tilerelease");
}

#endif
