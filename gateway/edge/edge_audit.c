#include "edge_audit.h"

#include "log.h"

bool edge_audit(struct edge *edge, const struct audit_event *event)
{
    struct error_note note = {""};

    if (records_audit(edge->records, event, &note) == STATUS_OK)
        return true;
    log_error("gateway/edge", "%s of %s is not done, as the audit log does not take it: %s",
              event->action, event->object, note.text);
    return false;
}
