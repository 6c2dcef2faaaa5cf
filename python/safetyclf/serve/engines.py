"""A model with its policies, ready to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from .._classifier import Classifier
from .._native import Engine
from .._results import TermMatch
from .._verdict import State as VerdictState
from .._verdict import Verdict, with_terms
from .lanes import Answer, Lane, Watch, open_lane
from .settings import PolicySource, Settings

if TYPE_CHECKING:
    from .._native import Batch

# Characters from which on a request goes its own way, so that short ones need not wait for it to end.
_LONG: Final = 2048
DEFAULT: Final = "default"  # name of the model file's own thresholds


class Judged(NamedTuple):
    """One text's verdict, after how many layers it left the model, and how many tokens were read."""

    verdict: Verdict
    depth: int
    tokens: int


class Loaded:
    """One generation: what a reload replaces as a whole.

    Attributes:
        policies: classifiers by the name that requests give, all on one engine. The first is the default.
        shadow: the same on the second model, or None.
    """

    def __init__(self, settings: Settings) -> None:
        """Reads the files; may run in any thread.

        Raises:
            SafetyclfError, OSError: a file cannot be used.
        """
        self._settings = settings
        self.policies = _open(settings, settings.model)
        self.default = next(iter(self.policies))
        self.shadow = None if settings.shadow is None else _open(settings, settings.shadow)

    @property
    def classifier(self) -> Classifier:
        """The default policy's."""
        return self.policies[self.default]

    @property
    def explains(self) -> bool:
        """Whether the model can say which words count: our own models can."""
        return isinstance(self.classifier._engine, Engine)

    def start(self, on_batch: Callable[[Batch], None]) -> None:
        """Opens the queues, on the loop's thread."""
        # A text of a megabyte takes seconds: what is long goes a way of its own, beside what is short.
        self._short = open_lane(self.classifier, self._settings, on_batch)
        self._long = open_lane(self.classifier, self._settings, on_batch)
        if self.shadow is not None:
            self._beside = open_lane(self.shadow[self.default], self._settings, lambda _: None)

    @property
    def _lanes(self) -> list[Lane]:
        return [self._short, self._long] + ([self._beside] if self.shadow is not None else [])

    @property
    def waiting(self) -> int:
        """Requests in all queues."""
        return sum(lane.waiting for lane in self._lanes)

    async def judge(self, texts: Sequence[str], policy: str, watch: Watch) -> tuple[list[Judged], Answer]:
        """Verdicts by the policy of that name, which exists, on texts that are not too long.

        Raises:
            Refusal: the queue is full.
        """
        classifier = self.policies[policy]
        answer = await self._lane(texts).score(texts, classifier, watch)
        rules, explain = classifier._in_force.rules, classifier._explain
        found: Sequence[tuple[TermMatch, ...]] = [()] * len(texts)
        if classifier._in_force.has_terms:
            found = await _found(classifier, texts) or found
            states = zip(answer.states, found, strict=True)
            answer = answer._replace(
                states=[with_terms(state, matches, rules.categories) for state, matches in states]
            )
        judged = [
            Judged(Verdict(state, rules, (text, explain), matches), depth, tokens)
            for text, state, depth, tokens, matches in zip(
                texts, answer.states, answer.depths, answer.tokens, found, strict=True
            )
        ]
        return judged, answer

    async def second_opinion(self, texts: Sequence[str], policy: str) -> list[VerdictState]:
        """What the shadow model says. Raises Refusal when its queue is full."""
        assert self.shadow is not None
        return (await self._beside.score(texts, self.shadow[policy], lambda _: None)).states

    def _lane(self, texts: Sequence[str]) -> Lane:
        return self._short if sum(map(len, texts)) <= _LONG else self._long

    async def close(self) -> None:
        """Answers all that waits."""
        for lane in self._lanes:
            await lane.close()


async def _found(classifier: Classifier, texts: Sequence[str]) -> list[tuple[TermMatch, ...]] | None:
    """What term lists find: here for short texts, in a thread for long ones."""
    if sum(map(len, texts)) <= _LONG:
        return classifier._in_force.terms(texts)
    return await asyncio.to_thread(classifier._in_force.terms, texts)


def _open(settings: Settings, model: str | None) -> dict[str, Classifier]:
    first, *others = settings.policy or (PolicySource(DEFAULT, "", None),)
    classifier = Classifier(
        model,
        policy=first.path or None,
        audience=first.audience,
        threads=settings.threads,
        effort="adaptive" if settings.effort == "adaptive" else "full",
        max_text_bytes=settings.max_text_bytes,
        isa=settings.isa,
        device=settings.device,
    )
    rest = {source.name: classifier._with_policy(source.path, source.audience) for source in others}
    return {first.name: classifier, **rest}
