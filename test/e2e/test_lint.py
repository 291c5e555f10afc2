"""Goal: each rule of tools/lint finds what it is for, and says where.

Method: a small tree that is clean is made in a temporary folder, with the real Makefile and tools/lint; each test seeds one
violation and expects its one line. Rules whose program is missing here are skipped.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LICENCE = "// SPDX-License-Identifier: MIT\n"
HEAD = LICENCE + "// A file of the lint's own test, clean by itself.\n"

BASE_H = HEAD + """#ifndef TARE_BASE_H
#define TARE_BASE_H

int tare_answer(void);

#endif
"""

CLEAN = {
    "include/tare/base.h": BASE_H,
    "include/tare/stat.h": HEAD + "#include <tare/base.h>\n",
    "include/tare/net.h": HEAD + "#include <tare/base.h>\n",
    "src/base/answer.c": HEAD + "#include <tare/base.h>\n\nint tare_answer(void)\n{\n\treturn 42;\n}\n",
    "src/net/net_int.h": HEAD,
    "src/http/parse.h": HEAD,
    "src/http/http_int.h": HEAD,
    "tools/lint.long": "",
}


class Layers(unittest.TestCase):
    def test_the_architectures_table_is_the_one_that_is_enforced(self):
        script = "import json, runpy; print(json.dumps(runpy.run_path('tools/lint')['LAYERS']))"
        enforced = json.loads(subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        with open(os.path.join(ROOT, "ARCHITECTURE.md"), encoding="utf-8") as f:
            table = f.read().split("| room | may include the faces of |")[1].split("\n\n")[0]
        told = {}
        for room, faces in re.findall(r"^\| (\w+) \| (.*) \|$", table, re.M):
            faces = faces.split(";")[0]
            told[room] = [] if faces.startswith("nothing") else sorted(enforced["cmd"]) if faces == "every room" else faces.split(", ")
        self.assertEqual(enforced, told)
        self.assertEqual(set(enforced), set(os.listdir(os.path.join(ROOT, "src"))))


def needs(program):
    return unittest.skipUnless(shutil.which(program), "%s is not installed" % program)


class Lint(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = folder.name
        for name in ("Makefile", "VERSION", ".clang-format", "tools/lint"):
            os.makedirs(os.path.dirname(os.path.join(self.top, name)), exist_ok=True)
            shutil.copy(os.path.join(ROOT, name), os.path.join(self.top, name))
        subprocess.run(["git", "init", "-q", "."], cwd=self.top, check=True)
        for path, text in CLEAN.items():
            self.write(path, text)

    def write(self, path, text):
        full = os.path.join(self.top, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)

    def lint(self, *rules):
        """(exit code, the findings)"""
        subprocess.run(["git", "add", "-A"], cwd=self.top, check=True)
        done = subprocess.run(["tools/lint", *rules], cwd=self.top, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        self.assertTrue(lines and lines[-1].startswith("lint: "), done.stdout + done.stderr)
        self.assertEqual("lint: %d findings" % (len(lines) - 1), lines[-1].split(" in ")[0])
        return done.returncode, lines[:-1]

    def expect(self, rule, *beginnings):
        """Exactly these findings in order of place, by their beginnings."""
        code, found = self.lint(rule)
        self.assertEqual(len(beginnings), len(found), found)
        for beginning, line in zip(beginnings, found):
            self.assertTrue(line.startswith(beginning), "%s\nwanted: %s" % (line, beginning))
        self.assertEqual(1, code)

    @needs("clang-format")
    @needs("clang")
    @needs("mandoc")
    def test_a_clean_tree_has_no_findings(self):
        self.assertEqual((0, []), self.lint())

    @needs("clang-format")
    def test_format(self):
        self.write("src/base/answer.c", HEAD + "#include <tare/base.h>\n\nint tare_answer(void) { return 42; }\n")
        self.expect("format", "src/base/answer.c:5: format: ")

    @needs("clang-format")
    def test_a_long_line(self):
        self.write("src/base/answer.c", HEAD + "//" + " word" * 24 + "\n#include <tare/base.h>\n")
        self.expect("format", "src/base/answer.c:3: format: 1 lines are longer than 120 columns")

    def test_a_room_includes_a_face_above_it(self):
        self.write("src/base/answer.c", HEAD + "#include <tare/base.h>\n#include <tare/stat.h>\n")
        self.expect("layers", "src/base/answer.c:4: layers: room base may not include <tare/stat.h>")

    def test_a_public_header_includes_a_face_above_it(self):
        self.write("include/tare/base.h", HEAD + "#include <tare/net.h>\n")
        self.expect("layers", "include/tare/base.h:3: layers: room base may not include <tare/net.h>")

    def test_a_room_includes_anothers_private_header(self):
        self.write("src/http/conn.c", HEAD + '#include "net/net_int.h"\n')
        self.expect("layers", "src/http/conn.c:3: layers: room net's private header")

    def test_a_test_includes_another_rooms_private_header(self):
        self.write("test/unit/http/test_conn.c", HEAD + '#include "test.h"\n#include "http/parse.h"\n#include "net/net_int.h"\n')
        self.expect("layers", "test/unit/http/test_conn.c:5: layers: room net's private header")

    def test_the_parser_stands_on_base_alone(self):
        text = HEAD + '#include "http/parse.h"\n#include <tare/base.h>\n#include <tare/net.h>\n#include "http/http_int.h"\n'
        self.write("src/http/parse.c", text)
        self.expect("layers", "src/http/parse.c:5: layers: the parser", "src/http/parse.c:6: layers: the parser")

    def test_sockets_belong_to_net(self):
        self.write("src/index/table.c", HEAD + "#include <sys/socket.h>\n")
        self.expect("layers", "src/index/table.c:3: layers: sockets is not room index's business")

    def test_cmd_may_include_every_face_and_no_private_header(self):
        self.write("src/cmd/main.c", HEAD + '#include <tare/net.h>\n#include "cmd/cmd.h"\n#include "net/net_int.h"\n')
        self.expect("layers", "src/cmd/main.c:5: layers: room net's private header")

    def test_a_symbol_without_its_room(self):
        self.write("src/base/answer.c", HEAD + "int stray(void);\n\nint stray(void)\n{\n\treturn 1;\n}\n")
        self.expect("symbols", "src/base/answer.c:3: symbols: stray: make it static")

    def test_a_public_header_declares_a_foreign_name(self):
        text = BASE_H.replace("int tare_answer(void);", "int tare_answer(void);\nint answer(void);\n#define ANSWER 42\nstruct answer;")
        self.write("include/tare/base.h", text)
        self.expect(
            "symbols",
            "include/tare/base.h:7: symbols: answer: public functions",
            "include/tare/base.h:8: symbols: macro ANSWER",
            "include/tare/base.h:9: symbols: type answer",
        )

    def test_the_library_prints_and_exits(self):
        text = "#include <stdio.h>\n#include <stdlib.h>\nint tare_answer(void);\n\nint tare_answer(void)\n{\n"
        self.write("src/base/answer.c", HEAD + text + '\tprintf("%d", 42);\n\texit(1);\n}\n')
        self.expect(
            "symbols",
            "src/base/answer.c:9: symbols: printf: the library",
            "src/base/answer.c:10: symbols: exit: the library",
        )

    def function(self, name, lines):
        return "int %s(void);\n\nint %s(void)\n{\n%s\treturn 0;\n}\n" % (name, name, "\t;\n" * (lines - 1))

    def test_a_long_function(self):
        self.write("src/base/answer.c", HEAD + self.function("tare_answer", 61))
        self.expect("sizes", "src/base/answer.c:5: sizes: tare_answer has 61 lines")

    def test_the_list_of_long_functions_only_shrinks(self):
        self.write("tools/lint.long", "# head\nsrc/base/answer.c tare_answer 70\n")
        for lines, beginning in (
            (60, "tools/lint.long:2: sizes: tare_answer is short now"),
            (69, "tools/lint.long:2: sizes: tare_answer shrank to 69 lines"),
            (71, "src/base/answer.c:5: sizes: tare_answer grew from 70 lines to 71"),
        ):
            with self.subTest(lines):
                self.write("src/base/answer.c", HEAD + self.function("tare_answer", lines))
                self.expect("sizes", beginning)
        self.write("src/base/answer.c", HEAD + self.function("tare_answer", 70))
        self.assertEqual((0, []), self.lint("sizes"))
        self.write("src/base/answer.c", HEAD)
        self.expect("sizes", "tools/lint.long:2: sizes: src/base/answer.c has no function tare_answer")

    def test_a_long_file(self):
        self.write("src/base/answer.c", HEAD + "// one more\n" * 799)
        self.expect("sizes", "src/base/answer.c:801: sizes: 801 lines")

    def test_heads(self):
        self.write("src/base/a.c", "int tare_a;\n")
        self.write("src/base/b.c", LICENCE + "#include <tare/base.h>\n")
        self.expect("heads", "src/base/a.c:1: heads: ", "src/base/b.c:2: heads: ")

    @needs("clang")
    def test_both_compilers(self):
        text = "#include <tare/base.h>\n\nint tare_answer(void)\n{\n\tint unused;\n\treturn 42;\n}\n"
        self.write("src/base/answer.c", HEAD + text)
        self.expect("compilers", "src/base/answer.c:7: compilers: clang: unused", "src/base/answer.c:7: compilers: gcc: unused")

    def test_words(self):
        self.write("README.md", "# Tare\n\nSee /wor" + "k/shared.\n")
        self.expect("words", "README.md:3: words: ")

    @needs("mandoc")
    def test_man_pages(self):
        self.write("docs/man/tare.1", ".Dd January 1, 2026\n.Dt TARE 1\n.Os\n.Sh NAME\n.Nm tare\n.Nd a test\n.Bogus\n")
        self.write("src/cmd/main.c", HEAD + '    {"gen", cmd_gen, "generate"},\n    {"help", cmd_help, "help"},\n')
        self.expect("man", "docs/man/tare.1:7: ", "src/cmd/main.c:3: man: write docs/man/tare-gen.1")

    def test_a_struct_that_grew(self):
        self.write("tools/lint.layout", "# head\n\ntask<=8  # why\n")
        answer = '{\\"checks\\": [{\\"kept\\": false, \\"struct\\": \\"task\\", \\"why\\": \\"9 bytes, 8 allowed\\"}]}'
        self.write("src/cmd/main.c", HEAD + '#include <stdio.h>\n\nint main(void)\n{\n\tputs("%s");\n\treturn 1;\n}\n' % answer)
        self.expect("layout", "tools/lint.layout:3: layout: task has 9 bytes, 8 allowed; ")
        self.write("src/cmd/main.c", HEAD + '#include <stdio.h>\n\nint main(void)\n{\n\tfputs("no struct", stderr);\n\treturn 1;\n}\n')
        self.expect("layout", "tools/lint.layout:3: layout: no struct")


if __name__ == "__main__":
    unittest.main()
