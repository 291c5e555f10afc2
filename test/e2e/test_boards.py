# SPDX-License-Identifier: MIT
"""Goal: the folder boards/ watches the service that there is: its rules, alerts and dashboard name what /metrics has, and say
nothing of a healthy service.

Method: promtool reads the files and runs the rules' unit tests. Debian's Prometheus, configured by boards/prometheus.yml but for
addresses and intervals, scrapes real services, one of them with a collected heap, while they are used; it is asked for every
recording rule, every expression of the dashboard, and its alerts. Each selector in an expression is held against the services'
/metrics too, since an expression can have a value while a part of it has none.
"""
import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tare  # noqa: E402
from test_records import put, version_of  # noqa: E402

BOARDS = os.path.join(tare.ROOT, "boards")
# These look at times, which a busy machine makes long; that they don't fire for a moment is all that holds there.
OF_TIMES = {"TareLatencyHigh", "TareWorkersSaturated", "TareRunQueueSlow", "TareTasksSlow", "TareGcCpuHigh", "TareGcPauses",
            "TareGcSafepointsLate", "TareGcLimiting"}


def tool(name):
    if shutil.which(name) is None:
        raise unittest.SkipTest(f"{name} is missing, so boards/ is not tested; run: apt-get install prometheus")
    return name


def read(name):
    with open(os.path.join(BOARDS, name), encoding="utf-8") as file:
        return file.read()


# ---- expressions ------------------------------------------------------------------------------------------------------

AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "stddev", "group"}
OPERATORS = {"and", "or", "unless", "bool", "offset"}
GROUPINGS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[a-zA-Z_:][\w:]*|[0-9.][\w.]*|[{}()]|\[[^\]]*\]|\S')
MATCHER = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"((?:\\.|[^"\\])*)"\s*,?')


def selectors(expr):
    """[(metric, [(label, operator, value)])] of a PromQL expression."""
    found, tokens = [], list(TOKEN.finditer(expr))
    at = 0
    while at < len(tokens):
        word = tokens[at].group()
        after = tokens[at + 1].group() if at + 1 < len(tokens) else ""
        if word in GROUPINGS:
            while tokens[at].group() != ")":
                at += 1
        elif re.match(r"[a-zA-Z_:]", word) and after != "(" and word not in AGGREGATIONS | OPERATORS:
            if after == "{":
                begin = tokens[at + 1].end()
                while tokens[at].group() != "}":
                    at += 1
                inside = expr[begin:tokens[at].start()]
                assert not MATCHER.sub("", inside).strip(), f"not matchers: {inside}"
                found.append((word, MATCHER.findall(inside)))
            else:
                found.append((word, []))
        at += 1
    return found


def sample_matches(sample, metric, matchers):
    """Whether a line of /metrics is one that the selector takes. What Prometheus adds, job and instance, is passed over."""
    name, _, labels = sample.partition("{")
    labels = dict(re.findall(r'(\w+)="((?:\\.|[^"\\])*)"', labels))
    tests = {"=": lambda a, b: a == b, "!=": lambda a, b: a != b, "=~": lambda a, b: re.fullmatch(b, a) is not None,
             "!~": lambda a, b: re.fullmatch(b, a) is None}
    return name == metric and all(tests[operator](labels.get(label, ""), value) for label, operator, value in matchers
                                  if label not in ("job", "instance"))


def board():
    return json.loads(read("grafana.json"))


def board_expressions():
    """(where, expression) with the variables' values in it."""
    dashboard = board()
    found = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", [])]
    found += [(note["name"], note["expr"]) for note in dashboard["annotations"]["list"] if "expr" in note]
    for name, value in (("$__rate_interval", "1m"), ("$job", "tare"), ("$instance", ".+")):
        found = [(where, expr.replace(name, value)) for where, expr in found]
    assert not any("$" in expr for _, expr in found)
    return found


# ---- the files --------------------------------------------------------------------------------------------------------


