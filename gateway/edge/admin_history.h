#ifndef PENSTOCK_EDGE_ADMIN_HISTORY_H
#define PENSTOCK_EDGE_ADMIN_HISTORY_H

#include "edge.h"

/* GET /admin/history?step=minute|hour|day&from=&to=&model= and /admin/anomalies: what the history's thread answers (history.h, anomaly_watch.h). Loop. */
void admin_history(struct edge_record *record, struct text_slice rest);
void admin_anomalies(struct edge_record *record, struct text_slice rest);

#endif
