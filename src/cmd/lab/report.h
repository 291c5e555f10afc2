// SPDX-License-Identifier: MIT
// The laboratory's findings as people read them.
#ifndef TARE_CMD_LAB_REPORT_H
#define TARE_CMD_LAB_REPORT_H

#include <tare/base.h>

// Reads DIR/report.json and writes DIR/index.html and DIR/findings.md; each is whole or stays what it was. Evidence that is
// DIR/runs/NAME.json is linked. Blocks on the disk. -EINVAL: the document is no report, and error names file, place and what
// belongs there; -EFBIG: it is larger than 64 MiB; or what reading, writing or memory failed with.
TARE_MUST_USE int lab_report_render(const char *dir, struct tare_error *error);

#endif
