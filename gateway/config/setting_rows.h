#ifndef PENSTOCK_CONFIG_SETTING_ROWS_H
#define PENSTOCK_CONFIG_SETTING_ROWS_H

#include "clock.h"
#include "settings.h"

#define KIB 1024.0
#define MIB (1024.0 * KIB)
#define GIB (1024.0 * MIB)
#define MS  ((double)NS_PER_MS)
#define SEC ((double)NS_PER_SECOND)

/* A row is a key, its field and then what differs from zero; the macros name the kind and the
 * numbers. */
#define BOOL(name, type, field, value)                                                             \
    .key = name, .kind = SETTING_BOOL, .offset = offsetof(struct type, field), .fallback = value
#define INT(name, type, field, value, low, high)                                                   \
    .key = name, .kind = SETTING_INT, .offset = offsetof(struct type, field), .fallback = value,   \
    .min = low, .max = high
#define FLOAT(name, type, field, value, low, high)                                                 \
    .key = name, .kind = SETTING_FLOAT, .offset = offsetof(struct type, field), .fallback = value, \
    .min = low, .max = high
#define BYTES(name, type, field, value, low, high)                                                 \
    .key = name, .kind = SETTING_BYTES, .offset = offsetof(struct type, field), .fallback = value, \
    .min = low, .max = high
#define DURATION(name, type, field, value, low, high)                                              \
    .key = name, .kind = SETTING_DURATION, .offset = offsetof(struct type, field),                 \
    .fallback = value, .min = low, .max = high
#define TEXT(name, type, field, value)                                                             \
    .key = name, .kind = SETTING_TEXT, .offset = offsetof(struct type, field), .fallback = value
#define FILE_PATH(name, type, field, value)                                                        \
    .key = name, .kind = SETTING_PATH, .offset = offsetof(struct type, field), .fallback = value
#define WORD(name, type, field, value, list)                                                       \
    .key = name, .kind = SETTING_ENUM, .offset = offsetof(struct type, field), .fallback = value,  \
    .words = list
#define TEXTS(name, type, field, most)                                                             \
    .key = name, .kind = SETTING_TEXT_LIST, .offset = offsetof(struct type, field), .max = most

#endif
