"""Write down the interface of makers' packages, as far as this project uses it, for tests that have them not installed.

Run it in an environment with the packages (`pip install "sail-stack[franka,ur,…]"`):

    python tests/doubles/record_signatures.py tests/doubles/signatures

Each name becomes one of: `{"kind": "function", "signatures": [["self", "name", "optional=", "*", "by_name"], …]}`, a
signature for each overload, in which what comes after a star is passed by name alone; `{"kind": "property"}`;
`{"kind": "value", "value": …}` for a constant, its value where it is a number or a text and else null;
`{"kind": "class"}`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

USED: dict[str, tuple[str, tuple[str, ...]]] = {
    "franky": (
        "franky-control",
        (
            "Robot",
            "Robot.__init__",
            "Robot.has_errors",
            "Robot.recover_from_errors",
            "Robot.state",
            "Robot.join_motion",
            "Robot.set_load",
            "RobotState",
            "RobotState.q",
            "RobotState.dq",
            "RobotState.tau_J",
            "RobotState.robot_mode",
            "RobotMode",
            "RobotMode.Idle",
            "RobotMode.Move",
            "RobotMode.Reflex",
            "RobotMode.UserStopped",
            "RealtimeConfig",
            "RealtimeConfig.Enforce",
            "RealtimeConfig.Ignore",
            "Gripper",
            "Gripper.__init__",
            "Gripper.width",
            "Gripper.move",
            "Gripper.grasp",
            "Gripper.homing",
            "Gripper.stop",
            "JointImpedanceTracker",
            "JointImpedanceTracker.__init__",
            "JointImpedanceTracker.set_target",
            "JointImpedanceTracker.is_running",
            "JointImpedanceTracker.stop",
        ),
    ),
    "rtde_control": (
        "ur_rtde",
        tuple(
            f"RTDEControlInterface{name}"
            for name in (
                "",
                ".__init__",
                ".isConnected",
                ".isProgramRunning",
                ".servoJ",
                ".servoStop",
                ".stopScript",
                ".reuploadScript",
                ".disconnect",
            )
        ),
    ),
    "rtde_receive": (
        "ur_rtde",
        tuple(
            f"RTDEReceiveInterface{name}"
            for name in (
                "",
                ".__init__",
                ".isConnected",
                ".getTimestamp",
                ".getActualQ",
                ".getActualQd",
                ".getRobotMode",
                ".getSafetyMode",
                ".getRuntimeState",
                ".disconnect",
            )
        ),
    ),
    "dashboard_client": (
        "ur_rtde",
        tuple(
            f"DashboardClient{name}"
            for name in (
                "",
                ".__init__",
                ".connect",
                ".isConnected",
                ".stop",
                ".closeSafetyPopup",
                ".unlockProtectiveStop",
                ".disconnect",
            )
        ),
    ),
    "xarm.wrapper": (
        "xarm-python-sdk",
        tuple(
            f"XArmAPI{name}"
            for name in (
                "",
                ".__init__",
                ".connected",
                ".state",
                ".mode",
                ".error_code",
                ".axis",
                ".device_type",
                ".sn",
                ".get_joint_states",
                ".set_servo_angle_j",
                ".motion_enable",
                ".set_mode",
                ".set_state",
                ".get_state",
                ".get_err_warn_code",
                ".clean_error",
                ".clean_warn",
                ".set_gripper_enable",
                ".set_gripper_position",
                ".get_gripper_position",
                ".get_gripper_err_code",
                ".clean_gripper_error",
                ".disconnect",
            )
        ),
    ),
    "scservo_sdk": (
        "feetech-servo-sdk",
        (
            "COMM_SUCCESS",
            "COMM_RX_TIMEOUT",
            "COMM_RX_CORRUPT",
            "BROADCAST_ID",
            "INST_PING",
            "PortHandler",
            "PortHandler.__init__",
            "PortHandler.setBaudRate",
            "PortHandler.closePort",
            "PortHandler.readPort",
            "PortHandler.setPacketTimeoutMillis",
            "PacketHandler",
            "protocol_packet_handler",
            "protocol_packet_handler.ping",
            "protocol_packet_handler.txPacket",
            "protocol_packet_handler.rxPacket",
            "protocol_packet_handler.getTxRxResult",
            "protocol_packet_handler.getRxPacketError",
            "protocol_packet_handler.readRx",
            "protocol_packet_handler.readTxRx",
            "protocol_packet_handler.writeTxRx",
            "protocol_packet_handler.writeTxOnly",
            "GroupSyncRead",
            "GroupSyncRead.__init__",
            "GroupSyncRead.addParam",
            "GroupSyncRead.txPacket",
            "GroupSyncWrite",
            "GroupSyncWrite.__init__",
            "GroupSyncWrite.addParam",
            "GroupSyncWrite.clearParam",
            "GroupSyncWrite.txPacket",
        ),
    ),
    "dynamixel_sdk": (
        "dynamixel-sdk",
        (
            "COMM_SUCCESS",
            "COMM_RX_TIMEOUT",
            "COMM_RX_CORRUPT",
            "PortHandler",
            "PortHandler.__init__",
            "PortHandler.setBaudRate",
            "PortHandler.closePort",
            "PortHandler.readPort",
            "PortHandler.setPacketTimeoutMillis",
            "PacketHandler",
            "Protocol2PacketHandler",
            "Protocol2PacketHandler.ping",
            "Protocol2PacketHandler.getTxRxResult",
            "Protocol2PacketHandler.getRxPacketError",
            "Protocol2PacketHandler.readRx",
            "Protocol2PacketHandler.readTxRx",
            "Protocol2PacketHandler.writeTxRx",
            "Protocol2PacketHandler.writeTxOnly",
            "Protocol2PacketHandler.broadcastPing",
            "Protocol2PacketHandler.reboot",
            "GroupSyncRead",
            "GroupSyncRead.__init__",
            "GroupSyncRead.addParam",
            "GroupSyncRead.txPacket",
            "GroupSyncWrite",
            "GroupSyncWrite.__init__",
            "GroupSyncWrite.addParam",
            "GroupSyncWrite.clearParam",
            "GroupSyncWrite.txPacket",
        ),
    ),
    "pyrealsense2": (
        "pyrealsense2",
        (
            "pipeline",
            "pipeline.__init__",
            "pipeline.start",
            "pipeline.wait_for_frames",
            "pipeline.stop",
            "config",
            "config.__init__",
            "config.enable_device",
            "config.enable_stream",
            "stream",
            "stream.color",
            "format",
            "format.rgb8",
            "composite_frame",
            "composite_frame.get_color_frame",
            "video_frame",
            "video_frame.get_data",
            "video_frame.get_frame_number",
        ),
    ),
    "pyspacemouse": (
        "pyspacemouse",
        (
            "open",
            "AxisConvention",
            "AxisConvention.ROS",
            "SpaceMouseDevice",
            "SpaceMouseDevice.read",
            "SpaceMouseDevice.close",
            "SpaceMouseState",
            *(f"SpaceMouseState.{name}" for name in ("t", "x", "y", "z", "roll", "pitch", "yaw", "buttons")),
        ),
    ),
}
"""Module → the distribution it comes with, and the names that are used of it."""


def recorded(module: Any, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return what the names are in a module."""
    return {name: _described(*_found(module, name)) for name in names}


