#ifndef PENSTOCK_TESTS_SUPPORT_AMX_EMULATOR_H
#define PENSTOCK_TESTS_SUPPORT_AMX_EMULATOR_H

/* Runs AMX instructions on a CPU that has none: each is an invalid opcode there, and the handler of SIGILL decodes it, does
 * what it says to tile registers of its own, and goes on behind it. So the very code that AMX machines run is tested
 * everywhere, encodings and operands included. What the manual calls an invalid use ends the test.
 *
 * Instructions and encodings: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, and volume 1,
 * chapter 18. Only what the kernels use: ldtilecfg, tilerelease, tilezero, tileloadd, tilestored and the products of int8.
 * State is a thread's own. */

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "check.h"

#define EMULATED_TILES 8u

struct emulated_tile {
    uint32_t rows, row_bytes;
    _Alignas(64) uint8_t data[16][64];
};

static _Thread_local struct {
    bool is_configured;
    struct emulated_tile tiles[EMULATED_TILES];
} emulated;

static atomic_ulong emulated_count;

/* A decoded instruction: VEX prefix of three bytes, opcode, ModRM, and for memory SIB and displacement. */
struct decoded {
    uint32_t prefix; /* pp: 0 none, 1 66, 2 F3, 3 F2 */
    uint8_t opcode;
    uint32_t reg, rm, vvvv;
    bool has_memory;
    uint64_t address; /* without the index, which is a stride here */
    uint64_t stride;
    uint32_t length;
};

static uint64_t register_value(const ucontext_t *context, uint32_t number)
{
    static const int numbers[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                    REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                    REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)context->uc_mcontext.gregs[numbers[number]];
}

static void decode_memory(const ucontext_t *context, const uint8_t *at, uint32_t base_high,
                          uint32_t index_high, uint32_t mod, uint32_t low, struct decoded *out)
{
    uint32_t displacement_bytes = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    bool is_relative = false;
    if (low == 4) {
        uint8_t sib = at[out->length++];
        uint32_t index = ((sib >> 3) & 7u) | index_high, base = (sib & 7u) | base_high;
        CHECK(!((sib & 7u) == 5 && mod == 0)); /* no base: not made by any compiler for these */
        out->stride = index == 4 ? 0 : register_value(context, index) << (sib >> 6);
        out->address = register_value(context, base);
    } else if (low == 5 && mod == 0) {
        is_relative = true;
        displacement_bytes = 4;
    } else {
        out->address = register_value(context, low | base_high);
    }
    int8_t near = 0;
    int32_t far = 0;
    if (displacement_bytes == 1)
        memcpy(&near, at + out->length, 1);
    if (displacement_bytes == 4)
        memcpy(&far, at + out->length, 4);
    out->length += displacement_bytes;
    out->address += (uint64_t)(int64_t)(near + far);
    if (is_relative)
        out->address += (uint64_t)(uintptr_t)at + out->length;
}

static bool decode(const ucontext_t *context, const uint8_t *at, struct decoded *out)
{
    if (at[0] != 0xc4 || (at[1] & 31) != 2 || (at[2] & 0x84) != 0) /* map 0F38, W0, 128 bits */
        return false;
    *out = (struct decoded){.prefix = at[2] & 3u, .opcode = at[3], .length = 5};
    uint32_t mod = at[4] >> 6, low = at[4] & 7u;
    uint32_t index_high = (at[1] & 0x40) != 0 ? 0 : 8, base_high = (at[1] & 0x20) != 0 ? 0 : 8;
    out->reg = (at[4] >> 3) & 7u;
    out->rm = low;
    out->vvvv = (uint32_t)(~at[2] >> 3) & 15u;
    out->has_memory = mod != 3;
    if (out->has_memory)
        decode_memory(context, at, base_high, index_high, mod, low, out);
    return true;
}

