"""Import a maker's package only when a device is used, and say in one sentence how to install it."""

from __future__ import annotations

import importlib
from typing import Any

from robot.core.errors import SailError


def maker_package(module: str, extra: str, device: str) -> Any:
    """Return a maker's module, whose types mean nothing to a type checker here.

    Raises SailError where it is not installed, or is installed and cannot be imported. `extra` is the optional
    dependency of this project that brings it along; `device` is what it drives, such as "a Franka arm".
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        if problem.name is not None and module.partition(".")[0] != problem.name.partition(".")[0]:
            raise SailError(
                f"{device} needs the module {problem.name!r}, which {module!r} imports: "
                f'install it with `pip install "sail-stack[{extra}]"`.'
            ) from None
        raise SailError(
            f"{device} needs the package with the module {module!r}: "
            f'install it with `pip install "sail-stack[{extra}]"`.'
        ) from None
    except ImportError as problem:
        raise SailError(
            f"The module {module!r}, which {device} needs, is installed and cannot be imported ({problem}): "
            f'install it anew with `pip install --force-reinstall "sail-stack[{extra}]"`.'
        ) from None


def said(problem: BaseException) -> str:
    """Return the first line of what a maker's package says, to put into a sentence."""
    return str(problem).splitlines()[0].rstrip(".") if str(problem) else type(problem).__name__
