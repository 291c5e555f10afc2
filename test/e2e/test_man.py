"""Goal: the manual pages that tools/man3 makes of the public headers hold everything the headers offer, and a header that it
can't read is refused by place.

Method: the pages are made into a temporary folder. What they must hold is found in another way: the functions that the
library's archive exports and the headers name, and every line of every comment.
"""

import os
import re
import subprocess
import tempfile
import unittest

from tare import BUILD, ROOT

TOOL = os.path.join(ROOT, "tools/man3")
HEADERS = os.path.join(ROOT, "include/tare")
SAMPLE = """// SPDX-License-Identifier: MIT
//
// sample: a header for the test. It has one of each.
//
//   a table   as it stands
//   .second   line\\n
#ifndef TARE_SAMPLE_H
#define TARE_SAMPLE_H

#define TARE_LIMIT 5
#define TARE_TWICE(x) ((x) + (x))

// ---- a part ----

struct tare_sample;

// Says hello to -EINVAL. Then `goodbye`:
//   - to one, that goes on
//     in a second line
//   - to another
TARE_MUST_USE int tare_sample_hello(struct tare_sample *sample, int (*fn)(void *arg, int n),
				    const char *text);
static inline int tare_sample_two(void)
{
	return 2; // } not the end
}
int tare_sample_count(void); // how many

#endif
"""


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def words(text):
    """What stays of a text whatever it is set in."""
    return re.findall(r"[A-Za-z0-9_]{2,}", text)


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.headers = sorted(os.listdir(HEADERS))
        done = cls.make(cls.folder, *[os.path.join(HEADERS, name) for name in cls.headers])
        if done.returncode != 0:
            raise AssertionError(done.stderr)

    @staticmethod
    def make(folder, *headers):
        return subprocess.run([TOOL, folder, *headers], capture_output=True, text=True)

    def page(self, header):
        return read(f"{self.folder}/tare-{header[:-2]}.3")

    def test_each_header_has_a_page_that_opens_as_manuals_do(self):
        for header in self.headers:
            with self.subTest(header):
                sections = re.findall(r"^\.Sh (.*)$", self.page(header), re.M)
                self.assertEqual(["NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"], sections)

    def test_every_exported_function_has_its_prototype_in_a_page_and_a_page_of_its_own(self):
        listed = subprocess.run(["nm", "-g", "--defined-only", BUILD + "/libtare.a"], check=True, capture_output=True, text=True)
        exported = set(re.findall(r" T (tare_\w+)$", listed.stdout, re.M))
        self.assertGreater(len(exported), 100)
        seen = set()
        for header in self.headers:
            code = re.sub(r"//.*", "", read(f"{HEADERS}/{header}"))
            here = {name for name in exported if re.search(r"^(?![\s#])[^;{}]*?\b%s\(" % name, code, re.M)}
            here |= set(re.findall(r"^static inline [^;{]*?\b(tare_\w+)\(", code, re.M))
            page = self.page(header)
            synopsis, description = page.split(".Sh DESCRIPTION")
            for name in sorted(here):
                self.assertEqual(1, synopsis.count(f"\n.Fo {name}\n"), name)
                self.assertEqual(1, description.count(f"\n.Fo {name}\n"), name)
                self.assertEqual(f".so man3/tare-{header[:-2]}.3\n", read(f"{self.folder}/{name}.3"))
            seen |= here
        self.assertEqual(set(), {name for name in exported if name not in seen and self.is_public(name)})

    def is_public(self, name):
        return any(re.search(r"^[^/\n]*\b%s\(" % name, read(f"{HEADERS}/{header}"), re.M) for header in self.headers)

    def test_no_word_of_a_comment_at_the_margin_is_lost(self):
        for header in self.headers:
            with self.subTest(header):
                there = set(words(re.sub(r"\\\[u[0-9A-F]{4}\]|\\f[BP]|\\\(\w\w|\\e", " ", self.page(header))))
                for line in read(f"{HEADERS}/{header}").split("\n")[2:]:
                    if line.startswith("//") and not line.startswith("// ----"):
                        missing = set(words(re.sub(r"[^\x00-\x7f]", " ", line))) - there
                        self.assertEqual(set(), missing, line)

    def test_what_a_header_is_made_of_becomes_what_it_should(self):
        with tempfile.TemporaryDirectory() as folder:
            header = folder + "/sample.h"
            with open(header, "w", encoding="utf-8") as f:
                f.write(SAMPLE)
            self.assertEqual(0, self.make(folder, header).returncode)
            page = read(folder + "/tare-sample.3")
        for wanted in (
            ".Nm tare-sample\n.Nd a header for the test\n",
            "\n.Sh DESCRIPTION\nIt has one of each.\n.Bd -literal\n  a table   as it stands\n  .second   line\\en\n.Ed\n",
            "#define TARE_LIMIT 5\n#define TARE_TWICE(x)\n",
            '.Ft int\n.Fo tare_sample_hello\n.Fa "struct tare_sample *sample"\n.Fa "int (*fn)(void *arg, int n)"\n'
            '.Fa "const char *text"\n.Fc\n',
            ".Ss A part\n.Bd -literal\nstruct tare_sample;\n.Ed\n",
            ".Xc\nSays hello to \\-EINVAL.\nThen \\fBgoodbye\\fP:\n.Bl -bullet\n.It\nto one, that goes on in a second line\n.It\n"
            "to another\n.El\n.El\n",
            ".Fo tare_sample_count\n.Fa \"void\"\n.Fc\n.Xc\nhow many\n",
        ):
            self.assertIn(wanted, page)
        self.assertNotIn("not the end", page)

    def test_a_header_that_can_not_be_read_is_refused_by_place(self):
        for text, wanted in (
            ("// SPDX\n// no name and no colon\n#define X\n", ":2: the head comment"),
            ("// SPDX\n//\n// bad: one.\n\nint tare_a(void)\n", ":5: a declaration without an end"),
        ):
            with self.subTest(wanted), tempfile.TemporaryDirectory() as folder:
                header = folder + "/bad.h"
                with open(header, "w", encoding="utf-8") as f:
                    f.write(text)
                done = self.make(folder, header)
                self.assertEqual(1, done.returncode)
                self.assertTrue(done.stderr.startswith(f"man3: {header}{wanted}"), done.stderr)
                self.assertEqual(["bad.h"], os.listdir(folder))


if __name__ == "__main__":
    unittest.main()