static void emulate_configure(const uint8_t *config)
{
    CHECK(config[0] == 1 && config[1] == 0); /* palette 1, no start row */
    for (uint32_t i = 2; i < 16; i++)
        CHECK(config[i] == 0);
    memset(&emulated, 0, sizeof(emulated));
    emulated.is_configured = true;
    for (uint32_t t = 0; t < 16; t++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, config + 16 + 2 * t, 2);
        uint8_t rows = config[48 + t];
        CHECK(rows <= 16 && row_bytes <= 64 &&
              (t < EMULATED_TILES || (rows == 0 && row_bytes == 0)));
        CHECK((rows == 0) == (row_bytes == 0));
        if (t < EMULATED_TILES) {
            emulated.tiles[t].rows = rows;
            emulated.tiles[t].row_bytes = row_bytes;
        }
    }
}

static struct emulated_tile *emulated_tile_of(uint32_t number)
{
    CHECK(emulated.is_configured && number < EMULATED_TILES && emulated.tiles[number].rows > 0);
    return &emulated.tiles[number];
}

static int32_t emulated_byte(uint8_t byte, bool is_signed)
{
    return is_signed ? (int8_t)byte : byte;
}

static void emulate_dot(uint32_t sums, uint32_t left, uint32_t right, bool left_signed,
                        bool right_signed)
{
    struct emulated_tile *c = emulated_tile_of(sums);
    const struct emulated_tile *a = emulated_tile_of(left), *b = emulated_tile_of(right);
    CHECK(sums != left && sums != right && left != right);
    CHECK(a->rows == c->rows && b->row_bytes == c->row_bytes && a->row_bytes == 4 * b->rows);
    for (uint32_t m = 0; m < c->rows; m++) {
        for (uint32_t n = 0; n < c->row_bytes / 4; n++) {
            int32_t sum;
            memcpy(&sum, &c->data[m][4 * n], 4);
            for (uint32_t k = 0; k < a->row_bytes; k++)
                sum += emulated_byte(a->data[m][k], left_signed) *
                       emulated_byte(b->data[k / 4][4 * n + k % 4], right_signed);
            memcpy(&c->data[m][4 * n], &sum, 4);
        }
    }
}

static void emulate_move(const struct decoded *in)
{
    struct emulated_tile *tile = emulated_tile_of(in->reg);
    uint8_t *memory = (uint8_t *)(uintptr_t)in->address;
    if (in->prefix != 2)
        memset(tile->data, 0, sizeof(tile->data));
    for (uint32_t r = 0; r < tile->rows; r++, memory += in->stride) {
        if (in->prefix == 2)
            memcpy(memory, tile->data[r], tile->row_bytes);
        else
            memcpy(tile->data[r], memory, tile->row_bytes);
    }
}

static void emulate(const struct decoded *in)
{
    if (in->opcode == 0x49 && in->prefix == 0 && in->has_memory) {
        emulate_configure((const uint8_t *)(uintptr_t)in->address);
    } else if (in->opcode == 0x49 && in->prefix == 0) {
        memset(&emulated, 0, sizeof(emulated));
    } else if (in->opcode == 0x49 && in->prefix == 3 && !in->has_memory) {
        memset(emulated_tile_of(in->reg)->data, 0, 16 * 64);
    } else if (in->opcode == 0x4b && in->prefix != 0 && in->has_memory) {
        emulate_move(in);
    } else {
        CHECK(in->opcode == 0x5e && !in->has_memory);
        emulate_dot(in->reg, in->rm, in->vvvv, in->prefix >= 2, (in->prefix & 1) != 0);
    }
}

static void emulate_signal(int number, siginfo_t *info, void *opaque)
{
    (void)number;
    (void)info;
    ucontext_t *context = opaque;
    const uint8_t *at = (const uint8_t *)(uintptr_t)context->uc_mcontext.gregs[REG_RIP];
    struct decoded in;
    CHECK(decode(context, at, &in)); /* else it is an invalid opcode of somebody else's */
    emulate(&in);
    atomic_fetch_add(&emulated_count, 1);
    context->uc_mcontext.gregs[REG_RIP] += in.length;
}

/* After this, AMX instructions work in all threads of the process. */
static inline void amx_emulator_install(void)
{
    struct sigaction action = {.sa_sigaction = emulate_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    CHECK(sigaction(SIGILL, &action, NULL) == 0);
}

#endif
