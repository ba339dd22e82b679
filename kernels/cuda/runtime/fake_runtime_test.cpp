/* The host runtime: what is ordered comes out in order in every seed, what is not does not, misuse ends the process, and each
 * fault shows where the contract says. */

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

extern "C" {
#include "unit_test.h"
}

#include "device.h"
#include "fake_runtime.h"

#define SEEDS 20u
#define COUNT 64u
#define BYTES (COUNT * sizeof(uint32_t))

K_KERNEL void add_one(const uint32_t *in, uint32_t *out, uint32_t count)
{
    k_wait_previous();
    uint32_t i = k_block_x() * k_threads() + k_thread();
    if (i < count)
        out[i] = in[i] + 1;
}

static void launch_add_one(device_stream *stream, const uint32_t *in, uint32_t *out)
{
    K_LAUNCH(stream, add_one, k_grid(2), 32, 0, in, out, COUNT);
}

static void set_faults(struct fake_faults faults)
{
    fake_runtime_set_faults(&faults);
}

static void no_faults()
{
    set_faults({});
}

struct rig {
    device *owner = nullptr;
    device_stream *stream = nullptr, *other = nullptr;
    device_event *event = nullptr;
    uint32_t *pinned, *a, *b;

    explicit rig(uint64_t seed)
    {
        struct error_note note;
        fake_runtime_set_seed(seed);
        assert_int_equal(device_open(0, &owner, &note), STATUS_OK);
        assert_int_equal(device_stream_create(owner, &stream), STATUS_OK);
        assert_int_equal(device_stream_create(owner, &other), STATUS_OK);
        assert_int_equal(device_event_create(owner, &event), STATUS_OK);
        pinned = static_cast<uint32_t *>(device_allocate_pinned(owner, BYTES));
        a = room<uint32_t>(COUNT);
        b = room<uint32_t>(COUNT);
    }

    template <class T> T *room(uint32_t count)
    {
        void *memory = device_allocate(owner, count * sizeof(T));
        assert_non_null(memory);
        return static_cast<T *>(memory);
    }

    template <class T> T *put(const T *values, uint32_t count)
    {
        T *memory = room<T>(count);
        device_copy_to_device(stream, memory, values, count * sizeof(T));
        return memory;
    }

    void close()
    {
        (void)device_stream_synchronize(stream);
        (void)device_stream_synchronize(other);
        device_release_pinned(owner, pinned);
        device_release(owner, a);
        device_release(owner, b);
        device_event_destroy(event);
        device_stream_destroy(other);
        device_stream_destroy(stream);
        device_close(owner);
    }

    void capture()
    {
        assert_int_equal(device_capture_begin(stream), STATUS_OK);
    }

    device_graph *captured()
    {
        device_graph *graph = nullptr;
        assert_int_equal(device_capture_end(stream, &graph), STATUS_OK);
        return graph;
    }

    void fill_pinned(uint32_t value)
    {
        for (uint32_t i = 0; i < COUNT; i++)
            pinned[i] = value;
    }
};

static void work_of_one_stream_runs_in_its_order(void **)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        rig r(seed);
        r.fill_pinned(7);
        device_copy_to_device(r.stream, r.a, r.pinned, BYTES);
        for (uint32_t i = 0; i < 5; i++) {
            launch_add_one(r.stream, r.a, r.b);
            device_copy(r.stream, r.a, r.b, BYTES);
        }
        uint32_t got[COUNT];
        device_copy_to_host(r.stream, got, r.a, BYTES);
        assert_int_equal(got[0], 12);
        assert_int_equal(got[COUNT - 1], 12);
        r.close();
    }
}

/* The other stream's copy sees the first one's work, or not, as the seed has it. */
static uint32_t seen_by_the_other_stream(uint64_t seed, bool is_ordered)
{
    rig r(seed);
    r.fill_pinned(1);
    device_fill(r.stream, r.a, 0, BYTES);
    (void)device_stream_synchronize(r.stream);
    device_copy_to_device(r.stream, r.a, r.pinned, BYTES);
    device_event_record(r.event, r.stream);
    if (is_ordered)
        device_stream_wait(r.other, r.event);
    uint32_t got[COUNT];
    device_copy_to_host(r.other, got, r.a, BYTES);
    r.close();
    return got[0];
}

