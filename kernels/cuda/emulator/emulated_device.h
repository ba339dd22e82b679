#ifndef PENSTOCK_KERNELS_CUDA_EMULATOR_EMULATED_DEVICE_H
#define PENSTOCK_KERNELS_CUDA_EMULATOR_EMULATED_DEVICE_H

/* The words of device.h on the host. */

#include "number_formats.h"
#include "shared_pointer.h"

#define K_KERNEL                         static
#define K_KERNEL_BOUNDS(threads, blocks) static
#define K_DEVICE                         static inline
#define K_CONSTANT                       static const
#define K_ARGUMENT                       const
#define K_UNROLL
#define K_ROLLED
#define K_SHARED(T, name, count)                                                                   \
    static const char name##_key = 0;                                                              \
    k_sptr<T> name = emulated_shared<T>(&name##_key, (count))

static inline uint32_t k_thread()
{
    return emulated_current->index;
}
static inline uint32_t k_threads()
{
    return emulated_current_launch.threads;
}
static inline uint32_t k_block_x()
{
    return emulated_current->block->x;
}
static inline uint32_t k_block_y()
{
    return emulated_current->block->y;
}
static inline uint32_t k_block_z()
{
    return emulated_current->block->z;
}
static inline uint32_t k_grid_x()
{
    return emulated_current_launch.grid_x;
}
static inline uint32_t k_grid_y()
{
    return emulated_current_launch.grid_y;
}
static inline uint32_t k_grid_z()
{
    return emulated_current_launch.grid_z;
}
static inline uint32_t k_lane()
{
    return emulated_current->lane;
}
static inline uint32_t k_warp()
{
    return emulated_current->index / EMULATED_WARP;
}

static inline void k_wait_previous()
{
    emulated_current->block->waited_previous = true;
}

static inline void k_release_next()
{
}

/* --- shared memory --- */

template <class T> static inline k_sptr<T> k_dynamic_shared()
{
    return k_sptr<T>(reinterpret_cast<T *>(emulated_current->block->shared), 0,
                     emulated_current_launch.shared_bytes);
}

template <class T> static inline k_u4 k_sload16(k_sptr<T> p)
{
    return k_sptr_cast<k_u4>(p)[0];
}

template <class T> static inline void k_sstore16(k_sptr<T> p, k_u4 v)
{
    k_sptr_cast<k_u4>(p)[0] = v;
}

/* --- threads together: a default argument is the line of the call --- */

static inline void k_sync(uint32_t line = __builtin_LINE())
{
    emulated_barrier(line);
}

static inline void k_sync_warp(uint32_t line = __builtin_LINE())
{
    emulated_warp_round(WARP_SYNC, line, nullptr, 0);
}

template <class T> static inline T emulated_from_lane(T v, uint32_t lane, uint32_t line)
{
    uint32_t words[sizeof(T) / 4];
    memcpy(words, &v, sizeof(T));
    const struct warp_round *round = emulated_warp_round(WARP_EXCHANGE, line, words, sizeof(T) / 4);
    if (lane < EMULATED_WARP)
        memcpy(&v, round->words[lane], sizeof(T));
    return v;
}

/* One overload a type, so that what is read from shared memory converts. */
#define EMULATED_SHUFFLES(T)                                                                       \
    static inline T k_shfl_xor(T v, uint32_t mask, uint32_t line = __builtin_LINE())               \
    {                                                                                              \
        return emulated_from_lane<T>(v, k_lane() ^ mask, line);                                    \
    }                                                                                              \
    static inline T k_shfl(T v, uint32_t lane, uint32_t line = __builtin_LINE())                   \
    {                                                                                              \
        return emulated_from_lane<T>(v, lane % EMULATED_WARP, line);                               \
    }                                                                                              \
    static inline T k_shfl_down(T v, uint32_t n, uint32_t line = __builtin_LINE())                 \
    {                                                                                              \
        return emulated_from_lane<T>(v, k_lane() + n, line);                                       \
    }                                                                                              \
    static inline T k_shfl_up(T v, uint32_t n, uint32_t line = __builtin_LINE())                   \
    {                                                                                              \
        return emulated_from_lane<T>(v, n > k_lane() ? UINT32_MAX : k_lane() - n, line);           \
    }                                                                                              \
    static inline T k_warp_max(T v, uint32_t line = __builtin_LINE())                              \
    {                                                                                              \
        uint32_t words[sizeof(T) / 4];                                                             \
        memcpy(words, &v, sizeof(T));                                                              \
        const struct warp_round *round =                                                           \
            emulated_warp_round(WARP_GATHER, line, words, sizeof(T) / 4);                          \
        for (uint32_t i = 0; i < EMULATED_WARP; i++) {                                             \
            T other;                                                                               \
            memcpy(&other, round->words[i], sizeof(T));                                            \
            v = other > v ? other : v;                                                             \
        }                                                                                          \
        return v;                                                                                  \
    }
EMULATED_SHUFFLES(float)
EMULATED_SHUFFLES(double)
EMULATED_SHUFFLES(int32_t)
EMULATED_SHUFFLES(uint32_t)
EMULATED_SHUFFLES(uint64_t)
#undef EMULATED_SHUFFLES

static inline uint32_t k_ballot(bool b, uint32_t line = __builtin_LINE())
{
    uint32_t word = b, votes = 0;
    const struct warp_round *round = emulated_warp_round(WARP_VOTE, line, &word, 1);
    for (uint32_t lane = 0; lane < EMULATED_WARP; lane++)
        votes |= round->words[lane][0] << lane;
    return votes;
}

static inline bool k_any(bool b, uint32_t line = __builtin_LINE())
{
    return k_ballot(b, line) != 0;
}

static inline bool k_all(bool b, uint32_t line = __builtin_LINE())
{
    return k_ballot(b, line) == UINT32_MAX;
}

static inline float k_warp_sum(float v, uint32_t line = __builtin_LINE())
{
    uint32_t word = k_float_bits(v);
    return k_bits_float(emulated_warp_round(WARP_SUM_FLOAT, line, &word, 1)->words[k_lane()][0]);
}

static inline double k_warp_sum(double v, uint32_t line = __builtin_LINE())
{
    uint32_t words[2];
    memcpy(words, &v, sizeof(v));
    memcpy(&v, emulated_warp_round(WARP_SUM_DOUBLE, line, words, 2)->words[k_lane()], sizeof(v));
    return v;
}

static inline uint32_t k_warp_sum(uint32_t v, uint32_t line = __builtin_LINE())
{
    const struct warp_round *round = emulated_warp_round(WARP_GATHER, line, &v, 1);
    uint32_t sum = 0;
    for (uint32_t lane = 0; lane < EMULATED_WARP; lane++)
        sum += round->words[lane][0];
    return sum;
}

static inline int32_t k_warp_sum(int32_t v, uint32_t line = __builtin_LINE())
{
    return static_cast<int32_t>(k_warp_sum(static_cast<uint32_t>(v), line));
}

/* --- global memory --- */

static inline k_u4 k_load16(const void *p)
{
    emulated_check_alignment(p, "k_load16");
    k_u4 v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline k_u4 k_load16_stream(const void *p)
{
    emulated_check_alignment(p, "k_load16_stream");
    k_u4 v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void k_store16(void *p, k_u4 v)
{
    emulated_check_alignment(p, "k_store16");
    memcpy(p, &v, sizeof(v));
}

template <class T> static inline void k_copy_async16(k_sptr<T> s, const void *g)
{
    emulated_copy_async(s.p, s.begin, s.end, g, true);
}

template <class T> static inline void k_copy_async16_if(k_sptr<T> s, const void *g, bool is_wanted)
{
    emulated_copy_async(s.p, s.begin, s.end, g, is_wanted);
}

static inline void k_copy_commit()
{
    emulated_copy_commit();
}

template <int N> static inline void k_copy_wait()
{
    emulated_copy_wait(N);
}

static inline void k_fence()
{
    emulated_order_point();
}

/* Threads change only where they wait, so that nothing else is needed to make these whole. */
#define EMULATED_ATOMICS(T)                                                                        \
    static inline T k_atomic_add(T *p, T v)                                                        \
    {                                                                                              \
        emulated_order_point();                                                                    \
        T before = *p;                                                                             \
        *p = before + v;                                                                           \
        return before;                                                                             \
    }                                                                                              \
    static inline T k_atomic_max(T *p, T v)                                                        \
    {                                                                                              \
        emulated_order_point();                                                                    \
        T before = *p;                                                                             \
        *p = v > before ? v : before;                                                              \
        return before;                                                                             \
    }                                                                                              \
    static inline T k_atomic_add(k_sptr<T> s, T v)                                                 \
    {                                                                                              \
        T *p = static_cast<T *>(                                                                   \
            emulated_shared_touch(s.p, s.begin, s.end, sizeof(T), sizeof(T), SHARED_ATOMIC));      \
        T before = *p;                                                                             \
        *p = before + v;                                                                           \
        return before;                                                                             \
    }                                                                                              \
    static inline T k_atomic_max(k_sptr<T> s, T v)                                                 \
    {                                                                                              \
        T *p = static_cast<T *>(                                                                   \
            emulated_shared_touch(s.p, s.begin, s.end, sizeof(T), sizeof(T), SHARED_ATOMIC));      \
        T before = *p;                                                                             \
        *p = v > before ? v : before;                                                              \
        return before;                                                                             \
    }
EMULATED_ATOMICS(float)
EMULATED_ATOMICS(int32_t)
EMULATED_ATOMICS(uint32_t)
EMULATED_ATOMICS(uint64_t)
#undef EMULATED_ATOMICS

static inline uint32_t k_atomic_or(uint32_t *p, uint32_t v)
{
    emulated_order_point();
    uint32_t before = *p;
    *p = before | v;
    return before;
}

static inline uint32_t k_atomic_or(k_sptr<uint32_t> s, uint32_t v)
{
    uint32_t *p = static_cast<uint32_t *>(emulated_shared_touch(
        s.p, s.begin, s.end, sizeof(uint32_t), sizeof(uint32_t), SHARED_ATOMIC));
    uint32_t before = *p;
    *p = before | v;
    return before;
}

/* --- tensor cores --- */

void emulated_ldmatrix4(uint32_t r[4], const void *row, uint32_t begin, uint32_t end,
                        bool is_transposed, uint32_t line);
void emulated_mma_float(float c[4], const uint32_t a[4], const uint32_t b[2],
                        enum warp_operation operation, uint32_t line);
void emulated_mma_int(int32_t c[4], const uint32_t a[4], const uint32_t b[2], uint32_t line);

template <class T>
static inline void k_ldmatrix4(uint32_t r[4], k_sptr<T> s, uint32_t line = __builtin_LINE())
{
    emulated_ldmatrix4(r, s.p, s.begin, s.end, false, line);
}

template <class T>
static inline void k_ldmatrix4_trans(uint32_t r[4], k_sptr<T> s, uint32_t line = __builtin_LINE())
{
    emulated_ldmatrix4(r, s.p, s.begin, s.end, true, line);
}

static inline void k_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2],
                              uint32_t line = __builtin_LINE())
{
    emulated_mma_float(c, a, b, WARP_MMA_BF16, line);
}

static inline void k_mma_f16(float c[4], const uint32_t a[4], const uint32_t b[2],
                             uint32_t line = __builtin_LINE())
{
    emulated_mma_float(c, a, b, WARP_MMA_F16, line);
}

static inline void k_mma_s8(int32_t c[4], const uint32_t a[4], const uint32_t b[2],
                            uint32_t line = __builtin_LINE())
{
    emulated_mma_int(c, a, b, line);
}

/* --- numbers --- */

static inline int32_t k_dp4a(int32_t a, int32_t b, int32_t c)
{
    for (int i = 0; i < 32; i += 8)
        c += static_cast<int8_t>(static_cast<uint32_t>(a) >> i) *
             static_cast<int8_t>(static_cast<uint32_t>(b) >> i);
    return c;
}

static inline uint32_t k_popc(uint32_t v)
{
    return static_cast<uint32_t>(__builtin_popcount(v));
}

static inline uint32_t k_byte_permute(uint32_t a, uint32_t b, uint32_t selector)
{
    uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
    uint32_t out = 0;
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t pick = selector >> 4 * i & 0xf;
        uint32_t byte = static_cast<uint32_t>(bytes >> 8 * (pick & 7)) & 0xff;
        if (pick & 8) /* its sign, eight times */
            byte = byte & 0x80 ? 0xff : 0;
        out |= byte << 8 * i;
    }
    return out;
}

