// SPDX-License-Identifier: MIT
// Goal: report.json becomes a page and a Markdown document that say all of it and nothing else: every text is text,
// every figure is where it belongs, and a document that is no report is refused with the place that is wrong.
// Method: report.json is written into a folder of the test's own and rendered. What comes out is read by parsers that
// are not ours: Python's for XML and for HTML.
#include "test.h"

#include "cmd/lab/report.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char folder[64];

static const char *path_of(const char *name)
{
	static char path[128];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void folder_make(void)
{
	snprintf(folder, sizeof(folder), "/tmp/tare-report-XXXXXX");
	assert_non_null(mkdtemp(folder));
	assert_int_equal(0, mkdir(path_of("runs"), 0700));
}

static void folder_remove(void)
{
	static const char *const names[] = {"report.json", "index.html", "findings.md", "runs/stage-0.tare.json"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(names); i++)
		unlink(path_of(names[i]));
	assert_int_equal(0, rmdir(path_of("runs")));
	assert_int_equal(0, rmdir(folder)); // nothing else was left in it
}

static void file_write(const char *name, const char *text)
{
	FILE *file = fopen(path_of(name), "we");
	assert_non_null(file);
	assert_int_equal(strlen(text), fwrite(text, 1, strlen(text), file));
	assert_int_equal(0, fclose(file));
}

// The whole file, for free().
static char *file_read(const char *name)
{
	char *text = NULL;
	size_t len = 0;
	FILE *file = fopen(path_of(name), "re"), *out = open_memstream(&text, &len);
	assert_non_null(file);
	for (int c = fgetc(file); c != EOF; c = fgetc(file))
		fputc(c, out);
	fclose(file);
	fclose(out);
	return text;
}

// ---- documents ----------------------------------------------------------------------------------------------------

#define HEAD                                                                                                           \
	"\"title\": \"Findings\", \"made\": \"2026-11-21T20:00:00Z\", \"quick\": false, "                              \
	"\"machine\": {\"cores\": 2, \"memory_bytes\": 8589934592}, \"acceptance\": [], \"behind\": []"
#define LISTS "\"question\": \"Why?\", \"commands\": [], \"verdicts\": [], \"learnt\": [], \"next\": [], \"notes\": []"
// A page with these tables and plots.
#define PAGE(id, tables, plots)                                                                                        \
	"{\"id\": \"" id "\", \"title\": \"Of " id "\", " LISTS ", \"tables\": [" tables "], \"plots\": [" plots "]}"
#define REPORT(pages) "{" HEAD ", \"pages\": [" pages "]}"
#define PLOT(kind, x_log, y_log, series)                                                                               \
	"{\"title\": \"A plot\", \"kind\": \"" kind                                                                    \
	"\", \"x\": {\"name\": \"rate\", \"unit\": \"req/s\", \"log\": " x_log                                         \
	"}, \"y\": {\"name\": \"p99\", \"unit\": \"us\", \"log\": " y_log "}, \"series\": [" series "]}"
#define SERIES(name, points) "{\"name\": \"" name "\", \"points\": [" points "]}"

static int render(const char *json, struct tare_error *err)
{
	err->text[0] = '\0';
	file_write("report.json", json);
	return lab_report_render(folder, err);
}

static void rendered(const char *json)
{
	struct tare_error err;
	int rc = render(json, &err);
	if (rc != 0)
		fail_msg("not rendered: %d %s", rc, err.text);
}

// The page of a report that has this plot alone, for free().
static char *page_of_plot(const char *plot)
{
	char *json = NULL, *page;
	assert_true(
	    asprintf(&json,
		     "{%s, \"pages\": [{\"id\": \"one\", \"title\": \"One\", %s, \"tables\": [], \"plots\": [%s]}]}",
		     HEAD, LISTS, plot) > 0);
	folder_make();
	rendered(json);
	free(json);
	page = file_read("index.html");
	folder_remove();
	return page;
}

static size_t times_in(const char *text, const char *what)
{
	size_t count = 0;
	for (text = strstr(text, what); text != NULL; text = strstr(text + 1, what))
		count++;
	return count;
}

#define HAS(text, what)                                                                                                \
	do {                                                                                                           \
		if (strstr(text, what) == NULL)                                                                        \
			fail_msg("%s is not in\n%.6000s", what, text);                                                 \
	} while (0)
#define HAS_NOT(text, what)                                                                                            \
	do {                                                                                                           \
		if (strstr(text, what) != NULL)                                                                        \
			fail_msg("%s is in\n%.6000s", what, text);                                                     \
	} while (0)

// ---- other parsers ------------------------------------------------------------------------------------------------

// The page is XML as a whole and each plot in it; HTML's elements close in the order in which they were opened; nothing
// runs, nothing is fetched; each link within the page has its end, and each identifier is one.
static const char checker[] =
    "import sys, html.parser, xml.etree.ElementTree as tree\n"
    "text = open(sys.argv[1], encoding='utf-8').read()\n"
    "root = tree.fromstring(text)\n"
    "void = {'meta', 'br', 'hr', 'img', 'link', 'input'}\n"
    "shapes = {'line', 'path', 'rect', 'circle'}\n"
    "class Page(html.parser.HTMLParser):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        self.open, self.ids, self.links = [], [], []\n"
    "    def handle_startendtag(self, tag, attrs):\n"
    "        assert tag in void or tag in shapes, tag\n"
    "        self.look(tag, attrs)\n"
    "    def handle_starttag(self, tag, attrs):\n"
    "        assert tag not in void, tag + ' is not closed'\n"
    "        self.open.append(tag)\n"
    "        self.look(tag, attrs)\n"
    "    def handle_endtag(self, tag):\n"
    "        assert self.open and self.open[-1] == tag, (tag, self.open)\n"
    "        self.open.pop()\n"
    "    def look(self, tag, attrs):\n"
    "        assert tag not in {'script', 'link', 'img', 'iframe', 'object', 'b'}, tag\n"
    "        for name, value in attrs:\n"
    "            assert not name.startswith('on') and name not in {'src', 'srcset'}, (tag, name)\n"
    "            if name == 'id': self.ids.append(value)\n"
    "            if name == 'href': self.links.append(value)\n"
    "page = Page()\n"
    "page.feed(text)\n"
    "page.close()\n"
    "assert page.open == [], page.open\n"
    "assert len(page.ids) == len(set(page.ids)), page.ids\n"
    "for link in page.links:\n"
    "    assert link[1:] in page.ids if link.startswith('#') else link.startswith('runs/'), link\n"
    "width = 760\n"
    "for svg in root.iter('svg'):\n"
    "    box = [float(v) for v in svg.get('viewBox').split()]\n"
    "    places = {}\n"
    "    for at in svg.iter('text'):\n"
    "        x, y = float(at.get('x')), float(at.get('y'))\n"
    "        assert -1 <= x <= box[2] + 1 and 0 <= y <= box[3], (x, y, box)\n"
    "        if at.get('class') in ('name', 'end') and at.get('text-anchor') == 'start':\n"
    "            places.setdefault(x, []).append(y)\n"
    "    for ys in places.values():\n"
    "        ys.sort()\n"
    "        assert len(set(ys)) < 2 or min(b - a for a, b in zip(ys, ys[1:])) >= 12, ('names overlap', ys)\n"
    "assert 'http:' not in text and 'https:' not in text and 'url(' not in text and '@import' not in text\n";

static void check_page(void)
{
	char path[128];
	int status = -1;
	pid_t pid;
	snprintf(path, sizeof(path), "%s", path_of("index.html"));
	char program[] = "python3", option[] = "-c", *script = strdup(checker);
	char *argv[] = {program, option, script, path, NULL};
	assert_int_equal(0, posix_spawnp(&pid, program, NULL, NULL, argv, environ));
	assert_int_equal(pid, waitpid(pid, &status, 0));
	free(script);
	assert_true(WIFEXITED(status));
	assert_int_equal(0, WEXITSTATUS(status));
}

// ---- a whole report -----------------------------------------------------------------------------------------------

static const char whole[] =
    "{\"title\": \"Findings\", \"made\": \"2026-11-21T20:00:00Z\", \"quick\": true,"
    " \"machine\": {\"commit\": \"abc123\", \"cores\": 2, \"memory_bytes\": 8589934592},"
    " \"acceptance\": ["
    "  {\"point\": \"No allocations\", \"asked\": \"at most 1\", \"figure\": \"0.00\", \"met\": true, \"own_asked\": "
    "\"0\","
    "   \"own_met\": false, \"evidence\": \"stage-0.tare, stage-0.lost\", \"why\": \"\"},"
    "  {\"point\": \"Short pauses\", \"asked\": \"< 5 ms\", \"figure\": \"9 ms\", \"met\": false, \"why\": \"one "
    "core\"},"
    "  {\"point\": \"All at once\", \"asked\": \"\", \"figure\": \"\", \"met\": null}],"
    " \"behind\": [{\"page\": \"stage-0\", \"what\": \"p999\", \"tare\": 1500, \"go\": 1000, \"unit\": \"us\", "
    "\"why\": "
    "\"cold\"}],"
    " \"pages\": [{\"id\": \"stage-0\", \"title\": \"Stage 0: simple\", \"question\": \"What does it allocate?\","
    "  \"commands\": [\"# stage-0.tare\\ntare svc --index x &\\ntare load 'http'\", \"tare lab\"],"
    "  \"tables\": [{\"title\": \"At rest\", \"columns\": [{\"name\": \"p99\", \"unit\": \"us\"}, {\"name\": \"heap\", "
    "\"unit\": "
    "\"bytes\"}, {\"name\": \"path\"}],"
    "   \"rows\": [{\"name\": \"tare opt\", \"cells\": [1234567.25, 67108864, \"opt\"], \"run\": \"stage-0.tare\"},"
    "              {\"name\": \"go opt\", \"cells\": [2469134.5, null, \"opt\"], \"run\": \"stage-0.go\"}]}],"
    "  \"plots\": [{\"title\": \"Latency\", \"kind\": \"line\", \"x\": {\"name\": \"rate\"}, \"y\": {\"name\": "
    "\"p99\", \"unit\": "
    "\"us\"}, \"series\": [{\"name\": \"tare\", \"points\": [[1, 10], [2, null], [3, 30]]}]}],"
    "  \"verdicts\": [], \"learnt\": [\"Nothing is allocated.\", \"It is quick.\"], \"next\": [\"Measure more.\"],"
    "  \"notes\": [\"the generator was limited\"], \"skipped\": \"\", \"spread\": \"p99 3 %\"},"
    " {\"id\": \"stretch-container\", \"title\": \"Container\", " LISTS
    ", \"tables\": [], \"plots\": [], \"skipped\": \"no "
    "cgroup\"}]}";

TEST(a_page_says_all_that_the_report_has)
{
	folder_make();
	file_write("runs/stage-0.tare.json", "{}");
	rendered(whole);
	check_page();
	char *page = file_read("index.html");
	static const char *const parts[] = {
	    "<h1>Findings</h1>", "2026-11-21 20:00 UTC", "A quick run", "<dd>abc123</dd>",
	    "<dt>memory</dt><dd>8 GiB</dd>", "1 of 3 met, 1 missed, 1 not judged", "✓ met", "✗ missed", "one core",
	    "not judged",
	    // where Tare is behind, and how far
	    "1,500 µs", "1.50×", "cold",
	    // the pages
	    "id='stage-0'", "<span class='title'>simple</span>", "What does it allocate?", "tare lab", "1,234,567",
	    "64 MiB", "<td class='n'>–</td>", "Nothing is allocated.", "Measure more.", "the generator was limited",
	    "p99 3 %", "Not run.</strong> no cgroup", "<details>", "prefers-color-scheme:dark", "@media print"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(parts); i++)
		HAS(page, parts[i]);
	free(page);
	folder_remove();
}

TEST(a_run_is_linked_where_its_file_is_there_and_leads_to_its_command)
{
	folder_make();
	file_write("runs/stage-0.tare.json", "{}");
	rendered(whole);
	char *page = file_read("index.html"), *text = file_read("findings.md");
	HAS(page, "<a href='runs/stage-0.tare.json'>stage-0.tare</a>, stage-0.lost");
	HAS(page, "<a href='#stage-0.command-0'>command</a>");
	HAS(page, "<pre id='stage-0.command-0'># stage-0.tare\n");
	HAS_NOT(page, "runs/stage-0.go");
	HAS_NOT(page, "#stage-0.command-1'");
	HAS(text, "[stage-0.tare](runs/stage-0.tare.json), stage-0.lost");
	free(page);
	free(text);
	folder_remove();
}

TEST(tare_stands_beside_go_with_the_ratio)
{
	folder_make();
	rendered(whole);
	char *page = file_read("index.html"), *text = file_read("findings.md");
	HAS(page, "<tr class='ratio'><td class='name'>Tare ÷ Go</td><td class='n'>0.50×</td><td class='n'>–</td>");
	HAS(text, "| Tare ÷ Go | 0.50× | – | – |");
	free(page);
	free(text);
	folder_remove();
}

TEST(marks_groups_and_what_was_missed_are_shown)
{
	static const char verdict[] = "{\"point\": \"a point\", \"asked\": \"1\", \"figure\": \"2\", \"met\": false%s}";
	char *json = NULL, grouped[200], plain[200];
	snprintf(grouped, sizeof grouped, verdict, ", \"group\": \"Point one\"");
	snprintf(plain, sizeof plain, verdict, "");
	assert_true(
	    asprintf(
		&json,
		"{\"title\": \"T\", \"made\": \"\", \"about\": \"What opt is.\\nWhat naive is.\", \"machine\": {}, "
		"\"acceptance\": [%s, %s], \"missed\": [%s], \"behind\": [], \"pages\": [%s]}",
		grouped, grouped, plain,
		PAGE("stage-1",
		     "{\"title\": \"T\", \"columns\": [{\"name\": \"p99\"}, {\"name\": \"p50\"}], \"rows\": ["
		     "{\"name\": \"tare-a\", \"cells\": [2, 3], \"unfit\": [true, false]},"
		     "{\"name\": \"go-a\", \"cells\": [4, 6]}]}",
		     "")) > 0);
	folder_make();
	rendered(json);
	free(json);
	char *page = file_read("index.html"), *text = file_read("findings.md");
	assert_int_equal(times_in(page, "Point one"), 1);
	assert_int_equal(times_in(text, "| **Point one** |"), 1);
	assert_int_equal(times_in(page, "Missed beside that"), 1);
	HAS(text, "## Missed beside that\n\n");
	HAS(page, "<p>What opt is.");
	HAS(text, "What opt is.\n\nWhat naive is.\n\n");
	HAS(page, "<td class='n'>2<span class='mark'>†</span></td>");
	HAS(text, "| tare-a | 2 † | 3 |");
	HAS(text, "| Tare ÷ Go | – | 0.50× |"); // a marked figure is compared with nothing
	free(page);
	free(text);
	folder_remove();
}

TEST(rows_that_say_what_they_are_against_stand_beside_that_alone)
{
	folder_make();
	rendered(REPORT(PAGE("stage-1",
			     "{\"title\": \"T\", \"columns\": [{\"name\": \"p99\"}], \"rows\": ["
			     "{\"name\": \"tare-opt\", \"cells\": [2], \"against\": \"go-flat\"}, {\"name\": "
			     "\"go-opt\", \"cells\": [8]},"
			     "{\"name\": \"go-flat\", \"cells\": [5]}]}",
			     "")));
	char *text = file_read("findings.md");
	char *beside = strstr(text, "## Tare beside Go"), *pages = strstr(text, "\n## Stage 1");
	assert_true(beside != NULL && pages > beside);
	*pages = '\0';
	HAS(beside, "0.40×");
	HAS_NOT(beside, "go-opt");
	free(text);
	folder_remove();
}

TEST(markdown_says_the_same)
{
	folder_make();
	rendered(whole);
	char *text = file_read("findings.md");
	static const char *const parts[] = {
	    "# Findings\n",
	    "A quick run",
	    "| memory | 8 GiB |",
	    "1 of 3 met, 1 missed, 1 not judged",
	    "| Short pauses | \\< 5 ms | 9 ms | ✗ missed |",
	    "## Where Tare is not ahead of Go",
	    "| Stage 0: simple | p999 | 1,500 µs | 1,000 µs | 1.50× | cold |",
	    "## Stage 0: simple\n\nWhat does it allocate?\n",
	    "```sh\n# stage-0.tare\ntare svc --index x &\ntare load 'http'\n```",
	    "|  | p99, µs | heap | path | run |\n|---|---:|---:|---|---|\n",
	    "| tare opt | 1,234,567 | 64 MiB | opt |",
	    "#### Latency\n\n| rate | tare, µs |\n|---|---:|\n| 1 | 10 |\n| 2 | – |\n| 3 | 30 |\n",
	    "- Nothing is allocated.\n- It is quick.\n",
	    "### What would be done next",
	    "Spread: p99 3 %",
	    "## Stretch: Container",
	    "**Not run.** no cgroup"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(parts); i++)
		HAS(text, parts[i]);
	free(text);
	folder_remove();
}

TEST(a_report_without_pages_is_a_first_page)
{
	folder_make();
	rendered(REPORT(""));
	check_page();
	char *page = file_read("index.html");
	HAS(page, "No run of Go is in this report");
	HAS(page, "0 of 0 met");
	free(page);
	folder_remove();
}

// A page with these commands and this table.
#define RAN(id, commands, tables)                                                                                      \
	"{\"id\": \"" id "\", \"title\": \"T\", \"question\": \"\", \"commands\": [" commands "], \"verdicts\": [], "  \
	"\"learnt\": [], \"next\": [], \"notes\": [], \"tables\": [" tables "], \"plots\": []}"

TEST(where_nothing_is_behind_it_is_told_why)
{
	static const struct {
		const char *json, *text;
	} cases[] = {
	    {REPORT(RAN("stage-1", "\"# stage-1.tare-opt\\ntare lab\", \"# before go-x\"", "")),
	     "No run of Go is in this report, so nothing was compared."},
	    {REPORT(RAN("experiment-2", "\"# experiment-2.go-boxing\\nprobes boxing\"", "")),
	     "runs in this report are not of pairs that this list compares; see the pages"},
	    {REPORT(RAN(
		 "experiment-5", "\"# experiment-5.go-50\\nx\"",
		 "{\"title\": \"T\", \"columns\": [{\"name\": \"p99\"}], \"rows\": [{\"name\": \"tare-50\", \"cells\": "
		 "[1]}, {\"name\": \"go-50\", \"cells\": [2]}]}")),
	     "Nowhere, among the figures that were compared."},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		folder_make();
		rendered(cases[i].json);
		check_page();
		char *page = file_read("index.html"), *text = file_read("findings.md");
		HAS(page, cases[i].text);
		HAS(text, cases[i].text);
		free(page);
		free(text);
		folder_remove();
	}
}

TEST(what_is_not_known_of_tare_is_a_dash_beside_gos_figure)
{
	folder_make();
	rendered("{\"title\": \"F\", \"made\": \"\", \"machine\": {}, \"acceptance\": [], \"behind\": [{\"page\": "
		 "\"stage-0\", "
		 "\"what\": \"pause\", \"tare\": null, \"go\": 80, \"unit\": \"us\", \"why\": \"not known: none\"}], "
		 "\"pages\": "
		 "[]}");
	check_page();
	char *page = file_read("index.html"), *text = file_read("findings.md");
	HAS(page,
	    "<td>pause</td><td class='n'>–</td><td class='n'>80 µs</td><td class='n'></td><td>not known: none</td>");
	HAS(text, "| pause | – | 80 µs |  | not known: none |");
	free(page);
	free(text);
	folder_remove();
}

// ---- hostile texts ------------------------------------------------------------------------------------------------

#define HOSTILE "</title><script>x()</script><b onclick='x'>\\\"&amp;|`*_\\u0001\\ufffe]]>\\n# y"

TEST(texts_are_never_markup)
{
	static const char verdict[] = "{\"point\": \"" HOSTILE "\", \"asked\": \"" HOSTILE "\", \"figure\": \"" HOSTILE
				      "\", \"met\": true, \"own_asked\": \"" HOSTILE "\", \"evidence\": \"" HOSTILE
				      "\", \"why\": \"" HOSTILE "\"}";
	static const char axis[] = "{\"name\": \"" HOSTILE "\", \"unit\": \"<b>\\\"'\"}";
	char *json = NULL;
	folder_make();
	assert_true(
	    asprintf(
		&json,
		"{\"title\": \"%1$s\", \"made\": \"%1$s\", \"machine\": {\"%1$s\": \"%1$s\"}, \"acceptance\": [%2$s], "
		"\"behind\": [{\"page\": \"%1$s\", \"what\": \"%1$s\", \"tare\": 2, \"go\": 1, \"why\": \"%1$s\"}], "
		"\"pages\": [{\"id\": \"one\", \"title\": \"%1$s\", \"question\": \"%1$s\", \"commands\": [\"%1$s\"], "
		"\"verdicts\": [%2$s], \"learnt\": [\"%1$s\", \"%1$s\"], \"next\": [\"%1$s\"], \"notes\": [\"%1$s\"], "
		"\"skipped\": \"%1$s\", \"spread\": \"%1$s\", \"tables\": [{\"title\": \"%1$s\", \"columns\": [%3$s], "
		"\"rows\": [{\"name\": \"%1$s\", \"cells\": [\"%1$s\"], \"run\": \"%1$s\"}]}], \"plots\": ["
		"{\"title\": \"%1$s\", \"kind\": \"bar\", \"x\": %3$s, \"y\": %3$s, \"series\": ["
		"{\"name\": \"%1$s\", \"points\": [[\"%1$s\", 1]]}, {\"name\": \"%1$s\", \"points\": []}]}, "
		"{\"title\": \"%1$s\", \"kind\": \"line\", \"x\": %3$s, \"y\": %3$s, \"series\": ["
		"{\"name\": \"%1$s\", \"points\": [[1, 1]]}, {\"name\": \"%1$s\", \"points\": []}]}]}]}",
		HOSTILE, verdict, axis) > 0);
	rendered(json);
	check_page();
	char *page = file_read("index.html"), *text = file_read("findings.md");
	assert_true(times_in(page, "&lt;script&gt;x()") > 20);
	assert_int_equal(0, times_in(page, "<script"));
	// In Markdown only the fence of the command holds it as it is.
	assert_int_equal(1, times_in(text, "<script>"));
	assert_true(times_in(text, "\\<script\\>") > 20);
	assert_int_equal(1, times_in(text, "\n# ")); // a line of the command
	free(page);
	free(text);
	free(json);
	folder_remove();
}

TEST(a_run_that_leads_out_of_the_folder_is_no_link)
{
	folder_make();
	rendered(REPORT(PAGE("one",
			     "{\"title\": \"T\", \"columns\": [], \"rows\": [{\"name\": \"a\", \"cells\": [], \"run\": "
			     "\"/../report\"}]}",
			     "")));
	char *page = file_read("index.html"), *text = file_read("findings.md");
	HAS(page, "<td class='run'>/../report</td>");
	HAS_NOT(text, "](");
	free(page);
	free(text);
	folder_remove();
}

TEST(a_block_of_markdown_begins_with_its_text)
{
	folder_make();
	rendered("{" HEAD ", \"pages\": [{\"id\": \"one\", \"title\": \"One\", \"question\": \"1. of gc_cpu_ns\", "
		 "\"commands\": [], \"tables\": [], \"plots\": [], \"verdicts\": [], \"learnt\": [\"- a\", \"2.5 us\", "
		 "\"# b_ c\"], \"next\": [], \"notes\": [\"===\"]}]}");
	char *text = file_read("findings.md");
	HAS(text, "\n1\\. of gc_cpu_ns\n");
	HAS(text, "- \\- a\n- 2.5 us\n- \\# b\\_ c\n");
	HAS(text, "- \\===\n");
	free(text);
	folder_remove();
}

TEST(commands_keep_their_fence)
{
	folder_make();
	rendered("{" HEAD
		 ", \"pages\": [{\"id\": \"one\", \"title\": \"One\", \"question\": \"\", \"commands\": [\"echo "
		 "'````'\"], \"tables\": [], \"plots\": [], \"verdicts\": [], \"learnt\": [], \"next\": [], \"notes\": "
		 "[]}]}");
	char *text = file_read("findings.md");
	HAS(text, "`````sh\necho '````'\n`````\n");
	free(text);
	folder_remove();
}

// ---- plots --------------------------------------------------------------------------------------------------------

static void plot_is_well_formed(const char *plot)
{
	char *json = NULL;
	assert_true(
	    asprintf(&json,
		     "{%s, \"pages\": [{\"id\": \"one\", \"title\": \"One\", %s, \"tables\": [], \"plots\": [%s]}]}",
		     HEAD, LISTS, plot) > 0);
	folder_make();
	rendered(json);
	check_page();
	free(json);
	folder_remove();
}

TEST(plots_of_any_data_are_well_formed)
{
	static const char *const plots[] = {
	    PLOT("line", "false", "false", ""),
	    PLOT("line", "true", "true", SERIES("none", "")),
	    PLOT("line", "true", "true", SERIES("zero", "[0, 0]")),
	    PLOT("line", "true", "true", SERIES("a", "[0, 1], [1e-90, 1e90]")),
	    PLOT("line", "false", "false", SERIES("a", "[1e15, 7], [1000000000000001, 7]")),
	    PLOT("line", "false", "false", SERIES("a", "[-1e99, -1e99], [1e99, 1e99]")),
	    PLOT("line", "false", "true", SERIES("a", "[1, null], [2, null]")),
	    PLOT("step", "false", "false", SERIES("a", "[1, 1], [2, null], [3, 3], [4, 4]")),
	    PLOT("bar", "false", "true", SERIES("a", "[\"x\", 0], [\"y\", null], [\"y\", 1e9]")),
	    PLOT("bar", "false", "false", SERIES("a", "[\"x\", -5], [\"y\", 5]") ", " SERIES("b", "[\"z\", 0.001]")),
	    PLOT("bar", "false", "false", ""),
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(plots); i++)
		plot_is_well_formed(plots[i]);
}

TEST(a_gap_in_the_figures_is_a_gap_in_the_line)
{
	char *page =
	    page_of_plot(PLOT("line", "false", "false", SERIES("a", "[1, 1], [2, 2], [3, null], [4, 4], [5, 5]")));
	const char *line = strstr(page, "class='ln'");
	assert_non_null(line);
	char path[256] = "";
	assert_int_equal(1, sscanf(strstr(line, " d='"), " d='%255[^']", path));
	assert_int_equal(2, times_in(path, "M"));
	assert_int_equal(2, times_in(path, "L"));
	free(page);
}

TEST(a_step_goes_aside_and_then_up)
{
	char *page = page_of_plot(PLOT("step", "false", "false", SERIES("a", "[1, 1], [2, 2], [3, 1]")));
	char path[256] = "";
	assert_int_equal(1, sscanf(strstr(strstr(page, "class='ln'"), " d='"), " d='%255[^']", path));
	assert_int_equal(2, times_in(path, "H"));
	assert_int_equal(2, times_in(path, "V"));
	assert_int_equal(0, times_in(path, "L"));
	free(page);
}

TEST(a_line_ends_at_its_name_and_one_without_figures_is_named_too)
{
	char *page = page_of_plot(PLOT("line", "false", "false",
				       SERIES("tare opt", "[1, 1], [2, 2]") ", " SERIES(
					   "go opt", "[1, 1.01], [2, 2.01]") ", " SERIES("lost", "[1, null]")));
	HAS(page, ">tare opt</text>");
	HAS(page, ">go opt</text>");
	HAS(page, ">no figures: lost</text>");
	free(page);
}

TEST(zero_has_a_place_of_its_own_on_a_logarithmic_axis)
{
	char *page = page_of_plot(PLOT("line", "false", "true", SERIES("a", "[1, 0], [2, 1], [3, 1000]")));
	HAS(page, "p99 (logarithmic)");
	HAS(page, ">0</text>");
	HAS(page, ">1 ms</text>");
	HAS_NOT(page, "nan");
	HAS_NOT(page, "inf");
	free(page);
	page = page_of_plot(PLOT("line", "false", "true", SERIES("a", "[1, -4], [2, 1], [3, 1000]")));
	HAS(page, "(linear: it has negative figures)");
	free(page);
}

TEST(a_sweep_has_its_own_values_as_ticks)
{
	char *page =
	    page_of_plot(PLOT("line", "true", "false", SERIES("a", "[50, 4], [100, 2], [200, 1], [400, 0.5]")));
	static const char *const ticks[] = {">50</text>", ">100</text>", ">200</text>", ">400</text>"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(ticks); i++)
		HAS(page, ticks[i]);
	HAS_NOT(page, ">500</text>");
	free(page);
}

TEST(names_of_twenty_categories_and_of_eight_lines_do_not_overlap)
{
	char *points = NULL, *plot = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&points, &len);
	for (int i = 0; i < 20; i++)
		fprintf(out, "%s[\"a category with quite a long name, number %d\", %d]", i > 0 ? ", " : "", i, i * i);
	fclose(out);
	assert_true(asprintf(&plot, PLOT("bar", "false", "false", SERIES("tare", "%s") ", " SERIES("go", "%s")), points,
			     points) > 0);
	plot_is_well_formed(plot);
	free(plot);
	free(points);
	static const int ends[] = {5, 5, 5, 5, 0, 0, 0, 10};
	out = open_memstream(&points, &len);
	for (int i = 0; i < 8; i++)
		fprintf(out, "%s" SERIES("%c", "[1, %d], [2, %d]"), i > 0 ? ", " : "", 'a' + i, 9 - i, ends[i]);
	fclose(out);
	assert_true(asprintf(&plot, PLOT("line", "false", "false", "%s"), points) > 0);
	plot_is_well_formed(plot);
	free(plot);
	free(points);
}

