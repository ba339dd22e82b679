/* What kernels' words do: results are right in any order of threads, orders do differ, a report ends the process and says
 * where. Mistakes that are found: planted_bugs_test.cpp. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <string>
#include <thread>

extern "C" {
#include <cmocka.h>
}

#include "device.h"

static const uint64_t seeds = 8;

template <uint32_t FACTOR>
K_KERNEL_BOUNDS(128, 4)
void block_sum(const float *x, float *y, uint32_t n)
{
    K_SHARED(float, parts, 4);
    k_wait_previous();
    float sum = 0;
    for (uint32_t i = k_thread(); i < n; i += k_threads())
        sum += x[k_block_x() * n + i] * FACTOR;
    sum = k_warp_sum(sum);
    if (k_lane() == 0)
        parts[k_warp()] = sum;
    k_sync();
    if (k_thread() == 0)
        y[k_block_x()] = parts[0] + parts[1] + parts[2] + parts[3];
}

static void a_sum_over_a_block_is_right_in_every_order(void **)
{
    const uint32_t n = 257, rows = 37;
    std::vector<float> x(n * rows), y(rows);
    for (uint32_t i = 0; i < n * rows; i++)
        x[i] = static_cast<float>(i % 13);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        emulator_seed_set(seed);
        K_LAUNCH(nullptr, (block_sum<3>), k_grid(rows), 128, 0, x.data(), y.data(), n);
        for (uint32_t row = 0; row < rows; row++) {
            float sum = 0;
            for (uint32_t i = 0; i < n; i++)
                sum += 3 * x[row * n + i];
            assert_float_equal(y[row], sum, 0);
        }
    }
}

static void a_launch_on_a_stream_is_queued_there_and_an_empty_grid_nowhere(void **)
{
    struct error_note note;
    device *d;
    device_stream *stream;
    assert_int_equal(device_open(0, &d, &note), STATUS_OK);
    assert_int_equal(device_stream_create(d, &stream), STATUS_OK);
    const float x[2] = {1, 2};
    float y[2] = {};
    float *x_device = static_cast<float *>(device_allocate(d, sizeof(x)));
    float *y_device = static_cast<float *>(device_allocate(d, sizeof(y)));
    device_copy_to_device(stream, x_device, x, sizeof(x));
    device_fill(stream, y_device, 0, sizeof(y));
    K_LAUNCH(stream, (block_sum<1>), k_grid(1), 128, 0, x_device, y_device, 2);
    K_LAUNCH(stream, (block_sum<1>), k_grid(1, 0), 128, 0, nullptr, nullptr, 2);
    device_copy_to_host(stream, y, y_device, sizeof(y));
    assert_int_equal(device_stream_synchronize(stream), STATUS_OK);
    assert_float_equal(y[0], 3, 0);
    device_release(d, x_device);
    device_release(d, y_device);
    device_stream_destroy(stream);
    device_close(d);
}

/* --- operations of the warp --- */

K_KERNEL void shuffles(uint32_t *out)
{
    k_wait_previous();
    uint32_t *mine = out + 8 * k_thread();
    mine[0] = k_shfl_xor(k_thread(), 5);
    mine[1] = k_shfl(k_thread(), 35);
    mine[2] = k_shfl_down(k_thread(), 3);
    mine[3] = k_shfl_up(k_thread(), 3);
    mine[4] = k_ballot(k_lane() % 3 == 0);
    mine[5] =
        (k_any(k_lane() == 31) ? 1 : 0) + (k_all(k_lane() < 31) ? 2 : 0) + (k_all(true) ? 4 : 0);
    mine[6] = static_cast<uint32_t>(k_warp_sum(-static_cast<int32_t>(k_lane())));
    mine[7] =
        static_cast<uint32_t>(k_warp_max(static_cast<double>(k_lane() ^ 7)) + k_shfl(0.5, 1) * 2);
}

