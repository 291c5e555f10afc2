// SPDX-License-Identifier: MIT
// Pages: escaping, the style that they share, figures and units.
//
// Colours: eight inks after Okabe and Ito, made darker on white and lighter on black so that a line stands out at 3 to
// 1 at least. They are told apart by people of any colour vision, and who prints in grey has dashes and marks as well.
// Threads: any; the tables are constant.
#include "cmd/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- text ---------------------------------------------------------------------------------------------------------

// How many bytes the character takes, by its first; 0: no character begins so.
static size_t character(const char *text)
{
	unsigned char c = (unsigned char)text[0];
	size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
	for (size_t i = 1; i < len; i++)
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

// What XML has no place for: most controls, U+FFFE and U+FFFF, and bytes that are no UTF-8, such as half of a character
// where a text was cut. How many bytes; 0: the text may stay.
static size_t forbidden(const char *text)
{
	unsigned char c = (unsigned char)text[0];
	if (character(text) == 0 || (c < 0x20 && c != '\t' && c != '\n') || c == 0x7f)
		return 1;
	if (c == 0xef && (unsigned char)text[1] == 0xbf && (unsigned char)text[2] >= 0xbe)
		return 3;
	return 0;
}

void page_text(FILE *out, const char *text)
{
	while (*text != '\0') {
		size_t bad = forbidden(text), len = bad > 0 ? bad : character(text);
		if (bad > 0)
			fputs("\xef\xbf\xbd", out);
		else if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '"')
			fputs("&quot;", out);
		else if (*text == '\'')
			fputs("&#39;", out);
		else
			fwrite(text, 1, len, out);
		text += len;
	}
}

double page_text_px(const char *text)
{
	double px = 0;
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		if (c >= 0xe1) // the first byte of three or four: mostly wide scripts
			px += 13;
		else if (c < 0x80 || c >= 0xc0)
			px += strchr("il.,:;|!'()[] ", c) != NULL                  ? 4.2
			      : (c >= 'A' && c <= 'Z') || strchr("mw%", c) != NULL ? 9.2
										   : 7;
	}
	return px;
}

// ---- figures ------------------------------------------------------------------------------------------------------

// "1234567" as "1,234,567", in place.
static void group_thousands(char out[PAGE_FIGURE])
{
	size_t sign = out[0] == '-', len = strlen(out), commas = (len - sign - 1) / 3;
	if (len + commas >= PAGE_FIGURE)
		return;
	out[len + commas] = '\0';
	for (size_t from = len, to = len + commas, digits = 0; commas > 0; digits++) {
		if (digits == 3) {
			out[--to] = ',';
			digits = 0;
			commas--;
			if (commas == 0)
				break;
		}
		out[--to] = out[--from];
	}
}

const char *page_number(char out[PAGE_FIGURE], double value)
{
	double size = fabs(value);
	if (isnan(value)) {
		snprintf(out, PAGE_FIGURE, "-");
	} else if (size >= 1e15) {
		snprintf(out, PAGE_FIGURE, "%.3g", value);
	} else if (size == floor(size) || size >= 999.5) {
		snprintf(out, PAGE_FIGURE, "%.0f", value == 0 ? 0 : value);
		group_thousands(out);
	} else if (size < 1e-4) {
		snprintf(out, PAGE_FIGURE, "%.2e", value);
	} else if (snprintf(out, PAGE_FIGURE, "%.3g", value), fabs(strtod(out, NULL) - value) < 1e-9 * size) {
		return out; // 0.5 is that, not 0.500
	} else {
		int decimals = 2 - (int)floor(log10(size));
		// 0.9996 rounds into the next decade, and has a digit too many there.
		if (size * pow(10, decimals) >= 999.5)
			decimals--;
		snprintf(out, PAGE_FIGURE, "%.*f", TARE_MAX(decimals, 0), value);
	}
	return out;
}

