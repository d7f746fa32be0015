"""A double of dynamixel_sdk, by Robotis, and of X-series servos at its other end.

The servos are those of Robotis's e-Manual of the X series: what lies below address 64 is kept without power, and is
refused (error 7) to a servo with torque; a goal outside the position limits (48, 52) is refused (error 6) in mode 3,
as is a goal PWM or current above its limit; a servo in hardware error (70) loses its torque where it shuts down for it,
takes none before it was rebooted, and sets bit 0x80 in the error byte of every answer. A write to an id is carried out
by the servos that have it as their secondary id (12) as well, which do not answer.
"""

from __future__ import annotations

from tests.doubles.servo_bus import Bus as _PlainBus
from tests.doubles.servo_bus import Handler as _Handler
from tests.doubles.servo_bus import Layout as _Layout
from tests.doubles.servo_bus import make_port as _make_port

COMM_SUCCESS = 0
COMM_RX_TIMEOUT = -3001
COMM_RX_CORRUPT = -3002
_RATES = (9600, 57600, 115200, 1_000_000, 2_000_000, 3_000_000, 4_000_000)
_RESULTS = {
    0: "Communication success!",
    -1000: "Port is in use!",
    -1001: "Failed transmit instruction packet!",
    -3001: "There is no status packet!",
    -3002: "Incorrect status packet!",
    -9000: "Protocol does not support this function!",
}
_ERRORS = {
    1: "Failed to process the instruction packet!",
    6: "The data value exceeds the limit value!",
    7: "Writing or Reading is not available to target address!",
}
_ALERT = 0x80
_SECONDARY, _XL430, _XM430 = 12, 1060, 1020
_PWM_LIMIT, _CURRENT_LIMIT, _GOAL_PWM, _GOAL_CURRENT = (36, 2), (38, 2), (100, 2), (102, 2)
_LAYOUT = _Layout(
    identity=7,
    baud=8,
    mode=11,
    torque=64,
    goal=(116, 4),
    position=(132, 4),
    velocity=(128, 4),
    error=70,
    least=(52, 4),
    most=(48, 4),
    offset=(20, 4),
    model=(0, 2),
    ram=64,
    word=2,
    request=14,
    reply=11,
    rates={0: 9600, 1: 57600, 2: 115200, 3: 1_000_000, 4: 2_000_000},
)


class _Bus(_PlainBus):
    """Hold X-series servos; `reboots` names those that were rebooted, `broken` those that are in error again at once."""

    broken: frozenset[int] = frozenset()

    def __init__(self) -> None:
        super().__init__(_LAYOUT)
        self.reboots: list[int] = []

    def equip(self, memory):
        for register, value in {
            _LAYOUT.model: _XM430,
            (9, 1): 250,
            (_SECONDARY, 1): 255,
            _LAYOUT.most: 4095,
            _PWM_LIMIT: 885,
            _CURRENT_LIMIT: 1193,
            _GOAL_PWM: 885,
            _GOAL_CURRENT: 1193,
            (_LAYOUT.mode, 1): 3,
        }.items():
            self.put(memory, register, value)

    def take(self, memory, address, data):
        value = int.from_bytes(data, "little", signed=len(data) > 1)
        if address < _LAYOUT.ram and memory[_LAYOUT.torque]:
            return 7
        inside = self.number(memory, _LAYOUT.least) <= value <= self.number(memory, _LAYOUT.most)
        if address == _LAYOUT.goal[0] and memory[_LAYOUT.mode] == 3 and not inside:
            return 6
        for goal, limit in ((_GOAL_PWM, _PWM_LIMIT), (_GOAL_CURRENT, _CURRENT_LIMIT)):
            if address == goal[0] and abs(value) > self.number(memory, limit):
                return 6
        if address == _LAYOUT.torque and value and memory[_LAYOUT.error]:
            return 1  # the e-Manual says that no torque is taken, and not by which number that is told
        memory[address : address + len(data)] = data
        return 0

    def error_byte(self, memory):
        return _ALERT if memory[_LAYOUT.error] else 0

    def addressed(self, servo):
        # The one that answers comes first: its error is the one that is told.
        return self.answering(servo) + [memory for memory in self.chain if self.powered and memory[_SECONDARY] == servo]

    def reboot(self, servo):
        memory = self.servos[servo]
        self.reboots.append(servo)
        memory[_LAYOUT.torque] = 0
        for address in (108, 112):
            self.put(memory, (address, 4), 0)
        for goal, limit in ((_GOAL_PWM, _PWM_LIMIT), (_GOAL_CURRENT, _CURRENT_LIMIT)):
            self.put(memory, goal, self.number(memory, limit))
        if servo not in self.broken:
            memory[_LAYOUT.error] = 0


