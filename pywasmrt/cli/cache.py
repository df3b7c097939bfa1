"""`pywasmrt cache`: tells where compiled modules are kept on disk, lists them, and removes them."""

from __future__ import annotations

import argparse
import time

from ..runtimes.base.cache import ModuleCache, default_folder
from .common import Failure

__all__ = ["cache"]


def cache(words: list[str], guest: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="pywasmrt cache",
        description="Tell where compiled modules are kept on disk, list them, or remove them.",
        epilog="PYWASMRT_CACHE_DIR moves the user's own folder, and PYWASMRT_CACHE=0 turns it off.",
    )
    parser.add_argument("what", choices=("where", "list", "clear"), help="what to do")
    parser.add_argument("--folder", metavar="FOLDER", help="another folder than the user's own")
    options = parser.parse_args(words + guest)
    folder = options.folder or default_folder()
    if folder is None:
        raise Failure("there is no cache: PYWASMRT_CACHE turns it off, or the user has no home")
    if options.what == "where":
        print(folder)
        return 0
    found = ModuleCache(folder)
    try:
        if options.what == "clear":
            removed = found.clear()
            print(f"removed {removed} {'module' if removed == 1 else 'modules'} from {folder}")
        else:
            _list(found)
    except OSError as error:
        raise Failure(f"cannot use {folder!r}: {error}") from None
    return 0


def _list(found: ModuleCache) -> None:
    modules = found.modules()
    for each in modules:
        used = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.used))
        print(f"{each.size:>12,}  {used}  {each.name}")
    count = f"{len(modules)} {'module' if len(modules) == 1 else 'modules'}"
    print(
        f"{sum(each.size for each in modules):>12,} bytes in {count}, of {found.max_bytes:,} at most, in {found.folder}"
    )
