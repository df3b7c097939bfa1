"""A component and its host: typed values both ways, an error of a result, and a resource of the host's.

python examples/components.py
"""

from __future__ import annotations

from pathlib import Path

import pywasmrt
from pywasmrt import ComponentError

GUEST = Path(__file__).with_name("till.wat")


class Till:
    """The resource `till` of the interface local:shop/tills."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def pay(self, cents: int) -> int:
        if cents > self.cents:
            raise ComponentError(f"only {self.cents} cents are left")
        self.cents -= cents
        return self.cents

    def __del__(self) -> None:
        print("the till is closed")


def main() -> None:
    runtime = pywasmrt.new_runtime()
    component = runtime.compile_component(GUEST)
    print(component.wit().splitlines()[2])
    with runtime.instantiate_component(component, {"local:shop/tills": {"Till": Till}}) as instance:
        print("left:", instance.exports.pay_twice(100, 30))
        try:
            instance.exports.pay_twice(100, 70)
        except ComponentError as error:
            print("refused:", error)
        try:
            instance.exports.pay_twice("100", 1)
        except TypeError as error:
            print(error)


main()
