"""Goal: `tare schema compile` writes C that compiles without a warning and does what the schema says, refuses every mistake with
its place and what to do, and `tare schema check` refuses every change that would break a reader.

Method: mistakes and changes are made in small schemas. Random schemas of every shape are compiled with gcc and clang, and a driver
takes a message of each through JSON, the verifiers and the encoder. The files that are made of the schemas in this tree must be
those that are committed.
"""
import glob
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402

WARNINGS = ["-std=gnu17", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla",
            "-Werror", "-D_GNU_SOURCE", "-I" + os.path.join(tare.ROOT, "include")]
SANITIZE = {"asan": ["-fsanitize=address,undefined"], "tsan": ["-fsanitize=thread"], "cover": ["--coverage"]}
SCALARS = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64", "bool"]
DRIVER = """
#include "NAME.tare.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#define MUST(x) do { if (!(x)) { fprintf(stderr, "%d: %s: %s\\n", __LINE__, #x, err.text); exit(1); } } while (0)
static unsigned char first[1 << 20], second[1 << 20], other[1 << 20], local[1 << 20];
static char text[1 << 22];
static void again(size_t len, struct tare_error err)
{
	struct NAME_view view;
	struct NAME in;
	MUST(NAME_verify(&view, first, len, &err) == 0);
	NAME_read(&in, &view);
	MUST(NAME_encoded_bytes(&in) == len);
	MUST(NAME_encode(&in, second, sizeof second, &err) == (ssize_t)len && memcmp(first, second, len) == 0);
	ssize_t n = NAME_json_write(&view, text, sizeof text, &err);
	if (n == -EDOM)
		return;
	MUST(n > 0);
	MUST(NAME_json_read(second, sizeof second, text, (size_t)n, NULL, &err) == (ssize_t)len && memcmp(first, second, len) == 0);
}
int main(int argc, char **argv)
{
	struct tare_error err = {""}, err2 = {""};
	struct NAME_view view;
	struct tare_codec_view by_tables;
	struct NAME in;
	NAME_init(&in);
	ssize_t n = NAME_encode(&in, first, sizeof first, &err);
	MUST(n > 0 && n == (ssize_t)NAME_encoded_bytes(&in));
	MUST(NAME_json_read(second, sizeof second, "{}", 2, NULL, &err) == n && memcmp(first, second, (size_t)n) == 0);
	MUST(argc == 2);
	n = NAME_json_read(first, sizeof first, argv[1], strlen(argv[1]), NULL, &err);
	MUST(n > 0);
	again((size_t)n, err);
	size_t len = (size_t)n, accepted = 0;
	memcpy(other, first, len);
	for (size_t i = 0; i < len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(first, other, len);
			first[i] ^= (unsigned char)(1U << bit);
			int rc = NAME_verify(&view, first, len, &err);
			MUST(rc == tare_codec_verify(&NAME_schema, &by_tables, local, first, len, &err2));
			MUST(rc == 0 || strcmp(err.text, err2.text) == 0);
			accepted += rc == 0;
			if (rc == 0 && view.view.version == NAME_schema.version)
				again(len, err);
		}
	printf("%zu bytes, %zu changes accepted\\n", len, accepted);
	return 0;
}
"""


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def compile(self, text, name="x.tare"):
        return tare.run("schema", "compile", self.write(name, text), "-o", self.folder)


def message(fields, above="", head="message m id 1 version 1"):
    return "%s%s {\n%s\n}\n" % (above, head, fields)


