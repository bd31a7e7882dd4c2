"""The inner loops of the primitives: compiled where possible, else numpy and scipy.

Both modules have the same functions (see `_native.pyi`) and agree to less than a 16-bit step;
the compiled one is 5 to 60 times faster. `loops` is the module in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Literal

Loops = Literal["compiled", "portable"]
_MODULES: dict[Loops, str] = {"compiled": "_native", "portable": "portable"}


def _load(which: Loops) -> ModuleType:
    # Only the one in use: the portable loops bring scipy.signal, which is slow to import.
    return import_module(f"{__name__}.{_MODULES[which]}")


try:
    loops: ModuleType = _load("compiled")
except ImportError:  # installed without a C compiler
    loops = _load("portable")


def name() -> Loops:
    """Return which loops are in use."""
    return "portable" if loops.__name__.endswith(".portable") else "compiled"


@contextmanager
def using(which: Loops) -> Iterator[None]:
    """Use one kind of loops for a while, in all threads of this process; for comparisons.

    Raises:
        ImportError: `compiled`, and the package was installed without a C compiler.
    """
    global loops  # noqa: PLW0603 (the choice is the process's, as the import was)
    before = loops
    loops = _load(which)
    try:
        yield
    finally:
        loops = before