TEST(series_are_told_apart_by_colour_and_by_dashes)
{
	char *page = page_of_plot(
	    PLOT("line", "false", "false",
		 SERIES("tare opt", "[1, 1], [2, 2]") ", " SERIES("tare naive", "[1, 4], [2, 5]") ", " SERIES(
		     "go opt", "[1, 6], [2, 7]") ", " SERIES("other", "[1, 8], [2, 9]")));
	const char *plot = strstr(page, "<svg");
	// Tare's are even, Go's odd; who is neither has what is left.
	static const char *const inks[] = {"<g class='s0'><path class='ln'", "<g class='s2'><path class='ln'",
					   "<g class='s1'><path class='ln'", "<g class='s3'><path class='ln'"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(inks); i++)
		assert_int_equal(1, times_in(plot, inks[i]));
	assert_int_equal(1, times_in(plot, "stroke-dasharray='none'"));
	assert_int_equal(4, times_in(plot, "stroke-dasharray="));
	free(page);
}

TEST(a_plot_has_its_data_at_hand)
{
	char *page = page_of_plot(
	    PLOT("line", "false", "false", SERIES("a", "[1, 1.5], [2, 2.5]") ", " SERIES("b", "[1, 3], [2, null]")));
	HAS(page, "<td class='name'>1</td><td class='n'>1.5</td><td class='n'>3</td>");
	HAS(page, "<td class='name'>2</td><td class='n'>2.5</td><td class='n'>–</td>");
	free(page);
	// Series at places of their own: a row a point.
	page = page_of_plot(PLOT("line", "false", "false", SERIES("a", "[1, 1.5]") ", " SERIES("b", "[7, 3]")));
	HAS(page, "<td class='name'>b</td><td class='n'>7</td><td class='n'>3</td>");
	free(page);
}

