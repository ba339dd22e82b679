#ifndef PENSTOCK_DASHBOARD_TABLE_H
#define PENSTOCK_DASHBOARD_TABLE_H

#include "dashboard.h"

/* Made of the folder page/ by cmake/embed.cmake. */
extern const struct dashboard_file dashboard_files[];
extern const size_t dashboard_file_count;

#endif
