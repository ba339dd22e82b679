#include "dashboard.h"

#include "dashboard_table.h"

const struct dashboard_file *dashboard_find(struct text_slice name)
{
    for (size_t i = 0; i < dashboard_file_count; i++) {
        if (text_slice_is(name, dashboard_files[i].name))
            return &dashboard_files[i];
    }
    return NULL;
}