static void only_an_event_orders_two_streams(void **)
{
    uint32_t seen = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        assert_int_equal(seen_by_the_other_stream(seed, true), 1);
        seen += seen_by_the_other_stream(seed, false);
    }
    assert_true(seen > 0 && seen < SEEDS);
}

static void nothing_has_run_before_it_is_waited_for(void **)
{
    rig r(1);
    device_fill(r.stream, r.a, 5, BYTES);
    device_copy_to_host(r.stream, r.pinned, r.a, BYTES);
    device_event_record(r.event, r.stream);
    assert_int_equal(r.pinned[0], 0xffffffffu);
    while (!device_event_is_past(r.event))
        continue;
    assert_int_equal(r.pinned[0], 0x05050505u);
    r.close();
}

static void a_graph_runs_as_often_as_it_is_launched_with_what_memory_holds_then(void **)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        rig r(seed);
        r.capture();
        device_copy_to_device(r.stream, r.a, r.pinned, BYTES);
        launch_add_one(r.stream, r.a, r.b);
        device_graph *graph = r.captured();
        for (uint32_t value = 10; value < 13; value++) {
            r.fill_pinned(value);
            device_graph_launch(graph, r.stream);
            uint32_t got[COUNT];
            device_copy_to_host(r.stream, got, r.b, BYTES);
            assert_int_equal(got[COUNT - 1], value + 1);
        }
        device_graph_destroy(graph);
        r.close();
    }
}

/* Not to bf16: f32 rounded. */
static void a_product_is_the_sum_over_columns(void **)
{
    const float a[2][4] = {{1, 2, 3, 4}, {-1, 0, 0.5f, 2}};
    const float w[3][4] = {{1, 1, 1, 1}, {0, 2, 0, -1}, {3, 0, 4, 0.25f}};
    rig r(1);
    struct gemm_args args = {};
    args.m = 2;
    args.n = 3;
    args.k = 4;
    args.type = GEMM_F32;
    args.a = r.put(&a[0][0], 8);
    args.w = r.put(&w[0][0], 12);
    args.a_stride = args.w_stride = 4;
    args.y_stride = 3;
    args.alpha = 2;
    float *y = r.room<float>(6);
    args.y = y;
    device_gemm(r.stream, &args);
    args.accumulate = true;
    device_gemm(r.stream, &args);
    float got[2][3];
    device_copy_to_host(r.stream, got, y, sizeof(got));
    for (uint32_t m = 0; m < 2; m++)
        for (uint32_t n = 0; n < 3; n++) {
            float sum = 0;
            for (uint32_t k = 0; k < 4; k++)
                sum += a[m][k] * w[n][k];
            assert_true(got[m][n] == 4 * sum);
        }
    device_release(r.owner, y);
    device_release(r.owner, const_cast<void *>(args.a));
    device_release(r.owner, const_cast<void *>(args.w));
    r.close();
}

static void products_of_small_floats_are_those_of_their_values(void **)
{
    /* 1, -0.5, 2^-14 (the least normal f16), 2^-24 (the least at all) */
    const uint16_t halves[8] = {0x3c00, 0xb800, 0x0400, 0x0001};
    /* 1, -0.5, 2^-6 (the least normal E4M3), 448 (the largest) */
    const uint8_t bytes[16] = {0x38, 0xb0, 0x08, 0x7e};
    const double half_sum = 1 + 0.25 + ldexp(1, -28) + ldexp(1, -48);
    const double byte_sum = 1 + 0.25 + ldexp(1, -12) + 448.0 * 448.0;
    rig r(1);
    float *y = r.room<float>(1);
    struct gemm_args args = {};
    args.m = args.n = 1;
    args.alpha = 1;
    args.y = y;
    args.y_stride = 1;
    args.k = 4;
    args.type = GEMM_F16;
    args.a = args.w = r.put(halves, 8);
    args.a_stride = args.w_stride = 8;
    device_gemm(r.stream, &args);
    float got;
    device_copy_to_host(r.stream, &got, y, sizeof(got));
    assert_true(got == static_cast<float>(half_sum));
    device_release(r.owner, const_cast<void *>(args.a));
    args.type = GEMM_E4M3;
    args.a = args.w = r.put(bytes, 16);
    args.a_stride = args.w_stride = 16;
    device_gemm(r.stream, &args);
    device_copy_to_host(r.stream, &got, y, sizeof(got));
    assert_true(got == static_cast<float>(byte_sum));
    device_release(r.owner, y);
    device_release(r.owner, const_cast<void *>(args.a));
    r.close();
}