_buses: dict[str, _Bus] = {}

# Its clearPort empties the buffer of what came in late.
PortHandler = _make_port(_buses, _RATES, empties=True)


def PacketHandler(protocol_version):
    assert protocol_version == 2.0
    return Protocol2PacketHandler()


class Protocol2PacketHandler(_Handler):
    _SUCCESS, _BUSY, _TIMEOUT, _CORRUPT, _NOT_AVAILABLE = 0, -1000, -3001, -3002, -9000

    def getTxRxResult(self, result):
        return f"[TxRxResult] {_RESULTS[result]}" if result in _RESULTS else ""

    def getRxPacketError(self, error):
        if error & _ALERT:
            return "[RxPacketError] Hardware error occurred. Check the error at Control Table (Hardware Error Status)!"
        return f"[RxPacketError] {_ERRORS.get(error, 'Unknown error code!')}" if error else ""

    def ping(self, port, dxl_id):
        model, result, error = self._number(port, dxl_id, *_LAYOUT.model)
        return (model if result == self._SUCCESS else 0), result, error

    def broadcastPing(self, port):
        result = self._send(port, words=0)
        if result != self._SUCCESS:
            return {}, result
        port.is_using = False
        bus = port._bus
        found, garbled = {}, False
        for servo in sorted({memory[_LAYOUT.identity] for memory in bus.chain}):
            there = bus.answering(servo, port.baudrate)
            garbled = garbled or len(there) > 1
            if len(there) == 1:
                found[servo] = [bus.number(there[0], _LAYOUT.model), 46]
        return found, self._CORRUPT if garbled else self._SUCCESS if found else self._TIMEOUT

    def reboot(self, port, dxl_id):
        result = self._send(port, words=0)
        if result != self._SUCCESS:
            return result, 0
        found = port._bus.answering(dxl_id, port.baudrate)
        self._answer(port, self._packets(port, dxl_id, lambda _: b""))
        if found:
            port._bus.reboot(dxl_id)
        error, _, result = self._receive(port, dxl_id)
        return result, error

    def readRx(self, port, dxl_id, length):
        error, data, result = self._receive(port, dxl_id)
        return list(data[:length]), result, error

    def readTxRx(self, port, dxl_id, address, length):
        data, result, error = self._read(port, dxl_id, address, length)
        return list(data[:length]), result, error

    def writeTxRx(self, port, dxl_id, address, length, data):
        return self._write(port, dxl_id, address, data[:length])

    def writeTxOnly(self, port, dxl_id, address, length, data):
        return self._write_blindly(port, dxl_id, address, data[:length])


class GroupSyncRead:
    def __init__(self, port, ph, start_address, data_length):
        self._port, self._ph, self._start, self._length = port, ph, start_address, data_length
        self._servos = []

    def addParam(self, dxl_id):
        if dxl_id in self._servos:
            return False
        self._servos.append(dxl_id)
        return True

    def txPacket(self):
        if not self._servos:
            return self._ph._NOT_AVAILABLE
        return self._ph._sync_request(self._port, self._servos, self._start, self._length)


class GroupSyncWrite:
    def __init__(self, port, ph, start_address, data_length):
        self._port, self._ph, self._start, self._length = port, ph, start_address, data_length
        self._data = {}

    def addParam(self, dxl_id, data):
        if dxl_id in self._data or len(data) > self._length:
            return False
        assert all(isinstance(one, int) and 0 <= one < 256 for one in data)
        self._data[dxl_id] = bytes(data)
        return True

    def clearParam(self):
        self._data.clear()

    def txPacket(self):
        if not self._data:
            return self._ph._NOT_AVAILABLE
        return self._ph._sync_write(self._port, self._start, self._data)