def signature_of(function: Any) -> list[list[str]]:
    """Return the signatures of a Python function, or of a bound C++ one from its documentation."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return _documented(function.__doc__ or "")
    if [one.kind for one in parameters] == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]:
        return _documented(function.__doc__ or "")
    words = []
    for one in parameters:
        if one.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        if one.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(one.name if one.default is inspect.Parameter.empty else f"{one.name}=")
    return [words]


def _found(module: Any, name: str) -> tuple[Any, bool]:
    """Return an attribute, and whether it belongs to a class, by whose instances it is used."""
    owner: Any = None
    value = module
    for part in name.split("."):
        owner, value = value, _member(value, part)
    return value, inspect.isclass(owner)


def _member(owner: Any, name: str) -> Any:
    if inspect.isclass(owner):
        for base in owner.__mro__:
            if name in vars(base):
                found = vars(base)[name]
                return found.__func__ if isinstance(found, staticmethod | classmethod) else found
        if name in getattr(owner, "__annotations__", {}):
            return property()  # a field of a dataclass, with no default to be found in the class
    return getattr(owner, name)


def _described(value: Any, member: bool) -> dict[str, Any]:
    if inspect.isclass(value):
        return {"kind": "class"}
    if isinstance(value, property) or inspect.isdatadescriptor(value):
        return {"kind": "property"}
    if callable(value) and not isinstance(value, type):
        return {"kind": "function", "signatures": signature_of(value)}
    plain = value if isinstance(value, int | float | str) and not hasattr(value, "name") else None
    return {"kind": "value", "value": plain}


def _documented(text: str) -> list[list[str]]:
    """Return the signatures that pybind11 writes at the top of a documentation, one for each overload."""
    lines = [line.strip() for line in text.splitlines()]
    heads = [re.sub(r"^\d+\. ", "", line) for line in lines if re.match(r"^(\d+\. )?\w+\(.*\) -> ", line)]
    found = [_parameters(head[head.index("(") + 1 : head.rindex(") -> ")]) for head in heads]
    return [words for words in found if "*args" not in words]


def _parameters(text: str) -> list[str]:
    """Return the parameters between the brackets of a signature."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([{<") - (letter in ")]}>")
        if letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    parts = [part.strip() for part in (*parts, text[start:]) if part.strip()]
    return [part.partition(":")[0].strip() + ("=" if " = " in part else "") for part in parts]


def main(folder: Path) -> None:
    """Write a file a module."""
    # The doubles beside this script are called as their packages are and must not be taken for them.
    sys.path = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent.resolve()]
    for name, (distribution, names) in USED.items():
        module = importlib.import_module(name)
        content = {
            "module": name,
            "distribution": distribution,
            "version": importlib.metadata.version(distribution),
            "names": recorded(module, names),
        }
        path = folder / f"{name}.json"
        path.write_text(_as_text(content) + "\n", encoding="utf-8")
        print(f"{path}: {len(names)} names of {distribution} {content['version']}")


def _as_text(content: dict[str, Any]) -> str:
    """Return the content as JSON with a line a name."""
    names = content.pop("names")
    head = json.dumps(content)[1:-1]
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in names.items())
    return f'{{{head}, "names": {{\n{rows}\n}}}}'


if __name__ == "__main__":
    main(Path(sys.argv[1]))
