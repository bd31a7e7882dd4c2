"""Public scoring functions: error rates, alignments and text normalisation.

from megaasr.scoring import count_errors

count_errors("turn left at the bridge", "turn left at the fridge").rate    # 0.2
"""

from megaasr.text.error_rate import (
    AlignedWord,
    ErrorCounts,
    align,
    count_errors,
    count_errors_of_pairs,
    pooled,
)
from megaasr.text.normalize import normalizer_names, tokens

__all__ = [
    "AlignedWord",
    "ErrorCounts",
    "align",
    "count_errors",
    "count_errors_of_pairs",
    "normalizer_names",
    "pooled",
    "tokens",
]