static void shuffles_and_votes_take_what_cuda_says(void **)
{
    uint32_t out[64 * 8];
    K_LAUNCH(nullptr, shuffles, k_grid(1), 64, 0, out);
    for (uint32_t i = 0; i < 64; i++) {
        const uint32_t *mine = out + 8 * i;
        assert_int_equal(mine[0], i ^ 5);
        assert_int_equal(mine[1], i / 32 * 32 + 3);
        assert_int_equal(mine[2], i % 32 + 3 < 32 ? i + 3 : i);
        assert_int_equal(mine[3], i % 32 >= 3 ? i - 3 : i);
        assert_int_equal(mine[4], 0x49249249u);
        assert_int_equal(mine[5], 5);
        assert_int_equal(static_cast<int32_t>(mine[6]), -496);
        assert_int_equal(mine[7], 32);
    }
}

K_KERNEL void sums(const float *x, float *butterfly, float *at_once)
{
    k_wait_previous();
    float v = x[k_lane()];
    for (uint32_t mask = 16; mask > 0; mask /= 2)
        v += k_shfl_xor(v, mask);
    butterfly[k_lane()] = v;
    at_once[k_lane()] = k_warp_sum(x[k_lane()]);
}

static void a_warps_sum_is_that_of_the_butterfly_to_the_last_bit(void **)
{
    float x[32], butterfly[32], at_once[32];
    for (uint32_t i = 0; i < 32; i++)
        x[i] = 1.0f / static_cast<float>(3 + i * i);
    K_LAUNCH(nullptr, sums, k_grid(1), 32, 0, x, butterfly, at_once);
    assert_memory_equal(butterfly, at_once, sizeof(butterfly));
}

/* --- tensor cores. a [16][K] and b [8][K] row-major (b is the transposed factor), c [16][8]. --- */

enum factor { FACTOR_BF16, FACTOR_F16, FACTOR_S8 };

/* Loads fragments from global memory by the formulas of device.h; SWAP exchanges two registers of a. */
template <factor TYPE, bool SWAP> K_KERNEL void multiply(const void *a, const void *b, void *c)
{
    k_wait_previous();
    const uint32_t width = TYPE == FACTOR_S8 ? 1 : 2, k_bytes = 32; /* K: 16 halves, or 32 bytes */
    uint32_t group = k_lane() / 4, t = k_lane() % 4, ra[4], rb[2];
    for (uint32_t r = 0; r < 4; r++) {
        uint32_t column = TYPE == FACTOR_S8 ? 4 * t + 16 * (r / 2) : 2 * t + 8 * (r / 2);
        memcpy(&ra[SWAP && (r == 1 || r == 2) ? 3 - r : r],
               static_cast<const char *>(a) + (group + 8 * (r % 2)) * k_bytes + column * width, 4);
    }
    for (uint32_t r = 0; r < 2; r++) {
        uint32_t row = TYPE == FACTOR_S8 ? 4 * t + 16 * r : 2 * t + 8 * r;
        memcpy(&rb[r], static_cast<const char *>(b) + group * k_bytes + row * width, 4);
    }
    float sums[4] = {};
    int32_t sums_int[4] = {};
    if (TYPE == FACTOR_BF16)
        k_mma_bf16(sums, ra, rb);
    else if (TYPE == FACTOR_F16)
        k_mma_f16(sums, ra, rb);
    else
        k_mma_s8(sums_int, ra, rb);
    for (uint32_t r = 0; r < 4; r++) {
        uint32_t at = (group + 8 * (r / 2)) * 8 + 2 * t + r % 2;
        if (TYPE == FACTOR_S8)
            static_cast<int32_t *>(c)[at] = sums_int[r];
        else
            static_cast<float *>(c)[at] = sums[r];
    }
}

static uint16_t half_of(factor type, int value)
{
    float f = static_cast<float>(value);
    return type == FACTOR_BF16 ? k_float_to_bf16(f) : k_float_to_f16(f);
}

