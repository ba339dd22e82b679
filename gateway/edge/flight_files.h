#ifndef PENSTOCK_EDGE_FLIGHT_FILES_H
#define PENSTOCK_EDGE_FLIGHT_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Recordings of replicas' last steps (flight_recorder.h), in the run directory: SOCKET.flight of one that runs, and
 * NAME.TIME-PID.flight of one that has not ended well. */

#define FLIGHT_PATH_BYTES 256u

/* Where the replica at this address ("unix:...") records; false: the path would be too long. */
bool flight_path(const char *address, char out[FLIGHT_PATH_BYTES]);

/* Makes the file there, empty and with mode 0600, for a replica that may make none. False: errno tells why not. */
bool flight_make(const char *address);

/* The process at this address is gone. If it has left its recording, that gets a name of its own, which goes into `out`, and of all such in
 * the folder the oldest are removed until kept_max are left. False: it has left none, or it is not kept. `now_s`: Unix time. */
bool flight_keep(const char *address, int32_t pid, uint32_t kept_max, uint64_t now_s,
                 char out[FLIGHT_PATH_BYTES]);

#endif
