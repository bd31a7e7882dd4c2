"""`import megaasr` is cheap and offers what it promises."""

import importlib
import logging
import pickle
import subprocess
import sys
import types

import pytest

import megaasr
from megaasr import errors


@pytest.mark.parametrize(
    "package", ["megaasr", "megaasr.audio", "megaasr.simulate", "megaasr.scoring"]
)
def test_every_public_name_exists_and_is_documented(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        assert value is not None
        if isinstance(value, type | types.FunctionType):
            assert value.__doc__, f"{package}.{name} has no docstring"
    assert sorted(set(module.__all__)) == sorted(module.__all__)


def test_the_public_names_are_listed_by_dir() -> None:
    assert set(megaasr.__all__) <= set(dir(megaasr))


def test_messages_go_to_a_silent_logger() -> None:
    logger = logging.getLogger("megaasr")
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)


def test_every_error_is_public() -> None:
    named = vars(errors).items()
    tree = {n for n, value in named if isinstance(value, type) and issubclass(value, Exception)}
    assert len(tree) > 10
    assert tree <= set(megaasr.__all__)


def test_errors_survive_the_way_between_processes() -> None:
    error = errors.AudioNotFoundError("a.wav", "no such file")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is errors.AudioNotFoundError
    assert (str(copy), copy.path, copy.reason) == ("a.wav: no such file", "a.wav", "no such file")


def test_other_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = megaasr.nothing
    assert not hasattr(megaasr, "main")


def test_the_import_brings_nothing_heavy() -> None:
    code = "import sys, megaasr; print({'numpy', 'torch', 'typer', 'pathlib'} & set(sys.modules))"
    paths = f"import sys; sys.path[:0] = {sys.path!r}; "
    done = subprocess.run(
        [sys.executable, "-S", "-c", paths + code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
