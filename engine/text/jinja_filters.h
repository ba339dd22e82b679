#ifndef PENSTOCK_JINJA_FILTERS_H
#define PENSTOCK_JINJA_FILTERS_H

#include "jinja_functions.h"

/* Filters over lists (jinja_list_filters.c), for the table in jinja_filters.c. */
struct value filter_batch(struct call *c);
struct value filter_dictsort(struct call *c);
struct value filter_first(struct call *c);
struct value filter_groupby(struct call *c);
struct value filter_items(struct call *c);
struct value filter_join(struct call *c);
struct value filter_last(struct call *c);
struct value filter_list(struct call *c);
struct value filter_map(struct call *c);
struct value filter_max(struct call *c);
struct value filter_min(struct call *c);
struct value filter_reject(struct call *c);
struct value filter_rejectattr(struct call *c);
struct value filter_reverse(struct call *c);
struct value filter_select(struct call *c);
struct value filter_selectattr(struct call *c);
struct value filter_slice(struct call *c);
struct value filter_sort(struct call *c);
struct value filter_sum(struct call *c);
struct value filter_unique(struct call *c);

#endif
