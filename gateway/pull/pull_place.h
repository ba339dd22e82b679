#ifndef PENSTOCK_PULL_PLACE_H
#define PENSTOCK_PULL_PLACE_H

#include "pull_name.h"
#include "status.h"

/* Where a file goes, and what stands beside it while it comes. Folders on the way are made, and opened one by one without following
 * links, so that nothing in the folder can lead out of it. */

struct pull_place {
    int folder; /* descriptor of the file's own folder; owned */
    char name[PULL_NAME_BYTES_MAX + 1], part[PULL_NAME_BYTES_MAX + 16],
        tag[PULL_NAME_BYTES_MAX + 16];
};

/* `path` is safe. STATUS_OK, STATUS_IO with a note. */
NODISCARD status pull_place_open(int folder, const char *path, struct pull_place *out,
                                 struct error_note *note);
void pull_place_close(struct pull_place *place);

/* The tag that the part came with; "": none is kept. */
void pull_place_tag_read(const struct pull_place *place, char *out, size_t bytes);
/* "": forgets it. A tag that cannot be kept only costs a resumption. */
void pull_place_tag_write(const struct pull_place *place, const char *text);

/* The part, which is whole, becomes the file, durably. */
NODISCARD status pull_place_finish(const struct pull_place *place, int part,
                                   struct error_note *note);

#endif