class Files(unittest.TestCase):
    def promtool(self, *args):
        done = subprocess.run([tool("promtool"), *args], cwd=BOARDS, capture_output=True, text=True, timeout=tare.PATIENCE_S)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_promtool_accepts_the_configuration_and_the_rules(self):
        said = self.promtool("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")
        self.assertIn("SUCCESS: 2 rule files found", said)
        self.assertEqual(set(re.findall(r"Checking (.*)", said)), {"prometheus.yml", "rules.yml", "alerts.yml"})

    def test_the_rules_hold_their_unit_tests(self):
        self.promtool("test", "rules", "tests.yml")

    def test_each_alert_has_a_case_in_which_it_fires(self):
        alerts = re.findall(r"^ +- alert: (\w+)$", read("alerts.yml"), re.M)
        fire = set(re.findall(r'alertname="(\w+)", alertstate="firing"', read("tests.yml")))
        self.assertGreater(len(alerts), 10)
        self.assertEqual(sorted(alerts), sorted(fire))

    def test_selectors_are_found_in_expressions(self):
        for expr, found in (("up", [("up", [])]),
                            ('sum by (job, le) (rate(a_bucket{x="1", y!~"2|}"}[5m]))', [("a_bucket", [("x", "=", "1"), ("y", "!~", "2|}")])]),
                            ("a / on (job) group_left () (b:c > 0) and d == 1e3 * time()", [("a", []), ("b:c", []), ("d", [])])):
            self.assertEqual(selectors(expr), found)


class Dashboard(unittest.TestCase):
    """What Grafana expects of a dashboard of its schema 36 (9.0); later ones read it by their migrations."""

    UNITS = {"none", "short", "s", "percentunit", "reqps", "ops", "bytes", "binBps"}

    def setUp(self):
        self.board = board()

    def test_it_is_a_dashboard(self):
        self.assertEqual((self.board["schemaVersion"], self.board["id"]), (36, None))
        self.assertRegex(self.board["uid"], r"^[\w-]{1,40}$")
        self.assertTrue(self.board["title"])
        self.assertEqual(set(self.board["time"]), {"from", "to"})

    def test_data_source_and_instance_are_chosen(self):
        variables = {v["name"]: v for v in self.board["templating"]["list"]}
        self.assertEqual([(v["type"], v["multi"]) for v in variables.values()],
                         [("datasource", False), ("query", False), ("query", True)])
        self.assertEqual(list(variables), ["datasource", "job", "instance"])
        self.assertEqual(variables["datasource"]["query"], "prometheus")
        for name in ("job", "instance"):
            self.assertEqual(variables[name]["query"]["query"], variables[name]["definition"])
            self.assertRegex(variables[name]["definition"], r"^label_values\(tare_info(\{.*\})?, %s\)$" % name)
        for panel in self.board["panels"]:
            for part in [panel] * (panel["type"] != "row") + panel.get("targets", []):
                self.assertEqual(part["datasource"], {"type": "prometheus", "uid": "${datasource}"}, panel["title"])
            for target in panel.get("targets", []):
                self.assertIn('job=~"$job", instance=~"$instance"', target["expr"])

    def test_panels_are_whole_and_lie_beside_each_other(self):
        ids, taken = set(), set()
        for panel in self.board["panels"]:
            with self.subTest(panel["title"]):
                self.assertNotIn(panel["id"], ids)
                ids.add(panel["id"])
                grid = panel["gridPos"]
                self.assertLessEqual(grid["x"] + grid["w"], 24)
                cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
                self.assertFalse(cells & taken)
                taken |= cells
                if panel["type"] == "row":
                    continue
                self.assertIn(panel["type"], ("timeseries", "stat"))
                self.assertIn(panel["fieldConfig"]["defaults"]["unit"], self.UNITS)
                references = [target["refId"] for target in panel["targets"]]
                self.assertEqual(references, list("ABCDEFGH"[: len(references)]))
        heights = {y for _, y in taken}
        self.assertEqual(heights, set(range(max(heights) + 1)), "no line is empty")