/* --- misuse --- */

/* `misuse` in a process of its own, which it must abort. */
static void expect_abort(void (*misuse)(rig &r))
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)!freopen("/dev/null", "w", stderr);
            (void)signal(SIGABRT, SIG_DFL);
            rig r(seed);
            misuse(r);
            _exit(0);
        }
        int how = 0;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT);
    }
}

static void pinned_memory_may_not_change_before_its_copy_ran(void **)
{
    expect_abort([](rig &r) {
        device_copy_to_device(r.stream, r.a, r.pinned, BYTES);
        r.pinned[3] = 1;
        (void)device_stream_synchronize(r.stream);
    });
}

static void memory_may_not_be_used_after_its_release(void **)
{
    expect_abort([](rig &r) {
        device_release(r.owner, r.b);
        device_copy(r.stream, r.a, r.b, BYTES);
    });
    expect_abort([](rig &r) {
        device_copy_to_device(r.stream, r.a, r.pinned, BYTES);
        device_release_pinned(r.owner, r.pinned);
        (void)device_stream_synchronize(r.stream);
    });
}

static void ranges_may_not_leave_their_block(void **)
{
    expect_abort([](rig &r) { device_fill(r.stream, r.a + 1, 0, BYTES); });
    expect_abort([](rig &r) { device_copy(r.stream, r.a, &r, 4); });
}

static void a_graph_may_not_hold_memory_that_is_gone(void **)
{
    expect_abort([](rig &r) {
        r.capture();
        launch_add_one(r.stream, r.a, r.b);
        device_graph *graph = r.captured();
        device_release(r.owner, r.b);
        /* The address may be another block's by now. */
        (void)device_allocate(r.owner, BYTES);
        device_graph_launch(graph, r.stream);
    });
}

static void a_captured_stream_may_not_be_waited_for(void **)
{
    expect_abort([](rig &r) {
        r.capture();
        (void)device_stream_synchronize(r.other);
    });
    expect_abort([](rig &r) {
        r.capture();
        (void)device_allocate(r.owner, 16);
    });
    expect_abort([](rig &r) {
        r.capture();
        device_event_record(r.event, r.stream);
    });
}

static void a_device_may_not_be_closed_with_memory_in_use(void **)
{
    expect_abort([](rig &r) { device_close(r.owner); });
}

/* --- faults --- */

static void an_allocation_that_fails_is_no_failure_of_the_device(void **)
{
    rig r(1);
    set_faults({2, 0, 0, 0, 0});
    void *first = device_allocate(r.owner, 16);
    assert_non_null(first);
    assert_null(device_allocate(r.owner, 16));
    assert_int_equal(device_status(r.owner), STATUS_OK);
    device_release(r.owner, first);
    no_faults();
    r.close();
}

static void memory_ends_where_the_device_does(void **)
{
    fake_runtime_set_memory(4096);
    rig r(1);
    uint64_t total, available;
    assert_int_equal(device_memory_info(r.owner, &total, &available), STATUS_OK);
    assert_int_equal(total, 4096);
    assert_int_equal(available, 4096 - 2 * BYTES);
    assert_null(device_allocate(r.owner, available + 1));
    void *rest = device_allocate(r.owner, available);
    assert_non_null(rest);
    device_release(r.owner, rest);
    r.close();
    fake_runtime_set_memory(1ull << 30);
}

