"""A component whose host functions wait: a hundred tills of one shop, each of which asks a bank, at the same time.

python examples/components_async.py
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pywasmrt
from pywasmrt import ComponentError

GUEST = Path(__file__).with_name("till.wat")


class Bank:
    """What the tills ask; a real one would be reached by HTTP."""

    def __init__(self) -> None:
        self.waiting = self.most = 0

    async def approve(self, cents: int) -> bool:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await asyncio.sleep(0.02)
        self.waiting -= 1
        return cents < 80


async def main() -> None:
    bank = Bank()

    class Till:
        """The resource `till` of the interface local:shop/tills."""

        def __init__(self, cents: int) -> None:
            self.cents = cents

        async def pay(self, cents: int) -> int:
            if not await bank.approve(cents):
                raise ComponentError(f"the bank refuses {cents} cents")
            self.cents -= cents
            return self.cents

    runtime = pywasmrt.new_runtime()
    component = runtime.compile_component(GUEST)
    linked = runtime.link_component(component, {"local:shop/tills": {"Till": Till}})

    async def pay(cents: int) -> str:
        with await linked.instantiate_async(limits=pywasmrt.Limits(timeout=10)) as instance:
            try:
                return f"{await instance.exports.pay_twice.call_async(200, cents)} left"
            except ComponentError as error:
                return str(error)

    results = await asyncio.gather(*(pay(cents) for cents in range(100)))
    print(results[30], "/", results[90])
    print("guests that waited at once:", bank.most)


asyncio.run(main())
