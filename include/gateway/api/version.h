#ifndef PENSTOCK_GATEWAY_VERSION_H
#define PENSTOCK_GATEWAY_VERSION_H

/* What /version, the server header and --version say; equal to project(VERSION) in CMakeLists.txt,
 * which the build checks. */
#define PENSTOCK_VERSION "0.1.0"

#endif
