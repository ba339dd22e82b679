#include "member.h"

#include "check.h"

const char *member_phase_name(enum member_phase phase)
{
    static const char *const names[MEMBER_PHASE_COUNT] = {"pending",  "starting", "running",
                                                          "stopping", "ended",    "failed"};

    CHECK(phase < MEMBER_PHASE_COUNT);
    return names[phase];
}
