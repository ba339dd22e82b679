/* Each kind of mistake, planted in a kernel that is right without it: the right one gives no report in any order of
 * threads, the wrong one a report of its kind in every order. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

extern "C" {
#include <cmocka.h>
}

#include "device.h"

static const uint64_t seeds = 20;

alignas(16) static uint32_t memory[4096];
alignas(16) static uint32_t result[4096];

/* A kernel's launch with a mistake, and what must be said of it; without: nothing is. */
template <class F> static void expect(enum emulator_report_kind kind, bool is_wrong, F launch)
{
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        emulator_seed_set(seed);
        emulator_reports_keep(true);
        launch();
        if (is_wrong)
            assert_true(emulator_report_count_of(kind) > 0);
        else
            assert_int_equal(emulator_report_count(), 0);
        emulator_reports_keep(false);
    }
}

/* Both instances of a kernel whose template argument is whether the mistake is in. */
#define EXPECT(kind, kernel, threads, shared_bytes, ...)                                           \
    do {                                                                                           \
        expect(kind, false, [&] {                                                                  \
            K_LAUNCH(nullptr, (kernel<false>), k_grid(3), threads, shared_bytes, __VA_ARGS__);     \
        });                                                                                        \
        expect(kind, true, [&] {                                                                   \
            K_LAUNCH(nullptr, (kernel<true>), k_grid(3), threads, shared_bytes, __VA_ARGS__);      \
        });                                                                                        \
    } while (0)

/* --- races --- */

template <bool IS_WRONG> K_KERNEL void reverse(uint32_t *out)
{
    K_SHARED(uint32_t, values, 64);
    k_wait_previous();
    values[k_thread()] = k_thread();
    if (!IS_WRONG)
        k_sync();
    out[k_thread()] = values[63 - k_thread()];
}

static void a_missing_barrier_between_write_and_read_is_found(void **)
{
    EXPECT(EMULATOR_RACE, reverse, 64, 0, result);
}

template <bool IS_WRONG> K_KERNEL void reverse_twice(uint32_t *out)
{
    K_SHARED(uint32_t, values, 64);
    k_wait_previous();
    values[k_thread()] = k_thread();
    k_sync();
    uint32_t other = values[63 - k_thread()];
    if (!IS_WRONG)
        k_sync();
    values[k_thread()] = other;
    k_sync();
    out[k_thread()] = values[63 - k_thread()];
}

static void a_missing_barrier_between_read_and_write_is_found(void **)
{
    EXPECT(EMULATOR_RACE, reverse_twice, 64, 0, result);
}

/* Thread 0 reads last of all, so that the last reader is the one that writes. */
template <bool IS_WRONG> K_KERNEL void everybody_reads(uint32_t *out)
{
    K_SHARED(uint32_t, value, 1);
    k_wait_previous();
    if (k_thread() == 0)
        value[0] = 7;
    k_sync();
    uint32_t sum = k_thread() == 0 ? 0 : value[0];
    sum = k_warp_sum(sum);
    if (k_thread() == 0)
        sum += value[0];
    if (!IS_WRONG)
        k_sync();
    if (k_thread() == 0)
        value[0] = sum;
    k_sync();
    out[k_thread()] = value[0];
}

static void a_write_of_what_others_read_before_the_writer_read_it_too_is_found(void **)
{
    EXPECT(EMULATOR_RACE, everybody_reads, 32, 0, result);
}

template <bool IS_WRONG> K_KERNEL void lanes_exchange(uint32_t *out)
{
    K_SHARED(uint32_t, values, 64);
    k_wait_previous();
    values[k_thread()] = k_thread();
    if (!IS_WRONG)
        k_sync_warp();
    out[k_thread()] = values[k_thread() ^ 1];
}

static void a_missing_barrier_of_the_warp_is_found(void **)
{
    EXPECT(EMULATOR_RACE, lanes_exchange, 64, 0, result);
}

template <bool IS_WRONG> K_KERNEL void warps_exchange(uint32_t *out)
{
    K_SHARED(uint32_t, values, 64);
    k_wait_previous();
    values[k_thread()] = k_thread();
    if (IS_WRONG)
        k_sync_warp();
    else
        k_sync();
    out[k_thread()] = values[k_thread() ^ 32];
}

static void a_barrier_of_the_warp_does_not_order_two_warps(void **)
{
    EXPECT(EMULATOR_RACE, warps_exchange, 64, 0, result);
}

