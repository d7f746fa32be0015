"""Leases, keys and clocks."""

from __future__ import annotations

import errno
import logging
import os
import shlex
import stat
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
import zmq.auth

from hardware.arms.kinematic import cartesian
from hardware.client.known_arms import KnownArms
from hardware.server.complaints import Complaints
from hardware.server.lease import Lease
from hardware.server.server import check_address
from hardware.wire import keys
from hardware.wire.clocks import ClockOffset
from hardware.wire.keys import (
    READ_EVERY_S,
    AuthorisedClients,
    KeyPair,
    authorised_clients,
    client_keys,
    load_pair,
    load_public,
    make_keys,
    server_keys,
)
from hardware.wire.reports import Welcome
from robot.core.errors import SailError


def test_one_client_at_a_time_holds_the_lease() -> None:
    lease = Lease(0.5)
    token, _ = lease.acquire("first", 10.0)
    assert lease.held_by(token, 10.4)
    assert lease.acquire("second", 10.4) == ("", "first")
    assert lease.beat(token, 10.4)
    assert lease.holder(10.8) == "first"
    assert not lease.beat(token, 10.95)
    other, _ = lease.acquire("second", 11.0)
    assert other and other != token
    assert not lease.held_by(token, 11.0)
    lease.release()
    assert lease.holder(11.0) == ""
    assert not lease.held_by("", 11.0)


def test_asking_who_holds_the_lease_never_ends_it() -> None:
    lease = Lease(0.5)
    token, _ = lease.acquire("first", 10.0)
    assert lease.holder(11.0) == ""  # a thread whose clock reading is newer than the beat's
    assert lease.beat(token, 10.4)
    assert lease.holder(10.8) == "first" and lease.held_by(token, 10.8)


