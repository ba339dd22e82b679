#include "xid.h"

#include <stddef.h>

static const struct {
    uint16_t xid;
    enum xid_verdict verdict;
    const char *text;
} rows[] = {
    {13, XID_PROGRAM, "graphics engine exception"},
    {31, XID_PROGRAM, "memory page fault"},
    {43, XID_PROGRAM, "a channel was stopped"},
    {45, XID_PROGRAM, "channels were cleaned up after a fault"},
    {48, XID_BROKEN, "double-bit ECC error"},
    {63, XID_WORN, "a row of memory was remapped"},
    {64, XID_BROKEN, "a row of memory could not be remapped"},
    {68, XID_PROGRAM, "video processor exception"},
    {74, XID_BROKEN, "NVLink error"},
    {79, XID_BROKEN, "the GPU has fallen off the bus"},
    {92, XID_WORN, "many single-bit ECC errors"},
    {94, XID_WORN, "contained ECC error"},
    {95, XID_BROKEN, "uncontained ECC error"},
    {119, XID_BROKEN, "the GPU's system processor does not answer"},
    {120, XID_BROKEN, "the GPU's system processor has failed"},
    {140, XID_BROKEN, "unrecovered ECC error"},
};

enum xid_verdict xid_judge(uint64_t xid)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].xid == xid)
            return rows[i].verdict;
    return XID_NOTED;
}

const char *xid_text(uint64_t xid)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].xid == xid)
            return rows[i].text;
    return "see the driver's log";
}