static inline uint32_t k_sub_f16x2(uint32_t a, uint32_t b)
{
    uint32_t out = 0;
    for (uint32_t shift = 0; shift < 32; shift += 16) {
        float difference = k_f16_to_float(static_cast<uint16_t>(a >> shift)) -
                           k_f16_to_float(static_cast<uint16_t>(b >> shift));
        uint32_t bits = k_float_to_f16(difference);
        if (fabsf(difference) >= 65520.0f) /* rounds to infinity */
            bits = (bits & 0x8000u) | 0x7c00u;
        out |= bits << shift;
    }
    return out;
}

static inline float k_exp(float x)
{
    return expf(x);
}

static inline float k_exp2(float x)
{
    return exp2f(x);
}

static inline float k_log(float x)
{
    return logf(x);
}

static inline float k_rsqrt(float x)
{
    return 1.0f / sqrtf(x);
}

static inline float k_divide(float a, float b)
{
    return a / b;
}

/* --- launches --- */

template <class T> struct k_identity {
    using type = T;
};

template <class... P>
void k_launch(device_stream *stream, const char *name, void (*kernel)(P...), k_grid grid,
              uint32_t threads, uint32_t shared_bytes, typename k_identity<P>::type... arguments)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
    auto body = [=] { kernel(arguments...); };
    static_assert((!std::is_reference_v<P> && ...), "a kernel's parameters are values");
    static_assert(std::is_trivially_copyable_v<decltype(body)>,
                  "a kernel's parameters are plain values");
    static_assert(sizeof(body) <= EMULATED_ARGUMENTS_BYTES_MAX && alignof(decltype(body)) <= 16,
                  "too many parameters");
    struct emulated_launch launch = {};
    launch.kernel = name;
    launch.grid_x = grid.x;
    launch.grid_y = grid.y;
    launch.grid_z = grid.z;
    launch.threads = threads;
    launch.shared_bytes = shared_bytes;
    launch.arguments = &body;
    launch.arguments_bytes = sizeof(body);
    launch.body = [](const void *of) { (*static_cast<const decltype(body) *>(of))(); };
    if (stream == nullptr)
        emulated_launch_run(&launch);
    else
        device_stream_launch(stream, &launch);
}

#define K_LAUNCH(stream, kernel, grid, threads, shared_bytes, ...)                                 \
    k_launch((stream), #kernel, kernel, (grid), (threads), (shared_bytes), __VA_ARGS__)

#endif