// ---- what is refused ----------------------------------------------------------------------------------------------

static void refused(const char *json, const char *text)
{
	struct tare_error err;
	folder_make();
	assert_int_equal(-EINVAL, render(json, &err));
	HAS(err.text, text);
	HAS(err.text, path_of("report.json"));
	assert_int_not_equal(0, access(path_of("index.html"), F_OK));
	assert_int_not_equal(0, access(path_of("findings.md"), F_OK));
	folder_remove();
}

TEST(a_document_that_is_no_report_is_refused_with_its_place)
{
	refused("[]", "is a list, not an object");
	refused("{}", "title: is missing");
	refused("{\"title\": 7}", "title: is a number, not a text");
	refused("{" HEAD "}", "pages: is missing");
	refused(REPORT("7"), "pages[0]: is a number, not an object");
	refused(REPORT("{\"id\": \"a\"}"), "pages[0].title: is missing");
	refused(REPORT(PAGE("a b", "", "")), "pages[0].id: is not 1 to 64 letters");
	refused(REPORT(PAGE("a", "", "") ", " PAGE("a", "", "")), "pages[1].id: is another page's too");
	refused(
	    REPORT(PAGE("a", "{\"title\": \"t\", \"columns\": [], \"rows\": [{\"name\": \"r\", \"cells\": [1]}]}", "")),
	    "pages[0].tables[0].rows[0].cells: has 1 cells, its table has 0 columns");
	refused(REPORT(PAGE("a",
			    "{\"title\": \"t\", \"columns\": [{\"name\": \"c\"}], \"rows\": [{\"name\": \"r\", "
			    "\"cells\": [true]}]}",
			    "")),
		"pages[0].tables[0].rows[0].cells[0]: is true or false, not a number, a text or null");
	refused(REPORT(PAGE("a", "", PLOT("pie", "false", "false", ""))), "pages[0].plots[0].kind: is not \"line\"");
	refused(REPORT(PAGE("a", "", PLOT("line", "false", "false", SERIES("s", "[1, 2], [\"x\", 2]")))),
		"pages[0].plots[0].series[0].points[1]: x is no number");
	refused(REPORT(PAGE("a", "", PLOT("bar", "false", "false", SERIES("s", "[1, 2]")))),
		"pages[0].plots[0].series[0].points[0]: x is no text");
	refused(REPORT(PAGE("a", "", PLOT("line", "false", "false", SERIES("s", "[1, 2, 3]")))),
		"pages[0].plots[0].series[0].points[0]: is a list, not a point");
	refused("{\"title\": \"t\", \"made\": \"\", \"machine\": {}, \"acceptance\": [{\"point\": \"p\", \"asked\": "
		"\"\", \"figure\": "
		"\"\", \"met\": 1}], \"behind\": [], \"pages\": []}",
		"acceptance[0].met: is a number, not true, false or null");
}