template <bool IS_WRONG> K_KERNEL void shuffled_through_memory(uint32_t *out)
{
    K_SHARED(uint32_t, values, 32);
    k_wait_previous();
    values[k_lane()] = k_lane();
    uint32_t other = k_shfl_xor(k_lane(), 1); /* brings lanes together, and orders no memory */
    if (!IS_WRONG)
        k_sync_warp();
    out[k_thread()] = values[other];
}

static void a_shuffle_orders_no_memory(void **)
{
    EXPECT(EMULATOR_RACE, shuffled_through_memory, 32, 0, result);
}

template <bool IS_WRONG> K_KERNEL void byte_neighbours(uint32_t *out)
{
    K_SHARED(uint8_t, bytes, 64);
    k_wait_previous();
    bytes[IS_WRONG ? k_thread() / 2 : k_thread()] = 1; /* even where both write the same */
    k_sync();
    out[k_thread()] = bytes[k_thread() / 2];
}

static void two_writers_of_one_byte_are_found_and_neighbours_are_none(void **)
{
    EXPECT(EMULATOR_RACE, byte_neighbours, 64, 0, result);
}

template <bool IS_WRONG> K_KERNEL void histogram(uint32_t *out)
{
    K_SHARED(uint32_t, counts, 4);
    k_wait_previous();
    if (k_thread() < 4)
        counts[k_thread()] = 0;
    k_sync();
    k_atomic_add(counts + k_thread() % 4, 1u);
    if (!IS_WRONG)
        k_sync();
    if (k_thread() < 4)
        out[k_thread()] = counts[k_thread()];
}

static void a_plain_read_beside_atomics_is_found_and_atomics_are_none(void **)
{
    EXPECT(EMULATOR_RACE, histogram, 64, 0, result);
    K_LAUNCH(nullptr, (histogram<false>), k_grid(1), 64, 0, result);
    assert_int_equal(result[3], 16);
}

/* --- what nobody wrote, and where nothing is --- */

template <bool IS_WRONG> K_KERNEL void half_written(uint32_t *out)
{
    K_SHARED(uint32_t, values, 64);
    k_wait_previous();
    if (!IS_WRONG || k_thread() < 32)
        values[k_thread()] = 1;
    k_sync();
    out[k_thread()] = values[63 - k_thread()];
}

static void a_read_of_what_nobody_wrote_is_found(void **)
{
    EXPECT(EMULATOR_UNWRITTEN, half_written, 64, 0, result);
}

template <bool IS_WRONG> K_KERNEL void one_beyond(uint32_t *out)
{
    K_SHARED(uint32_t, values, 32);
    K_SHARED(uint32_t, others, 32);
    k_wait_previous();
    others[k_thread()] = 1;
    values[k_thread() + (IS_WRONG ? 1 : 0)] = 2;
    k_sync();
    out[k_thread()] = others[k_thread()];
}

static void one_element_beyond_an_array_is_found(void **)
{
    EXPECT(EMULATOR_BOUNDS, one_beyond, 32, 0, result);
}

template <bool IS_WRONG> K_KERNEL void one_before(uint32_t *out)
{
    k_wait_previous();
    k_sptr<uint32_t> values = k_dynamic_shared<uint32_t>();
    k_sptr<uint8_t> bytes = k_sptr_cast<uint8_t>(values + 1) - (IS_WRONG ? 5 : 4);
    bytes[k_thread()] = 2;
    out[k_thread()] = 0;
}

static void one_byte_before_an_array_is_found(void **)
{
    EXPECT(EMULATOR_BOUNDS, one_before, 32, 32, result);
}

template <bool IS_WRONG> K_KERNEL void too_little_asked_for(uint32_t *out)
{
    k_wait_previous();
    k_sptr<uint32_t> values = k_dynamic_shared<uint32_t>();
    values[IS_WRONG ? k_thread() + 1 : k_thread()] = 1;
    out[k_thread()] = 0;
}

static void dynamic_memory_ends_where_the_launch_said(void **)
{
    EXPECT(EMULATOR_BOUNDS, too_little_asked_for, 32, 128, result);
}

/* --- asynchronous copies --- */

template <bool IS_WRONG> K_KERNEL void copied(const uint32_t *from, uint32_t *out)
{
    K_SHARED(uint32_t, values, 128);
    k_wait_previous();
    k_copy_async16(values + 4 * k_thread(), from + 4 * k_thread());
    k_copy_commit();
    if (!IS_WRONG)
        k_copy_wait<0>();
    out[k_thread()] = values[4 * k_thread()];
    k_copy_wait<0>();
}

static void a_copy_that_nobody_waited_for_is_found(void **)
{
    EXPECT(EMULATOR_COPY_PENDING, copied, 32, 0, memory, result);
}

