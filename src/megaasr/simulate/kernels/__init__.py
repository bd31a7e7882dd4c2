"""The inner loops of the primitives: compiled C if available, otherwise numpy and scipy.

Both modules have the same functions (see `_native.pyi`) and agree to less than one 16-bit level;
the compiled one is 5 to 60 times as fast. `loops` is the module in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Literal

Loops = Literal["compiled", "portable"]
_MODULES: dict[Loops, str] = {"compiled": "_native", "portable": "portable"}


def _load(implementation: Loops) -> ModuleType:
    # Only the module in use, because the portable loops import scipy.signal, which is slow.
    return import_module(f"{__name__}.{_MODULES[implementation]}")


try:
    loops: ModuleType = _load("compiled")
except ImportError:  # installed without a C compiler
    loops = _load("portable")


def name() -> Loops:
    """Return the name of the loops in use."""
    return "portable" if loops.__name__.endswith(".portable") else "compiled"


@contextmanager
def using(implementation: Loops) -> Iterator[None]:
    """Use the given loops inside a `with` block, in all threads of this process; for comparisons.

    Args:
        implementation: `compiled` or `portable`.

    Raises:
        ImportError: the package was installed without a C compiler, so there are no compiled loops.
    """
    global loops  # noqa: PLW0603 (a choice for the whole process, like the import)
    previous = loops
    loops = _load(implementation)
    try:
        yield
    finally:
        loops = previous
