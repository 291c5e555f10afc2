// SPDX-License-Identifier: MIT
// The laboratory's findings as people read them.
#ifndef TARE_CMD_LAB_REPORT_H
#define TARE_CMD_LAB_REPORT_H

#include <tare/base.h>

#include <stdio.h>

// Reads DIR/report.json and writes DIR/index.html and DIR/findings.md; each is whole or stays what it was. Evidence
// that is DIR/runs/NAME.json is linked. Blocks on the disk. -EINVAL: the document is no report, and error names file,
// place and what belongs there; -EFBIG: it is larger than 64 MiB; or what reading, writing or memory failed with.
TARE_MUST_USE int lab_report_render(const char *dir, struct tare_error *error);
// Writes how two laboratories differ, of the report and the runs in either folder: verdicts, places beside Go and what
// was learnt that are not the same, and how far figures are apart. Blocks on the disk. Errors: as above; errors of
// `out` stay with it.
TARE_MUST_USE int lab_report_compare(FILE *out, const char *before, const char *after, struct tare_error *error);

#endif
