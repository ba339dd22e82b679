#ifndef PENSTOCK_EDGE_CERTIFICATE_WATCH_H
#define PENSTOCK_EDGE_CERTIFICATE_WATCH_H

#include <stdbool.h>
#include <sys/stat.h>

#include "edge.h"

/* Sees when the files of certificates change, as renewals change them without telling anybody. Thread: main. */

#define CERTIFICATE_FILES_MAX 3u

struct certificate_watch {
    struct certificate_file {
        dev_t device;
        ino_t inode; /* 0: there is none */
        off_t bytes;
        struct timespec written;
    } files[CERTIFICATE_FILES_MAX];
    bool is_settling; /* they have changed since they were read, and may not be whole yet */
};

/* Remembers them as they are. */
void certificate_watch_init(struct certificate_watch *watch, const struct config_server *config);

/* Looks, about once a second; reads them again when they have changed and stayed so from one look to the next. A pair that is
 * not good leaves the old one in force, and the log says why. */
void certificate_watch_look(struct certificate_watch *watch, struct edge *edge);

#endif