template <bool IS_WRONG> K_KERNEL void copied_for_others(const uint32_t *from, uint32_t *out)
{
    K_SHARED(uint32_t, values, 128);
    k_wait_previous();
    k_copy_async16(values + 4 * k_thread(), from + 4 * k_thread());
    k_copy_commit();
    k_copy_wait<0>();
    if (!IS_WRONG)
        k_sync();
    else
        k_ballot(true); /* all have waited, and nothing says so to the memory */
    out[k_thread()] = values[127 - 4 * k_thread()];
}

static void a_copy_that_only_its_own_thread_waited_for_is_found(void **)
{
    EXPECT(EMULATOR_RACE, copied_for_others, 32, 0, memory, result);
}

/* Two stages: while one is read the other fills. */
template <bool IS_WRONG, int LEFT, bool HAS_LAST_SYNC>
K_DEVICE void two_stages(const uint32_t *from, uint32_t *out)
{
    K_SHARED(uint32_t, values, 256);
    const uint32_t steps = 5;
    uint32_t sum = 0;
    k_wait_previous();
    k_copy_async16(values + 4 * k_thread(), from + 4 * k_thread());
    k_copy_commit();
    for (uint32_t step = 0; step < steps; step++) {
        uint32_t next = (step + 1) % 2 * 128 + 4 * k_thread();
        k_copy_async16_if(values + next, from + (step + 1) * 128 + 4 * k_thread(),
                          step + 1 < steps);
        k_copy_commit();
        k_copy_wait<LEFT>();
        k_sync();
        for (uint32_t i = 0; i < 128; i += 31)
            sum += values[step % 2 * 128 + i];
        if (HAS_LAST_SYNC)
            k_sync();
    }
    k_copy_wait<0>();
    out[k_block_x() * k_threads() + k_thread()] = sum;
}

template <bool IS_WRONG> K_KERNEL void one_group_too_many(const uint32_t *from, uint32_t *out)
{
    two_stages<IS_WRONG, IS_WRONG ? 2 : 1, true>(from, out);
}

template <bool IS_WRONG> K_KERNEL void filled_while_it_is_read(const uint32_t *from, uint32_t *out)
{
    two_stages<IS_WRONG, 1, !IS_WRONG>(from, out);
}

static void a_wait_that_leaves_one_group_too_many_is_found(void **)
{
    for (uint32_t i = 0; i < 4096; i++)
        memory[i] = i;
    EXPECT(EMULATOR_COPY_PENDING, one_group_too_many, 32, 0, memory, result);
    K_LAUNCH(nullptr, (one_group_too_many<false>), k_grid(1), 32, 0, memory, result);
    uint32_t sum = 0;
    for (uint32_t step = 0; step < 5; step++)
        for (uint32_t i = 0; i < 128; i += 31)
            sum += step * 128 + i;
    assert_int_equal(result[31], sum);
}

static void a_stage_that_fills_while_others_read_it_is_found(void **)
{
    EXPECT(EMULATOR_RACE, filled_while_it_is_read, 32, 0, memory, result);
}

template <bool IS_WRONG> K_KERNEL void left_behind(const uint32_t *from, uint32_t *out)
{
    K_SHARED(uint32_t, values, 128);
    k_wait_previous();
    k_copy_async16(values + 4 * k_thread(), from);
    k_copy_commit();
    if (!IS_WRONG)
        k_copy_wait<0>();
    out[k_thread()] = 0;
}

static void a_thread_that_ends_with_copies_under_way_is_found(void **)
{
    EXPECT(EMULATOR_COPY_PENDING, left_behind, 32, 0, memory, result);
}

/* --- threads that do not come --- */

template <bool IS_WRONG> K_KERNEL void some_at_the_barrier(uint32_t *out)
{
    k_wait_previous();
    out[k_thread()] = 0;
    if (!IS_WRONG || k_thread() < 33)
        k_sync();
}

static void a_barrier_that_some_threads_pass_by_is_found(void **)
{
    EXPECT(EMULATOR_DIVERGENCE, some_at_the_barrier, 64, 0, result);
}

template <bool IS_WRONG> K_KERNEL void two_barriers(uint32_t *out)
{
    k_wait_previous();
    out[k_thread()] = 0;
    if (IS_WRONG && k_thread() % 2 == 0)
        k_sync();
    else
        k_sync();
}

static void two_barriers_that_meet_by_chance_are_found(void **)
{
    EXPECT(EMULATOR_DIVERGENCE, two_barriers, 64, 0, result);
}

