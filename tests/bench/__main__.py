"""`python -m tests.bench`: measures Postern beside its peers and writes what it found to `tests/bench/RESULTS.md`.

Exit status: 0 measured, whether or not the bars are met; 1 a contender failed or a bar could not be judged; 2 usage, or
a program is missing; 130 interrupted.
"""

import argparse
import contextlib
import datetime as dt
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from tests.bench import machine, programs, report, usage
from tests.bench.report import Run
from tests.bench.rounds import CORES, Bench, Result
from tests.bench.scenarios import BARS, Scenario, scenarios

RESULTS = Path(__file__).with_name("RESULTS.md")
ROUNDS = 5


def main() -> int:
    options = _options()
    if missing := programs.missing():
        print(missing, file=sys.stderr)
        return 2
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, _interrupt)
    try:
        run = _run(options)
    except KeyboardInterrupt:
        print("interrupted; what was started is stopped", file=sys.stderr)
        return 130
    except programs.ContenderError as error:
        print(error, file=sys.stderr)
        return 1
    _conclude(run, options)
    return 1 if run.failed or any(verdict.value is None for verdict in run.verdicts()) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measures Postern beside nginx in front of OpenSSH: same store, same run, in turn. "
        f"A whole run writes {RESULTS.relative_to(programs.REPOSITORY)}.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round of each, for a look; writes no RESULTS.md"
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="this scenario alone (repeatable); writes no RESULTS.md"
    )
    parser.add_argument(
        "--bars", action="store_true", help="only what a bar is held to, in half the time; writes RESULTS.md as well"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there as well")
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="end with so long a soak")
    options = parser.parse_args()
    known = scenarios(options.soak)
    if unknown := set(options.only or ()) - {scenario.name for scenario in known}:
        parser.error(f"no scenario {', '.join(unknown)}; there are {' '.join(scenario.name for scenario in known)}")
    chosen = options.only or ([bar.scenario for bar in BARS] if options.bars else [scenario.name for scenario in known])
    options.scenarios = [scenario for scenario in known if scenario.name in chosen]
    return options


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Unwind, and let nothing disturb it: what was started must be stopped."""
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(options: argparse.Namespace) -> Run:
    started, at, others = dt.datetime.now(dt.UTC), time.monotonic(), usage.others_s()
    with contextlib.ExitStack() as stack:
        bench = Bench(stack, quick=options.quick, tell=_tell)
        results = list(_results(bench, options.scenarios, 1 if options.quick else ROUNDS))
        lasted = time.monotonic() - at
        return Run(
            command=shlex.join(["python", "-m", "tests.bench", *sys.argv[1:]]),
            started=f"{started:%Y-%m-%d %H:%M} UTC",
            minutes=lasted / 60,
            others=(usage.others_s() - others) / lasted / CORES,
            machine=machine.description(),
            results=results,
            failed=bench.failed,
        )


def _results(bench: Bench, chosen: Sequence[Scenario], rounds: int) -> Iterator[Result]:
    for number, scenario in enumerate(chosen, 1):
        _tell(f"[{number}/{len(chosen)}] {scenario.name}: {scenario.title}")
        yield bench.measure(scenario, rounds)


def _conclude(run: Run, options: argparse.Namespace) -> None:
    if options.json:
        options.json.write_text(json.dumps(run.json(), indent=1))
    if not options.quick and not options.only:
        RESULTS.write_text(run.markdown())
        _tell(f"written: {RESULTS}")
    else:
        _tell(run.markdown())
    for line in report.bars(run):
        _tell(line)
    for name, failure in run.failed.items():
        _tell(f"{name} failed in {failure}")


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
