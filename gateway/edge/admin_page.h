#ifndef PENSTOCK_EDGE_ADMIN_PAGE_H
#define PENSTOCK_EDGE_ADMIN_PAGE_H

#include "edge.h"

/* GET /admin/ and /admin/ui/FILE: the dashboard page. It has nothing of this gateway in it and needs no key; what it shows it asks the admin API for,
 * with the key that the person before it gives. Loop. */
void admin_page(struct edge_record *record, struct text_slice rest);
void admin_page_file(struct edge_record *record, struct text_slice rest);

#endif
