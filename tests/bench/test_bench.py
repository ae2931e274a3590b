"""What the bench's figures rest on."""

import contextlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import client, load, nginx, programs, usage
from tests.bench.client import AnswerError, Caller, Job
from tests.bench.report import Run
from tests.bench.rounds import Result
from tests.bench.scenarios import BARS, N, P, scenarios


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers the small answer, closes where that is asked, fails under `/api/broken`, loses a byte at `/api/leaky`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(500 if self.path == "/api/broken" else 200)
        self.send_header("Content-Length", str(nginx.SMALL))
        self.end_headers()
        self.wfile.write(bytes(nginx.SMALL))

    def do_POST(self) -> None:
        arrived = len(self.rfile.read(int(self.headers["Content-Length"])))
        got = str(arrived - 1 if self.path == "/api/leaky" else arrived).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(got)))
        self.end_headers()
        self.wfile.write(got)

    def log_message(self, *_: object) -> None:
        """A test's output is its own."""


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


def test_a_caller_keeps_its_connection_until_it_asks_to_close(port: int) -> None:
    """Reuse is real, and so is its absence."""
    with Caller(port, "Basic eA==") as caller:
        caller.get("/api/products", size=nginx.SMALL)
        caller.get("/api/products", size=nginx.SMALL, close=True)
        assert caller.at_end()


def test_an_upload_counts_what_arrived(port: int) -> None:
    """The answer's number of bytes is compared with what was sent."""
    with Caller(port, "Basic eA==") as caller:
        caller.upload("/api/sink", size=3 * 2**20 + 1)
        with pytest.raises(AnswerError, match=r"got 3145728 of 3145729 bytes"):
            caller.upload("/api/leaky", size=3 * 2**20 + 1)


def test_an_error_is_not_a_fast_answer(port: int) -> None:
    """A 500 of the right length, or a 200 of a wrong one, is reported and not timed."""
    for path, size in ("/api/broken", nginx.SMALL), ("/api/products", 7):
        told = client.work(Job("fresh", port, path, "Basic eA==", size, seconds=0.1, clients=2))
        assert len(told.errors) == 2
        assert not told.seconds_each
    with Caller(port, "Basic eA==") as caller, pytest.raises(AnswerError, match="500"):
        caller.get("/api/broken", size=nginx.SMALL)


def test_paced_requests_keep_their_pace(port: int) -> None:
    """Two clients, one request per 20 ms each, for 0.2 s: no more than ten each."""
    told = client.work(Job("paced", port, "/api/products", "Basic eA==", nginx.SMALL, 0.2, clients=2, pause_s=0.02))
    assert not told.errors
    assert 2 < len(told.seconds_each) <= 20


def test_a_tree_is_counted_with_its_dead() -> None:
    """CPU of a grandchild that has ended is still there, and a child is found by its root."""
    work = "import time\nwhile time.process_time() < 0.3: pass"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}]); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert usage.cpu_s([process.pid]) >= 0.3
        assert usage.memory([process.pid]).rss > usage.memory([process.pid]).pss > 2**20
        assert process.pid in {found.pid for found in usage.tree([os.getpid()])}
        process.communicate(b"\n")
    assert usage.tree([process.pid]) == []


def test_what_was_started_is_stopped_with_its_children(tmp_path: Path) -> None:
    """Also a child in a session of its own, as sshd's are."""
    script = (
        "import subprocess, time\nsubprocess.Popen(['sleep', '60'], start_new_session=True)\nprint(1, flush=True)\n"
    )
    with contextlib.ExitStack() as stack:
        program = programs.start(stack, "parent", [sys.executable, "-c", f"{script}time.sleep(60)"], tmp_path)
        program.wait_for("word", lambda: program.text() or None)
        family = usage.tree([program.pid])
        assert len(family) == 2
    assert not any(process.alive() for process in family)


def test_a_program_that_ends_is_named_with_its_log(tmp_path: Path) -> None:
    """Instead of waiting for what will not come."""
    with contextlib.ExitStack() as stack:
        program = programs.start(stack, "broken", [sys.executable, "-c", "raise SystemExit('no port left')"], tmp_path)
        with pytest.raises(programs.ContenderError, match=r"(?s)broken: ended with status 1.*no port left"):
            program.wait_for("port", lambda: None)


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, each package once."""
    monkeypatch.setattr(programs, "find", lambda program: "" if program in {"ssh", "ssh-keygen", "wrk"} else "/bin/x")
    assert programs.missing() == "missing: ssh, ssh-keygen, wrk; apt-get install openssh-client wrk"


def test_a_quantile_is_a_measured_value() -> None:
    """The smallest that is not below its share."""
    ordered = [float(n) for n in range(1, 101)]
    assert load.quantile(ordered, 0.50) == 50
    assert load.quantile(ordered, 0.99) == 99
    assert load.quantile([3.0], 0.99) == 3


def _result(scenario: str, **rounds: list[load.Figures]) -> Result:
    found = next(known for known in scenarios(0) if known.name == scenario)
    return Result(found, rounds=rounds)


def _run(*results: Result) -> Run:
    return Run("bench", "today", 1.0, 0.01, {"CPU": "one"}, results, {})


def test_medians_are_compared_with_bars() -> None:
    """One bad round of five decides nothing; a figure against a peer is a ratio of medians."""
    run = _run(
        _result(
            "keep-16",
            ours=[{"requests/s": value, "p99 ms": 5.0, "CPU µs/request": 90.0} for value in (50, 49, 51, 1, 50)],
            P=[{"requests/s": 100.0}] * 5,
            N=[{"requests/s": 20.0}] * 5,
        )
    )
    judged = {(verdict.bar.figure, verdict.bar.against): verdict for verdict in run.verdicts()}
    assert judged["requests/s", P].value == 0.5
    assert judged["requests/s", P].word == "met"
    assert judged["requests/s", N].word == "**missed**"
    assert judged["p99 ms", None].word == "**missed**"
    assert judged["CPU µs/request", None].word == "met"
    assert "| requests/s | 50 (1 to 51) | 100 | 20 | 0.5 | 2.5 |" in run.markdown()


def test_what_was_not_measured_is_not_met() -> None:
    """A void or failed contender leaves its bars open, and the report says so."""
    result = _result("download", P=[{"MiB/s": 500.0}])
    result.void["ours"] = ["wrk: 3 socket errors"]
    run = _run(result)
    assert [verdict.word for verdict in run.verdicts()] == ["not measured"]
    assert "ours: 1 void: wrk: 3 socket errors" in run.markdown()
    assert run.json()["bars"][0]["value"] is None


def test_every_bar_belongs_to_a_scenario() -> None:
    """A bar on a scenario that does not exist would never be missed."""
    names = [scenario.name for scenario in scenarios(1)]
    assert {bar.scenario for bar in BARS} <= set(names)
    assert len(names) == len(set(names))