TEST(what_is_no_number_is_refused)
{
	refused(REPORT(PAGE("a", "", PLOT("line", "false", "false", SERIES("s", "[1, NaN]")))), "report.json:1:");
	refused(REPORT(PAGE("a", "", PLOT("line", "false", "false", SERIES("s", "[1, 1e999]")))), "report.json:1:");
}

TEST(a_figure_beyond_what_can_be_drawn_is_refused)
{
	struct tare_error err;
	folder_make();
	assert_int_equal(
	    -EINVAL, render(REPORT(PAGE("a", "", PLOT("line", "false", "false", SERIES("s", "[1, 1e200]")))), &err));
	HAS(err.text, "plot 'A plot': series 's': point 0");
	folder_remove(); // no half of a page was left
}

TEST(a_report_that_is_not_there_is_told)
{
	struct tare_error err = {""};
	assert_int_equal(-ENOENT, lab_report_render("/nowhere/at/all", &err));
	HAS(err.text, "/nowhere/at/all/report.json");
}

TEST(a_report_that_is_refused_leaves_the_page_of_the_one_before)
{
	struct tare_error err;
	folder_make();
	rendered(whole);
	assert_int_equal(-EINVAL, render("{}", &err));
	char *page = file_read("index.html");
	HAS(page, "What does it allocate?");
	free(page);
	folder_remove();
}
