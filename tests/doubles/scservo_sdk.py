"""A double of scservo_sdk, by Feetech, and of an STS3215 at its other end.

The servo is that of Feetech's memory table of the STS series: what lies below address 40 is kept without power only
while the lock (55) is off; every answer carries the present status (65) as its error byte; a goal outside the servo's
own limits (9, 11) is cut to them. As users report, a goal written to a servo without torque turns its torque on, and a
goal written to one that is overloaded ends that. The offset (31, bit 11 its sign) is taken off what the encoder reads.
"""

from __future__ import annotations

from tests.doubles.servo_bus import Bus as _PlainBus
from tests.doubles.servo_bus import Handler as _Handler
from tests.doubles.servo_bus import Layout as _Layout
from tests.doubles.servo_bus import make_port as _make_port

COMM_SUCCESS = 0
COMM_RX_TIMEOUT = -6
COMM_RX_CORRUPT = -7
BROADCAST_ID = 254
INST_PING = 1
_RATES = (4800, 9600, 14400, 19200, 38400, 57600, 115200, 128000, 250000, 500000, 1000000)
_RESULTS = {
    0: "Communication success!",
    -1: "Port is in use!",
    -2: "Failed transmit instruction packet!",
    -6: "There is no status packet!",
    -7: "Incorrect status packet!",
    -9: "Protocol does not support this function!",
}
_ERRORS = {
    1: "Input voltage error!",
    2: "Angle sen error!",
    4: "Overheat error!",
    8: "OverEle error!",
    32: "Overload error!",
}
_LOCK, _OVERLOAD, _MODEL = 55, 32, 777
_LAYOUT = _Layout(
    identity=5,
    baud=6,
    mode=33,
    torque=40,
    goal=(42, 2),
    position=(56, 2),
    velocity=(58, 2),
    error=65,
    least=(9, 2),
    most=(11, 2),
    offset=(31, 2),
    model=(3, 2),
    ram=40,
    word=1,
    request=8,
    reply=6,
    rates={0: 1_000_000, 1: 500_000, 2: 250_000, 3: 128_000, 4: 115_200, 6: 57_600, 7: 38_400},
)


class _Bus(_PlainBus):
    """Hold STS3215 servos; `stuck` names those that stay overloaded whatever they are sent."""

    stuck: frozenset[int] = frozenset()

    def __init__(self) -> None:
        super().__init__(_LAYOUT)
        self.kept: dict[int, bytearray] = {}

    def equip(self, memory):
        for register, value in {
            _LAYOUT.model: _MODEL,
            _LAYOUT.most: 4095,
            (7, 1): 250,
            (16, 2): 1000,
            (28, 2): 500,
            (34, 1): 20,
            (36, 1): 80,
            (48, 2): 1000,
            (_LOCK, 1): 1,
        }.items():
            self.put(memory, register, value)
        self.kept[id(memory)] = bytearray(memory)

    def take(self, memory, address, data):
        if address < _LAYOUT.ram and not memory[_LOCK]:
            self.kept[id(memory)][address : address + len(data)] = data
        if address == _LAYOUT.offset[0]:
            encoder = self.number(memory, _LAYOUT.position) + _offset(self.number(memory, _LAYOUT.offset))
            memory[address : address + len(data)] = data
            here = (encoder - _offset(self.number(memory, _LAYOUT.offset))) % 4096
            self.put(memory, _LAYOUT.position, here)
            return 0
        memory[address : address + len(data)] = data
        if address == _LAYOUT.goal[0]:
            memory[_LAYOUT.torque] = 1
            if memory[_LAYOUT.identity] not in self.stuck:
                memory[_LAYOUT.error] &= ~_OVERLOAD
        return 0

    def error_byte(self, memory):
        return memory[_LAYOUT.error]

    def aim(self, memory):
        low, high = self.number(memory, _LAYOUT.least), self.number(memory, _LAYOUT.most)
        goal = self.number(memory, _LAYOUT.goal)
        return min(max(goal, low), high) if low or high else goal

    def power_cycle(self):
        """Switch the servos off and on: what was not kept is gone, and so is every torque."""
        for memory in self.chain:
            position = self.number(memory, _LAYOUT.position)
            kept = self.kept[id(memory)]
            memory[:] = kept
            memory[48:50] = kept[16:18]
            for register in (_LAYOUT.position, _LAYOUT.goal):
                self.put(memory, register, position)
            memory[_LOCK] = 1


