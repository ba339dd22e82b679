#ifndef PENSTOCK_GATEWAY_VERSION_H
#define PENSTOCK_GATEWAY_VERSION_H

/* What /version, the server header and --version say. Equal to project(VERSION) in CMakeLists.txt.
 */
#define PENSTOCK_VERSION "0.1.0"

#endif
