#include "compile.h"

#include <stdarg.h>
#include <stdio.h>

#include "clock.h"

/* Work between two looks at the clock: some hundred microseconds. */
#define WORK_PER_LOOK 16384u

bool compile_fail(struct compile *c, status s, const char *format, ...)
{
    if (c->failed != STATUS_OK)
        return false;
    c->failed = s;
    char text[sizeof c->note->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_note_set(c->note, "%s", text);
    return false;
}

void *compile_allocate(struct compile *c, size_t count, size_t item_bytes)
{
    void *memory = arena_allocate_array(c->memory, count > 0 ? count : 1, item_bytes);
    if (memory == NULL)
        compile_fail(c, STATUS_TOO_LARGE,
                     "the grammar is too large: compiling it takes more than %llu bytes",
                     (unsigned long long)c->limits->memory_bytes_max);
    return memory;
}

void *compile_grow(struct compile *c, void *items, size_t count, uint32_t *capacity,
                   size_t item_bytes)
{
    if (count < *capacity)
        return items;
    size_t wanted = *capacity > 0 ? (size_t)*capacity * 2 : 16;
    void *grown = compile_allocate(c, wanted, item_bytes);
    if (grown == NULL)
        return NULL;
    if (count > 0)
        memcpy(grown, items, count * item_bytes);
    *capacity = (uint32_t)wanted;
    return grown;
}

bool compile_go_on(struct compile *c, uint32_t work)
{
    if (c->failed != STATUS_OK)
        return false;
    c->work += work;
    if (c->work < WORK_PER_LOOK)
        return true;
    c->work = 0;
    if (c->deadline_ns == 0 || clock_now_ns() <= c->deadline_ns)
        return true;
    return compile_fail(c, STATUS_TOO_LARGE,
                        "the grammar is too large: compiling it takes more than %llu ms",
                        (unsigned long long)(c->limits->compile_timeout_ns / NS_PER_MS));
}

uint32_t compile_add_rule(struct compile *c, struct text_slice name)
{
    c->rules = compile_grow(c, c->rules, c->rule_count, &c->rule_capacity, sizeof *c->rules);
    if (c->rules == NULL || !compile_go_on(c, 16))
        return UINT32_MAX;
    c->rules[c->rule_count] = (struct rule){.name = name};
    return c->rule_count++;
}
