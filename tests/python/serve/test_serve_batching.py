"""Requests of many callers in common batches: the bits of `classify_batch`, by whichever policy."""

from __future__ import annotations

import asyncio
import os
import random
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetyclf import Classifier, InvalidArgumentError, InvalidInputError
from safetyclf._native import Batcher
from safetyclf.serve.app import Application
from safetyclf.serve.lanes import BatchLane
from safetyclf.serve.settings import PolicySource, Settings
from safetyclf.serve.state import State
from server_helpers import TERMS, write_policy


def batcher_of(classifier: Classifier, **limits: Any) -> Batcher:
    chosen = {
        "batch_tokens": 200,
        "max_wait": 0.002,
        "queue_requests": 1000,
        "queue_bytes": 1 << 24,
        **limits,
    }
    return Batcher(classifier._engine, **chosen)


def answers(batcher: Batcher, count: int) -> dict[int, Any]:
    found: dict[int, Any] = {}
    while len(found) < count:
        assert select.select([batcher], [], [], 30)[0]
        found |= {answer[0]: answer for answer in batcher.take()[0]}
    return found


@pytest.mark.parametrize("effort", ["full", "adaptive"])
def test_states_are_those_of_the_engine(model_path: Path, messages: list[str], effort: Any) -> None:
    if effort == "adaptive" and not Classifier(model_path)._engine.exit_floors:
        pytest.skip("this model file has no rules for leaving early")
    classifier = Classifier(model_path, threads=1, effort=effort)
    batcher, rng = batcher_of(classifier), random.Random(5)
    thresholds, level = classifier._in_force.native, classifier._level
    asked = {}
    for _ in range(150):
        texts = rng.choices([*messages, "\ud800 lone", ""], k=rng.randint(1, 4))
        # Requests with and without a level take turns, and may not share a batch.
        use = rng.choice([level, None])
        asked[batcher.submit(texts, thresholds, use)] = texts, use
    for number, (_, states, depths, tokens, waited) in answers(batcher, len(asked)).items():
        texts, use = asked[number]
        assert states == classifier._engine.verdicts(texts, thresholds, use)
        assert len(depths) == len(tokens) == len(texts)
        assert waited >= 0
        if use is None:
            assert set(depths) == {classifier._engine.depths - 1}
        else:
            assert depths == classifier.scores(texts, depths=True)[1].tolist()
    batcher.close()


@pytest.mark.parametrize("effort", ["full", "adaptive"])
def test_no_text_has_an_empty_answer(model_path: Path, effort: Any) -> None:
    if effort == "adaptive" and not Classifier(model_path)._engine.exit_floors:
        pytest.skip("this model file has no rules for leaving early")
    classifier = Classifier(model_path, threads=1, effort=effort)
    batcher, thresholds, level = batcher_of(classifier), classifier._in_force.native, classifier._level
    assert answers(batcher, batcher.submit([], thresholds, level))[1][1:4] == ([], [], [])
    asked: dict[int, list[str]] = {}
    for texts in ([], ["x"], [], [], ["y", "z"]):  # in company
        asked[batcher.submit(texts, thresholds, level)] = texts
    for number, (_, states, depths, tokens, _) in answers(batcher, len(asked)).items():
        assert states == classifier._engine.verdicts(asked[number], thresholds, level)
        assert len(depths) == len(tokens) == len(asked[number])
    batcher.close()


def test_wrong_arguments_are_errors_of_the_caller(tiny: Classifier) -> None:
    batcher = batcher_of(tiny)
    with pytest.raises(InvalidInputError, match="text 1 must be str"):
        batcher.submit(["x", 3], tiny._in_force.native, None)  # type: ignore[list-item]
    thresholds = tiny._in_force.native
    for wrong in (b"", thresholds[:-8], thresholds + bytes(8)):
        with pytest.raises(InvalidArgumentError, match="per category"):
            batcher.submit(["x"], wrong, None)
    number = batcher.submit(["x"], tiny._in_force.native, 7)
    assert isinstance(answers(batcher, 1)[number][1], InvalidArgumentError)