/* After a failure every wait tells it, and what would have come after never happens. */
static void check_failure(struct fake_faults faults)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        rig r(seed);
        (void)device_stream_synchronize(r.stream);
        set_faults(faults);
        r.fill_pinned(1);
        device_copy_to_device(r.stream, r.a, r.pinned, BYTES);
        launch_add_one(r.stream, r.a, r.b);
        device_copy_to_host(r.stream, r.pinned, r.b, BYTES);
        device_event_record(r.event, r.stream);
        assert_int_equal(device_event_synchronize(r.event), STATUS_INTERNAL);
        assert_int_equal(device_stream_synchronize(r.other), STATUS_INTERNAL);
        assert_true(device_event_is_past(r.event));
        assert_int_equal(device_status(r.owner), STATUS_INTERNAL);
        assert_true(strstr(device_failure(r.owner), "add_one") != nullptr);
        assert_true(r.pinned[0] != 2);
        no_faults();
        r.close();
    }
}

static void a_refused_launch_fails_the_device(void **)
{
    check_failure({0, 1, 0, 0, 0});
}

static void a_device_that_fails_in_a_kernel_says_which(void **)
{
    check_failure({0, 0, 2, 0, 0});
}

static void a_flipped_bit_changes_one_copy(void **)
{
    rig r(1);
    (void)device_stream_synchronize(r.stream);
    set_faults({0, 0, 0, 0, 2});
    r.fill_pinned(0);
    device_copy_to_device(r.stream, r.a, r.pinned, BYTES);
    device_copy(r.stream, r.b, r.a, BYTES);
    uint32_t got[2][COUNT], flipped = 0;
    device_copy_to_host(r.stream, got[0], r.a, BYTES);
    device_copy_to_host(r.stream, got[1], r.b, BYTES);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(got[0][i], 0);
        flipped += static_cast<uint32_t>(__builtin_popcount(got[1][i]));
    }
    assert_int_equal(flipped, 1);
    no_faults();
    r.close();
}

/* In a process of its own, since what hangs never comes back. */
static void what_hangs_is_never_past(void **)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        rig r(1);
        (void)device_stream_synchronize(r.stream);
        set_faults({0, 0, 0, 1, 0});
        device_fill(r.stream, r.a, 0, BYTES);
        std::thread waiter([&r] {
            (void)device_stream_synchronize(r.stream);
            _exit(1);
        });
        while (!fake_runtime_is_hanging())
            std::this_thread::yield();
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_of_one_stream_runs_in_its_order),
        cmocka_unit_test(only_an_event_orders_two_streams),
        cmocka_unit_test(nothing_has_run_before_it_is_waited_for),
        cmocka_unit_test(a_graph_runs_as_often_as_it_is_launched_with_what_memory_holds_then),
        cmocka_unit_test(a_product_is_the_sum_over_columns),
        cmocka_unit_test(products_of_small_floats_are_those_of_their_values),
        cmocka_unit_test(pinned_memory_may_not_change_before_its_copy_ran),
        cmocka_unit_test(memory_may_not_be_used_after_its_release),
        cmocka_unit_test(ranges_may_not_leave_their_block),
        cmocka_unit_test(a_graph_may_not_hold_memory_that_is_gone),
        cmocka_unit_test(a_captured_stream_may_not_be_waited_for),
        cmocka_unit_test(a_device_may_not_be_closed_with_memory_in_use),
        cmocka_unit_test(an_allocation_that_fails_is_no_failure_of_the_device),
        cmocka_unit_test(memory_ends_where_the_device_does),
        cmocka_unit_test(a_refused_launch_fails_the_device),
        cmocka_unit_test(a_device_that_fails_in_a_kernel_says_which),
        cmocka_unit_test(a_flipped_bit_changes_one_copy),
        cmocka_unit_test(what_hangs_is_never_past),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