def _offset(raw):
    return -(raw & 0x7FF) if raw & 0x800 else raw & 0x7FF


_buses: dict[str, _Bus] = {}

# Its clearPort waits until all is sent, and leaves alone what came in late.
PortHandler = _make_port(_buses, _RATES, empties=False)


def PacketHandler(protocol_end):
    assert protocol_end == 0
    return protocol_packet_handler()


class protocol_packet_handler(_Handler):
    _SUCCESS, _BUSY, _TIMEOUT, _CORRUPT, _NOT_AVAILABLE = 0, -1, -6, -7, -9

    def getTxRxResult(self, result):
        return f"[TxRxResult] {_RESULTS[result]}" if result in _RESULTS else ""

    def getRxPacketError(self, error):
        return next((f"[RxPacketError] {words}" for bit, words in _ERRORS.items() if error & bit), "")

    def ping(self, port, scs_id):
        model, result, error = self._number(port, scs_id, *_LAYOUT.model)
        return (model if result == self._SUCCESS else 0), result, error

    def txPacket(self, port, txpacket):
        assert txpacket[4] == INST_PING and txpacket[2] == BROADCAST_ID, "the double broadcasts nothing but a ping"
        result = self._send(port, words=0)
        if result == self._SUCCESS:
            bus = port._bus
            ids = [memory[_LAYOUT.identity] for memory in bus.chain]
            self._answer(
                port, [packet for servo in sorted(set(ids)) for packet in self._packets(port, servo, lambda _: b"")]
            )
        return result

    def rxPacket(self, port):
        port.is_using = False
        if not port._inbox:
            return [], self._TIMEOUT
        packet = port._inbox.pop(0)
        if packet is None:
            return [], self._CORRUPT
        return [0xFF, 0xFF, packet[0], 2, packet[1], 0], self._SUCCESS

    def readRx(self, port, scs_id, length):
        error, data, result = self._receive(port, scs_id)
        return list(data[:length]), result, error

    def readTxRx(self, port, scs_id, address, length):
        data, result, error = self._read(port, scs_id, address, length)
        return list(data[:length]), result, error

    def writeTxRx(self, port, scs_id, address, length, data):
        return self._write(port, scs_id, address, data[:length])

    def writeTxOnly(self, port, scs_id, address, length, data):
        return self._write_blindly(port, scs_id, address, data[:length])


class GroupSyncRead:
    def __init__(self, port, ph, start_address, data_length):
        self._port, self._ph, self._start, self._length = port, ph, start_address, data_length
        self._servos = []

    def addParam(self, scs_id):
        if scs_id in self._servos:
            return False
        self._servos.append(scs_id)
        return True

    def txPacket(self):
        if not self._servos:
            return self._ph._NOT_AVAILABLE
        return self._ph._sync_request(self._port, self._servos, self._start, self._length)


class GroupSyncWrite:
    def __init__(self, port, ph, start_address, data_length):
        self._port, self._ph, self._start, self._length = port, ph, start_address, data_length
        self._data = {}

    def addParam(self, scs_id, data):
        if scs_id in self._data or len(data) > self._length:
            return False
        assert all(isinstance(one, int) and 0 <= one < 256 for one in data)
        self._data[scs_id] = bytes(data)
        return True

    def clearParam(self):
        self._data.clear()

    def txPacket(self):
        if not self._data:
            return self._ph._NOT_AVAILABLE
        return self._ph._sync_write(self._port, self._start, self._data)