/* Places where the product of small whole numbers differs from what plain loops give. */
template <factor TYPE, bool SWAP> static uint32_t wrong_places()
{
    const uint32_t depth = TYPE == FACTOR_S8 ? 32 : 16;
    int a[16][32], b[8][32];
    int8_t a8[16][32], b8[8][32];
    uint16_t a16[16][16], b16[8][16];
    for (uint32_t k = 0; k < depth; k++) {
        for (uint32_t m = 0; m < 16; m++) {
            a[m][k] = static_cast<int>((m * 7 + k * 5) % 23) - 11;
            a8[m][k] = static_cast<int8_t>(a[m][k]);
            a16[m][k % 16] = half_of(TYPE, a[m][k]);
        }
        for (uint32_t n = 0; n < 8; n++) {
            b[n][k] = static_cast<int>((n * 3 + k * 11) % 19) - 9;
            b8[n][k] = static_cast<int8_t>(b[n][k]);
            b16[n][k % 16] = half_of(TYPE, b[n][k]);
        }
    }
    const void *pa = TYPE == FACTOR_S8 ? static_cast<void *>(a8) : a16;
    const void *pb = TYPE == FACTOR_S8 ? static_cast<void *>(b8) : b16;
    float c[16][8];
    int32_t c_int[16][8];
    void *pc = TYPE == FACTOR_S8 ? static_cast<void *>(c_int) : c;
    K_LAUNCH(nullptr, (multiply<TYPE, SWAP>), k_grid(1), 32, 0, pa, pb, pc);
    uint32_t wrong = 0;
    for (uint32_t m = 0; m < 16; m++)
        for (uint32_t n = 0; n < 8; n++) {
            int sum = 0;
            for (uint32_t k = 0; k < depth; k++)
                sum += a[m][k] * b[n][k];
            wrong += TYPE == FACTOR_S8 ? c_int[m][n] != sum : c[m][n] != static_cast<float>(sum);
        }
    return wrong;
}

static void fragments_that_are_laid_out_as_ptx_says_multiply_and_others_do_not(void **)
{
    assert_int_equal((wrong_places<FACTOR_BF16, false>()), 0);
    assert_int_equal((wrong_places<FACTOR_F16, false>()), 0);
    assert_int_equal((wrong_places<FACTOR_S8, false>()), 0);
    assert_true((wrong_places<FACTOR_BF16, true>()) > 0);
    assert_true((wrong_places<FACTOR_F16, true>()) > 0);
    assert_true((wrong_places<FACTOR_S8, true>()) > 0);
}

K_KERNEL void read_matrices(uint32_t *plain, uint32_t *transposed)
{
    K_SHARED(uint16_t, values, 32 * 8);
    k_wait_previous();
    for (uint32_t i = 0; i < 8; i++)
        values[8 * k_lane() + i] = static_cast<uint16_t>(8 * k_lane() + i);
    k_sync_warp();
    k_ldmatrix4(plain + 4 * k_lane(), values + 8 * k_lane());
    k_ldmatrix4_trans(transposed + 4 * k_lane(), values + 8 * k_lane());
}

static void four_matrices_are_read_as_ptx_says(void **)
{
    uint32_t plain[32][4], transposed[32][4];
    K_LAUNCH(nullptr, read_matrices, k_grid(1), 32, 0, plain[0], transposed[0]);
    for (uint32_t lane = 0; lane < 32; lane++)
        for (uint32_t matrix = 0; matrix < 4; matrix++) {
            uint32_t row = lane / 4, column = lane % 4 * 2, first = 64 * matrix;
            assert_int_equal(plain[lane][matrix],
                             (first + 8 * row + column) | (first + 8 * row + column + 1) << 16);
            assert_int_equal(transposed[lane][matrix],
                             (first + 8 * column + row) | (first + 8 * (column + 1) + row) << 16);
        }
}