template <bool IS_WRONG> K_KERNEL void some_lanes_shuffle(uint32_t *out)
{
    k_wait_previous();
    uint32_t v = k_lane();
    if (!IS_WRONG || k_lane() < 16)
        v = k_shfl_xor(v, 1);
    out[k_thread()] = v;
}

static void a_shuffle_that_some_lanes_pass_by_is_found(void **)
{
    EXPECT(EMULATOR_DIVERGENCE, some_lanes_shuffle, 64, 0, result);
}

template <bool IS_WRONG> K_KERNEL void mixed_operations(uint32_t *out)
{
    k_wait_previous();
    uint32_t v = k_lane();
    v = IS_WRONG && k_lane() == 3 ? k_shfl(v, 0) : k_warp_max(v);
    out[k_thread()] = v;
}

static void lanes_at_different_operations_are_found(void **)
{
    EXPECT(EMULATOR_DIVERGENCE, mixed_operations, 32, 0, result);
}

template <bool IS_WRONG> K_KERNEL void warp_against_barrier(uint32_t *out)
{
    k_wait_previous();
    if (IS_WRONG && k_lane() == 5)
        k_sync();
    out[k_thread()] = k_warp_sum(1u);
    if (!IS_WRONG || k_lane() != 5)
        k_sync();
}

static void a_lane_at_a_barrier_while_its_warp_waits_for_it_is_found(void **)
{
    EXPECT(EMULATOR_DIVERGENCE, warp_against_barrier, 64, 0, result);
}

template <bool IS_WRONG> K_KERNEL void sum_of_warps(uint32_t *out)
{
    k_wait_previous();
    out[k_thread()] = k_warp_sum(k_thread());
}

static void a_warp_that_is_not_whole_is_found(void **)
{
    expect(EMULATOR_PARTIAL_WARP, true,
           [] { K_LAUNCH(nullptr, (sum_of_warps<true>), k_grid(1), 48, 0, result); });
    expect(EMULATOR_PARTIAL_WARP, false,
           [] { K_LAUNCH(nullptr, (sum_of_warps<true>), k_grid(1), 64, 0, result); });
}

/* --- addresses --- */

template <bool IS_WRONG> K_KERNEL void loads(const uint32_t *from, uint32_t *out)
{
    k_wait_previous();
    k_u4 v = k_load16(from + (IS_WRONG ? 2 : 4));
    out[k_thread()] = v.w;
}

template <bool IS_WRONG> K_KERNEL void stores(uint32_t *out)
{
    k_wait_previous();
    k_u4 v = {1, 2, 3, 4};
    k_store16(out + 4 * k_thread() + (IS_WRONG ? 1 : 0), v);
}

template <bool IS_WRONG> K_KERNEL void shared_loads(uint32_t *out)
{
    K_SHARED(uint32_t, values, 140);
    k_wait_previous();
    for (uint32_t i = k_thread(); i < 140; i += k_threads())
        values[i] = i;
    k_sync();
    out[k_thread()] = k_sload16(values + 4 * k_thread() + (IS_WRONG ? 2 : 0)).y;
}

template <bool IS_WRONG> K_KERNEL void copies(const uint32_t *from, uint32_t *out)
{
    K_SHARED(uint32_t, values, 132);
    k_wait_previous();
    k_copy_async16(values + 4 * k_thread(), from + (IS_WRONG ? 1 : 0));
    k_copy_commit();
    k_copy_wait<0>();
    out[k_thread()] = values[4 * k_thread()];
}

template <bool IS_WRONG> K_KERNEL void matrices(uint32_t *out)
{
    K_SHARED(uint16_t, values, 40 * 32);
    k_wait_previous();
    for (uint32_t i = k_thread(); i < 40 * 32; i += k_threads())
        values[i] = static_cast<uint16_t>(i);
    k_sync();
    uint32_t r[4];
    k_ldmatrix4(r, values + k_lane() * (IS_WRONG ? 36 : 40)); /* rows of 72 bytes, or of 80 */
    out[k_thread()] = r[0];
}

static void addresses_that_are_no_multiple_of_sixteen_are_found(void **)
{
    EXPECT(EMULATOR_ALIGNMENT, loads, 32, 0, memory, result);
    EXPECT(EMULATOR_ALIGNMENT, stores, 32, 0, result);
    EXPECT(EMULATOR_ALIGNMENT, shared_loads, 32, 0, result);
    EXPECT(EMULATOR_ALIGNMENT, copies, 32, 0, memory, result);
    EXPECT(EMULATOR_ALIGNMENT, matrices, 32, 0, result);
}

