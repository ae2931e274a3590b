"""The parts of a check: steps that build on each other, what answers mean, and how a check is told."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import json
import socket
from typing import Any

import pytest

from agent.failure import CONFIGURATION, DONE, FAILED
from agent.https import no_trust
from agent.probes import reach, store, websocket
from agent.probes.certificates import Shown
from agent.probes.relay import judge_clock
from agent.probes.road import Head
from agent.probes.step import Chain, Line, StepError, StepSkipped
from agent.telling import Telling, verdict
from agent.wire.destination import Store

STORE = Store.parse("http://192.168.1.20")
HTML = {"content-type": "text/html; charset=utf-8"}
REALM = {"www-authenticate": 'Basic realm="Welcome to PrestaShop Webservice, please enter the authentication key"'}


@pytest.mark.parametrize(
    ("head", "seen", "remedy"),
    [
        (Head(302, {"location": "https://www.shop.fr/api"}), "(302) to https://www.shop.fr/api",
         "--store https://www.shop.fr=192.168.1.20:443"),
        (Head(302, {"location": "http://shop.lan/"}), "redirects (302)", "--store http://shop.lan=192.168.1.20:80"),
        (Head(301, {}), "redirects (301) to nowhere", "--store https://www.shop.fr=192.168.1.20:443"),
        (Head(404, HTML), "/api is not found (404)", "Traffic & SEO"),
        (Head(404, HTML), "/api is not found (404)", "name the folder in the connection's store URL"),
        (Head(503, {}), "/api answers 503", "Advanced Parameters > Webservice"),
        (Head(503, HTML), "a page answers in place of the webservice (503)", "Traffic & SEO"),
        (Head(200, HTML), "a page answers in place of the webservice (200)", "Traffic & SEO"),
        (Head(500, HTML), "/api answers 500", "error log"),
        (Head(403, HTML), "/api is forbidden (403)", "let this machine in"),
        (Head(401, {"www-authenticate": 'Basic realm="Staging"'}), "something else than PrestaShop", "exempt /api"),
        (Head(401, HTML), "401, but not as PrestaShop does", "is that the shop"),
        (Head(418, {}), "/api answers 418", "is that a PrestaShop?"),
    ],
)  # fmt: skip
def test_each_answer_of_a_store_has_its_remedy(head: Head, seen: str, remedy: str) -> None:
    """What a merchant can do, in plain words."""
    with pytest.raises(StepError) as caught:
        store.judge(STORE, head)
    assert seen in str(caught.value)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("head", [Head(401, REALM), Head(200, {"psws-version": "9.1.4"})])
def test_the_webservice_is_known_by_what_only_prestashop_says(head: Head) -> None:
    """Its realm, or its own headers."""
    assert "webservice answers" in store.judge(STORE, head)


@pytest.mark.parametrize(
    ("head", "asked", "seen"),
    [
        (Head(401, {}), True, "does not take this installation's ticket"),
        (Head(404, {}), False, "knows no tunnels (404)"),
        (Head(400, {}), True, "answered 400"),
        (Head(200, HTML), False, "answered 200"),
        (Head(502, HTML), False, "answered 502"),
    ],
)
def test_each_answer_to_an_upgrade_is_explained(head: Head, asked: bool, seen: str) -> None:
    """Only 101, and 401 to who shows no ticket, say that the way is open."""
    websocket.judge(Head(101, {}), asked=True)
    websocket.judge(Head(401, {}), asked=False)
    with pytest.raises(StepError, match=r".") as caught:
        websocket.judge(head, asked=asked)
    assert seen in str(caught.value)
    assert caught.value.remedy


def test_the_clock_is_judged_by_what_the_relay_takes() -> None:
    """An hour either way enrols; beyond it the step fails with the seconds."""
    assert judge_clock(-1.2) == "right"
    assert judge_clock(3599).startswith("this machine's clock is 3599 s ahead: that works")
    with pytest.raises(StepError, match="is 3601 s behind"):
        judge_clock(-3601)


async def test_after_a_failure_the_rest_is_skipped_and_a_skip_breaks_nothing() -> None:
    """Each with its reason; the name of the subject stands before the step's."""
    heard: list[Line] = []
    chain = Chain("relay", heard.append)

    async def skip() -> tuple[None, str]:
        raise StepSkipped("nothing to see")

    async def fail() -> tuple[None, str]:
        raise ConnectionRefusedError(111, "as the system says it")

    async def never() -> tuple[None, str]:
        raise AssertionError("must not be tried")

    await chain.step("one", skip, "")
    await chain.step("two", fail, "do this")
    await chain.step("three", never, "")
    assert [(line.name, line.status, line.detail, line.remedy) for line in chain.lines] == [
        ("relay one", "SKIP", "nothing to see", ""),
        ("relay two", "FAIL", "Connection refused", "do this"),
        ("relay three", "SKIP", "not tried, since 'relay two' failed", ""),
    ]
    assert heard == chain.lines


