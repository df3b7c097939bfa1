"""Running the commands of a script, one by one."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pywasmrt
from pywasmrt import TrapCode

from .convert import Command
from .embedding import Embedding, Source
from .values import Value, argument, has_nan, matches, shown

__all__ = ["Failed", "Script", "Skipped"]

_TRAPS = {
    "uninitialized element": TrapCode.INDIRECT_CALL_TO_NULL,
    "undefined element": TrapCode.TABLE_OUT_OF_BOUNDS,
    "out of bounds memory access": TrapCode.MEMORY_OUT_OF_BOUNDS,
    "out of bounds table access": TrapCode.TABLE_OUT_OF_BOUNDS,
    "unreachable": TrapCode.UNREACHABLE,
    "integer overflow": TrapCode.INTEGER_OVERFLOW,
    "integer divide by zero": TrapCode.INTEGER_DIVISION_BY_ZERO,
    "invalid conversion to integer": TrapCode.BAD_CONVERSION_TO_INTEGER,
    "indirect call type mismatch": TrapCode.BAD_SIGNATURE,
    "call stack exhausted": TrapCode.STACK_OVERFLOW,
}


class Skipped(Exception):
    """The runtime has not the feature that the command needs."""


class Failed(Exception):
    """The command did not end as the script says."""


class Script:
    """One script under way: its modules and instances by name."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self._instances: dict[str | None, Any] = {}
        self._definitions: dict[str | None, Any] = {}
        self._missing_names: dict[str, Skipped] = {}  # registered names of modules that were skipped
        self._missing = "there is no instance yet"
        self._folder = tempfile.TemporaryDirectory()
        self._runners: dict[str, Callable[[Command], None]] = {
            "module": self._module,
            "module_definition": self._module_definition,
            "module_instance": self._module_instance,
            "register": self._register,
            "action": self._action_command,
            "assert_return": self._assert_return,
            "assert_trap": self._assert_trap,
            "assert_exhaustion": self._assert_trap,
            "assert_exception": self._assert_trap,
            "assert_uninstantiable": self._assert_uninstantiable,
            "assert_unlinkable": self._assert_unlinkable,
            "assert_invalid": self._assert_refused,
            "assert_malformed": self._assert_refused,
        }

    def close(self) -> None:
        """Remove what was written for the script."""
        self._folder.cleanup()

    def run(self, command: Command) -> None:
        """Run one command. Raises `Failed`, `Skipped`, or whatever went wrong that the script does not ask for."""
        runner = self._runners.get(command["type"])
        if runner is None:
            raise Skipped(f"commands of type {command['type']} are not run")
        try:
            runner(command)
        except pywasmrt.UnsupportedFeatureError as error:
            if error.feature in self._embedding.features:
                raise Failed(f"refused a feature that it declares: {error}") from error
            skipped = Skipped(f"the feature {error.feature}")
            if command["type"] == "assert_uninstantiable":
                self._note_skipped(skipped)
            raise skipped from error

    def skip(self, command: Command) -> None:
        """Take note of a command that is not run, since it ended the process before."""
        if command["type"] in ("module", "module_instance"):
            self._bind(command.get("name"), None)

    # Modules and instances.

    def _source(self, command: Command) -> Source:
        data = base64.b64decode(command["module_bytes"])
        if command["format"] == "binary":
            return data
        if "wat" not in self._embedding.features:
            raise Skipped("the feature wat")
        try:
            return data.decode()
        except UnicodeDecodeError:  # a str cannot hold it, but a file can
            path = Path(self._folder.name, "module.wat")
            path.write_bytes(data)
            return path

    def _compile(self, command: Command) -> Any:
        return self._embedding.compile(self._source(command))

    def _bind(self, name: str | None, instance: Any) -> None:
        self._instances[None] = instance
        if name:
            self._instances[name] = instance

    def _instance(self, name: str | None) -> Any:
        instance = self._instances.get(name)
        if isinstance(instance, Skipped):
            raise instance
        if instance is None:
            raise Failed(f"follows from an earlier one: {self._missing}")
        return instance

    def _instantiated(self, command: Command, module: Callable[[], Any]) -> None:
        name = command.get("name")
        self._bind(name, None)
        try:
            defined = module()
            self._needs_present(defined)
            self._bind(name, self._embedding.instantiate(defined))
        except (Skipped, pywasmrt.UnsupportedFeatureError) as error:
            skipped = error if isinstance(error, Skipped) else Skipped(f"the feature {error.feature}")
            self._note_skipped(skipped)
            self._bind(name, skipped)
            raise
        except BaseException as error:
            self._missing = f"the module at line {command['line']} failed with {type(error).__name__}"
            raise

    def _module(self, command: Command) -> None:
        self._instantiated(command, lambda: self._defined(command))

    def _defined(self, command: Command) -> Any:
        module = self._compile(command)
        self._definitions[None] = self._definitions[command["name"]] = module
        return module

    def _module_definition(self, command: Command) -> None:
        self._defined(command)

    def _module_instance(self, command: Command) -> None:
        self._instantiated(command, lambda: self._definitions[command["definition"]])

    def _register(self, command: Command) -> None:
        try:
            self._embedding.register(command["as"], self._instance(command["name"]))
        except Skipped as skipped:
            self._missing_names[command["as"]] = skipped
            raise

    # Actions.

    def _needs_present(self, module: Any) -> None:
        """Skip a module that imports from one that was skipped."""
        for wanted in module.imports:
            if wanted.module in self._missing_names:
                raise self._missing_names[wanted.module]

    def _note_skipped(self, skipped: Skipped) -> None:
        """A module that was skipped for what it imports would have written to what others share with it: nothing can be
        told any more of the instances that there are.
        """
        if str(skipped).startswith(("the feature import-", "the feature partial-")):
            for name, instance in self._instances.items():
                if instance is not None and not isinstance(instance, Skipped):
                    self._instances[name] = skipped

    def _act(self, action: Command) -> list[Value]:
        instance = self._instance(action["module"])
        if action["type"] == "get":
            return [self._embedding.get(instance, action["field"])]
        return self._embedding.invoke(instance, action["field"], [argument(each) for each in action["args"]])

    def _action_command(self, command: Command) -> None:
        self._act(command["action"])

    def _assert_return(self, command: Command) -> None:
        action, expected = command["action"], command["expected"]
        results = self._act(action)
        if len(results) != len(expected):
            raise Failed(f"returned {len(results)} values where {len(expected)} are expected")
        for wanted, result in zip(expected, results, strict=True):
            if matches(wanted, result):
                continue
            nans = [argument(each) for each in action.get("args", ())] + [result]
            told = wanted["type"] == "i32" and all(has_nan(("f32", bits)) for bits in (wanted["value"], result[1]))
            if "f32-nan-bits" not in self._embedding.features and (told or any(map(has_nan, nans))):
                raise Skipped("the feature f32-nan-bits")
            raise Failed(f"returned {shown(result)} where {wanted} is expected")

    def _assert_trap(self, command: Command) -> None:
        try:
            results = self._act(command["action"])
        except pywasmrt.Trap as trap:
            self._check_trap(command, trap)
            return
        raise Failed(f"returned {' '.join(map(shown, results)) or 'nothing'} where a trap is expected")

    def _check_trap(self, command: Command, trap: pywasmrt.Trap) -> None:
        if command["type"] == "assert_exception":
            wanted: TrapCode | None = TrapCode.UNCAUGHT_EXCEPTION
        else:
            wanted = next((code for text, code in _TRAPS.items() if command["text"].startswith(text)), None)
        both = (wanted, trap.code) == (TrapCode.INDIRECT_CALL_TO_NULL, TrapCode.TABLE_OUT_OF_BOUNDS)
        if both and "trap-null-element" not in self._embedding.features:
            raise Skipped("the feature trap-null-element")
        if wanted is not None and trap.code is not wanted:
            raise Failed(f"trapped with {trap.code!r} where {command['text']!r} is expected: {trap}")

    def _assert_uninstantiable(self, command: Command) -> None:
        module = self._compile(command)
        try:
            self._embedding.instantiate(module)
        except pywasmrt.Trap as trap:
            self._check_trap(command, trap)
            if "partial-instantiation" not in self._embedding.features:
                self._note_skipped(Skipped("the feature partial-instantiation"))
            return
        raise Failed("was instantiated where a trap is expected")

    def _assert_unlinkable(self, command: Command) -> None:
        module = self._compile(command)
        try:
            self._embedding.instantiate(module)
        except pywasmrt.ModuleInstantiateError as error:
            if not error.problems:
                raise Failed(f"the error lists no problem: {error}") from error
            return
        raise Failed("was instantiated where a link error is expected")

    def _assert_refused(self, command: Command) -> None:
        try:
            ways = self._embedding.accepted_by(self._source(command))
        except pywasmrt.UnsupportedFeatureError as error:
            if error.feature in self._embedding.all_features:
                return  # the runtime has the proposal, and was made without it: the scripts' version has it not
            raise
        if ways:
            raise Failed(f"was accepted by {' and '.join(ways)} where {command['text']!r} is expected")
