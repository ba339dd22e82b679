#include "fiber.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define FIBER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#endif
#endif
#ifndef FIBER_ASAN
#define FIBER_ASAN 0
#endif
#ifndef FIBER_TSAN
#define FIBER_TSAN 0
#endif

#if FIBER_ASAN
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Pages are taken as they are touched: what a kernel's local arrays need, times the growth by sanitizers, fits easily. */
static const size_t stack_bytes = 256 * 1024;
static const size_t guard_bytes = 4096;

/* Saves what the System V ABI lets a callee keep, and takes it from the other stack. The control words of the
 * floating-point units stay: no kernel changes them. */
extern "C" void fiber_switch_stacks(void **from, void *to);
extern "C" void fiber_begin(void);
asm(R"(
    .text
    .type fiber_switch_stacks, @function
    .hidden fiber_switch_stacks
    .globl fiber_switch_stacks
fiber_switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size fiber_switch_stacks, . - fiber_switch_stacks

    .type fiber_begin, @function
    .hidden fiber_begin
    .globl fiber_begin
fiber_begin:
    xorl %ebp, %ebp
    movq %r12, %rdi
    callq *%r13
    ud2
    .size fiber_begin, . - fiber_begin
)");

static void fiber_enter(void *argument)
{
    fiber *f = static_cast<fiber *>(argument);
#if FIBER_ASAN
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    f->entry(f->context);
    abort();
}

/* Lays out the stack as fiber_switch_stacks would have left it: six registers, the address to return to. */
static void fiber_lay_out(struct fiber *f, unsigned color)
{
    /* Stacks begin at page boundaries; without an offset of their own all would use the same few sets of the cache. */
    uintptr_t top = reinterpret_cast<uintptr_t>(f->stack) + f->stack_bytes - (color % 29) * 128;
    void **sp = reinterpret_cast<void **>(top & ~static_cast<uintptr_t>(15)) - 9;
    sp[0] = nullptr;                                /* r15 */
    sp[1] = nullptr;                                /* r14 */
    sp[2] = reinterpret_cast<void *>(&fiber_enter); /* r13 */
    sp[3] = f;                                      /* r12 */
    sp[4] = nullptr;                                /* rbx */
    sp[5] = nullptr;                                /* rbp */
    sp[6] = reinterpret_cast<void *>(&fiber_begin); /* return */
    sp[7] = nullptr; /* the stack pointer here is a multiple of 16, as a call wants it */
    sp[8] = nullptr;
    f->stack_pointer = sp;
}

void fiber_init(struct fiber *f, void (*entry)(void *context), void *context, unsigned color)
{
    size_t bytes = stack_bytes + guard_bytes;
    void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, guard_bytes, PROT_NONE) != 0) {
        perror("emulator: a stack");
        abort();
    }
    f->stack = static_cast<char *>(memory) + guard_bytes;
    f->stack_bytes = stack_bytes;
    f->entry = entry;
    f->context = context;
    f->sanitizer_stack = nullptr;
    f->sanitizer_fiber = nullptr;
#if FIBER_TSAN
    f->sanitizer_fiber = __tsan_create_fiber(0);
#endif
    fiber_lay_out(f, color);
}

void fiber_restart(struct fiber *f, unsigned color)
{
#if FIBER_ASAN
    __asan_unpoison_memory_region(f->stack, f->stack_bytes);
    f->sanitizer_stack = nullptr;
#endif
#if FIBER_TSAN
    __tsan_destroy_fiber(f->sanitizer_fiber);
    f->sanitizer_fiber = __tsan_create_fiber(0);
#endif
    fiber_lay_out(f, color);
}

void fiber_init_main(struct fiber *f)
{
    *f = fiber();
#if FIBER_TSAN
    f->sanitizer_fiber = __tsan_get_current_fiber();
#endif
#if FIBER_ASAN
    pthread_attr_t attributes;
    void *lowest = nullptr;
    size_t bytes = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &lowest, &bytes);
        pthread_attr_destroy(&attributes);
    }
    f->stack = static_cast<char *>(lowest);
    f->stack_bytes = bytes;
#endif
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
#if FIBER_ASAN
    __sanitizer_start_switch_fiber(&from->sanitizer_stack, to->stack, to->stack_bytes);
#endif
#if FIBER_TSAN
    __tsan_switch_to_fiber(to->sanitizer_fiber, 0);
#endif
    fiber_switch_stacks(&from->stack_pointer, to->stack_pointer);
#if FIBER_ASAN
    __sanitizer_finish_switch_fiber(from->sanitizer_stack, nullptr, nullptr);
#endif
}