static const struct page_unit_step times[] = {{"ns", 1}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}};
static const struct page_unit_step sizes[] = {
    {"B", 1}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
static const struct page_unit_family families[] = {{times, TARE_ARRAY_LEN(times), 10},
						   {sizes, TARE_ARRAY_LEN(sizes), 2}};

const char *page_unit(const char *unit)
{
	if (strcmp(unit, "us") == 0)
		return "µs";
	return strcmp(unit, "bytes") == 0 || strcmp(unit, "byte") == 0 ? "B" : unit;
}

const struct page_unit_family *page_unit_find(const char *unit, double *ret_size)
{
	for (size_t f = 0; f < TARE_ARRAY_LEN(families); f++) {
		for (size_t i = 0; i < families[f].count; i++) {
			if (strcmp(families[f].steps[i].name, page_unit(unit)) == 0) {
				*ret_size = families[f].steps[i].size;
				return &families[f];
			}
		}
	}
	return NULL;
}

const struct page_unit_step *page_unit_step(const struct page_unit_family *family, double value)
{
	size_t i = 0;
	// A little below the step is the step: 0.9999 of it would be written as 1,000 of the one before.
	while (i + 1 < family->count && fabs(value) >= family->steps[i + 1].size * 0.9995)
		i++;
	return &family->steps[i];
}

static const char *figure(char out[PAGE_FIGURE], double value, const char *unit, bool times_too)
{
	double size = 1;
	const struct page_unit_family *family = page_unit_find(unit, &size);
	if (!isnan(value) && family != NULL && (times_too || family->base == 2)) {
		const struct page_unit_step *step = page_unit_step(family, value * size);
		value *= size / step->size;
		unit = step->name;
	}
	page_number(out, value);
	size_t len = strlen(out);
	if (!isnan(value) && unit[0] != '\0' && len + strlen(page_unit(unit)) + 2 <= PAGE_FIGURE)
		snprintf(out + len, PAGE_FIGURE - len, " %s", page_unit(unit));
	return out;
}

const char *page_figure(char out[PAGE_FIGURE], double value, const char *unit)
{
	return figure(out, value, unit, false);
}

const char *page_figure_scaled(char out[PAGE_FIGURE], double value, const char *unit)
{
	return figure(out, value, unit, true);
}

// ---- the frame ----------------------------------------------------------------------------------------------------

#define LIGHT                                                                                                          \
	"--ink:#1b2430;--soft:#566271;--line:#dbe1e8;--faint:#f4f6f9;--paper:#fff;--good:#0b6e4f;--bad:#b3261e;"       \
	"--s0:#0b62a8;--s1:#c2490b;--s2:#007a5a;--s3:#946200;--s4:#2786ba;--s5:#b0508f;--s6:#5f4bb6;--s7:#6b5b4b"
#define DARK                                                                                                           \
	"--ink:#e3e8ef;--soft:#9aa6b5;--line:#323c49;--faint:#1c222b;--paper:#13171d;--good:#4cc79c;--bad:#ff8a80;"    \
	"--s0:#6cb2f0;--s1:#f5894a;--s2:#3fc49a;--s3:#e0b13c;--s4:#8fd3f7;--s5:#e896c8;--s6:#b3a4f5;--s7:#c2b3a3"

static const char style[] =
    ":root{color-scheme:light dark;" LIGHT "}"
    "@media(prefers-color-scheme:dark){:root{" DARK "}}"
    "@media print{:root{color-scheme:light;" LIGHT "}}"
    "*{box-sizing:border-box}"
    "html{-webkit-text-size-adjust:100%}"
    "body{font:16px/1.55 system-ui,-apple-system,'Segoe "
    "UI',sans-serif;color:var(--ink);background:var(--paper);margin:0}"
    "h1,h2,h3{line-height:1.2;text-wrap:balance}"
    "a{color:var(--s0);text-underline-offset:.15em;text-decoration-thickness:1px}"
    "code,pre{font-family:ui-monospace,'Cascadia Mono',Menlo,'DejaVu Sans Mono',monospace;font-size:.85em}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.875em;line-height:1.4}"
    "th{font-weight:600;color:var(--soft);vertical-align:bottom}"
    "td,th{padding:.32em .65em;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}"
    "td:first-child,th:first-child{padding-left:0}"
    "td.n{white-space:nowrap}.n{text-align:right}"
    ".soft{color:var(--soft)}"
    ".wide{overflow-x:auto}"
    ".plot{overflow-x:auto}"
    ".plot svg{display:block;width:100%;min-width:34rem;max-width:47.5rem;height:auto;font:12px "
    "system-ui,-apple-system,"
    "'Segoe UI',sans-serif}"
    ".plot text{fill:var(--ink)}.plot .soft{fill:var(--soft)}.plot .end{font-weight:600;fill:var(--c)}"
    ".plot .grid{stroke:var(--line)}.plot .base{stroke:var(--soft)}"
    ".plot .ln{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:butt}"
    ".plot .thin{stroke-width:1.3}"
    ".plot .to{fill:none;stroke:var(--c);stroke-opacity:.5}"
    ".plot .mk{fill:var(--c)}.plot .ho{fill:var(--paper);stroke:var(--c);stroke-width:1.6}"
    ".plot .br{fill:var(--c)}.plot .bh{fill:var(--c);fill-opacity:.16;stroke:var(--c);stroke-width:1.2}"
    ".plot .hs{fill:none;stroke:var(--c);stroke-width:1.2}"
    ".plot .ru{stroke:var(--c);stroke-width:2}"
    ".s0{--c:var(--s0)}.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}"
    ".s4{--c:var(--s4)}.s5{--c:var(--s5)}.s6{--c:var(--s6)}.s7{--c:var(--s7)}"
    "@media print{body{font-size:10pt}.wide,.plot{overflow:visible}.plot svg{min-width:0}a{color:inherit}"
    "h1,h2,h3,figcaption,caption{break-after:avoid}figure,tr,pre,svg,.wide{break-inside:avoid}thead{display:table-"
    "header-"
    "group}}";

void page_begin(FILE *out, const char *title, const char *own)
{
	fputs("<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'/>\n"
	      "<meta name='viewport' content='width=device-width,initial-scale=1'/>\n<title>",
	      out);
	page_text(out, title);
	fprintf(out, "</title>\n<style>%s%s</style>\n</head>\n<body>\n", style, own);
}

void page_end(FILE *out)
{
	fputs("</body>\n</html>\n", out);
}