def test_a_batcher_dropped_without_closing_ends(tiny: Classifier) -> None:
    batcher = batcher_of(tiny)
    for _ in range(50):
        batcher.submit(["the angry dog " * 500], tiny._in_force.native, None)
    del batcher


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_refused_and_ends(tiny: Classifier) -> None:
    batcher = batcher_of(tiny)
    child = os.fork()
    if child == 0:
        try:
            batcher.submit(["x"], tiny._in_force.native, None)
        except InvalidArgumentError:
            del batcher
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(answers(batcher_and_submit(batcher, tiny), 1)) == 1


def batcher_and_submit(batcher: Batcher, classifier: Classifier) -> Batcher:
    batcher.submit(["x"], classifier._in_force.native, None)
    return batcher


def test_policies_share_batches_and_keep_their_verdicts(
    tiny_path: Path, tmp_path: Path, messages: list[str]
) -> None:
    strict = write_policy(tmp_path / "strict.toml", 0.0, 0.5)
    lists = write_policy(tmp_path / "lists.toml", 1.0, 1.0, TERMS)
    policies = {"strict": strict, "lists": lists}
    texts = [*messages, "banana", "the angry dog " * 1000]
    expected = {
        name: dict(zip(texts, Classifier(tiny_path, policy=path).classify_batch(texts), strict=True))
        for name, path in policies.items()
    }
    sources = tuple(PolicySource(name, str(path), None) for name, path in policies.items())
    settings = Settings(model=str(tiny_path), policy=sources, max_text_bytes=1 << 25)
    state = State(settings, str(tmp_path))

    async def ask(client: httpx.AsyncClient, text: str, policy: str) -> None:
        answer = await client.post(
            "/v1/moderations", json={"input": text}, headers={"x-safetyclf-policy": policy}
        )
        [result] = answer.json()["results"]
        verdict = expected[policy][text]
        assert result["flagged"] == verdict.flagged
        assert result["safetyclf"]["action"] == verdict.action
        assert result["safetyclf"]["policy"] == policy
        assert [m["term"] for m in result["safetyclf"].get("matches", [])] == [
            m.term for m in verdict.matches
        ]
        assert f"{verdict.scores['harassment']:.9g}" in answer.text

    async def all_at_once() -> int:
        app = Application(state)
        await state.open()
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            # What goes before takes long enough for all of the short ones to meet.
            lane, first = state.loaded._short, state.loaded.classifier
            before = asyncio.ensure_future(lane.score(["the angry dog " * 1_500_000], first, lambda _: None))
            asked = [asyncio.ensure_future(ask(client, t, policy)) for t in texts for policy in policies]
            short = len(policies) * sum(state.loaded._lane([text]) is lane for text in texts)
            while lane.waiting < short:
                assert not before.done()
                await asyncio.sleep(0.01)
            before.cancel()
            await asyncio.gather(*asked)
            found = (await client.get("/metrics")).text
        await state.close()
        [line] = [line for line in found.splitlines() if line.startswith("safetyclf_batch_requests_count")]
        return int(float(line.split()[1]))

    assert asyncio.run(all_at_once()) < 2 * len(texts)


def test_cancelled_requests_leave_nothing_behind(tiny: Classifier) -> None:
    async def cancel_all() -> tuple[int, list[int]]:
        lane = BatchLane(tiny._engine, Settings(), lambda _: None)
        tasks = [asyncio.create_task(lane.score(["x " * 500], tiny, lambda _: None)) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await lane.close()
        answered = [i for i, answer in enumerate(answers) if not isinstance(answer, BaseException)]
        return len(lane._pending), answered

    assert asyncio.run(cancel_all()) == (0, list(range(1, 50, 2)))


def test_after_a_cancelled_request_others_are_answered(tiny: Classifier) -> None:
    async def ask() -> None:
        lane = BatchLane(tiny._engine, Settings(), lambda _: None)
        for _ in range(20):
            gone = asyncio.create_task(lane.score(["x"], tiny, lambda _: None))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.sleep(0.002)  # the batcher's thread has found nothing
            await asyncio.wait_for(lane.score(["y"], tiny, lambda _: None), 20)
        await lane.close()

    asyncio.run(ask())


def test_a_batch_is_not_waited_for_by_one_caller(make_client: Callable[..., Any]) -> None:
    client = make_client(max_wait=1000.0)
    for _ in range(5):
        assert client.post("/v1/moderations", json={"input": "x"}).elapsed.total_seconds() < 0.9