/* --- blocks that meet in global memory --- */

/* The block that comes last sums what all have written; the mistake: to think that it is the one with the highest number. */
template <bool IS_WRONG>
K_KERNEL void last_block_sums(uint32_t *parts, uint32_t *counter, uint32_t *sum)
{
    K_SHARED(uint32_t, is_last, 1);
    k_wait_previous();
    if (k_thread() == 0) {
        parts[k_block_x()] = k_block_x() + 1;
        k_fence();
        uint32_t before = k_atomic_add(counter, 1u);
        is_last[0] = IS_WRONG ? k_block_x() == k_grid_x() - 1 : before == k_grid_x() - 1;
    }
    k_sync();
    if (is_last[0] != 0 && k_thread() == 0)
        for (uint32_t i = 0; i < k_grid_x(); i++)
            *sum += parts[i];
}

/* The mistake: reads, lets others go on, writes. */
template <bool IS_WRONG> K_KERNEL void count_threads(uint32_t *count)
{
    k_wait_previous();
    if (IS_WRONG) {
        uint32_t before = *count;
        k_fence();
        *count = before + 1;
    } else {
        k_atomic_add(count, 1u);
    }
}

static void blocks_come_in_any_order_and_meet_at_atomics_and_fences(void **)
{
    uint32_t wrong_sums = 0, wrong_counts = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        emulator_seed_set(seed);
        uint32_t parts[9] = {}, counter = 0, sum = 0, count = 0;
        K_LAUNCH(nullptr, (last_block_sums<false>), k_grid(9), 32, 0, parts, &counter, &sum);
        assert_int_equal(sum, 45);
        K_LAUNCH(nullptr, (count_threads<false>), k_grid(6), 64, 0, &count);
        assert_int_equal(count, 6 * 64);
        memset(parts, 0, sizeof(parts));
        sum = counter = count = 0;
        K_LAUNCH(nullptr, (last_block_sums<true>), k_grid(9), 32, 0, parts, &counter, &sum);
        wrong_sums += sum != 45;
        K_LAUNCH(nullptr, (count_threads<true>), k_grid(6), 64, 0, &count);
        wrong_counts += count != 6 * 64;
    }
    assert_true(wrong_sums > 0);
    assert_int_equal(wrong_counts, seeds);
}

K_KERNEL void note_order(uint32_t *order, uint32_t *next)
{
    k_wait_previous();
    order[(*next)++] = k_block_x() * k_threads() + k_thread();
}

static void threads_and_blocks_come_in_an_order_that_the_seed_decides(void **)
{
    std::set<std::vector<uint32_t>> orders;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        std::vector<uint32_t> order(96 * 5), again(96 * 5);
        for (auto *to : {&order, &again}) {
            uint32_t next = 0;
            emulator_seed_set(seed);
            K_LAUNCH(nullptr, note_order, k_grid(5), 96, 0, to->data(), &next);
            assert_int_equal(next, 96 * 5);
        }
        assert_true(order == again);
        assert_int_equal(std::set<uint32_t>(order.begin(), order.end()).size(), 96 * 5);
        orders.insert(order);
    }
    assert_int_equal(orders.size(), seeds);
}

static void launches_of_several_threads_run_one_at_a_time(void **)
{
    const uint32_t n = 64, rows = 20;
    std::vector<float> x(n * rows, 1.0f);
    std::vector<float> results[3];
    std::vector<std::thread> threads;
    for (auto &y : results) {
        y.assign(rows, 0);
        threads.emplace_back([&] {
            for (int i = 0; i < 20; i++)
                K_LAUNCH(nullptr, (block_sum<2>), k_grid(rows), 128, 0, x.data(), y.data(), n);
        });
    }
    for (std::thread &thread : threads)
        thread.join();
    for (const auto &y : results)
        for (float sum : y)
            assert_float_equal(sum, 2 * n, 0);
}

/* --- reports --- */

