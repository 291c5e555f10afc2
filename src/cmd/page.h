// SPDX-License-Identifier: MIT
// Pages that commands write: what every one begins and ends with, texts that can't be markup, and figures as people
// write them.
//
// A page is one file: it fetches nothing and runs nothing. It is well-formed as XML too, so that any parser checks it.
// Light and dark are what the reader prefers; on paper it is light.
// Threads: any, each with a stream of its own. Ownership: nothing is kept. A stream's errors stay with the stream.
#ifndef TARE_CMD_PAGE_H
#define TARE_CMD_PAGE_H

#include <tare/base.h>

#include <stdio.h>

// The text, with what would be markup in HTML, XML and their attributes written so that it isn't, and what XML forbids
// (control characters) as U+FFFD. The text is UTF-8.
void page_text(FILE *out, const char *text);
// Doctype, title and style, up to <body>. style: rules of this page's own, or "".
void page_begin(FILE *out, const char *title, const char *style);
void page_end(FILE *out);

enum { PAGE_FIGURE = 40 };
// Three digits that count, "0.0123", "1.50", "99.9", or fewer where there are no more, "0.5"; whole numbers and what is
// above 1,000 in full, "1,204"; "-" for NAN. Returns out.
const char *page_number(char out[PAGE_FIGURE], double value);
// With its unit: bytes as "1.5 GiB"; another unit follows the number, as page_unit() writes it.
const char *page_figure(char out[PAGE_FIGURE], double value, const char *unit);
// Times too in the unit that fits: 2154 "ns" is "2.15 µs".
const char *page_figure_scaled(char out[PAGE_FIGURE], double value, const char *unit);
// "us" as "µs"; others as they are.
const char *page_unit(const char *unit);

// Units that one thing is measured in, from small to large.
struct page_unit_step {
	const char *name;
	double size;
};
struct page_unit_family {
	const struct page_unit_step *steps;
	size_t count;
	double base; // log axes go by powers of it
};
// The family that a unit is of ("ns", "us", "ms", "s"; "bytes", "KiB", …), and how large the unit is in it. NULL: none.
const struct page_unit_family *page_unit_find(const char *unit, double *ret_size);
// The largest step that is not above value; the smallest at least. value is in the family's own measure.
const struct page_unit_step *page_unit_step(const struct page_unit_family *family, double value);

// How wide a text is at 12 px, about: no font is asked. Rather too wide than too narrow.
double page_text_px(const char *text);

#endif
