"""Conversations: turns alone and in context, roles, and messages that are none."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetyclf import ChatVerdict, Classifier, InvalidArgumentError, InvalidInputError, TextTooLargeError

WORDS = ["the", "dog", "is", "good", "hates", "rude", "people", "bird", "a", "b", "st0p", "\u65e5\u672c", "!"]
turn_texts = st.lists(st.sampled_from(WORDS), max_size=35).map(" ".join)
chats = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": turn_texts}),
    min_size=1,
    max_size=8,
)


def messages(*contents: str, roles: Sequence[str] = ("user", "assistant")) -> list[dict[str, Any]]:
    return [{"role": roles[i % len(roles)], "content": content} for i, content in enumerate(contents)]


@pytest.fixture(scope="module")
def strict(tiny_path: Path) -> Classifier:
    """Flags about half of all texts."""
    scores = sorted(Classifier(tiny_path).classify(word).scores["violence"] for word in WORDS)
    never = dict.fromkeys(Classifier(tiny_path).categories, (None, None))
    return Classifier(tiny_path, threads=1, policy={**never, "violence": (scores[len(scores) // 2], None)})


def expected(classifier: Classifier, chat: Sequence[Mapping[str, str]], context_turns: int) -> list[Any]:
    """The rule of docs/conversations.md, once more: scores alone and in context of each turn."""
    limit = classifier.info()["tokenizer"]["window_tokens"]
    review = {name: threshold.review for name, threshold in classifier.thresholds.items()}
    unflagged: list[str] = []
    result = []
    for message in chat:
        text = message["content"]
        alone = classifier.classify(text)
        context: list[str] = []
        for earlier in reversed(unflagged[len(unflagged) - min(context_turns, len(unflagged)) :]):
            joined = "\n".join([earlier, *context, text])
            if len(classifier._engine.tokenize(joined)[0]) > limit + 2:
                break
            context.insert(0, earlier)
        together = classifier.classify("\n".join([*context, text])) if context else None
        scores = {
            name: max(score, together.scores[name] if together else 0.0)
            for name, score in alone.scores.items()
        }
        flagged = any(review[name] is not None and score >= review[name] for name, score in scores.items())
        if not flagged:
            unflagged.append(text)
        result.append((scores, flagged, alone, together))
    return result


@given(chat=chats, context_turns=st.integers(0, 4))
def test_the_rule(strict: Classifier, chat: list[dict[str, str]], context_turns: int) -> None:
    found = strict.classify_chat(chat, context_turns=context_turns)
    wanted = expected(strict, chat, context_turns)
    assert [turn.message for turn in found.turns] == list(range(len(chat)))
    assert [turn.role for turn in found.turns] == [message["role"] for message in chat]
    assert [(t.verdict.scores, t.verdict.flagged, t.alone, t.in_context) for t in found.turns] == wanted
    assert found.flagged == any(flagged for _, flagged, _, _ in wanted)
    assert found.action == ("review" if found.flagged else "allow")


def test_context_can_flag_what_no_turn_says_alone(strict: Classifier) -> None:
    """The tests above would pass if context never mattered."""
    pairs = [(a, b) for a in WORDS for b in WORDS]
    alone = {word: strict.classify(word).flagged for word in WORDS}
    found = [strict.classify_chat(messages(a, b)) for a, b in pairs if not alone[a] and not alone[b]]
    assert {chat.flagged for chat in found} == {True, False}
    raised = next(chat for chat in found if chat.flagged)
    assert not raised.turns[0].verdict.flagged
    assert raised.turns[1].verdict.flagged
    assert not raised.turns[1].alone.flagged
    assert raised.turns[1].verdict.spans("violence") == raised.turns[1].alone.spans("violence")


def test_a_flagged_turn_is_no_context(strict: Classifier) -> None:
    flagged = next(word for word in WORDS if strict.classify(word).flagged)
    harmless = [word for word in WORDS if not strict.classify(word).flagged]
    for word in harmless:
        first, second = strict.classify_chat(messages(flagged, word)).turns
        assert first.verdict.flagged
        assert second.in_context is None
        assert second.verdict == second.alone == strict.classify(word)
        between = strict.classify_chat(messages(word, flagged, harmless[0])).turns
        assert between[2].in_context == strict.classify(f"{word}\n{harmless[0]}")


def test_roles(tiny: Classifier) -> None:
    chat = messages(
        "be kind", "the dog", "good bird", "help me", roles=("system", "user", "assistant", "user")
    )
    found = tiny.classify_chat(chat, judge_roles=("user",), context_roles=["user", "system"])
    assert [(turn.message, turn.role) for turn in found.turns] == [(1, "user"), (3, "user")]
    calm = Classifier(tiny._path, policy=dict.fromkeys(tiny.categories, (None, None)))
    system, user = (
        calm.classify_chat(chat, judge_roles=["user"], context_roles=[role]) for role in ("system", "user")
    )
    assert [turn.in_context for turn in system.turns] == [
        calm.classify("be kind\nthe dog"), calm.classify("be kind\nhelp me")
    ]  # fmt: skip
    assert [turn.in_context for turn in user.turns] == [None, calm.classify("the dog\nhelp me")]
    assert tiny.classify_chat(chat, judge_roles=["nobody"]) == ChatVerdict((), False, "allow")


def test_long_turns_are_judged_alone_and_are_no_context(tiny_path: Path) -> None:
    calm = Classifier(
        tiny_path, policy=dict.fromkeys(("harassment", "violence", "violence/graphic"), (None, None))
    )
    long = "the dog is good " * 20
    turns = calm.classify_chat(messages("hello", long, "bird", "the " * 29 + "dog")).turns
    assert turns[1].verdict == turns[1].alone == calm.classify(long)
    assert turns[1].alone.windows > 1
    assert [turn.in_context is None for turn in turns] == [True, True, True, True]
    turns = calm.classify_chat(messages(long, "bird", "the " * 28 + "dog")).turns
    assert [turn.in_context is None for turn in turns] == [True, True, False]


def test_strictest_action(tiny_path: Path) -> None:
    blocks = Classifier(tiny_path, policy={"harassment": (0.0, 0.0)})
    assert blocks.classify_chat(messages("hello", "dog")).action == "block"


def test_parts_and_pickles(tiny: Classifier) -> None:
    part = {"type": "text", "text": "the dog"}
    chat = [{"role": "user", "content": [part, {"type": "text", "text": "is good"}]}]
    found = tiny.classify_chat(iter(chat))
    assert found.turns[0].alone == tiny.classify("the dog\nis good")
    assert tiny.classify_chat([{"role": "user", "content": []}]).turns[0].alone == tiny.classify("")
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ("hello", "takes a list of messages, not str"),
        ({"role": "user", "content": "hello"}, "takes a list of messages, not dict"),
        (7, "takes a list of messages, not int"),
        ([], "needs at least one message"),
        (["hello"], "message 0 must be a mapping with role and content, not str"),
        ([{"content": "hello"}], "message 0 has no 'role'"),
        ([{"role": "user"}], "message 0 has no 'content'"),
        ([{"role": "user", "content": "a", "name": "b"}], "message 0 has 'name', which would not be judged"),
        ([{"role": 1, "content": "a"}], "message 0: the role must be str, not int"),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": None}], "message 1: .* not NoneType"),
        ([{"role": "user", "content": b"a"}], "message 0: the content must be str or a list .* not bytes"),
        ([{"role": "user", "content": ["a"]}], "message 0, part 0 must be .* not str"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "not 'image_url': only text is judged"),
        ([{"role": "user", "content": [{"type": "text"}]}], "part 0: 'text' must be str, not NoneType"),
    ],
)
def test_messages_that_are_none(tiny: Classifier, chat: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        tiny.classify_chat(chat)


def test_bad_options(tiny: Classifier, tiny_path: Path) -> None:
    chat = messages("hello")
    with pytest.raises(InvalidInputError, match="judge_roles must be a list of roles or None, not 'user'"):
        tiny.classify_chat(chat, judge_roles="user")
    with pytest.raises(InvalidInputError, match="context_roles must be a list of roles"):
        tiny.classify_chat(chat, context_roles=[1])  # type: ignore[list-item]
    for bad in (-1, True, 1.0, "1"):
        with pytest.raises(InvalidArgumentError, match="context_turns must be a number from 0 on"):
            tiny.classify_chat(chat, context_turns=bad)  # type: ignore[arg-type]
    with pytest.raises(TextTooLargeError):
        Classifier(tiny_path, max_text_bytes=4).classify_chat(chat)