async def test_a_step_has_a_deadline() -> None:
    """Whatever it waits for."""
    chain = Chain()

    async def hang() -> tuple[None, str]:
        await asyncio.Event().wait()
        raise AssertionError

    await chain.step("slow", hang, "do that", seconds=0.05)
    assert (chain.lines[0].status, chain.lines[0].remedy) == ("FAIL", "do that")


def families(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    """What the name server says for each family: addresses, or a number of EAI_*."""

    async def getaddrinfo(_host: str, port: int, *, family: int = 0, type: int = 0) -> list[Any]:  # noqa: A002
        answer = answers["v4" if family == socket.AF_INET else "v6"]
        if isinstance(answer, int):
            raise socket.gaierror(answer, "said the resolver")
        return [(family, type, 6, "", (address, port)) for address in answer]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_both_families_are_looked_up_each_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all addresses; a family that a name does not have is no failure while the other serves."""
    families(monkeypatch, v4=["192.0.2.1", "192.0.2.2"], v6=socket.EAI_NONAME)
    chain = Chain("relay")
    assert len(await reach.look_up(chain, "relay.test", 443, "")) == 2
    assert [(line.name, line.status, line.detail) for line in chain.lines] == [
        ("relay dns v4", "PASS", "relay.test is 192.0.2.1, 192.0.2.2"),
        ("relay dns v6", "SKIP", "relay.test has no IPv6 address; the other family serves"),
    ]


async def test_no_address_at_all_fails_and_a_dead_name_server_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name is mended elsewhere than a broken resolver."""
    families(monkeypatch, v4=socket.EAI_NONAME, v6=socket.EAI_AGAIN)
    chain = Chain()
    assert await reach.look_up(chain, "relay.test", 443, "mend it") == []
    assert [line.status for line in chain.lines] == ["FAIL", "FAIL"]
    assert chain.lines[0].detail == "relay.test has no IPv4 address"
    assert chain.lines[1].detail.startswith("no name server answers for relay.test")
    assert chain.broken


async def test_every_address_is_tried_and_one_that_answers_is_enough() -> None:
    """What each of them did is told; the one that answers is used."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    good = server.sockets[0].getsockname()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        addresses = [(socket.AF_INET, taken.getsockname()), (socket.AF_INET, good)]
        answering, said = await reach.connect_each(addresses, "")
        assert answering == [(socket.AF_INET, good)]
        assert said.startswith("127.0.0.1: Connection refused, 127.0.0.1 answers in ")
        with pytest.raises(StepError, match="Connection refused"):
            await reach.connect_each(addresses[:1], "do this")
    server.close()


@pytest.mark.parametrize(
    ("days", "words"), [(40, "(39 days left)"), (10, "(9 days left, renew it)"), (-3, "(expired 3 days ago)")]
)
def test_a_certificates_days_are_counted(days: int, words: str) -> None:
    """A fortnight before the end it is worth a word."""
    shown = Shown("TLS 1.3", "R11", "shop.fr", dt.datetime.now(dt.UTC) + dt.timedelta(days=days, seconds=-60 * days))
    assert shown.until.endswith(words)
    assert shown.expired == (days < 0)


LINES = [
    Line("settings", "PASS", "1 store(s)"),
    Line("relay tcp", "FAIL", "no answer", "open it"),
    Line("relay tls", "SKIP", "not tried"),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(out: io.StringIO, **environment: str) -> str:
    telling = Telling(out, as_json=False, environment=environment)
    for line in LINES:
        telling.hear(line)
    before = out.getvalue()
    telling.end(LINES, None)
    assert out.getvalue().startswith(before)
    return before


def test_on_a_terminal_each_line_comes_when_it_is_known() -> None:
    """In colours; elsewhere all come at the end, without."""
    out = Terminal()
    before = told(out, TERM="xterm")
    assert before.count("\n") == 4
    assert "\033[1;31mFAIL\033[0m  relay tcp" in before
    assert out.getvalue().count("relay tls") == 1
    file = io.StringIO()
    assert told(file) == ""
    assert "FAIL  relay tcp  no answer\n" in file.getvalue()
    assert "\033" not in file.getvalue()


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_declined(environment: dict[str, str]) -> None:
    """As https://no-color.org asks, and where the terminal has none."""
    out = Terminal()
    told(out, **environment)
    assert "\033" not in out.getvalue()


def test_programs_get_one_object_and_nothing_else() -> None:
    """Also on a terminal."""
    out = Terminal()
    telling = Telling(out, as_json=True, environment={})
    telling.hear(LINES[0])
    telling.end(LINES, None)
    assert json.loads(out.getvalue())["checks"][1]["remedy"] == "open it"


def test_the_exit_status_is_that_of_the_worst() -> None:
    """78 where `run` would end for good, 1 for any other failure."""
    final = Line("token", "FAIL", "gone", "another one", final=True)
    assert verdict(LINES[:1]) == DONE
    assert verdict(LINES) == FAILED
    assert verdict([*LINES, final]) == CONFIGURATION


def test_nothing_here_verifies_by_accident() -> None:
    """The context with which stores are looked at believes nobody, and is used for nothing else."""
    assert no_trust().verify_mode.name == "CERT_NONE"
