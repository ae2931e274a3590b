"""The state directory: rights, atomicity, and plain words."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.failure import AgentError, ConfigurationError
from agent.identity import KEY, MEMORY, Identity, Memory, _write

MEMORY_OF_A_RELAY = Memory(
    relay="https://relay.test", agent_id="agt_a", agent_name="Office", token_id="atk_a", host_cas=("ssh-ed25519 AAAA",)
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_a_key_that_only_its_user_can_read(tmp_path: Path) -> None:
    """Directory 0700, key 0600, whatever the umask is."""
    before = os.umask(0)
    try:
        identity = Identity.open(tmp_path / "deep" / "state")
    finally:
        os.umask(before)
    assert mode(identity.directory) == 0o700
    assert mode(identity.directory / KEY) == 0o600
    assert identity.instance_id.startswith("ins_")


def test_the_key_and_the_memory_outlive_the_process(tmp_path: Path) -> None:
    """A second start is the same instance, and still knows with whom it enrolled."""
    first = Identity.open(tmp_path)
    first.remember(MEMORY_OF_A_RELAY)
    first.unlock()
    second = Identity.open(tmp_path)
    assert second.instance_id == first.instance_id
    assert second.memory == MEMORY_OF_A_RELAY
    assert mode(tmp_path / MEMORY) == 0o600


def test_no_half_written_file_stays_or_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk fails in the middle, the old file is whole and the new one is gone."""
    identity = Identity.open(tmp_path)
    identity.remember(MEMORY_OF_A_RELAY)
    before = (tmp_path / MEMORY).read_bytes()

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    identity.remember(MEMORY_OF_A_RELAY.model_copy(update={"agent_name": "Shop"}))
    assert (tmp_path / MEMORY).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [MEMORY, KEY, "lock"]


def test_a_key_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    """Whoever comes second finds the first one's file whole, and leaves nothing of his own."""
    _write(tmp_path / KEY, b"first", only_new=True)
    with pytest.raises(FileExistsError):
        _write(tmp_path / KEY, b"second", only_new=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]


def test_what_a_dead_writer_left_is_swept(tmp_path: Path) -> None:
    """A temporary file of a process that was killed while writing is removed at the next start."""
    (tmp_path / ".instance_key.0123456789abcdef.new").write_text("half a k")
    tmp_path.chmod(0o700)
    Identity.open(tmp_path)
    assert not list(tmp_path.glob(".*.new"))


def test_two_processes_that_start_at_once_make_one_key(tmp_path: Path) -> None:
    """Of many that race for a new directory, all that get it see the same key."""
    code = (
        "import sys, pathlib; from agent.identity import Identity, AgentError\n"
        "while True:\n"
        "    try: print(Identity.open(pathlib.Path(sys.argv[1])).instance_id); break\n"
        "    except AgentError as error: assert 'another' in str(error), error\n"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "state")], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    names = {racer.communicate(timeout=60)[0] for racer in racers}
    assert len(names) == 1
    assert names.pop().startswith("ins_")


def test_a_second_process_is_told_that_the_directory_is_in_use(tmp_path: Path) -> None:
    """It ends with a sentence and status 1: the first one may go away. After `unlock` a successor gets in."""
    first = Identity.open(tmp_path)
    with pytest.raises(AgentError, match="another postern-agent runs") as caught:
        Identity.open(tmp_path)
    assert caught.value.status == 1
    first.unlock()
    Identity.open(tmp_path)


def test_a_readable_directory_of_ours_is_closed(tmp_path: Path) -> None:
    """0755 is made 0700 without a word: nobody could have written there."""
    tmp_path.chmod(0o755)
    Identity.open(tmp_path)
    assert mode(tmp_path) == 0o700


@pytest.mark.parametrize("rights", [0o777, 0o770, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, rights: int) -> None:
    """Somebody else could have put a key there."""
    tmp_path.chmod(rights)
    with pytest.raises(ConfigurationError, match=f"others may write.*chmod 700 {tmp_path}"):
        Identity.open(tmp_path)


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names both users."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 4321)
    with pytest.raises(ConfigurationError, match=f"belongs to user {os.getuid()}.*runs as user {os.getuid() + 4321}"):
        Identity.open(tmp_path)


@pytest.mark.parametrize("rights", [0o644, 0o640, 0o602])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, rights: int) -> None:
    """It may have been copied."""
    Identity.open(tmp_path).unlock()
    (tmp_path / KEY).chmod(rights)
    with pytest.raises(ConfigurationError, match=f"{rights:04o}.*chmod 600"):
        Identity.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_is_named(tmp_path: Path, content: bytes) -> None:
    """No traceback, and no new key behind the operator's back."""
    Identity.open(tmp_path).unlock()
    (tmp_path / KEY).write_bytes(content)
    with pytest.raises(ConfigurationError, match="is damaged"):
        Identity.open(tmp_path)
    assert (tmp_path / KEY).read_bytes() == content


def test_a_key_that_is_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    """A link could lead to a file of somebody else's."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    Identity.open(tmp_path / "elsewhere").unlock()
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / KEY).symlink_to(tmp_path / "elsewhere" / KEY)
    with pytest.raises(ConfigurationError, match="instance's key"):
        Identity.open(tmp_path / "state")


@pytest.mark.parametrize("content", [b"", b"{", b'{"relay": 1}', b"\xff\xfe"])
def test_a_damaged_memory_only_means_enrolling_again(tmp_path: Path, content: bytes) -> None:
    """What can be learnt again is not worth stopping for."""
    identity = Identity.open(tmp_path)
    identity.remember(MEMORY_OF_A_RELAY)
    identity.unlock()
    (tmp_path / MEMORY).write_bytes(content)
    assert Identity.open(tmp_path).memory is None


@pytest.mark.parametrize("place", ["/dev/null/state", "/proc/state"])
def test_a_place_where_nothing_can_be_made_is_named(place: str) -> None:
    """The sentence names the directory and the way out."""
    with pytest.raises(AgentError, match=f"state directory {place}.*cannot be used"):
        Identity.open(Path(place))


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    """A state directory that is a file is a mistake in the configuration."""
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigurationError, match="is not a directory"):
        Identity.open(tmp_path / "state")
