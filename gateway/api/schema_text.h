#ifndef PENSTOCK_GATEWAY_API_SCHEMA_TEXT_H
#define PENSTOCK_GATEWAY_API_SCHEMA_TEXT_H

#include "buffer.h"

/* Schemas in a line, so that tables can hold them:
 *
 *   string  boolean  object  any  null
 *   integer  number  integer(0..)  number(-2..2)   a range, either end open
 *   'word'                                          this string
 *   #Name                                           components/schemas/Name
 *   [schema]  {schema}                              a list of; an object with values of
 *   schema|schema                                   any of them
 *
 * Appends the JSON Schema of `text`, which is one of our own constants: what is not of this form is a
 * programmer's error. Pure: any thread. */
void schema_text_write(const char *text, struct buffer *out);

#endif