# ---- beside Prometheus ------------------------------------------------------------------------------------------------


def listening_port(pid):
    """The port at which a process listens, or None yet."""
    inodes = set()
    for fd in glob.glob(f"/proc/{pid}/fd/*"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(fd))
    with open("/proc/net/tcp", encoding="ascii") as file:
        for fields in (line.split() for line in file.readlines()[1:]):
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                return int(fields[1].split(":")[1], 16)
    return None


class Prometheus:
    """Debian's, scraping these services as boards/prometheus.yml says."""

    def __init__(self, servers):
        self.addresses = [f"127.0.0.1:{server.admin_port}" for server in servers]

    def configuration(self):
        text = read("prometheus.yml")
        for old, new in (("scrape_interval: 15s", "scrape_interval: 500ms"), ("evaluation_interval: 15s", "evaluation_interval: 500ms"),
                         ("- 127.0.0.1:8081\n", f"- {json.dumps(self.addresses)}\n")):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return re.sub(r"- targets:\s+- (\[.*\])", r"- targets: \1", text)

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        for name in ("rules.yml", "alerts.yml"):
            shutil.copy(os.path.join(BOARDS, name), self.folder.name)
        with open(self.folder.name + "/prometheus.yml", "w", encoding="utf-8") as file:
            file.write(self.configuration())
        self.log = open(self.folder.name + "/log", "w+", encoding="utf-8")
        self.process = subprocess.Popen([tool("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                                         "--web.listen-address=127.0.0.1:0"], cwd=self.folder.name, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        try:
            tare.eventually(self.ready, "Prometheus is ready")
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind, *_):
        self.process.kill()
        self.process.wait()
        self.log.seek(0)
        if kind is not None:
            print(self.log.read())
        self.log.close()
        self.folder.cleanup()

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"Prometheus ended with {self.process.returncode}")
        self.port = listening_port(self.process.pid)
        if self.port is None:
            return False
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=tare.PATIENCE_S):
            return True

    def ask(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=tare.PATIENCE_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read()}") from error

    def query(self, expr):
        """[(labels, value)] of what is a number."""
        result = self.ask("query", query=expr)["result"]
        return [(row["metric"], float(row["value"][1])) for row in result if row["value"][1] != "NaN"]

    def rules(self):
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        assert all(rule["health"] in ("ok", "unknown") for rule in rules), [rule for rule in rules if rule.get("lastError")]
        return rules


