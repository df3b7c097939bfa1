"""Running a property by Hypothesis from within the kit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import hypothesis
except ImportError as error:
    missing = f"{__name__} needs Hypothesis: pip install 'pywasmrt[testing]' ({error})"
    raise ImportError(missing, name="hypothesis") from error

from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

__all__ = ["run_property"]

_EXAMPLES = 200


def run_property(
    example: Callable[[Callable[[Any], Any]], None],
    settings: Any = None,
    failure: type[AssertionError] | tuple[()] = (),
) -> None:
    """Run `example` many times with a function that draws from strategies; raise what it raises, shrunk.

    A `failure` is complete by itself: it is raised without the frames of the drawing code and without Hypothesis's
    notes of what was drawn; its cause stays. `settings` is a `hypothesis.settings`; None is 200 examples,
    without a deadline or a database.
    """
    if settings is None:
        settings = hypothesis.settings(
            max_examples=_EXAMPLES,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            phases=[phase for phase in Phase if phase is not Phase.explain],  # which takes long, and names our lines
            suppress_health_check=list(HealthCheck),
        )

    @settings  # type: ignore[untyped-decorator]
    @hypothesis.given(data=st.data())
    def run(data: st.DataObject) -> None:
        example(data.draw)

    __tracebackhide__ = True
    try:
        run()
    except failure as found:
        found.__dict__.pop("__notes__", None)
        raise found.with_traceback(None) from found.__cause__