class Mistakes(Folder):
    def refused(self, text, place, *words):
        done = self.compile(text)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
        self.assertIn("x.tare:%s: " % place, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(glob.glob(self.folder + "/*.tare.*"), [])

    def test_each_has_a_place_and_says_what_to_do(self):
        self.refused("", "1:1", "the file ends here", "message")
        self.refused("recrd a { }", "1:1", "'recrd'", "enum, union, record or message")
        self.refused(message("a: u31;"), "2:4", "unknown type 'u31'", "declared above")
        self.refused(message("a: u8"), "3:1", "'}' where there should be ';'")
        self.refused(message("a: u8;\na: u8;"), "3:1", "is there already, on line 2", "another name")
        self.refused(message("A: u8;"), "2:1", "name 'A'", "a-z, 0-9 and _")
        self.refused(message("int: u8;"), "2:1", "'int' means something in C")
        self.refused(message("errno: u8;"), "2:1", "'errno' means something in C")
        self.refused(message("a: u8;", head="message tare_codec id 1 version 1"), "1:9", "begin with 'tare'")
        self.refused(message("a: u8;", "record message { x: u8; }\n"), "1:8", "choose another")
        self.refused(message("defaults: u8;", "record m { x: u8; }\n"), "3:1", "would be called m_defaults")
        self.refused(message("names_list: u8;", "enum m { x }\n"), "3:1", "would be called m_names_list")
        self.refused(message("versions: u8;", head="message message id 1 version 1"), "2:1", "would be called message_versions")
        self.refused(message("closer: u8;", head="message look id 1 version 1"), "2:1", "would be called look_closer")
        self.refused(message("é: u8;"), "2:1", "where there should be a field's name")
        self.refused(message("x%s: u8;" % ("y" * 64)), "2:1", "at most 64")
        self.refused(message(""), "1:9", "'m' is empty")
        self.refused(message("a: u8 = 256;"), "2:9", "'256' is no value of u8")
        self.refused(message("a: u8 = -1;"), "2:9", "'-1' is no value of u8")
        self.refused(message("a: u8 = 010;"), "2:9", "'010' is no value of u8")
        self.refused(message("a: i8 = 128;"), "2:9", "'128' is no value of i8")
        self.refused(message("a: f32 = 1e39;"), "2:10", "'1e39' is no value of f32")
        self.refused(message("a: bool = 1;"), "2:11", "'1' is no value of bool")
        self.refused(message("a: e = z;", "enum e { x, y }\n"), "3:8", "'z' is no value of enum")
        self.refused(message("a: string = 1;"), "2:11", "only a single number, bool or enum has a default")
        self.refused(message("a: u8[4] = 1;"), "2:10", "only a single number, bool or enum has a default")
        self.refused(message("a: u8[0];"), "2:7", "an array's length is a number from 1 to 65536")
        self.refused(message("a: string[];"), "2:10", "a vector holds numbers, bools, enums or records")
        self.refused(message("a: string[3];"), "2:10", "an array holds numbers, bools or enums")
        self.refused(message("a: u8[40000]; b: u8[40000];"), "2:15", "ends past 65536 bytes")
        self.refused(message("a: r[];", "record r { s: string; }\n"), "3:5", "holds what varies in size")
        self.refused(message("a: u;", "record r { s: string; }\nunion u { r: r; }\n"), "2:14", "a record of fixed size")
        self.refused(message("a: u;", "union u { r: u8; }\n"), "1:14", "a record of fixed size")
        self.refused(message("a: r;", "record r { a: r; }\n"), "1:15", "unknown type 'r'")
        self.refused(message("a: r;", "record r { a: u8 since 1; }\n"), "1:18", "a record never changes")
        self.refused(message("a: u8 since 2;"), "2:13", "from 1 to 1")
        self.refused(message("a: u8 since 2; b: u8;", head="message m id 1 version 2"), "2:21", "append it: since 2")
        self.refused(message("a: u8;", head="message m id 0 version 1"), "1:14", "an id is a number from 1 to 4294967295")
        self.refused(message("a: u8;", head="message m id 1 version 256"), "1:24", "a version is a number from 1 to 255")
        self.refused(message("a: u8;") + "enum e { a }", "4:1", "the message ends a file")
        self.refused(message("a: u8;", "enum e { a }\nrecord e { a: u8; }\n"), "2:8", "is there already, on line 1")
        self.refused(message("a: u8;", "enum e { a b }\n"), "1:12", "',' or '}'")
        self.refused("# only this", "1:12", "the file ends here")

    def test_names_that_would_meet_in_c_are_refused(self):
        inner = "record r { b: string; }\n"
        self.refused(message("a: r; a_b: u8;", inner), "3:7", "m_a_b")
        self.refused(message("encode: u8;"), "2:1", "m_encode")
        self.refused(message("a: u; a_kind: u8;", "record r { x: u8; }\nunion u { r: r; }\n"), "4:7", "m_a_kind")
        self.refused(message("a: u8;", "record view { x: u8; }\n"), "1:8", "m_view")
        self.refused(message("e_name: u8;", "enum e { x }\n"), "3:1", "m_e_name")
        self.refused(message("a: u8;", "enum a { b_c }\nenum a_b { c }\n"), "2:12", "m_a_b_c")

    def test_nesting_has_a_limit(self):
        text = "record r0 { a: u8; }\n" + "".join("record r%d { a: r%d; }\n" % (i, i - 1) for i in range(1, 12))
        self.refused(message("a: r11;", text), "9:8", "at most 8")
        text = "record r0 { a: string; b: string; }\n" + "".join("record r%d { a: r%d; b: r%d; }\n" % (i, i - 1, i - 1) for i in range(1, 7))
        self.refused(message("a: r6; b: r6; c: u8[]; d: r6;", text), "9:15", "more than 256")

    def test_files_that_are_none(self):
        done = tare.run("schema", "compile", self.folder + "/none.tare")
        self.assertEqual((done.returncode, done.stderr), (1, "tare schema: %s/none.tare: No such file or directory\n" % self.folder))
        done = tare.run("schema", "compile", self.write("x.tare", message("a: u8;")), "--out", self.folder + "/none")
        self.assertEqual(done.returncode, 1)
        self.assertIn("--out names a folder that is there", done.stderr)
        with open(self.folder + "/zero.tare", "wb") as file:
            file.write(b"message\0")
        self.assertIn("zero byte", tare.run("schema", "compile", self.folder + "/zero.tare").stderr)

    def test_usage(self):
        self.assertEqual(tare.run("schema").returncode, 2)
        self.assertEqual(tare.run("schema", "verify").returncode, 2)
        self.assertEqual(tare.run("schema", "compile").returncode, 2)
        self.assertEqual(tare.run("schema", "check", "one").returncode, 2)
        for arguments in (["--help"], ["compile", "--help"], ["check", "--help"]):
            done = tare.run("schema", *arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("usage: tare schema", done.stdout)


BASE = message("""	a: u8 = 1;
	colour: colour;
	r: r;
	u: u;
	list: r[];
	late: u16 since 2;""", "enum colour { red, green }\nrecord r { x: u8; y: u32; }\nunion u { r: r; }\n", "message m id 9 version 2")


class Changes(Folder):
    def check(self, old, new):
        return tare.run("schema", "check", self.write("old.tare", old), self.write("new.tare", new))

    def refused(self, was, becomes, *words):
        self.assertIn(was, BASE)
        done = self.check(BASE, BASE.replace(was, becomes))
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("can't follow", done.stderr)
        for word in words:
            self.assertIn(word, done.stdout)
        self.assertRegex(done.stdout, r"(?m)^\S+new\.tare:\d+:\d+: ")

    def allowed(self, old, new):
        done = self.check(old, new)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_what_would_break_a_reader_is_refused(self):
        self.refused("a: u8 = 1;", "a: u16 = 1;", "'a' was u8 and is u16")
        self.refused("a: u8 = 1;", "a: u8 = 2;", "default of 'a' has changed")
        self.refused("a: u8 = 1;", "b: u8 = 1;", "'b' stands where 'a' of m was")
        self.refused("\ta: u8 = 1;\n", "", "'late' is gone from 'm'")
        self.refused("list: r[];", "list: r;", "'list' was r[] and is r")
        self.refused("late: u16 since 2;", "late: u16;", "was since version 2 and is since 1")
        self.refused("late: u16 since 2;", "late: u16 since 2; more: u8 since 2;", "'more' is new", "write 'since 3'")
        self.refused("x: u8; y: u32;", "x: u8; y: u32; z: u8;", "record 'r' has grown")
        self.refused("x: u8; y: u32;", "y: u32; x: u8;", "'y' stands where 'x' of r was")
        self.refused("x: u8; y: u32;", "x: u8;", "'y' is gone from 'r'")
        self.refused("red, green", "green, red", "'green' stands where 'red'")
        self.refused("red, green", "red", "'green' is gone")
        self.refused("red, green", "red, green, blue", "write 'version 3'")
        self.refused("id 9", "id 8", "id 0x8 was 0x9")
        self.refused("message m", "message n", "message 'n' was 'm'")
        self.refused("enum colour { red, green }\n", "record red { a: u8; }\nunion colour { red: red; }\n",
                     "'colour' was an enum and is a union")
        self.refused("union u { r: r; }", "record s { x: u8; y: u32; }\nunion u { r: s; }", "'r' was r and is s")

    def test_versions_only_grow(self):
        newer = BASE.replace("version 2", "version 3")
        done = self.check(newer, BASE)
        self.assertEqual(done.returncode, 1)
        self.assertIn("version 2 was 3", done.stdout)

    def test_appending_is_allowed(self):
        self.allowed(BASE, BASE)
        self.allowed(BASE, "# other words\n" + BASE)
        newer = BASE.replace("version 2", "version 3").replace("red, green", "red, green, blue")
        newer = newer.replace("union u { r: r; }", "record s { z: u64; }\nunion u { r: r; s: s; }")
        newer = newer.replace("late: u16 since 2;", "late: u16 since 2; more: s[] since 3;")
        self.allowed(BASE, newer)

    def test_the_tests_own_versions_follow_each_other(self):
        texts = []
        for version in (1, 2, 3):
            with open(os.path.join(tare.ROOT, "test/unit/codec/schema/shape_%d.tare" % version), encoding="utf-8") as file:
                texts.append(file.read().replace("message shape_%d" % version, "message shape"))
        for old in range(3):
            for new in range(old, 3):
                self.allowed(texts[old], texts[new])
            for new in range(old):
                self.assertEqual(self.check(texts[old], texts[new]).returncode, 1)


class Generated(Folder):
    def test_the_committed_files_are_what_is_made_of_the_schemas(self):
        schemas = glob.glob(tare.ROOT + "/src/codec/schema/*.tare") + glob.glob(tare.ROOT + "/test/unit/codec/schema/*.tare")
        self.assertGreater(len(schemas), 4)
        for schema in schemas:
            done = tare.run("schema", "compile", schema, "--out", self.folder)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            for suffix in (".tare.h", ".tare.c"):
                name = os.path.basename(schema)[: -len(".tare")] + suffix
                with open(os.path.join(self.folder, name), "rb") as made, \
                        open(os.path.join(os.path.dirname(schema), name), "rb") as there:
                    self.assertEqual(made.read(), there.read(), "run 'make schemas': %s is not up to date" % name)

    def test_a_variant_as_long_as_a_record_can_be_fits(self):
        text = message("a: u;", "record r { x: u8[65536]; }\nunion u { r: r; }\n")
        self.assertEqual(self.compile(text).returncode, 0)
        driver = """#include "m.tare.c"
            static struct m in, out; static struct m_view view; static unsigned char buf[70000];
            int main(void) {
                in.a.kind = M_U_R; in.a.r.x[65535] = 7;
                ssize_t n = m_encode(&in, buf, sizeof buf, NULL);
                if (n != M_FIXED_BYTES + 65536 || m_verify(&view, buf, (size_t)n, NULL) < 0) return 1;
                m_read(&out, &view);
                return out.a.r.x[65535] != 7 || m_a_r(&view)->x[65535] != 7;
            }"""
        tare.compile_program(self.write("p.c", driver), self.folder + "/p")
        self.assertEqual(subprocess.run([self.folder + "/p"], timeout=tare.PATIENCE_S).returncode, 0)

    def test_what_has_not_changed_is_not_written_again(self):
        path = self.folder + "/m.tare.c"
        self.assertEqual(self.compile(message("a: u8;")).returncode, 0)
        os.utime(path, (1, 1))
        self.assertEqual(self.compile(message("a: u8;")).returncode, 0)
        self.assertEqual(os.stat(path).st_mtime, 1)
        self.assertEqual(self.compile(message("a: u16;")).returncode, 0)
        self.assertNotEqual(os.stat(path).st_mtime, 1)
        self.assertEqual(sorted(os.listdir(self.folder)), ["m.tare.c", "m.tare.h", "x.tare"])


class Page(Folder):
    """What docs/codec.md shows."""

    def test_its_example_compiles_and_runs(self):
        with open(os.path.join(tare.ROOT, "docs/codec.md"), encoding="utf-8") as file:
            blocks = re.findall(r"^```(\w+)\n(.*?)^```$", file.read(), re.M | re.S)
        schemas = [block for kind, block in blocks if kind == "tare"]
        program = [block for kind, block in blocks if kind == "c"]
        self.assertEqual((len(schemas), len(program)), (2, 1))
        self.assertEqual(self.compile(schemas[0], "sighting.tare").returncode, 0)
        binary = os.path.join(self.folder, "program")
        tare.compile_program(self.write("program.c", program[0] + '#include "sighting.tare.c"\n'), binary)
        done = subprocess.run([binary], capture_output=True, text=True, timeout=tare.PATIENCE_S)
        self.assertEqual((done.returncode, done.stdout), (0, "kingfisher x 1\n52.5 13.4\n48.1 11.6\n"))
        newer = schemas[0][: schemas[0].index("message")] + schemas[1]
        done = tare.run("schema", "check", self.folder + "/sighting.tare", self.write("newer.tare", newer))
        self.assertEqual((done.returncode, done.stdout), (0, ""))


class Drawn:
    """A random schema, and JSON of a message with random values."""

    def __init__(self, rng, number):
        self.rng, self.name, self.types, self.text = rng, "drawn_%d" % number, {}, ""
        for i in range(rng.randrange(5)):
            self.draw_type(i)
        count = rng.randrange(1, 12)
        self.fields = [self.draw_field("f%d" % i, varies=True) for i in range(count)]
        since = sorted(rng.randrange(1, 4) for _ in range(count))
        self.text += "message %s id 0x%x version 3 {\n" % (self.name, rng.randrange(1, 1 << 32))
        for (name, text, _), version in zip(self.fields, since):
            self.text += "\t%s: %s since %d;\n" % (name, text, version)
        self.text += "}\n"

    def draw_type(self, i):
        kind = self.rng.choice(["enum", "record", "record", "open", "union"])
        name = "%s%d" % (kind, i)
        fixed = [t for t, (k, _) in self.types.items() if k == "record"]
        if kind == "enum":
            values = ["v%d" % v for v in range(self.rng.choice([1, 2, 5, 255]))]
            self.types[name] = ("enum", values)
            self.text += "enum %s { %s }\n" % (name, ", ".join(values))
        elif kind == "union" and fixed:
            variants = [("w%d" % v, self.rng.choice(fixed)) for v in range(self.rng.randrange(1, 4))]
            self.types[name] = ("union", variants)
            self.text += "union %s { %s }\n" % (name, " ".join("%s: %s;" % v for v in variants))
        elif kind != "union":
            fields = [self.draw_field("g%d" % g, varies=kind == "open") for g in range(self.rng.randrange(1, 5))]
            fields += [("z", "string", lambda: '"z"')] if kind == "open" else []
            self.types[name] = (kind, fields)
            self.text += "record %s {\n%s}\n" % (name, "".join("\t%s: %s;\n" % f[:2] for f in fields))

    def record(self, name):
        fields = [f for f in self.types[name][1] if self.rng.random() < 0.9]
        self.rng.shuffle(fields)
        return "{%s}" % ",".join('"%s":%s' % (f[0], f[2]()) for f in fields)

    def union(self, name):
        variant, record = self.rng.choice(self.types[name][1])
        return '{"%s":%s}' % (variant, self.record(record)) if self.rng.random() < 0.8 else "null"

    def scalar(self, kind):
        rng = self.rng
        if kind == "bool":
            return rng.choice(["true", "false"])
        if kind[0] == "f":
            return repr(rng.choice([0.0, -0.5, 1e-7, 3.25, rng.uniform(-1e6, 1e6)]))
        bits = int(kind[1:])
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind[0] == "i" else (0, (1 << bits) - 1)
        return str(rng.choice([low, high, 0, rng.randint(low, high)]))

    def draw_field(self, name, varies):
        """(name, type, what draws a value)"""
        rng = self.rng
        enums = [t for t, (k, _) in self.types.items() if k == "enum"]
        records = [t for t, (k, _) in self.types.items() if k == "record"]
        inner = records + ([t for t, (k, _) in self.types.items() if k == "open"] if varies else [])
        unions = [t for t, (k, _) in self.types.items() if k == "union"]
        choice = rng.choice(["scalar", "scalar", "array", "record"] + (["string", "bytes", "vector", "records", "union"] if varies else []))
        kind = rng.choice(SCALARS + enums)
        one = (lambda: '"%s"' % rng.choice(self.types[kind][1])) if kind in enums else (lambda: self.scalar(kind))
        if choice == "array":
            count = rng.randrange(1, 5)
            return name, "%s[%d]" % (kind, count), lambda: "[%s]" % ",".join(one() for _ in range(count))
        if choice == "record" and inner:
            record = rng.choice(inner)
            return name, record, lambda: self.record(record)
        if choice == "string":
            return name, "string", lambda: '"%s"' % rng.choice(["", "a", "short", "x" * rng.randrange(60), "t\\u00e4\\ud83d\\ude00", "ä" * 9])
        if choice == "bytes":
            return name, "bytes", lambda: '"%s"' % rng.choice(["", "AA==", "////", "AAECAwQFBgcICQo="])
        if choice == "vector":
            return name, kind + "[]", lambda: "[%s]" % ",".join(one() for _ in range(rng.randrange(4)))
        if choice == "records" and records:
            record = rng.choice(records)
            return name, record + "[]", lambda: "[%s]" % ",".join(self.record(record) for _ in range(rng.randrange(4)))
        if choice == "union" and unions:
            union = rng.choice(unions)
            return name, union, lambda: self.union(union)
        return name, kind, one

    def json(self):
        return "{%s}" % ",".join('"%s":%s' % (name, draw()) for name, _, draw in self.fields)


class Random(Folder):
    def build(self, name, compiler):
        mode = os.path.basename(tare.BUILD)
        flags = ["-O1", "-fno-strict-aliasing"] if compiler == "gcc" else ["-O2"]
        sources = [os.path.join(self.folder, name + ".tare.c"), self.write(name + ".c", DRIVER.replace("NAME", name))]
        program = os.path.join(self.folder, name)
        # The library is gcc's, and so are its sanitizers.
        sanitize = SANITIZE.get(mode, []) if compiler == "gcc" else []
        if compiler == "clang":
            done = subprocess.run([compiler, *WARNINGS, *flags, "-fsyntax-only", sources[0]], capture_output=True, text=True)
        else:
            done = subprocess.run([compiler, *WARNINGS, *flags, *sanitize, "-o", program, *sources, tare.BUILD + "/libtare.a",
                                   "-fno-lto", "-lm", "-pthread"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return program

    def test_drawn_schemas_compile_and_hold_what_messages_promise(self):
        count = 6 if tare.SANITIZED else 15
        for number in range(count):
            drawn = Drawn(random.Random(number), number)
            done = self.compile(drawn.text, drawn.name + ".tare")
            self.assertEqual((done.returncode, done.stderr), (0, ""), drawn.text)
            if shutil.which("clang"):
                self.build(drawn.name, "clang")
            program = self.build(drawn.name, "gcc")
            for _ in range(3):
                text = drawn.json()
                done = subprocess.run([program, text], capture_output=True, text=True, timeout=tare.PATIENCE_S)
                self.assertEqual((done.returncode, done.stderr), (0, ""), "seed %d\n%s\n%s" % (number, drawn.text, text))


if __name__ == "__main__":
    unittest.main()
