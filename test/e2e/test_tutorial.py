"""Goal: each program of the tutorial is what its page shows, builds without a warning against an installed copy, and does
what the page says, to its end.

Method: installs into a temporary DESTDIR once, compiles examples/*.c with the flags of pkg-config alone and every warning,
runs them, and talks to the servers. In a sanitized build the installed library and the programs are sanitized too. A
server's start is the line it prints; its end is its exit after a signal.
"""

import http.client
import os
import re
import resource
import select
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import unittest
import urllib.error
import urllib.request

from tare import BUILD, PATIENCE_S, ROOT, SANITIZED, eventually

MODE = os.path.basename(BUILD)
STEPS = ["01-hello", "02-echo", "03-chat", "04-pool", "05-http", "06-versions"]
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wvla", "-Werror"]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def lines_of(text):
    """Without blank lines: a page parts a program where it likes."""
    return [line for line in text.splitlines() if line.strip()]


class Pages(unittest.TestCase):
    def test_each_page_shows_its_program_whole_and_in_order(self):
        for step in STEPS:
            with self.subTest(step):
                page = read(f"docs/tutorial/{step}.md")
                shown = [line for block in re.findall(r"^```c\n(.*?)^```$", page, re.M | re.S) for line in lines_of(block)]
                program = read(f"examples/{step}.c")
                if step == "02-echo":  # the page that introduces the shared header
                    program = read("examples/stop.h") + program
                # The licence and the head comment are the file's own.
                wanted = [line for line in lines_of(re.sub(r"\A(//.*\n)+|(?<=#endif\n)(//.*\n)+", "", program))]
                self.assertEqual(wanted, shown)

    def test_every_example_has_a_page_and_is_in_the_list(self):
        programs = sorted(name for name in os.listdir(os.path.join(ROOT, "examples")) if name.endswith(".c"))
        self.assertEqual([step + ".c" for step in STEPS], programs)
        index = read("docs/tutorial/README.md")
        for step in STEPS:
            self.assertIn(f"]({step}.md)", index)


