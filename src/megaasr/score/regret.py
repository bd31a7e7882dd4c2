"""What routing costs in each scenario, compared with the branch that is better there."""

from __future__ import annotations

from dataclasses import dataclass

from megaasr.score.result import Result

BASE, ROBUST = "base", "robust"
"""Names of the systems that transcribe every clip by one branch."""


@dataclass(frozen=True, slots=True)
class ScenarioRegret:
    """How well a system does in a scenario, and how well each branch does.

    Attributes:
        scenario: name of the scenario.
        clips: number of clips.
        base, robust: error rates of the branches, at least 0.
        routed: error rate of the system.
        robust_share: share of the clips, 0..1, whose text is the robust branch's; None if the
            result has no clips.
    """

    scenario: str
    clips: int
    base: float
    robust: float
    routed: float
    robust_share: float | None

    @property
    def regret(self) -> float:
        """The system's error rate minus the better branch's; negative where routing beats both."""
        return self.routed - min(self.base, self.robust)


def scenario_regrets(result: Result, system: str, normalizer: str) -> list[ScenarioRegret]:
    """Return the regret of a system in each scenario, in the order of the result.

    Args:
        result: a benchmark of the systems `base` and `robust` and others.
        system: name of the system that chooses between the branches.
        normalizer: name of the normaliser of the rates.

    Returns:
        The scenarios; empty if the branches are not among the systems, or the system has no router.
    """
    systems = {summary.name for summary in result.systems}
    if not {BASE, ROBUST} <= systems or system in {BASE, ROBUST} or system not in result.routing:
        return []
    routes: dict[str, list[str | None]] = {}
    for clip in result.clips:
        if clip.scenario is not None:
            routes.setdefault(clip.scenario, []).append(clip.hypotheses[system].route)
    regrets = []
    for group in result.groups_by("scenario"):
        base, robust, routed = (group.rates[name][normalizer] for name in (BASE, ROBUST, system))
        if base.is_defined:
            taken = routes.get(group.name)
            share = None if taken is None else taken.count(ROBUST) / len(taken)
            regrets.append(
                ScenarioRegret(group.name, base.clips, base.rate, robust.rate, routed.rate, share)
            )
    return regrets
