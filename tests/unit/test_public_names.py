"""`import megaasr` is cheap and offers what it promises."""

import pickle
import subprocess
import sys

import pytest

import megaasr
from megaasr import errors


def test_every_public_name_exists() -> None:
    for name in megaasr.__all__:
        assert getattr(megaasr, name) is not None
    assert set(megaasr.__all__) <= set(dir(megaasr))
    assert sorted(set(megaasr.__all__)) == sorted(megaasr.__all__)


def test_every_error_is_public() -> None:
    named = vars(errors).items()
    tree = {name for name, one in named if isinstance(one, type) and issubclass(one, Exception)}
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
