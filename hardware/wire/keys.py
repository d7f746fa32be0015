"""CURVE keys: who an arm's server is, and which clients it lets in.

A folder of keys holds `NAME.key`, which may be given to anyone, and `NAME.key_secret`, which must not. Files are in
ZeroMQ's certificate format. A server lets in the clients whose `.key` files lie in its folder of authorised clients.
"""

from __future__ import annotations

import contextlib
import errno
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from zmq.auth import create_certificates, load_certificate

from hardware.wire.clocks import now
from robot.core.errors import SailError

READ_EVERY_S = 1.0
NONE_LEFT = (errno.EMFILE, errno.ENFILE)
"""What is wrong where no more files can be opened, which says nothing of the file."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Hold a public and a secret CURVE key in Z85, 40 characters each."""

    public: bytes
    secret: bytes


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """Hold a server's own keys and the folder of `.key` files of the clients it lets in."""

    own: KeyPair
    authorised: Path


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """Hold a client's own keys and the public key of the server it means to reach."""

    own: KeyPair
    server: bytes


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a new pair of keys, return the public and the secret file; raise SailError where there is one."""
    if not name or any(character in name for character in "/\\\0") or name.startswith("."):
        raise SailError(f"A key cannot be called {name!r}: use letters, digits, - and _.")
    public_file, secret_file = folder / f"{name}.key", folder / f"{name}.key_secret"
    for path in (public_file, secret_file):
        if path.exists():
            raise SailError(f"{path} exists already: remove it first if its key is to be replaced.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Made where nobody else can look, since a new file may be anyone's to read until its mode is changed.
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as aside:
        public, secret = map(Path, create_certificates(aside, name))
        public.chmod(0o644)
        secret.chmod(0o600)
        return public.rename(public_file), secret.rename(secret_file)


def load_public(path: Path) -> bytes:
    """Return the public key in a file; raise SailError where there is none."""
    return _load(path)[0]


def load_pair(path: Path) -> KeyPair:
    """Return the keys in a secret file; raise SailError where there are none, or others may read them."""
    public, secret = _load(path)
    if secret is None:
        raise SailError(f"{path} holds no secret key: give the file that ends in .key_secret.")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SailError(f"Others may read the secret key {path}: chmod 600 {path}")
    return KeyPair(public, secret)


def server_keys(secret_file: Path, authorised: Path) -> ServerKeys:
    """Return a server's keys; raise SailError where they cannot be read or there is no folder of clients."""
    if not authorised.is_dir():
        raise SailError(f"There is no folder {authorised}: make it and put the .key files of clients there.")
    return ServerKeys(load_pair(secret_file), authorised)


def client_keys(secret_file: Path, server_public: Path) -> ClientKeys:
    """Return a client's keys; raise SailError where they cannot be read."""
    return ClientKeys(load_pair(secret_file), load_public(server_public))


def authorised_clients(folder: Path) -> dict[bytes, str]:
    """Return the public keys of the clients in a folder, with their files' names; leave out what is no key.

    Raises OSError or SailError where no more files can be opened.
    """
    clients: dict[bytes, str] = {}
    for path in sorted(folder.glob("*.key")):
        try:
            clients[load_public(path)] = path.stem
        except SailError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in NONE_LEFT:
                raise
    return clients


class AuthorisedClients:
    """Say whether a client's key lies in a folder, as it is now: keys may be added and taken out while a server runs.

    What is taken out ends no connection that is there; it is refused the next time. The folder is read once a second at
    most, whoever knocks.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: frozenset[bytes] = frozenset()
        self._read_s = float("-inf")

    def callback(self, domain: str, key: bytes) -> bool:
        """Return whether a public key, in Z85, is let in; the name is what ZeroMQ's authenticator calls."""
        if now() - self._read_s > READ_EVERY_S:
            # Where the folder cannot be read just now, those that were known stay so: one of them may send a stop.
            with contextlib.suppress(OSError, SailError):
                self._known = frozenset(authorised_clients(self._folder))
            self._read_s = now()
        return key in self._known


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = load_certificate(path)
    except (OSError, ValueError) as error:
        raise SailError(f"{path} holds no key ({error}): make one with `sail arm keys`.") from error
    if len(public) != 40 or (secret is not None and len(secret) != 40):
        raise SailError(f"{path} holds no key: make one with `sail arm keys`.")
    return public, secret
