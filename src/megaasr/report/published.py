"""Published results on Voices-in-the-Wild-Bench: error rates in per cent, real and simulated.

They are copied from the table of the Mega-ASR paper (arXiv 2605.19833), not measured here. They are
shown beside our figures, marked, only if the test set is that bench.
"""

from __future__ import annotations

from megaasr.score.subsets import CATEGORIES

SOURCE = "arXiv 2605.19833"
_TABLE = """
Gemini-3-Flash     7.63/10.61  5.14/1.90 3.73/2.65 8.75/14.86  8.38/19.85  3.15/7.56 5.47/7.65 7.99/9.62
Seed-ASR           8.21/8.11   3.06/3.19 3.10/2.76 16.55/18.21 18.48/23.33 3.89/5.71 7.97/7.46 6.88/9.29
GPT-4o-transcribe  13.19/45.78 1.87/2.39 1.57/2.77 15.62/28.76 13.37/22.60 3.70/8.43 8.76/7.71 5.62/11.00
Whisper-large-v3   16.57/18.19 3.38/6.85 3.06/6.01 25.34/39.87 18.33/31.81 3.74/8.77 7.04/8.05 8.91/14.79
Qwen2.5-Omni       11.92/17.88 2.35/2.44 2.40/2.08 20.01/32.64 13.71/30.09 2.46/5.96 6.34/5.88 6.40/10.29
Kimi-Audio         35.10/14.59 2.71/1.92 2.49/1.64 24.00/26.58 8.73/18.09  1.83/2.78 4.54/6.33 4.44/6.19
Qwen3-ASR-1.7B     7.51/9.52   2.23/1.54 1.73/1.27 10.40/14.61 9.57/19.42  1.54/3.41 4.16/4.19 3.30/5.39
Mega-ASR           6.33/8.26   2.35/1.61 1.62/1.23 8.62/12.59  7.65/14.21  1.71/3.72 2.59/2.62 2.73/4.57
Mega-ASR+router    6.12/8.09   2.33/1.69 1.80/1.41 8.66/12.22  6.91/13.23  1.60/3.35 2.72/2.88 2.63/4.53
"""  # noqa: E501 (a table)


def published_results() -> dict[str, dict[str, tuple[float, float]]]:
    """Return the pair of real and simulated error rates in per cent, by system and category."""
    results: dict[str, dict[str, tuple[float, float]]] = {}
    for line in _TABLE.strip().splitlines():
        name, *cells = line.split()
        pairs = [cell.split("/") for cell in cells]
        results[name.replace("+router", " + router")] = {
            category: (float(real), float(simulated))
            for category, (real, simulated) in zip(CATEGORIES, pairs, strict=True)
        }
    return results