K_KERNEL void races(uint32_t *out)
{
    K_SHARED(uint32_t, value, 1);
    k_wait_previous();
    value[0] = k_thread();
    out[k_thread()] = value[0];
}

K_KERNEL void waits_for_ever(uint32_t *out)
{
    k_wait_previous();
    out[k_thread()] = 0;
    if (k_thread() < 32)
        k_sync();
}

/* What a launch says on stderr in a process of its own, and how that ends. */
template <class F> static std::string said_by(F launch, int *how)
{
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipe_ends[1], STDERR_FILENO);
        launch();
        _exit(0);
    }
    close(pipe_ends[1]);
    std::string said;
    char bytes[512];
    for (ssize_t n; (n = read(pipe_ends[0], bytes, sizeof(bytes))) > 0;)
        said.append(bytes, static_cast<size_t>(n));
    close(pipe_ends[0]);
    assert_int_equal(waitpid(child, how, 0), child);
    return said;
}

static void a_report_names_kernel_block_threads_byte_and_seed_and_ends_the_process(void **)
{
    emulator_seed_set(42);
    int how = 0;
    std::string said = said_by(
        [] {
            uint32_t out[64];
            K_LAUNCH(nullptr, races, k_grid(1), 64, 0, out);
        },
        &how);
    assert_false(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    for (const char *part : {"emulator: race: two writes", "shared byte 16", "kernel races",
                             "block 0,0,0", "and thread", "seed 42"})
        if (said.find(part) == std::string::npos)
            fail_msg("no \"%s\" in: %s", part, said.c_str());
}

static void without_checks_races_pass_and_threads_that_wait_for_ever_do_not(void **)
{
    int how = 0;
    emulator_checks_set(false);
    std::string said = said_by(
        [] {
            uint32_t out[64];
            K_LAUNCH(nullptr, races, k_grid(1), 64, 0, out);
        },
        &how);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0 && said.empty());
    said = said_by(
        [] {
            uint32_t out[64];
            K_LAUNCH(nullptr, waits_for_ever, k_grid(1), 64, 0, out);
        },
        &how);
    emulator_checks_set(true);
    assert_false(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    assert_true(said.find("divergence") != std::string::npos);
}

static void after_reports_that_were_kept_the_next_launch_is_clean(void **)
{
    uint32_t out[64];
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        emulator_seed_set(seed);
        emulator_reports_keep(true);
        K_LAUNCH(nullptr, waits_for_ever, k_grid(2), 64, 0, out);
        assert_true(emulator_report_count_of(EMULATOR_DIVERGENCE) > 0);
        emulator_reports_keep(false);
        uint32_t shuffled[64 * 8];
        K_LAUNCH(nullptr, shuffles, k_grid(1), 64, 0, shuffled);
        assert_int_equal(shuffled[0], 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_over_a_block_is_right_in_every_order),
        cmocka_unit_test(a_launch_on_a_stream_is_queued_there_and_an_empty_grid_nowhere),
        cmocka_unit_test(shuffles_and_votes_take_what_cuda_says),
        cmocka_unit_test(a_warps_sum_is_that_of_the_butterfly_to_the_last_bit),
        cmocka_unit_test(fragments_that_are_laid_out_as_ptx_says_multiply_and_others_do_not),
        cmocka_unit_test(four_matrices_are_read_as_ptx_says),
        cmocka_unit_test(blocks_come_in_any_order_and_meet_at_atomics_and_fences),
        cmocka_unit_test(threads_and_blocks_come_in_an_order_that_the_seed_decides),
        cmocka_unit_test(launches_of_several_threads_run_one_at_a_time),
        cmocka_unit_test(a_report_names_kernel_block_threads_byte_and_seed_and_ends_the_process),
        cmocka_unit_test(without_checks_races_pass_and_threads_that_wait_for_ever_do_not),
        cmocka_unit_test(after_reports_that_were_kept_the_next_launch_is_clean),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
