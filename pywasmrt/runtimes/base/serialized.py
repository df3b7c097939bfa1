"""The envelope of serialised modules: it tells which engine and settings the code is for, and whether it is undamaged.

    magic, digest of the rest, then three parts, each with its length: identity, the module's interface, the engine's
    code

The digest finds damage, not forgery: a blob is machine code, and its source must be trusted as for a shared library.
"""

from __future__ import annotations

from hashlib import blake2b

from ...errors import ModuleCompileError

__all__ = ["MAGIC", "pack_blob", "unpack_blob"]

MAGIC = b"pywasmrt module 1\n"
_DIGEST = 16


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=_DIGEST).digest()


def pack_blob(identity: str, interface: bytes, code: bytes) -> bytes:
    """Put compiled `code` and what belongs to it into one blob."""
    parts = (identity.encode(), interface, code)
    body = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return MAGIC + _digest(body) + body


def unpack_blob(identity: str, blob: bytes) -> tuple[bytes, bytes]:
    """Return the interface and the code in `blob`. Raises `ModuleCompileError` if it is damaged or not for
    `identity`.
    """
    if not blob.startswith(MAGIC):
        if blob[:4] == b"\0asm":
            raise ModuleCompileError("this is a WebAssembly module, not a compiled one; use compile")
        raise ModuleCompileError("this is no compiled module: it was not made by serialize() of this library's version")
    start = len(MAGIC) + _DIGEST
    body = blob[start:]
    if _digest(body) != blob[len(MAGIC) : start]:
        raise ModuleCompileError("the compiled module is damaged: its digest differs")
    parts = []
    at = 0
    for _ in range(3):
        size = int.from_bytes(body[at : at + 8], "little")
        parts.append(body[at + 8 : at + 8 + size])
        at += 8 + size
    found = parts[0].decode(errors="replace")  # the digest does not prove that this is text
    if found != identity:
        raise ModuleCompileError(
            f"the compiled module is for another engine or other settings: for {found}, and this is {identity}; "
            "compile it again"
        )
    return parts[1], parts[2]
