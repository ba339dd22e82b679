#ifndef PENSTOCK_BASE_CHECK_H
#define PENSTOCK_BASE_CHECK_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Programmer errors end the process at the place they are seen. CHECK stays in release builds and must be
 * cheap and free of side effects; DCHECK is for costly checks and compiles to nothing with NDEBUG.
 * Errors that the outside can cause are never CHECKs: they are statuses. */

__attribute__((noreturn, cold)) void check_failed(const char *condition, const char *file,
                                                  int line);

#define CHECK(condition)                                                                           \
    (__builtin_expect(!!(condition), 1) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define DCHECK(condition) ((void)sizeof(!!(condition)))
#else
#define DCHECK(condition) CHECK(condition)
#endif

#define ARRAY_COUNT(array)                  (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* Alloc guard: between begin and end, an allocation on this thread through the base allocators aborts debug and
 * test builds. It turns the rule "a step allocates nothing" into a crash in tests. Calls nest. */
void alloc_guard_begin(void);
void alloc_guard_end(void);
bool alloc_guard_is_on(void);

#ifdef __cplusplus
}
#endif

#endif
