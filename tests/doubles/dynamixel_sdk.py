"""A double of dynamixel_sdk, by Robotis."""

from __future__ import annotations

from tests.doubles.servo_bus import Bus as _Bus
from tests.doubles.servo_bus import Layout as _Layout
from tests.doubles.servo_bus import make_port as _make_port

COMM_SUCCESS = 0
COMM_RX_TIMEOUT = -3001

_LAYOUT = _Layout(torque=64, goal=(116, 4), position=(132, 4), velocity=(128, 4))
_buses: dict[str, _Bus] = {}

PortHandler = _make_port(_buses)


def PacketHandler(protocol_version):
    assert protocol_version == 2.0
    return Protocol2PacketHandler()


class Protocol2PacketHandler:
    def getTxRxResult(self, result):
        return "[TxRxResult] There is no status packet!"

    def getRxPacketError(self, error):
        return "[RxPacketError] Overload error!"

    def ping(self, port, dxl_id):
        found = port._bus.answers() and dxl_id in port._bus.servos
        return (777, COMM_SUCCESS, 0) if found else (0, COMM_RX_TIMEOUT, 0)

    def _read(self, port, servo, register):
        if not (port._bus.answers() and servo in port._bus.servos):
            return 0, COMM_RX_TIMEOUT, 0
        return port._bus.get(servo, register), COMM_SUCCESS, 0

    def _write(self, port, servo, register, data):
        if not (port._bus.answers() and servo in port._bus.servos):
            return COMM_RX_TIMEOUT, 0
        if port._bus.refuses == servo:
            return COMM_SUCCESS, 32
        port._bus.set(servo, register, data)
        return COMM_SUCCESS, 0

    def read1ByteTxRx(self, port, dxl_id, address):
        return self._read(port, dxl_id, (address, 1))

    def write1ByteTxRx(self, port, dxl_id, address, data):
        return self._write(port, dxl_id, (address, 1), data)

    def write4ByteTxRx(self, port, dxl_id, address, data):
        return self._write(port, dxl_id, (address, 4), data)


class GroupSyncRead:
    def __init__(self, port, ph, start_address, data_length):
        self._port, self._start, self._length = port, start_address, data_length
        self._data = {}

    def addParam(self, dxl_id):
        if dxl_id in self._data:
            return False
        self._data[dxl_id] = b""
        return True

    def txRxPacket(self):
        bus = self._port._bus
        if not bus.answers():
            return COMM_RX_TIMEOUT
        for servo in self._data:
            self._data[servo] = bytes(bus.servos[servo][self._start : self._start + self._length])
        return COMM_SUCCESS

    def getData(self, dxl_id, address, data_length):
        assert self._start <= address and address + data_length <= self._start + self._length
        begin = address - self._start
        return int.from_bytes(self._data[dxl_id][begin : begin + data_length], "little")


class GroupSyncWrite:
    def __init__(self, port, ph, start_address, data_length):
        self._port, self._start, self._length = port, start_address, data_length
        self._data = {}

    def addParam(self, dxl_id, data):
        assert len(data) == self._length and all(isinstance(one, int) and 0 <= one < 256 for one in data)
        self._data[dxl_id] = bytes(data)
        return True

    def clearParam(self):
        self._data.clear()

    def txPacket(self):
        bus = self._port._bus
        if not bus.reachable:
            raise OSError("write failed: [Errno 5] Input/output error")
        bus.commands += 1
        for servo, data in self._data.items():
            bus.set(servo, (self._start, self._length), int.from_bytes(data, "little"))
        return COMM_SUCCESS
