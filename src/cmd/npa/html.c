// SPDX-License-Identifier: MIT
// The report as a page: placeholder head.
#include "cmd/npa/npa.h"
int npa_html_write(const json_t *report, const char *path, struct tare_error *err)
{
	(void)report;
	(void)path;
	(void)err;
	return 0;
}