class Watched(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        tool("prometheus")
        cls.collected = cls.enterClassContext(tare.Server("--heap=gc", "--layout=map", "--gc-min-heap=64K", "--gomemlimit=64GiB"))
        cls.plain = cls.enterClassContext(tare.Server())
        cls.doomed = cls.enterClassContext(tare.Server())
        cls.healthy = [cls.collected, cls.plain]
        cls.prometheus = cls.enterClassContext(Prometheus([cls.collected, cls.plain, cls.doomed]))
        cls.version = 0

    def work(self):
        """Some hundred lookups, one after the other, and updates, whose garbage is collected."""
        type(self).version += 1
        for server in self.healthy:
            with tare.Client(server.port) as client:
                client.stream(tare.lookup_request(1), 200)
        for key in range(100):
            self.assertEqual(put(self.collected, key, version_of(key, 7 + 8 * self.version))[0], 204)

    def yields(self, expr, servers):
        """Until the expression has a number for each of the services, which are at work meanwhile."""
        want = {f"127.0.0.1:{server.admin_port}" for server in servers}

        def has():
            got = {labels.get("instance") for labels, _ in self.prometheus.query(expr)}
            if not want <= got:
                self.work()
            return want <= got
        tare.eventually(has, f"{expr} has values for {want}")

    @staticmethod
    def is_of_the_collector(expr):
        return "tare_gc_" in expr or "tare_memory_limit_bytes" in expr or "instance:tare_gc" in expr

    def servers_of(self, expr):
        return [self.collected] if self.is_of_the_collector(expr) else self.healthy

    def test_recording_rules_yield_values(self):
        rules = [rule for rule in self.prometheus.rules() if rule["type"] == "recording"]
        self.assertEqual(len(rules), len(re.findall(r"- record:", read("rules.yml"))))
        for rule in rules:
            with self.subTest(rule["name"]):
                labels = ", ".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
                self.yields(f"{rule['name']}{{{labels}}}", self.servers_of(rule["query"]))

    def test_every_expression_of_the_dashboard_yields_values(self):
        for where, expr in board_expressions():
            with self.subTest(where, expr=expr):
                if where == "Starts":  # there was none in between
                    self.assertEqual(self.prometheus.query(expr), [])
                else:
                    self.yields(expr, self.servers_of(expr))

    def test_every_metric_that_is_named_is_served(self):
        rules = self.prometheus.rules()
        recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
        served = {server: list(server.metrics()) for server in self.healthy}
        count = 0
        for where, expr in [(rule["name"], rule["query"]) for rule in rules] + board_expressions():
            for metric, matchers in selectors(expr):
                count += 1
                if metric == "up":  # Prometheus's own
                    continue
                with self.subTest(where, selector=(metric, matchers)):
                    if ":" in metric:
                        self.assertIn(metric, recorded)
                        continue
                    for server in [self.collected] if metric.startswith("tare_gc_") else self.healthy:
                        self.assertTrue([s for s in served[server] if sample_matches(s, metric, matchers)])
        self.assertGreater(count, 100)

    def test_no_alert_fires_on_a_healthy_service(self):
        # Rates have two samples at least, and all alerts were looked at with them.
        self.yields("instance:tare_requests:rate5m > 0", self.healthy)
        last = {rule["name"]: rule["lastEvaluation"] for rule in self.prometheus.rules()}
        rules = tare.eventually(lambda: (now := self.prometheus.rules()) and all(
            rule["lastEvaluation"] > last[rule["name"]] for rule in now) and now, "all rules were evaluated again")
        alerts = [rule for rule in rules if rule["type"] == "alerting"]
        self.assertEqual(len(alerts), len(re.findall(r"- alert:", read("alerts.yml"))))
        healthy = {f"127.0.0.1:{server.admin_port}" for server in self.healthy}
        for rule in alerts:
            active = [alert for alert in rule["alerts"] if alert["labels"].get("instance", "") in healthy | {""}]
            if rule["name"] in OF_TIMES:
                active = [alert for alert in active if alert["state"] == "firing"]
            self.assertEqual(active, [], rule["name"])

    def test_an_alert_says_what_it_means_and_what_to_do(self):
        for rule in self.prometheus.rules():
            if rule["type"] != "alerting":
                continue
            with self.subTest(rule["name"]):
                self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
                self.assertEqual(set(rule["annotations"]), {"summary", "description"})
                self.assertRegex(rule["annotations"]["description"], r"^[A-Z].*\. Look[:,] .*\. Do: .*\.$")
                self.assertTrue(rule["name"] == "TareAbsent" or "{{ $labels.instance }}: " in rule["annotations"]["summary"])

    def test_a_service_that_ends_is_noticed(self):
        address = f"127.0.0.1:{self.doomed.admin_port}"
        self.yields("up == 1", [self.doomed] if self.doomed.code is None else [])
        self.doomed.stop()

        def noticed():
            rule = next(rule for rule in self.prometheus.rules() if rule["name"] == "TareDown")
            return [alert for alert in rule["alerts"] if alert["labels"]["instance"] == address]
        self.assertEqual(tare.eventually(noticed, "it is seen to be down")[0]["state"], "pending")


if __name__ == "__main__":
    unittest.main()
