"""Arms of bus servos: torque that is lost, errors, modes, grips, the first command, and what a round costs the bus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hardware.arms.dynamixel import FOLLOWERS, X_SERIES, twos_complement
from hardware.arms.dynamixel import JOINTS as DYNAMIXEL_JOINTS
from hardware.arms.feetech import JOINTS as FEETECH_JOINTS
from hardware.arms.feetech import STS, FeetechArm, offset_of, sign_and_magnitude
from hardware.arms.servo_arm import SLACK, ServoArm
from robot.core.errors import SailError
from robot.core.protocols import Recoverable
from tests.doubles import dynamixel_sdk, scservo_sdk
from tests.doubles.benches import BENCHES, Bench, calibration_file
from tests.doubles.servo_bus import Bus

TURN = 2 * np.pi / 4096


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    for bench in BENCHES[request.param](tmp_path):
        with bench.installed():
            yield bench


def on(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", [name], indirect=True)


on_both = pytest.mark.parametrize("bench", ["feetech", "dynamixel"], indirect=True)


def bus_of(bench: Bench) -> Bus:
    buses = scservo_sdk._buses if bench.extra == "feetech" else dynamixel_sdk._buses
    bus: Bus = buses["/dev/arm"]
    return bus


def connected(bench: Bench) -> ServoArm:
    driver = bench.make()
    assert isinstance(driver, ServoArm)
    driver.connect()
    return driver


def taken(bench: Bench) -> ServoArm:
    """Return an arm that has taken control, and stays where it is."""
    driver = connected(bench)
    driver.write(driver.read().position)
    return driver


def periods_until_told(driver: ServoArm, most: int) -> tuple[int, str]:
    """Read and command as a server does, and return after how many periods a read told of something, and what."""
    for period in range(1, most + 1):
        try:
            position = driver.read().position
        except SailError as error:
            return period, str(error)
        driver.write(position)
    raise AssertionError(f"nothing was told in {most} periods")


def assert_left_alone(driver: ServoArm, bus: Bus, position: np.ndarray) -> None:
    """Assert that neither a command nor a stop touches the bus."""
    before = bus.sent, bus.commands, list(bus.written)
    with pytest.raises(SailError, match="takes no command") as error:
        driver.write(position)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)
    driver.stop()
    assert (bus.sent, bus.commands, bus.written) == before


EVERY_SERVO = [
    *(("feetech", servo, joint) for joint, servo in FEETECH_JOINTS.items()),
    *(("dynamixel", servo, joint) for joint, servo in DYNAMIXEL_JOINTS.items()),
    *(("dynamixel", follower, "second") for follower in FOLLOWERS),
]


# Lost torque and errors


@pytest.mark.parametrize(("bench", "servo", "joint"), EVERY_SERVO, indirect=["bench"])
def test_a_servo_whose_torque_was_cut_is_told_of_and_gets_none_back_by_itself(
    bench: Bench, servo: int, joint: str
) -> None:
    driver, bus = taken(bench), bus_of(bench)
    start = driver.read().position
    bus.cut(servo)
    periods, told = periods_until_told(driver, len(bus.chain))
    assert periods <= len(bus.chain)
    assert joint in told and f"servo {servo}" in told and "lost its torque" in told
    assert "`sail arm clear`" in told and told.endswith(".")
    assert servo not in bus.energised()
    assert_left_alone(driver, bus, start)
    with pytest.raises(SailError, match="lost its torque"):
        driver.read()
    assert servo not in bus.energised()
    driver.close()
    assert servo not in bus.energised()


@on("feetech")
def test_a_cut_torque_is_seen_before_the_next_goal_would_turn_it_on(bench: Bench) -> None:
    """A goal sent to such a servo turns its torque on: a look at one servo a period would come too late."""
    driver, bus = taken(bench), bus_of(bench)
    for _ in range(20):
        driver.write(driver.read().position)
    bus.cut(2)
    assert periods_until_told(driver, 1)[0] == 1


@pytest.mark.parametrize(
    ("bench", "servo", "bits", "says"),
    [
        ("feetech", 6, 32, r"gripper \(servo 6\) reports overload;"),
        ("feetech", 3, 4 | 8, r"elbow_flex \(servo 3\) reports overheating and too much current;"),
        ("feetech", 1, 1, "a supply voltage out of its range"),
        ("feetech", 1, 2 | 64, "a failed position sensor and an error of bit 6"),
        ("dynamixel", 9, 32, r"gripper \(servo 9\) reports overload and has no torque"),
        ("dynamixel", 2, 4, r"shoulder \(servo 2\) reports overheating and has no torque"),
        ("dynamixel", 3, 32, r"shoulder_second \(servo 3\) reports overload"),
        ("dynamixel", 7, 1 | 8 | 16, "out of its range, a failed motor encoder and an electrical shock"),
    ],
    indirect=["bench"],
)
def test_an_error_is_told_in_words(bench: Bench, servo: int, bits: int, says: str) -> None:
    driver, bus = taken(bench), bus_of(bench)
    start = driver.read().position
    bus.fail(servo, bits, cuts=bench.extra == "dynamixel")
    _, told = periods_until_told(driver, len(bus.chain))
    with pytest.raises(SailError, match=says):
        raise SailError(told)
    assert_left_alone(driver, bus, start)


@on("dynamixel")
def test_an_error_is_told_in_the_next_period_because_every_answer_says_so(bench: Bench) -> None:
    driver, bus = taken(bench), bus_of(bench)
    for servo in DYNAMIXEL_JOINTS.values():
        bus.fail(servo, 32, cuts=False)
        assert periods_until_told(driver, 1)[0] == 1
        bus.mend(servo)
        driver.recover()
        driver.write(driver.read().position)


@on_both
def test_before_the_first_command_no_torque_is_missed_but_an_error_is_told(bench: Bench) -> None:
    driver, bus = connected(bench), bus_of(bench)
    for _ in range(12):
        driver.read()
    bus.fail(1, 4)
    with pytest.raises(SailError, match="overheating"):
        driver.read()


@on_both
def test_an_arm_in_error_is_not_connected(bench: Bench) -> None:
    bus_of(bench).fail(4, 4)
    with pytest.raises(SailError, match=r"servo 4\) reports overheating and has no torque; hold the arm up and switch"):
        bench.make().connect()


@on_both
def test_a_look_at_the_servos_fits_the_period(bench: Bench) -> None:
    """The bytes of a round are those of the budget, and leave most of 10 ms at 1 Mbaud."""
    driver, bus = taken(bench), bus_of(bench)
    before, exchanges = bus.sent + bus.heard, bus.exchanges
    rounds = 18
    for _ in range(rounds):
        driver.write(driver.read().position)
    kind, servos = driver.kind, len(driver.servos)
    looked_at = 0 if kind.tells_all else 1
    assert (bus.sent + bus.heard - before) / rounds == kind.round_bytes(servos, looked_at)
    assert (bus.exchanges - exchanges) / rounds == 1 + looked_at
    assert kind.round_s(servos, looked_at) < 0.0045
    assert kind.round_bytes(servos, looked_at) == {"feetech": 232, "dynamixel": 235}[bench.extra]


@pytest.mark.parametrize(("kind", "servos", "looked_at", "fits_hz"), [(STS, 6, 0, 200.0), (X_SERIES, 7, 1, 150.0)])
def test_a_rate_that_the_bus_does_not_manage_is_refused(kind, servos: int, looked_at: int, fits_hz: float) -> None:
    kind.check_rate(fits_hz, servos, looked_at, "arm")
    with pytest.raises(SailError, match="safety.servo_hz=100"):
        kind.check_rate(250.0, servos, looked_at, "arm")


def test_the_rate_is_checked_when_the_arm_is_made(tmp_path: Path) -> None:
    path = calibration_file(tmp_path, "so101", FEETECH_JOINTS)
    assert FeetechArm("/dev/arm", path, rate_hz=200.0).rate_hz == 200.0
    with pytest.raises(SailError, match="cannot be talked to 250 times a second"):
        FeetechArm("/dev/arm", path, rate_hz=250.0)


# Recovering


@on_both
def test_recovering_takes_control_anew_only_with_the_next_command_and_moves_nothing(bench: Bench) -> None:
    driver, bus = taken(bench), bus_of(bench)
    assert isinstance(driver, Recoverable)
    bus.cut(2)
    bus.place(2, bus.get(2, bus.layout.position) - 150)  # it sagged
    periods_until_told(driver, len(bus.chain))
    where = bench.where()
    driver.recover()
    assert 2 not in bus.energised()
    np.testing.assert_array_equal(bench.where(), where)
    driver.write(driver.read().position)
    assert 2 in bus.energised()
    np.testing.assert_array_equal(bench.where(), where)
    driver.recover()  # with nothing to recover from
    driver.write(driver.read().position)


@on_both
def test_recovering_a_sound_arm_touches_nothing(bench: Bench) -> None:
    driver, bus = taken(bench), bus_of(bench)
    sent = bus.sent
    driver.recover()
    assert bus.sent == sent
    driver.close()
    with pytest.raises(SailError, match="not connected"):
        driver.recover()


@on_both
def test_an_error_that_stays_keeps_the_arm_from_recovering(bench: Bench) -> None:
    driver, bus = taken(bench), bus_of(bench)
    start = driver.read().position
    bus.fail(3, 4)
    if isinstance(bus, dynamixel_sdk._Bus):
        bus.broken = frozenset({3})
    periods_until_told(driver, len(bus.chain))
    with pytest.raises(SailError, match=r"servo 3\) reports overheating .*switch its power off and on"):
        driver.recover()
    assert_left_alone(driver, bus, start)


@on("dynamixel")
def test_servos_without_torque_are_rebooted_and_none_that_hold(bench: Bench) -> None:
    driver = taken(bench)
    bus = bus_of(bench)
    assert isinstance(bus, dynamixel_sdk._Bus)
    bus.fail(2, 32)
    bus.fail(5, 32)
    bus.fail(9, 4)
    periods_until_told(driver, len(bus.chain))
    held = set(bus.energised())
    driver.recover()
    assert sorted(bus.reboots) == [2, 5, 9]
    assert set(bus.energised()) == held
    assert bus.get(9, (100, 2)) == 310  # a rebooted gripper is limited anew
    driver.write(driver.read().position)
    assert len(bus.energised()) == len(bus.chain)
    bus.reboots.clear()
    bus.fail(4, 4, cuts=False)  # in error, and it goes on holding the arm up
    periods_until_told(driver, 1)
    with pytest.raises(SailError, match="still holds, so it is not restarted"):
        driver.recover()
    assert not bus.reboots and 4 in bus.energised()


@on("dynamixel")
def test_nothing_is_commanded_while_a_second_servo_does_not_hold(bench: Bench) -> None:
    driver, bus = connected(bench), bus_of(bench)
    start = driver.read().position
    bus.refuses = 3  # it takes no torque from its leader
    with pytest.raises(SailError, match=r"shoulder_second \(servo 3\) has lost its torque"):
        driver.write(start)
    assert_left_alone(driver, bus, start)


@on("feetech")
def test_an_overload_ends_where_the_joint_is_now(bench: Bench) -> None:
    driver, bus = taken(bench), bus_of(bench)
    bus.fail(3, 32, cuts=False)
    bus.place(3, 1900)  # it gave way
    periods_until_told(driver, 1)
    where = bench.where()
    driver.recover()
    np.testing.assert_array_equal(bench.where(), where)
    driver.write(driver.read().position)
    np.testing.assert_array_equal(bench.where(), where)


@on("feetech")
def test_an_overload_that_stays_is_told(bench: Bench) -> None:
    driver, bus = taken(bench), bus_of(bench)
    assert isinstance(bus, scservo_sdk._Bus)
    bus.stuck = frozenset({3})
    bus.fail(3, 32, cuts=False)
    periods_until_told(driver, 1)
    with pytest.raises(SailError, match="reports overload; hold the arm up and switch its power off and on"):
        driver.recover()


# A bus that is silent


@on_both
class TestSilence:
    def test_a_lost_packet_is_asked_for_again_and_two_are_told_of(self, bench: Bench) -> None:
        driver, bus = connected(bench), bus_of(bench)
        bus.drops = 1
        driver.read()
        bus.drops = 2
        with pytest.raises(SailError, match="no status packet"):
            driver.read()
        driver.read()
        driver.close()

    def test_an_answer_that_comes_too_late_is_not_taken_for_another(self, bench: Bench) -> None:
        driver, bus = taken(bench), bus_of(bench)
        counts = driver.counts()
        bus.late = 1
        np.testing.assert_array_equal(driver.counts(), counts)
        bus.late = 2
        with pytest.raises(SailError, match="does not answer"):
            driver.counts()
        for servo in driver.servos.values():
            assert driver.bus.register(servo, driver.kind.identity) == servo
        np.testing.assert_array_equal(driver.counts(), counts)

    def test_after_a_silence_every_servo_is_looked_at_before_the_next_command(self, bench: Bench) -> None:
        driver, bus = taken(bench), bus_of(bench)
        start = driver.read().position
        bus.drops = 2
        with pytest.raises(SailError):
            driver.read()
        bus.cut(4)
        assert_left_alone(driver, bus, start)
        assert periods_until_told(driver, 1)[0] == 1
        assert 4 not in bus.energised()

    def test_after_a_silence_that_harmed_nothing_it_goes_on(self, bench: Bench) -> None:
        driver, bus = taken(bench), bus_of(bench)
        bus.drops = 2
        with pytest.raises(SailError):
            driver.read()
        driver.write(driver.read().position)

    def test_a_cable_that_was_pulled_out_is_there_again_after_recovering(self, bench: Bench) -> None:
        driver, bus = taken(bench), bus_of(bench)
        start = driver.read().position
        bus.reachable = False
        for _ in range(3):
            with pytest.raises(SailError, match=r"not to be reached.* check its cable\.$"):
                driver.read()
        bus.reachable = True
        assert_left_alone(driver, bus, start)
        driver.recover()
        driver.write(driver.read().position)
        driver.close()

    def test_a_cable_that_is_pulled_out_while_connecting_is_one_sentence(self, bench: Bench) -> None:
        bus_of(bench).reachable = False
        with pytest.raises(SailError, match=r"not to be reached"):
            bench.make().connect()

    def test_a_servo_that_is_missing_is_named(self, bench: Bench) -> None:
        bus_of(bench).remove(4)
        with pytest.raises(SailError, match=r"no (elbow|wrist_flex) \(servo 4\)"):
            bench.make().connect()


@on("feetech")
def test_servos_that_lost_their_power_for_a_moment_stay_without_torque(bench: Bench) -> None:
    driver, bus = taken(bench), bus_of(bench)
    assert isinstance(bus, scservo_sdk._Bus)
    start = driver.read().position
    bus.powered = False
    with pytest.raises(SailError, match="does not answer"):
        driver.read()
    driver.stop()
    bus.power_cycle()
    bus.powered = True
    with pytest.raises(SailError):
        driver.write(start)
    driver.stop()
    with pytest.raises(SailError, match="lost its torque"):
        driver.read()
    driver.stop()
    assert not bus.energised()


# How servos are set up


@pytest.mark.parametrize(
    ("bench", "servo", "register", "value", "says"),
    [
        ("dynamixel", 3, 12, 255, "follows 255 and not 2"),
        ("dynamixel", 5, 10, 0, "turns the same way as servo 4"),
        ("dynamixel", 7, 10, 9, "turns its torque on with every goal"),
        ("dynamixel", 7, 11, 1, r"operating mode 1 \(velocity\).*`sail arm setup modes=true`"),
        ("dynamixel", 9, 11, 16, r"gripper \(servo 9\) is in operating mode 16 \(PWM\).*`sail arm setup modes=true`"),
        ("dynamixel", 3, 11, 0, r"shoulder_second \(servo 3\) is in operating mode 0"),
        ("feetech", 2, 33, 3, r"shoulder_lift \(servo 2\) is in operating mode 3 \(step, in which every goal is"),
        ("feetech", 6, 33, 1, r"operating mode 1 \(wheel\).*`sail arm setup modes=true`"),
    ],
    indirect=["bench"],
)
def test_servos_set_up_dangerously_are_refused(bench: Bench, servo: int, register: int, value: int, says: str) -> None:
    bus_of(bench).servos[servo][register] = value
    with pytest.raises(SailError, match=says):
        bench.make().connect()


@on("dynamixel")
def test_a_profile_that_another_program_left_is_taken_away(bench: Bench) -> None:
    bus = bus_of(bench)
    bus.set(4, (112, 4), 30)
    driver = connected(bench)
    assert bus.get(4, (112, 4)) == 0
    driver.close()


@on("feetech")
def test_a_feetech_gripper_is_limited_once_and_never_worn_by_it(bench: Bench) -> None:
    bus = bus_of(bench)
    taken(bench).close()
    assert [bus.get(6, register) for register in ((16, 2), (28, 2), (36, 1), (48, 2))] == [350, 246, 50, 350]
    assert [bus.get(5, register) for register in ((16, 2), (28, 2), (36, 1), (48, 2))] == [1000, 500, 80, 1000]
    assert (bus.burns, bus.hot) == (3, 0)
    assert bus.servos[6][55] == 1  # locked again
    assert isinstance(bus, scservo_sdk._Bus)
    bus.power_cycle()
    assert [bus.get(6, register) for register in ((16, 2), (28, 2), (36, 1), (48, 2))] == [350, 246, 50, 350]
    taken(bench)
    assert bus.burns == 3


@on("feetech")
def test_what_a_gripper_keeps_is_not_written_while_it_has_torque(bench: Bench, caplog) -> None:
    bus = bus_of(bench)
    bus.servos[6][40] = 1  # held since before
    with caplog.at_level(logging.WARNING):
        connected(bench)
    assert "has torque already" in caplog.text
    assert (bus.burns, bus.hot) == (0, 0)
    assert bus.get(6, (48, 2)) == 350


@on("dynamixel")
@pytest.mark.parametrize(("mode", "current"), [(3, 1193), (5, 186)])
def test_a_dynamixel_gripper_is_limited_in_its_mode_and_nothing_is_worn(bench: Bench, mode: int, current: int) -> None:
    bus = bus_of(bench)
    bus.servos[9][11] = mode
    taken(bench)
    assert bus.get(9, (100, 2)) == 310
    assert bus.get(9, (102, 2)) == current
    assert bus.get(8, (100, 2)) == 885
    assert (bus.burns, bus.hot) == (0, 0)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"gripper_torque": 0.0}, "gripper_torque is a share"),
        ({"gripper_torque": 1.2}, "gripper_torque is a share"),
        ({"gripper_current_a": float("nan")}, "gripper_current_a lies"),
        ({"gripper_current_a": 9.0}, "gripper_current_a lies"),
        ({"gripper_torque": 0.6}, "every grip would count as an overload"),
    ],
)
def test_limits_of_a_grip_that_make_no_sense_are_refused(limits: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(SailError, match=says):
        FeetechArm("/dev/arm", calibration_file(tmp_path, "so101", FEETECH_JOINTS), **limits)


# Commands


@on_both
class TestCommands:
    def test_a_servo_that_refuses_is_named_and_nothing_is_sent_after_that(self, bench: Bench) -> None:
        driver, bus = connected(bench), bus_of(bench)
        start = driver.read().position
        bus.refuses = 1
        with pytest.raises(SailError, match=r"servo 1\) (has lost its torque|refuses)"):
            driver.write(start)
        bus.refuses = None
        assert_left_alone(driver, bus, start)
        driver.recover()
        driver.write(driver.read().position)
        driver.close()

    def test_no_torque_comes_on_before_every_servo_has_heard_where_to_stay(self, bench: Bench) -> None:
        driver, bus = connected(bench), bus_of(bench)
        for servo in bus.servos:
            bus.set(servo, bus.layout.goal, 900)  # where another program sent it
        before = bench.where()
        bus.unheard = 1
        with pytest.raises(SailError, match="did not take"):
            driver.write(driver.read().position)
        assert not bus.energised()
        np.testing.assert_array_equal(bench.where(), before)

    def test_it_lets_go_of_a_resting_arm_and_holds_one_that_would_fall(self, bench: Bench, caplog) -> None:
        bus = bus_of(bench)
        driver = taken(bench)
        with caplog.at_level(logging.WARNING):
            driver.close()
        assert bus.energised()
        assert "would fall" in caplog.text
        driver.connect()
        driver.write(driver.description.home)
        driver.close()
        assert not bus.energised()

    def test_no_command_leaves_the_calibrated_range(self, bench: Bench) -> None:
        driver, bus = taken(bench), bus_of(bench)
        for value in (-50.0, 50.0):
            driver.write(np.full(driver.description.size, value))
            for servo in driver.servos.values():
                assert bus.get(servo, bus.layout.goal) in (100, 3990)
        driver.close()

    @pytest.mark.parametrize("outside", [80, 4010])
    def test_a_joint_outside_its_range_stays_where_it_is_and_may_be_eased_in(self, bench: Bench, outside: int) -> None:
        driver, bus = connected(bench), bus_of(bench)
        bus.place(2, outside)
        start = driver.read().position
        for _ in range(5):
            driver.write(start)
            assert bus.get(2, bus.layout.position) == outside
        driver.stop()
        assert bus.get(2, bus.layout.position) == outside
        inwards = 1 if outside < 100 else -1
        calibration = driver._calibration
        for step in range(1, 40):
            counts = calibration.counts(start)
            counts[1] = outside + inwards * step
            driver.write(calibration.positions(counts))
            assert bus.get(2, bus.layout.goal) == outside + inwards * step
            driver.write(start)  # where it came from: never further out again than it has come in
            edge = 100 if inwards > 0 else 3990
            assert bus.get(2, bus.layout.goal) == (min if inwards > 0 else max)(outside + inwards * step, edge)

    def test_a_joint_outside_its_range_is_sent_no_further_out(self, bench: Bench) -> None:
        driver, bus = connected(bench), bus_of(bench)
        bus.place(2, 80)
        start = driver.read().position
        counts = driver._calibration.counts(start)
        counts[1] = 60
        driver.write(driver._calibration.positions(counts))
        assert bus.get(2, bus.layout.goal) == 80

    def test_a_joint_beyond_what_its_servo_goes_to_gets_no_torque(self, bench: Bench) -> None:
        driver, bus = bench.make(), bus_of(bench)
        bus.set(2, bus.layout.least, 1500)
        bus.place(2, 1500 - SLACK - 1)
        driver.connect()
        with pytest.raises(SailError, match=r"\(servo 2\) is at count 1484, outside the 1485–"):
            driver.write(driver.read().position)
        assert not bus.energised()
        bus.place(2, 1600)  # moved inside by hand
        driver.recover()
        driver.write(driver.read().position)
        assert bus.get(2, bus.layout.position) == 1600


def test_makers_write_negative_numbers_in_their_own_ways() -> None:
    assert [sign_and_magnitude(value, 2) for value in (5, 0x8005, 0x7FFF)] == [5, -5, 0x7FFF]
    assert [twos_complement(value, 4) for value in (5, 0xFFFFFFFB, 0x7FFFFFFF)] == [5, -5, 0x7FFFFFFF]
    assert [offset_of(value) for value in (5, 0x805, 0x7FF)] == [5, -5, 2047]
