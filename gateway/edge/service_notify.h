#ifndef PENSTOCK_EDGE_SERVICE_NOTIFY_H
#define PENSTOCK_EDGE_SERVICE_NOTIFY_H

#include <stdbool.h>

#include "status.h"

/* Tells the service manager how it goes, over the socket that it names in NOTIFY_SOCKET (systemd's sd_notify protocol, see
 * sd_notify(3)). Where there is none, nothing happens. Thread: main. */

bool service_is_managed(void);

/* "READY=1", "STOPPING=1", ... */
void service_notify(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
