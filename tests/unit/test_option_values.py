"""The choices of the command line are those of the library, in the same order."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, get_args

import pytest

from megaasr.cli import options
from megaasr.model.encoder_attention import EncoderAttention
from megaasr.model.engine_limits import Engine
from megaasr.model.interface import Dtype
from megaasr.records.marking import Marking
from megaasr.route.decision import RouteChoice
from megaasr.stream.options import CommitPolicy, Encoding
from megaasr.transcribe.search import SearchMethod, Utility


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (options.AttentionName, EncoderAttention),
        (options.CommitName, CommitPolicy),
        (options.DtypeName, Dtype),
        (options.EncodingName, Encoding),
        (options.EngineName, Engine),
        (options.MarkingName, Marking),
        (options.RouteName, RouteChoice),
        (options.SearchName, SearchMethod),
        (options.UtilityName, Utility),
    ],
)
def test_an_option_has_the_values_of_the_library(names: type[StrEnum], values: Any) -> None:
    assert tuple(names) == get_args(values)
