// SPDX-License-Identifier: MIT
// Rendering: report.json is read and checked whole, then each document is written beside its name and moved there.
//
// So a reader never sees half a page, and a report that is refused leaves the pages of the one before.
// Threads: one a folder; two that render the same folder write the same.
#include "cmd/lab/report.h"
#include "cmd/lab/report_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_file(json_t **ret, const char *path, struct tare_error *err)
{
	json_error_t at;
	struct stat is;
	if (stat(path, &is) < 0)
		return tare_error_set(err, -errno, "%s: %s; 'tare lab --out DIR' writes one", path, strerror(errno));
	if (is.st_size > REPORT_BYTES_MAX)
		return tare_error_set(err, -EFBIG, "%s: %lld bytes; a report has %d at most", path,
				      (long long)is.st_size, REPORT_BYTES_MAX);
	json_t *report = json_load_file(path, JSON_REJECT_DUPLICATES, &at);
	if (report == NULL)
		return tare_error_set(err, -EINVAL, "%s:%d:%d: %s", path, at.line, at.column, at.text);
	int rc = report_check(report, path, err);
	if (rc < 0) {
		json_decref(report);
		return rc;
	}
	*ret = report;
	return 0;
}

int report_read(json_t **ret, const char *dir, struct tare_error *err)
{
	char *path = NULL;
	if (asprintf(&path, "%s/report.json", dir) < 0)
		return tare_error_set(err, -ENOMEM, "%s/report.json: no memory", dir);
	int rc = read_file(ret, path, err);
	free(path);
	return rc;
}

static int write_whole(const struct report *report, const char *name,
		       int (*write)(FILE *out, const struct report *report, struct tare_error *err),
		       struct tare_error *err)
{
	char *path = NULL, *beside = NULL;
	int rc = 0;
	if (asprintf(&path, "%s/%s", report->dir, name) < 0)
		return tare_error_set(err, -ENOMEM, "%s/%s: no memory", report->dir, name);
	if (asprintf(&beside, "%s.%ld", path, (long)getpid()) < 0) {
		free(path);
		return tare_error_set(err, -ENOMEM, "%s/%s: no memory", report->dir, name);
	}
	FILE *out = fopen(beside, "we");
	if (out == NULL) {
		rc = tare_error_set(err, -errno, "%s: %s", beside, strerror(errno));
		goto free_paths;
	}
	rc = write(out, report, err);
	bool failed = ferror(out) != 0;
	if ((fclose(out) != 0 || failed) && rc == 0)
		rc = tare_error_set(err, -EIO, "%s: could not be written: %s", beside, strerror(errno));
	if (rc == 0 && rename(beside, path) < 0)
		rc = tare_error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (rc < 0)
		unlink(beside);
free_paths:
	free(beside);
	free(path);
	return rc;
}

int lab_report_render(const char *dir, struct tare_error *error)
{
	struct report report = {.dir = dir};
	json_t *json = NULL;
	int rc = report_read(&json, dir, error);
	if (rc < 0)
		return rc;
	report.json = json;
	rc = write_whole(&report, "index.html", report_html, error);
	if (rc == 0)
		rc = write_whole(&report, "findings.md", report_markdown, error);
	json_decref(json);
	return rc;
}