def test_a_lease_is_lent_once_however_many_threads_ask() -> None:
    lease = Lease(1000.0)
    tokens: list[str] = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            lease.release()
            threads = [threading.Thread(target=lambda: tokens.append(lease.acquire("me", 1.0)[0])) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sum(map(bool, tokens)) == 1
            tokens.clear()
    finally:
        sys.setswitchinterval(before)


def test_an_arm_is_remembered_and_another_at_its_address_refused(tmp_path: Path) -> None:
    def told(serial: str, calibration: str) -> Welcome:
        description = replace(cartesian(), serial=serial, calibration=calibration)
        return Welcome(
            description, description.low, description.high, "", 250, 100, 0.15, 0.5, {}, {}, {}, 0, 0, 0, False
        )

    path = tmp_path / "data" / "known.json"
    arms = KnownArms(path)
    arms.check("tcp://here:7710", told("7", "abc"))
    arms.check("tcp://here:7710", told("7", "abc"))
    arms.check("tcp://there:7710", told("8", "abc"))
    with pytest.raises(SailError, match=r"robot at tcp://here:7710 was 'kinematic#7' and is 'kinematic#9' now"):
        arms.check("tcp://here:7710", told("9", "abc"))
    with pytest.raises(SailError, match=r"calibration at tcp://here:7710 was 'abc' and is '' now"):
        arms.check("tcp://here:7710", told("7", ""))
    with pytest.raises(SailError) as refusal:  # what is to be pasted into a shell is one word there
        arms.check("tcp://here:7710", told("9; rm -rf ~ $(reboot)", "abc"))
    words = shlex.split(str(refusal.value).partition("name the arm by ")[2].rstrip("."))
    assert words == ["robot.robot=kinematic#9; rm -rf ~ $(reboot)"]
    arms.check("tcp://here:7710", told("9", "abc"), sure=True)
    arms.check("tcp://here:7710", told("9", "abc"))
    path.write_text("[1]")
    with pytest.raises(SailError, match="mend or remove"):
        arms.check("tcp://here:7710", told("9", "abc"))


def test_keys_are_read_back_and_the_secret_is_the_owner_s_alone(tmp_path: Path) -> None:
    public, secret = make_keys(tmp_path / "keys", "laptop")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600 and stat.S_IMODE(public.stat().st_mode) == 0o644
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {"laptop.key", "laptop.key_secret"}
    pair = load_pair(secret)
    assert pair.public == load_public(public) and len(pair.secret) == 40
    assert b"secret" not in public.read_bytes()
    assert authorised_clients(tmp_path / "keys") == {pair.public: "laptop"}
    with pytest.raises(SailError, match="exists already"):
        make_keys(tmp_path / "keys", "laptop")
    os.chmod(secret, 0o644)
    with pytest.raises(SailError, match="chmod 600"):
        load_pair(secret)


def test_nobody_else_can_read_a_secret_key_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    real = zmq.auth.create_certificates

    def watched(folder: str, name: str) -> tuple[str, str]:
        modes.append(stat.S_IMODE(Path(folder).stat().st_mode))
        return real(folder, name)

    monkeypatch.setattr(keys, "create_certificates", watched)
    make_keys(tmp_path, "laptop")
    assert modes == [0o700]


def test_keys_that_earlier_releases_made_are_still_read(tmp_path: Path) -> None:
    public, secret = zmq.curve_keypair()
    head = f'#   CURVE certificate of SAIL stack\n\nmetadata\ncurve\n    public-key = "{public.decode()}"\n'
    (tmp_path / "old.key").write_text(head)
    (tmp_path / "old.key_secret").write_text(f'{head}    secret-key = "{secret.decode()}"\n')
    (tmp_path / "old.key_secret").chmod(0o600)
    assert load_pair(tmp_path / "old.key_secret") == KeyPair(public, secret)
    assert authorised_clients(tmp_path) == {public: "old"}


def test_what_is_no_key_says_so(tmp_path: Path) -> None:
    public, secret = make_keys(tmp_path, "arm")
    with pytest.raises(SailError, match="key_secret"):
        load_pair(public)
    (tmp_path / "bad.key").write_text("curve\n")
    with pytest.raises(SailError, match="sail arm keys"):
        load_public(tmp_path / "bad.key")
    with pytest.raises(SailError, match="no folder"):
        server_keys(secret, tmp_path / "clients")
    with pytest.raises(SailError, match="called"):
        make_keys(tmp_path, "../arm")
    assert client_keys(secret, public).server == load_public(public)


def test_clients_that_were_known_stay_so_while_no_file_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, _ = make_keys(tmp_path, "laptop")
    now_s = [0.0]
    monkeypatch.setattr(keys, "now", lambda: now_s[0])
    clients, key = AuthorisedClients(tmp_path), load_public(public)
    assert clients.callback("", key)

    def none_left(path: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(keys, "load_certificate", none_left)
        now_s[0] += 2 * READ_EVERY_S
        assert clients.callback("", key)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", lambda folder, pattern: none_left(folder))
        now_s[0] += 2 * READ_EVERY_S
        assert clients.callback("", key)
    public.write_text("no key")
    now_s[0] += 2 * READ_EVERY_S
    assert not clients.callback("", key)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_other_addresses_than_loopback_need_keys(host: str) -> None:
    with pytest.raises(SailError, match="sail arm keys"):
        check_address(host, None)
    check_address(host, object())


def test_loopback_needs_none_and_a_name_is_no_address() -> None:
    check_address("127.0.0.1", None)
    check_address("::1", None)
    with pytest.raises(SailError, match="no IP address"):
        check_address("localhost", None)


def test_the_shortest_round_trip_tells_the_offset_best() -> None:
    clock = ClockOffset()
    assert not clock.known
    for there, back in ((0.200, 0.001), (0.0011, 0.0009), (0.001, 0.3)):
        clock.add(10.0, 110.0 + there, 110.0 + there + 0.05, 10.0 + there + 0.05 + back)
    assert clock.offset_s == pytest.approx(100.0, abs=2e-4)
    assert clock.error_s == pytest.approx(0.001)
    clock.add(10.0, 110.0, 109.0, 9.0)  # makes no sense
    assert clock.offset_s == pytest.approx(100.0, abs=2e-4)


def test_complaints_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(every_s=60.0)
    with caplog.at_level(logging.WARNING, "sail.arm"):
        for number in range(1000):
            complaints.note("garbage", f"{number}")
        for number in range(1000):
            complaints.note(f"kind {number}")
    assert complaints.count == 2000
    assert len(caplog.records) <= 66
