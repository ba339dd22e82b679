#ifndef PENSTOCK_TESTS_UNIT_TEST_H
#define PENSTOCK_TESTS_UNIT_TEST_H

/* cmocka with the headers that it wants before it, in the order it wants them. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#endif
