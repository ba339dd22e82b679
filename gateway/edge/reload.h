#ifndef PENSTOCK_EDGE_RELOAD_H
#define PENSTOCK_EDGE_RELOAD_H

#include "edge.h"
#include "gateway.h"

/* Loads the config again and puts it in force, all or nothing: a file with any mistake, a change of
 * a key that needs a restart, or a certificate that cannot be read leaves everything as it was.
 * Every difference is logged. Thread: main. */
void reload_config(struct edge *edge, const struct gateway_options *options);

#endif
