"""The front of the `sail` command: find the verb, give help, and turn every expected error into one sentence."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from robot.core.errors import SailError, UnknownNameError
from robot.core.text import tell

if TYPE_CHECKING:
    from robot.cli.verbs import Arguments, Verb

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sail` with the arguments given (those of the process by default) and return its exit code.

    0: done. 2: something expected went wrong, said in one sentence on stderr. 130: stopped by Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None and words[:2] != ["arm", "stop"]:  # this process is ours; a stop loads nothing but what it needs
        from robot.cli.logs import guard_terminal

        guard_terminal()
    try:
        return _dispatch(words)
    except SailError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        tell("")
        tell(f"Stopped; continue with: {shlex.join(['sail', *words])}")
        return EXIT_INTERRUPTED
    except ModuleNotFoundError as error:
        from robot.cli.extras import missing_package

        sentence = missing_package(error, f"`{' '.join(['sail', *(word for word in words[:2] if '=' not in word)])}`")
        if sentence is None:
            raise
        return _complain(sentence)
    except BrokenPipeError:
        # The reader (`| head`) has gone: say nothing, and keep the interpreter from flushing into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not _is_full_disk(error):
            # A ValueError of this project is a sentence too; whoever suspects a defect asks for the traceback.
            if isinstance(error, ValueError) and not os.environ.get("SAIL_TRACEBACK"):
                return _complain(f"{error} (SAIL_TRACEBACK=1 shows where this was found.)")
            if isinstance(error, OSError) and error.filename and not os.environ.get("SAIL_TRACEBACK"):
                return _complain(
                    f"{error.filename}: {error.strerror}. Give the same command again once that is mended."
                )
            raise
        where = getattr(error, "filename", None)
        return _complain(
            f"The disk is full{f' (writing {where})' if where else ''}: free some space and give the same command "
            "again; what was saved before is untouched."
        )


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["arm"] and "stop" in words:
        # An arm that is to stop does not wait for what other verbs need.
        from robot.cli.stop import asked, is_stop, stop

        if is_stop(words):
            return stop(asked(words))
    from robot.cli.screen import print_text
    from robot.cli.verbs import VERBS, overview, question, usage

    if not words or words[0] in ("--help", "-h", "help"):
        if len(words) > 1 and words[0] == "help":
            return _dispatch([*words[1:], "--help"])
        print_text(overview())
        return 0 if words else EXIT_ERROR
    if words[0] == "--version":
        from importlib.metadata import version

        print_text(f"sail {version('sail-stack')}")
        return 0
    verb = VERBS.get(words[0])
    if verb is None:
        raise UnknownNameError("verb", words[0], list(VERBS))
    arguments = parse(verb, words[1:])
    if "--help" in arguments.flags:
        print_text(usage(verb, arguments.subject, arguments.overrides))
        return 0
    if verb.configs:
        if not _check_settings(verb, arguments):
            for line in question(verb).split("\n"):
                tell(line)
            return EXIT_ERROR
    elif arguments.overrides:
        raise SailError(f"`sail {verb.name}` has no settings: leave out {arguments.overrides[0]}.")
    return verb.run(arguments)


def _check_settings(verb: Verb, arguments: Arguments) -> bool:
    """Complain about a misspelt key, component or task at once, before the libraries that take seconds to import.

    Return whether it is said what to do, where the verb asks for that.
    """
    from robot.cli.compose import compose
    from robot.cli.wording import takes_any_words
    from sim.tasks import tasks_of

    config = compose(verb.configs[arguments.subject], arguments.overrides)
    for key in ("task", "tasks", "play_tasks"):
        if not config.get(key) or not verb.tasks_are_ours or config.get("store"):
            continue
        try:
            tasks_of(str(config[key]))
        except UnknownNameError:
            if not takes_any_words(config):
                raise
    return not verb.asks or any(str(config.get(key, "")).strip() for key in ("task", "instruction"))


def parse(verb: Verb, words: Sequence[str]) -> Arguments:
    """Sort the words after a verb into subject, key=value pairs and flags; raise SailError for what fits nowhere."""
    from robot.cli.verbs import Arguments

    known_flags = {"--json", "--help", *verb.flags}
    overrides: list[str] = []
    flags: set[str] = set()
    subject = ""
    for word in words:
        if word in ("-h", "--help"):
            flags.add("--help")
        elif word.startswith("-"):
            if word not in known_flags:
                raise UnknownNameError("flag", word, sorted(known_flags))
            flags.add(word)
        elif "=" in word:
            overrides.append(word)
        elif verb.subjects and not subject:
            if word not in verb.subjects:
                raise UnknownNameError(f"subject of `sail {verb.name}`", word, list(verb.subjects))
            subject = word
        elif subject in verb.words and not any(pair.startswith(f"{verb.words[subject]}=") for pair in overrides):
            overrides.append(f"{verb.words[subject]}={word}")
        else:
            raise SailError(
                f"`sail {verb.name}` does not understand {word!r}: settings are written KEY=VALUE, "
                f"and `sail {verb.name} --help` lists the keys."
            )
    if verb.subjects and not subject and "" not in verb.configs and "--help" not in flags:
        raise SailError(f"Say what to {verb.name}: `sail {verb.name} {'|'.join(verb.subjects)}`.")
    others = verb.aliases.get(subject, {})
    overrides = [f"{others.get(key, key)}={value}" for key, _, value in (pair.partition("=") for pair in overrides)]
    return Arguments(
        command=shlex.join(["sail", verb.name, *words]),
        subject=subject,
        overrides=tuple(overrides),
        as_json="--json" in flags,
        flags=frozenset(flags - {"--json"}),
    )


def _complain(sentence: str) -> int:
    tell(f"sail: {' '.join(sentence.split())}")
    return EXIT_ERROR


def _is_full_disk(error: BaseException | None) -> bool:
    """Return whether an error, or one it came from, says that the disk is full (safetensors wraps it in its own)."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(main())