template <bool IS_WRONG> K_KERNEL void rows_of_others(uint32_t *out)
{
    K_SHARED(uint16_t, values, 8 * 32);
    k_wait_previous();
    for (uint32_t i = 0; i < 8; i++)
        values[8 * k_lane() + i] = static_cast<uint16_t>(i);
    if (!IS_WRONG)
        k_sync_warp();
    uint32_t r[4];
    k_ldmatrix4_trans(r, values +
                             8 * k_lane()); /* each lane names its own row, and reads of others' */
    out[k_thread()] = r[0];
}

static void a_matrix_read_before_its_rows_are_ordered_is_found(void **)
{
    EXPECT(EMULATOR_RACE, rows_of_others, 32, 0, result);
}

/* --- launches --- */

template <bool IS_WRONG> K_KERNEL void waits(uint32_t *out)
{
    if (!IS_WRONG)
        k_wait_previous();
    out[k_thread()] = 0;
}

static void a_kernel_that_does_not_wait_for_the_one_before_is_found(void **)
{
    EXPECT(EMULATOR_WAIT_PREVIOUS, waits, 32, 0, result);
}

template <bool IS_WRONG> K_KERNEL void much_static_memory(uint32_t *out)
{
    K_SHARED(uint32_t, values, IS_WRONG ? 12289 : 12288);
    k_wait_previous();
    values[k_thread()] = 0;
    out[k_thread()] = values[k_thread()];
}

static void launches_that_no_device_takes_are_found(void **)
{
    const struct {
        uint32_t y, threads, bytes;
        bool is_wrong;
    } cases[] = {{1, 1024, 0, false},
                 {1, 1025, 0, true},
                 {1, 0, 0, true},
                 {65535, 1, 0, false},
                 {65536, 1, 0, true},
                 {1, 32, 227 << 10, false},
                 {1, 32, (227 << 10) + 16, true}};
    for (const auto &c : cases) {
        emulator_reports_keep(true);
        K_LAUNCH(nullptr, (waits<false>), k_grid(1, c.y), c.threads, c.bytes, result);
        assert_int_equal(emulator_report_count_of(EMULATOR_LAUNCH), c.is_wrong ? 1 : 0);
        assert_int_equal(emulator_report_count(), c.is_wrong ? 1 : 0);
        emulator_reports_keep(false);
    }
    EXPECT(EMULATOR_LAUNCH, much_static_memory, 1, 0, result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_barrier_between_write_and_read_is_found),
        cmocka_unit_test(a_missing_barrier_between_read_and_write_is_found),
        cmocka_unit_test(a_write_of_what_others_read_before_the_writer_read_it_too_is_found),
        cmocka_unit_test(a_missing_barrier_of_the_warp_is_found),
        cmocka_unit_test(a_barrier_of_the_warp_does_not_order_two_warps),
        cmocka_unit_test(a_shuffle_orders_no_memory),
        cmocka_unit_test(two_writers_of_one_byte_are_found_and_neighbours_are_none),
        cmocka_unit_test(a_plain_read_beside_atomics_is_found_and_atomics_are_none),
        cmocka_unit_test(a_read_of_what_nobody_wrote_is_found),
        cmocka_unit_test(one_element_beyond_an_array_is_found),
        cmocka_unit_test(one_byte_before_an_array_is_found),
        cmocka_unit_test(dynamic_memory_ends_where_the_launch_said),
        cmocka_unit_test(a_copy_that_nobody_waited_for_is_found),
        cmocka_unit_test(a_copy_that_only_its_own_thread_waited_for_is_found),
        cmocka_unit_test(a_wait_that_leaves_one_group_too_many_is_found),
        cmocka_unit_test(a_stage_that_fills_while_others_read_it_is_found),
        cmocka_unit_test(a_thread_that_ends_with_copies_under_way_is_found),
        cmocka_unit_test(a_barrier_that_some_threads_pass_by_is_found),
        cmocka_unit_test(two_barriers_that_meet_by_chance_are_found),
        cmocka_unit_test(a_shuffle_that_some_lanes_pass_by_is_found),
        cmocka_unit_test(lanes_at_different_operations_are_found),
        cmocka_unit_test(a_lane_at_a_barrier_while_its_warp_waits_for_it_is_found),
        cmocka_unit_test(a_warp_that_is_not_whole_is_found),
        cmocka_unit_test(addresses_that_are_no_multiple_of_sixteen_are_found),
        cmocka_unit_test(a_matrix_read_before_its_rows_are_ordered_is_found),
        cmocka_unit_test(a_kernel_that_does_not_wait_for_the_one_before_is_found),
        cmocka_unit_test(launches_that_no_device_takes_are_found),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
