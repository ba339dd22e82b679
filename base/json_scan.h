#ifndef PENSTOCK_BASE_JSON_SCAN_H
#define PENSTOCK_BASE_JSON_SCAN_H

#include "json.h"

/* The scanner under json_scan and json_load_limited: any JSON value, checked against RFC 8259 and
 * the limits. With `fields` the value must be an object, whose members' names must differ. */
NODISCARD status json_scan_value(struct text_slice body, const struct json_limits *limits,
                                 bool must_be_object, struct json_field *fields, size_t field_count,
                                 struct error_note *note);

#endif
