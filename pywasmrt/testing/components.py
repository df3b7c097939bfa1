"""Components for tests: one that gives back values of any type, and the types themselves in the text format.

component = runtime.compile_component(echo_component(OptionType(PrimitiveType("u8"))))
instance = runtime.instantiate_component(component)
assert instance.exports.echo([None, 7]) == [None, 7]
"""

from __future__ import annotations

from ..component.types import (
    EnumType,
    FlagsType,
    ListType,
    NamedType,
    OptionType,
    OtherType,
    PrimitiveType,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
)

__all__ = ["TypeWriter", "echo_component"]

ALLOCATOR = """
  (core module $libc
    (memory (export "memory") 1)
    (global $at (mut i32) (i32.const 64))
    (func (export "realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
      (local $found i32)
      (local.set $found
        (i32.and
          (i32.add (global.get $at) (i32.sub (local.get $align) (i32.const 1)))
          (i32.sub (i32.const 0) (local.get $align))))
      (global.set $at (i32.add (local.get $found) (local.get $new)))
      (block $enough
        (loop $more
          (br_if $enough (i32.ge_u (i32.shl (memory.size) (i32.const 16)) (global.get $at)))
          (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
          (unreachable)))
      (local.get $found))
    (func (export "reset") (param i32) (global.set $at (i32.const 64)))
    (func (export "begin") (global.set $at (i32.const 64)))
  )
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (alias core export $libc "reset" (core func $reset))
"""
"""A memory and a bump allocator for it, which `reset` empties; for components in the text format."""


class TypeWriter:
    """Writes types in the text format. `definitions` collects those that have names, which come before their use."""

    def __init__(self, export: bool = True) -> None:
        self.definitions: list[str] = []
        self._written: dict[int, str] = {}
        self._export = export

    def write(self, type: WitType) -> str:
        """The type where it is used."""
        if isinstance(type, PrimitiveType):
            return type.name
        if isinstance(type, NamedType):
            known = self._written.get(id(type))
            if known is None:
                known = self._written[id(type)] = self._define(type)
            return known
        if isinstance(type, ListType):
            return f"(list {self.write(type.element)})"
        if isinstance(type, TupleType):
            return f"(tuple {' '.join(map(self.write, type.elements))})"
        if isinstance(type, OptionType):
            return f"(option {self.write(type.payload)})"
        if isinstance(type, ResultType):
            ok = "" if type.ok is None else f" {self.write(type.ok)}"
            err = "" if type.err is None else f" (error {self.write(type.err)})"
            return f"(result{ok}{err})"
        if isinstance(type, RecordType):
            return f"(record {' '.join(f'(field {_quoted(n)} {self.write(t)})' for n, t in type.fields)})"
        if isinstance(type, VariantType):
            cases = (f"(case {_quoted(n)}{'' if t is None else ' ' + self.write(t)})" for n, t in type.cases)
            return f"(variant {' '.join(cases)})"
        if isinstance(type, (EnumType, FlagsType)):
            word = "enum" if isinstance(type, EnumType) else "flags"
            return f"({word} {' '.join(map(_quoted, type.names))})"
        if isinstance(type, OtherType):
            raise ValueError(f"values of {type} cannot cross, so there is nothing to write")
        raise ValueError(f"{type} is a resource, which an interface has to define")

    def _define(self, type: NamedType) -> str:
        target = self.write(type.target)
        number = len(self.definitions)
        self.definitions.append(f"(type $d{number} {target})")
        if not self._export:
            return f"$d{number}"
        self.definitions.append(f"(export $t{number} {_quoted(type.name)} (type $d{number}))")
        return f"$t{number}"


def _quoted(name: str) -> str:
    return f'"{name}"'


def echo_component(type: WitType) -> str:
    """A component in the text format that exports `echo: func(values: list<T>) -> list<T>`, which gives back what it
    got.

    Records, variants, enums and flags must have names (`NamedType`), each a different one. Raises `ValueError` for
    types with resources, streams or futures.
    """
    writer = TypeWriter()
    text = writer.write(ListType(type))
    definitions = "\n  ".join(writer.definitions)
    return f"""(component
  {definitions}
  {ALLOCATOR}
  (core module $echo
    (import "libc" "memory" (memory 1))
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16)))
  (core instance $echo (instantiate $echo (with "libc" (instance $libc))))
  (func (export "echo") (param "values" {text}) (result {text})
    (canon lift (core func $echo "echo") (memory $memory) (realloc $realloc) (post-return $reset))))
"""