class Running:
    """A server of the tutorial on a free port. Leaving the block ends it with SIGTERM and checks how it ended."""

    def __init__(self, program, last_word):
        self.program = program
        self.last_word = last_word

    def __enter__(self):
        self.stderr = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([self.program, "127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.stderr, text=True)
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        line = self.process.stdout.readline() if readable else ""
        found = re.match(r"listening on (?:http://)?127\.0\.0\.1:(\d+)$", line.strip())
        if not found:
            self.kill()
            raise AssertionError(f"it did not start: {line!r} {self.errors}")
        self.port = int(found.group(1))
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.stderr.seek(0)
        self.errors = self.stderr.read()
        self.stderr.close()

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.process.send_signal(signal.SIGTERM)
                code = self.process.wait(PATIENCE_S)
                rest = self.process.stdout.read()
                self.stderr.seek(0)
                if (code, rest) != (0, self.last_word + "\n"):
                    raise AssertionError(f"it ended with {code}, {rest!r}: {self.stderr.read()}")
        finally:
            self.kill()
            if kind is not None:
                print(f"standard error of {self.program}:\n{self.errors}")

    def connect(self, receive_bytes=None):
        client = socket.socket()
        client.settimeout(PATIENCE_S)
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.connect(("127.0.0.1", self.port))
        return client


class Member:
    """A client of the chat: says and reads lines."""

    def __init__(self, server, name):
        self.socket = server.connect()
        self.file = self.socket.makefile("r", encoding="utf-8", newline="\n")
        self.say(name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def say(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def hear(self):
        return self.file.readline().rstrip("\n")


class Programs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.make("install", "DESTDIR=" + cls.folder, "PREFIX=/usr")
        flags = shlex.split(cls.make("print-CC")) + ["-O1", "-g", *WARNINGS]
        sanitizers = cls.make("print-LDFLAGS_" + MODE).split()
        for step in STEPS:
            argv = flags + sanitizers + ["-o", f"{cls.folder}/{step}", f"{ROOT}/examples/{step}.c", *cls.pkg_config()]
            done = subprocess.run(argv, cwd="/", capture_output=True, text=True)
            if done.returncode != 0 or done.stderr:
                raise AssertionError(f"{step} does not build:\n{done.stderr}")

    @classmethod
    def make(cls, *args):
        argv = ["make", "-s", "--no-print-directory", "MODE=" + MODE, *args]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"make {args} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    @classmethod
    def pkg_config(cls):
        """As the README says for a DESTDIR."""
        env = dict(os.environ, PKG_CONFIG_PATH=cls.folder + "/usr/lib/pkgconfig", PKG_CONFIG_SYSROOT_DIR=cls.folder)
        argv = ["pkg-config", "--cflags", "--libs", "tare"]
        return subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout.split()

    def program(self, step):
        return f"{self.folder}/{step}"

    def run_program(self, step, *args, **env):
        """(exit code, sorted lines of standard output, standard error)"""
        done = subprocess.run([self.program(step), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE_S, env=dict(os.environ, **env))
        return done.returncode, sorted(done.stdout.splitlines()), done.stderr

    # ---- 1 hello ------------------------------------------------------------------------------------------------------

    def test_hello_greets_each_name_in_a_task_and_adds_up_the_results(self):
        code, lines, errors = self.run_program("01-hello", "Ann", "Robert")
        self.assertEqual((0, ""), (code, errors))
        self.assertEqual(["9 letters", "goodbye"], lines[:2])
        self.assertRegex(lines[2], r"^hello, Ann, from task \d+ on worker \d+$")
        self.assertRegex(lines[3], r"^hello, Robert, from task \d+ on worker \d+$")

    def test_hello_joins_the_others_and_says_why_when_a_task_fails(self):
        code, lines, errors = self.run_program("01-hello", "Ann", "", "Robert")
        self.assertEqual((1, "hello: Invalid argument\n"), (code, errors))
        self.assertEqual("goodbye", lines[0])
        self.assertEqual(3, len(lines), lines)

    def test_hello_without_names_says_how_it_is_used(self):
        self.assertEqual((2, []), self.run_program("01-hello")[:2])

    def test_hello_says_which_word_of_the_environment_it_does_not_know(self):
        self.assertEqual((1, [], "hello: TARE_IO in the environment: 'nonsense' is not allowed; give epoll or uring\n"),
                         self.run_program("01-hello", "Ann", TARE_IO="nonsense"))

    # ---- 2 echo -------------------------------------------------------------------------------------------------------

    def test_echo_sends_back_what_it_is_sent_to_many_at_once(self):
        with Running(self.program("02-echo"), "stopped") as server:
            clients = [server.connect() for _ in range(50)]
            for i, client in enumerate(clients):
                client.sendall(b"%d says hello\n" % i)
            for i, client in enumerate(clients):
                with client:
                    client.shutdown(socket.SHUT_WR)
                    self.assertEqual(b"%d says hello\n" % i, client.makefile("rb").read())

    def test_echo_returns_megabytes_unharmed(self):
        sent = os.urandom(1 << 16) * 64
        with Running(self.program("02-echo"), "stopped") as server, server.connect() as client:
            def send():
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
            sender = threading.Thread(target=send)
            sender.start()
            got = client.makefile("rb").read()
            sender.join()
        self.assertEqual(len(sent), len(got))
        self.assertTrue(sent == got)

    def test_echo_makes_those_over_its_limit_wait_for_a_place(self):
        limit = 1000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 4096:
            self.skipTest(f"needs 4096 descriptors, {hard} are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))  # inherited by the server
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with Running(self.program("02-echo"), "stopped") as server:
            clients = [server.connect() for _ in range(limit)]
            for client in clients:
                client.sendall(b"x")
            self.assertEqual({b"x"}, {client.recv(1) for client in clients})  # every place is taken
            late = server.connect()
            late.sendall(b"late")
            clients[0].sendall(b"y")
            self.assertEqual(b"y", clients[0].recv(1))
            self.assertEqual(([], [], []), select.select([late], [], [], 0))
            clients[0].close()
            self.assertEqual(b"late", late.recv(4))
            for client in clients[1:] + [late]:
                client.close()

    def test_echo_stops_although_clients_are_connected(self):
        with Running(self.program("02-echo"), "stopped") as server:
            client = server.connect()
            client.sendall(b"here")
            self.assertEqual(b"here", client.recv(4))
        self.assertEqual(b"", client.recv(1))
        client.close()

    def test_a_server_says_in_one_line_why_it_can_not_start(self):
        for step, name in (("02-echo", "echo"), ("03-chat", "chat"), ("05-http", "notes")):
            with self.subTest(step):
                code, lines, errors = self.run_program(step, "nowhere")
                self.assertEqual((1, []), (code, lines))
                self.assertRegex(errors, rf"\A{name}: address 'nowhere': .*\n\Z")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            code, _, errors = self.run_program("02-echo", "127.0.0.1:%d" % taken.getsockname()[1])
        self.assertEqual(1, code)
        self.assertRegex(errors, r"\Aecho: can't listen on .*\n\Z")

    def test_a_program_that_ends_at_once_is_not_called_slow(self):
        """The monitor's first look may fall into the first task's start; a program's code is fetched slowly just once, so
        each try is a process."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            said = {self.run_program("02-echo", address)[2] for _ in range(50 if SANITIZED else 2000)}
        self.assertEqual(1, len(said), said)

    # ---- 3 chat -------------------------------------------------------------------------------------------------------

    def test_chat_brings_each_line_to_everyone_in_one_order(self):
        with Running(self.program("03-chat"), "stopped") as server, Member(server, "ann") as ann:
            self.assertEqual("* ann came", ann.hear())
            with Member(server, "bob") as bob:
                self.assertEqual(["* bob came"] * 2, [ann.hear(), bob.hear()])
                ann.say("good morning\r")
                self.assertEqual(["ann: good morning"] * 2, [ann.hear(), bob.hear()])
                for i in range(20):
                    (ann, bob)[i % 2].say(str(i))
                heard = [ann.hear() for _ in range(20)]
                self.assertEqual(heard, [bob.hear() for _ in range(20)])
                self.assertEqual(sorted(f"{'ab'[i % 2]}{i}" for i in range(20)), sorted(h[0] + h[5:] for h in heard))
            self.assertEqual("* bob left", ann.hear())

    def test_chat_ends_who_says_too_much_or_has_no_name(self):
        with Running(self.program("03-chat"), "stopped") as server, Member(server, "ann") as ann:
            self.assertEqual("* ann came", ann.hear())
            for name in ("", "n" * 21, "x" * 1000):
                with Member(server, name) as nobody:
                    self.assertIsNone(self.end_of(nobody))
            with Member(server, "bob") as bob:
                self.assertEqual(["* bob came"] * 2, [ann.hear(), bob.hear()])
                bob.say("x" * 500)
                self.assertEqual("* bob left", ann.hear())
                self.assertIn(self.end_of(bob), (None, "* bob left"))
                self.assertIsNone(self.end_of(bob))

    def end_of(self, member):
        """None when the connection ends without another line; a reset counts as an end."""
        try:
            return member.hear() or None
        except ConnectionError:
            return None

    def test_chat_cuts_off_a_slow_reader_and_nobody_else(self):
        with Running(self.program("03-chat"), "stopped") as server, Member(server, "ann") as ann:
            self.assertEqual("* ann came", ann.hear())
            slow = server.connect(receive_bytes=4096)
            self.addCleanup(slow.close)
            slow.sendall(b"slow\n")
            self.assertEqual("* slow came", ann.hear())
            said = heard = 0
            left = False
            while not left:  # until the kernel's buffers and the outbox are full
                self.assertLess(said, 1_000_000, "the slow reader was never cut off")
                for _ in range(16):
                    ann.say("%d " % said + "x" * 380)
                    said += 1
                while heard < said and not left:
                    line = ann.hear()
                    left = line == "* slow left"
                    if not left:
                        self.assertTrue(line.startswith("ann: %d " % heard), line)
                        heard += 1
            ann.say("still here")
            while True:
                line = ann.hear()
                if line == "ann: still here":
                    break
                self.assertTrue(line.startswith("ann: %d " % heard), line)
                heard += 1
            self.assertEqual(said, heard)

    def test_chat_gives_a_place_to_the_next_when_one_leaves(self):
        places = 64
        with Running(self.program("03-chat"), "stopped") as server:
            waiting = []
            for i in range(places):
                client = server.connect()
                client.sendall(b"n%d\n" % i)
                client.makefile("r").readline()  # it is in
                waiting.append(client)
            late = Member(server, "late")
            waiting.pop().close()
            self.assertEqual("* late came", late.hear())
            late.__exit__()
            for client in waiting:
                client.close()

    def test_chat_stops_although_members_are_talking(self):
        members = []
        with Running(self.program("03-chat"), "stopped") as server:
            for i in range(20):
                members.append(Member(server, f"n{i}"))
                self.assertEqual(f"* n{i} came", members[i].hear())
            for member in members:
                member.say("still talking")
        for member in members:
            while self.end_of(member) is not None:
                pass
            member.__exit__()

    # ---- 4 pool -------------------------------------------------------------------------------------------------------

    def test_pool_computes_every_job(self):
        code, lines, errors = self.run_program("04-pool", "1h", "10", "1000", "10", "0", *["100"] * 40)
        self.assertEqual((0, ""), (code, errors))
        self.assertEqual(sorted(["0: 0 primes", "1000: 168 primes"] + ["10: 4 primes"] * 2 + ["100: 25 primes"] * 40), lines)

    def test_pool_ends_at_its_deadline_in_the_middle_of_a_job(self):
        code, _, errors = self.run_program("04-pool", "20ms", *["18000000000000000000"] * 10)
        self.assertEqual((1, "pool: not done within 20ms\n"), (code, errors))

    def test_pool_gives_up_all_jobs_when_one_fails(self):
        code, _, errors = self.run_program("04-pool", "1h", "18000000000000000000", "ten", "18000000000000000000")
        self.assertEqual((1, "pool: 'ten' is not a number\n"), (code, errors))

    def test_pool_says_how_it_is_used(self):
        for args in ((), ("1s",), ("soon", "1"), ("25h", "1")):
            with self.subTest(args):
                self.assertEqual((2, []), self.run_program("04-pool", *args)[:2])

    # ---- 6 versions ---------------------------------------------------------------------------------------------------

    def test_versions_are_whole_while_they_are_looked_at(self):
        code, lines, _ = self.run_program("06-versions", "20000")  # on standard error: tasks that were kept waiting, if any
        self.assertEqual(0, code)
        self.assertRegex("\n".join(lines), r"\d+ MiB of nodes made, \d+ MiB there now, \d+ collections\n20000 versions, \d+ looks at one, all whole")

    def test_versions_says_how_it_is_used(self):
        for args in ((), ("many",), ("1", "2")):
            with self.subTest(args):
                self.assertEqual((2, []), self.run_program("06-versions", *args)[:2])

    # ---- 5 http -------------------------------------------------------------------------------------------------------

    def ask(self, server, target, body=None):
        """(status, body)"""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{target}", body, PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode()

    def test_http_keeps_notes_and_refuses_bad_ones(self):
        with Running(self.program("05-http"), "drained") as server:
            self.assertEqual((200, ""), self.ask(server, "/notes"))
            for i in range(103):
                self.assertEqual((201, f"{i + 1}\n"), self.ask(server, "/notes", b"note %d" % i))
            notes = "".join(f"note {i}\n" for i in range(3, 103))
            self.assertEqual((200, notes), self.ask(server, "/notes"))
            for bad in (b"", b"two\nlines", b"x" * 201):
                status, text = self.ask(server, "/notes", bad)
                self.assertEqual(400, status)
                self.assertIn("a note is one line of 1 to 200 bytes", text)
            self.assertEqual((200, notes), self.ask(server, "/notes"))
            self.assertEqual(413, self.ask(server, "/notes", b"x" * 5000)[0])
            self.assertEqual(404, self.ask(server, "/nothing")[0])
            self.assertEqual(405, self.ask(server, "/wait", b"x")[0])

    def test_http_waits_as_long_as_it_is_told(self):
        with Running(self.program("05-http"), "drained") as server:
            self.assertEqual((200, "waited 10ms\n"), self.ask(server, "/wait?for=10ms"))
            for target in ("/wait", "/wait?for=long", "/wait?for=11s", "/wait?for=" + "1" * 40):
                self.assertEqual(400, self.ask(server, target)[0], target)
            status, text = self.ask(server, "/metrics")
            self.assertEqual(200, status)
            self.assertRegex(text, r"(?m)^notes_waits_total 1$")
            self.assertRegex(text, r"(?m)^http_requests_total\{.*code=\"4xx\".*\} 4$")

    def test_http_answers_what_it_received_before_the_signal(self):
        with Running(self.program("05-http"), "drained") as server:
            connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S) for _ in range(5)]
            for connection in connections:
                connection.request("GET", "/wait?for=300ms")
            eventually(lambda: "notes_waits_total 5\n" in self.ask(server, "/metrics")[1], "all five are waiting")
            server.process.send_signal(signal.SIGINT)
            for connection in connections:
                answer = connection.getresponse()
                self.assertEqual((200, b"waited 300ms\n"), (answer.status, answer.read()))
                connection.close()


if __name__ == "__main__":
    unittest.main()
