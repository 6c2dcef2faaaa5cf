"""The Python interface: what it promises in docs/api.md."""

from __future__ import annotations

import ast
import copy
import dataclasses
import json
import math
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetyclf
from hypothesis import given
from hypothesis import strategies as st
from places import REPOSITORY
from safetyclf import Classifier, Thresholds, Verdict, _errors, _native

TEXTS = ["hello friends", "the bad dog is angry", "", "we like the weather in the city " * 20]


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


# The package -----------------------------------------------------------------------------------------------


def test_all_is_sorted_and_equals_the_public_namespace() -> None:
    assert safetyclf.__all__ == sorted(safetyclf.__all__)
    # In a fresh process: importing submodules adds names.
    names = run_python(
        "import safetyclf; print(*[n for n in dir(safetyclf) if not n.startswith('_')])"
    ).split()
    assert sorted([*names, "__version__"]) == safetyclf.__all__


def test_scoring_does_not_import_numpy(tiny_path: Path) -> None:
    code = (
        "import sys, safetyclf, safetyclf.__main__;"
        "safetyclf.Classifier(sys.argv[1]).classify('hello').spans('violence');"
        "print([name for name in ('numpy', 'pyarrow', 'scipy', 'onnx') if name in sys.modules])"
    )
    assert run_python(code, str(tiny_path)) == "[]"


def test_what_is_slow_to_import_is_not_imported(tiny_path: Path) -> None:
    code = (
        "import sys; before = set(sys.modules); import safetyclf;"
        "safetyclf.Classifier(sys.argv[1]).classify('hello').spans('violence');"
        "print({'dataclasses', 'inspect', 'json', 'numpy'} & set(sys.modules) - before)"
    )
    assert run_python(code, str(tiny_path)) == "set()"


def test_stubs_name_what_the_extension_has() -> None:
    stub = ast.parse(Path(safetyclf.__file__).with_name("_native.pyi").read_text())
    engine = next(node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == "Engine")
    stubbed = {node.name for node in engine.body if isinstance(node, ast.FunctionDef)} - {"__init__"}
    assert stubbed == {name for name in dir(_native.Engine) if not name.startswith("_")}
    info = next(node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == "BuildInfo")
    assert [node.target.id for node in info.body if isinstance(node, ast.AnnAssign)] == list(
        _native.build_info()
    )


def test_every_error_is_public_rooted_and_in_the_tree_at_the_top() -> None:
    tree = (_errors.__doc__ or "").split("Each also derives")[0]
    for name, error in vars(_errors).items():
        if not isinstance(error, type):
            continue
        assert issubclass(error, safetyclf.SafetyclfError)
        assert getattr(safetyclf, name) is error
        (line,) = (line for line in tree.splitlines() if re.search(rf"\b{name}\b", line))
        # The tree says which built-in exception it is, too.
        for base in error.__bases__:
            assert base.__name__ in line or base is Exception or issubclass(base, safetyclf.SafetyclfError)


def test_build_info_names_an_instruction_set_this_cpu_has() -> None:
    info = safetyclf.build_info()
    assert info["isa"] in info["supported_isas"]
    assert info["supported_isas"][-1] == "scalar"
    assert set(info["supported_isas"]) <= set(info["compiled_isas"])
    assert info["version"] == safetyclf.__version__


# Verdicts --------------------------------------------------------------------------------------------------


def assert_consistent(verdict: Verdict, classifier: Classifier) -> None:
    assert tuple(verdict.scores) == tuple(verdict.categories) == classifier.categories
    assert verdict.thresholds == classifier.thresholds
    assert verdict.model == classifier.model_id
    assert verdict.windows >= 1
    actions = ["allow"]
    for category, score in verdict.scores.items():
        assert type(score) is float
        assert 0 <= score <= 1
        assert score == float(np.float32(score))
        review, block = verdict.thresholds[category]
        assert verdict.categories[category] is (review is not None and score >= review)
        if verdict.categories[category]:
            actions.append("review")
        if block is not None and score >= block:
            actions.append("block")
    assert verdict.flagged is any(verdict.categories.values())
    assert verdict.action == max(actions, key=["allow", "review", "block"].index)


def test_verdicts_are_consistent_and_equal_in_every_way_to_ask(
    classifier: Classifier, messages: list[str]
) -> None:
    texts = [*TEXTS, *messages]
    verdicts = classifier.classify_batch(texts)
    scores = classifier.scores(texts)
    assert scores.dtype == np.float32
    assert scores.shape == (len(texts), len(classifier.categories))
    for text, verdict, row in zip(texts, verdicts, scores, strict=True):
        assert_consistent(verdict, classifier)
        assert classifier.classify(text) == verdict
        assert list(verdict.scores.values()) == row.tolist()
    assert list(classifier.stream(iter(texts), batch_size=3)) == verdicts
    # Not all alike: the scores come from the texts.
    assert len({tuple(row) for row in scores.tolist()}) > 5


def test_nothing_in_nothing_out(classifier: Classifier) -> None:
    assert classifier.classify_batch([]) == []
    assert list(classifier.stream([])) == []
    assert classifier.scores([]).shape == (0, len(classifier.categories))


def test_categories_without_coverage_have_no_score(tiny: Classifier) -> None:
    assert tiny.coverage == {
        "harassment": "trained",
        "illicit": "none",
        "violence": "weak",
        "violence/graphic": "derived",
    }
    assert tiny.categories == ("harassment", "violence", "violence/graphic")
    assert "illicit" not in tiny.classify("hello").scores


def test_long_texts_are_read_in_windows(tiny: Classifier) -> None:
    assert tiny.classify("dog").windows == 1
    assert tiny.classify("dog " * 30).windows == 1
    assert tiny.classify("dog " * 31).windows == 2


def test_verdicts_are_frozen_and_survive_pickle_and_copy(tiny: Classifier) -> None:
    verdict = tiny.classify("the bad dog")
    with pytest.raises(AttributeError, match="does not change"):
        verdict.flagged = False  # type: ignore[misc]
    assert copy.copy(verdict).spans("violence") == verdict.spans("violence")
    for copied in (pickle.loads(pickle.dumps(verdict)), copy.deepcopy(verdict)):
        assert copied == verdict
        with pytest.raises(safetyclf.SafetyclfError, match="no longer knows its text"):
            copied.spans("violence")


def test_verdicts_do_not_share_their_dictionaries(tiny: Classifier) -> None:
    first = tiny.classify("the bad dog")
    first.thresholds.clear()
    first.scores.clear()
    assert_consistent(tiny.classify("the bad dog"), tiny)
    assert list(tiny.thresholds) == list(tiny.categories)


# Ways to give texts ----------------------------------------------------------------------------------------


ARROW = ["string", "large_string", "string_view", "dictionary", "chunked"]
CONTAINERS: dict[str, Callable[[list[str]], Any]] = {
    "tuple": tuple,
    "generator": iter,
    "object array": lambda texts: np.array(texts, dtype=object),
    "str array": np.array,
    **{f"arrow {kind}": lambda texts, kind=kind: arrow(texts, kind) for kind in ARROW},
}


def arrow(texts: list[str | None], kind: str) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    if kind == "chunked":
        return pyarrow.chunked_array([texts[:1], texts[1:]])
    if kind == "dictionary":
        return pyarrow.array(texts).dictionary_encode()
    return pyarrow.array(texts, getattr(pyarrow, kind)())


@pytest.mark.parametrize("name", CONTAINERS)
def test_accepts(name: str, tiny: Classifier) -> None:
    make = CONTAINERS[name]
    expected = tiny.scores(TEXTS)
    assert tiny.scores(make(TEXTS)).tobytes() == expected.tobytes()
    assert tiny.classify_batch(make(TEXTS)) == tiny.classify_batch(TEXTS)


@pytest.mark.parametrize("kind", ARROW)
def test_arrow_null_is_refused_by_its_index(kind: str, tiny: Classifier) -> None:
    with pytest.raises(safetyclf.InvalidInputError, match="text 2 must be str, not NoneType"):
        tiny.scores(arrow(["a", "b", None], kind))


def test_stream_is_lazy(tiny: Classifier) -> None:
    taken = []

    def texts() -> Iterator[str]:
        for i in range(100):
            taken.append(i)
            yield f"dog {i}"

    verdicts = tiny.stream(texts(), batch_size=7)
    assert taken == []
    next(verdicts)
    assert len(taken) == 7
    assert len(list(verdicts)) == 99


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (None, safetyclf.InvalidInputError, "text 5 must be str, not NoneType"),
        ("x" * 101, safetyclf.TextTooLargeError, "text 5 has 101 bytes, more than max_text_bytes = 100"),
        ("\xe9" * 51, safetyclf.TextTooLargeError, "text 5 has 102 bytes"),
    ],
)
def test_stream_answers_all_before_the_error(
    bad: Any, error: type[Exception], message: str, tiny_path: Path
) -> None:
    classifier = Classifier(tiny_path, max_text_bytes=100)
    verdicts = classifier.stream(["dog", "cat", "hello", "good", "bad", bad, "x"], batch_size=4)
    got = [next(verdicts) for _ in range(5)]
    with pytest.raises(error, match=message):
        next(verdicts)
    assert got == classifier.classify_batch(["dog", "cat", "hello", "good", "bad"])


# Spans -----------------------------------------------------------------------------------------------------


def assert_explains(classifier: Classifier, text: str) -> None:
    verdict = classifier.classify(text)
    for column, category in enumerate(verdict.scores):
        explanation = verdict.explain(category)
        logits, _, _ = classifier._engine.logits([text], classifier._engine.depths - 1)
        assert explanation.logit == logits[0, column]
        assert 0 <= explanation.window < verdict.windows
        total = math.fsum([explanation.bias, explanation.rest, *(s.weight for s in explanation.spans)])
        # float32 sums of at most 512 terms of order 1: 512 * 2**-24 * 1 = 3e-5, twice.
        assert total == pytest.approx(explanation.logit, abs=1e-4)
        previous = 0
        for span in explanation.spans:
            assert previous <= span.start < span.end <= len(text)
            previous = span.end
        assert verdict.spans(category) == list(explanation.spans)


def test_weights_add_up_to_the_logit(classifier: Classifier, messages: list[str]) -> None:
    for text in messages:
        assert_explains(classifier, text)


@given(text=st.text(max_size=80))
def test_weights_add_up_for_any_text(text: str, tiny: Classifier) -> None:
    assert_explains(tiny, text)


def test_spans_are_words(tiny: Classifier) -> None:
    text = "Hating the sadness, friendly \u65e5\u672c qqq!"
    spans = tiny.classify(text).spans("violence")
    words = ["Hating", "the", "sadness", ",", "friendly", "\u65e5", "\u672c", "qqq", "!"]
    assert [text[span.start : span.end] for span in spans] == words


def test_spans_of_a_long_text_lie_in_its_highest_window(tiny: Classifier) -> None:
    text = " ".join(["hello"] * 60 + ["angry bad rude"] * 20 + ["hello"] * 60)
    verdict = tiny.classify(text)
    explanation = verdict.explain("violence")
    assert verdict.windows > 5
    assert 1 <= len(explanation.spans) <= 30
    words = text[explanation.spans[0].start : explanation.spans[-1].end]
    # The window alone gives the same logit, hence the same score.
    assert tiny.classify(words).scores["violence"] == verdict.scores["violence"]


def test_offsets_in_each_unit(tiny: Classifier) -> None:
    text = "\xe9\xe9 \U0001f600 dog \ud800 cat"
    verdict = tiny.classify(text)
    assert verdict.repaired
    by_unit = {unit: verdict.spans("violence", unit=unit) for unit in ("codepoint", "byte", "utf16")}
    data = text.encode("utf-8", "surrogatepass")
    wide = text.encode("utf-16-le", "surrogatepass")
    for point, byte, unit in zip(by_unit["codepoint"], by_unit["byte"], by_unit["utf16"], strict=True):
        word = text[point.start : point.end]
        assert data[byte.start : byte.end].decode("utf-8", "surrogatepass") == word
        assert wide[2 * unit.start : 2 * unit.end].decode("utf-16-le", "surrogatepass") == word
        assert point.weight == byte.weight == unit.weight
    assert {"dog", "cat"} <= {text[span.start : span.end] for span in by_unit["codepoint"]}


def test_explain_refuses_unknown_names(tiny: Classifier) -> None:
    verdict = tiny.classify("dog")
    with pytest.raises(
        safetyclf.InvalidArgumentError, match="'illicit' is not scored; scored are: harassment, "
    ):
        verdict.spans("illicit")
    with pytest.raises(safetyclf.InvalidArgumentError, match="unit must be"):
        verdict.spans("violence", unit="words")  # type: ignore[arg-type]


# Options ---------------------------------------------------------------------------------------------------


def test_a_policy_replaces_thresholds(tiny: Classifier, tiny_path: Path) -> None:
    text = "the bad dog"
    scores = tiny.classify(text).scores
    policy = {"harassment": scores["harassment"], "violence": (None, None), "violence/graphic": (0, 0.0)}
    classifier = Classifier(tiny_path, policy=policy)
    verdict = classifier.classify(text)
    assert_consistent(verdict, classifier)
    assert verdict.scores == scores
    assert verdict.categories == {"harassment": True, "violence": False, "violence/graphic": True}
    assert verdict.action == "block"
    assert classifier.thresholds["violence"] == Thresholds(None, None)
    # One number keeps the file's block threshold, if that is not below it.
    file = tiny.thresholds["harassment"]
    assert file.block is not None
    assert Classifier(tiny_path, policy={"harassment": 0.25}).thresholds["harassment"] == (0.25, file.block)
    assert Classifier(tiny_path, policy={"harassment": 1}).thresholds["harassment"] == (1.0, 1.0)
    assert Classifier(tiny_path, policy=tiny.thresholds).thresholds == tiny.thresholds


def test_thresholds_are_compared_as_float32(tiny_path: Path) -> None:
    review = Classifier(tiny_path, policy={"violence": 0.1}).thresholds["violence"].review
    assert review == float(np.float32(0.1))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"hat": 0.5}, "no such category: 'hat'; scored are: harassment, violence, violence/graphic"),
        ({"illicit": 0.5}, "no score: its coverage is 'none'"),
        ({"violence": 1.5}, "'violence': a threshold is a number in \\[0, 1\\], or None for never, not 1.5"),
        ({"violence": -0.1}, "not -0.1"),
        ({"violence": math.nan}, "not nan"),
        ({"violence": True}, "not True"),
        ({"violence": "0.5"}, "not '0.5'"),
        ({"violence": (0.5,)}, "one threshold or a pair"),
        ({"violence": (0.5, 0.4)}, "block threshold 0.4.* is below the review threshold 0.5"),
        ({"violence": (None, 0.4)}, "below the review threshold None"),
        ([("violence", 0.5)], "or a mapping from category to threshold\\(s\\), not list"),
    ],
)
def test_bad_policies_are_refused(policy: Any, message: str, tiny_path: Path) -> None:
    with pytest.raises(safetyclf.PolicyError, match=message):
        Classifier(tiny_path, policy=policy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device='tpu'; allowed: 'cpu', 'cuda', 'cuda:1', ..., 'auto'"),
        ({"device": "cuda:"}, "device='cuda:'; allowed"),
        ({"device": "cuda:-1"}, "device='cuda:-1'; allowed"),
        ({"device": "cuda:1x"}, "device='cuda:1x'; allowed"),
        ({"device": 1}, "device=1; allowed"),
        ({"device": "cuda", "max_memory": 1 << 30}, "max_memory is for device='cpu', not 'cuda'"),
        ({"effort": 1}, "effort=1; allowed: 'full', 'adaptive'"),
        ({"threads": 0}, "threads must be an integer from 1 to 1024, not 0"),
        ({"threads": 1025}, "not 1025"),
        ({"threads": True}, "not True"),
        ({"threads": 2.0}, "not 2.0"),
        ({"max_text_bytes": 0}, "max_text_bytes must be an integer from 1 to 1073741824, not 0"),
        ({"max_text_bytes": 2**30 + 1}, "not 1073741825"),
        ({"max_memory": 0}, "max_memory must be an integer from 1 to"),
        ({"max_memory": 1000}, r"max_memory must be at least \d+ bytes .* texts of up to 1048576 bytes"),
        ({"isa": 3}, "isa must be a str or None, not int"),
        ({"model": 3}, "model must be a path or None, not int"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str, tiny_path: Path) -> None:
    with pytest.raises(safetyclf.InvalidArgumentError, match=message):
        Classifier(**{"model": tiny_path, **options})


def test_bounded_memory_changes_no_bit(tiny: Classifier, tiny_path: Path) -> None:
    texts = [*TEXTS, "the rude dog " * 50]
    with pytest.raises(safetyclf.InvalidArgumentError) as refused:
        Classifier(tiny_path, max_text_bytes=1000, max_memory=1)
    least = int(re.findall(r"at least (\d+) bytes", str(refused.value))[0])
    for threads in (1, 3):
        bounded = Classifier(tiny_path, max_text_bytes=1000, max_memory=least, threads=threads)
        assert bounded.scores(texts).tobytes() == tiny.scores(texts).tobytes()
        assert bounded.classify(texts[-1]).explain("violence") == tiny.classify(texts[-1]).explain("violence")
        assert bounded.info()["max_memory"] == least


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "8"])
def test_bad_batch_sizes_are_refused_at_once(batch_size: Any, tiny: Classifier) -> None:
    with pytest.raises(safetyclf.InvalidArgumentError, match="batch_size must be an integer"):
        tiny.stream(["dog"], batch_size=batch_size)


def test_an_instruction_set_that_is_not_there_is_refused(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(safetyclf.UnsupportedIsaError, match="unknown instruction set 'mmx'"):
        Classifier(tiny_path, isa="mmx")
    assert Classifier(tiny_path, isa="scalar").info()["isa"] == "scalar"


def test_options_from_the_environment(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFETYCLF_MODEL", str(tiny_path))
    monkeypatch.setenv("SAFETYCLF_THREADS", "3")
    assert Classifier().info()["threads"] == 3
    assert Classifier(threads=1).info()["threads"] == 1
    assert Classifier().info()["path"] == str(tiny_path)
    for value in ("0", "many", "1.5", "2000"):
        monkeypatch.setenv("SAFETYCLF_THREADS", value)
        with pytest.raises(safetyclf.InvalidArgumentError, match=f"SAFETYCLF_THREADS must be .*{value}"):
            Classifier()
    code = "import safetyclf; print(safetyclf.Classifier().info()['isa'])"
    monkeypatch.delenv("SAFETYCLF_THREADS")
    monkeypatch.setenv("SAFETYCLF_ISA", "scalar")
    assert run_python(code) == "scalar"


def test_info_is_json_and_complete(tiny: Classifier, tiny_path: Path) -> None:
    info = json.loads(json.dumps(tiny.info()))
    assert info["model"] == tiny.model_id
    assert info["path"] == str(tiny_path)
    assert (info["licence"], info["threads"], info["max_text_bytes"]) == ("Apache-2.0", 2, 1 << 20)
    by_name = {category["name"]: category for category in info["categories"]}
    assert {name: category["coverage"] for name, category in by_name.items()} == tiny.coverage
    assert (by_name["illicit"]["review"], by_name["illicit"]["block"]) == (None, None)
    assert (by_name["violence"]["review"], by_name["violence"]["block"]) == tiny.thresholds["violence"]
    assert tiny.model_id in repr(tiny)


def test_classifiers_can_be_pickled(tiny: Classifier, tiny_path: Path, tmp_path: Path) -> None:
    moved = tmp_path / "model.safetensors"
    moved.write_bytes(tiny_path.read_bytes())
    classifier = Classifier(
        moved, policy={"violence": 0.125}, threads=1, max_text_bytes=99, max_memory=1 << 20
    )
    data = pickle.dumps(classifier)
    restored = pickle.loads(data)
    assert restored.thresholds == classifier.thresholds
    assert restored.scores(TEXTS[:3]).tobytes() == classifier.scores(TEXTS[:3]).tobytes()
    assert restored.info() == classifier.info()

    from tiny_model import TinyModel

    TinyModel(seed=2).write(moved)
    with pytest.raises(safetyclf.ModelFileError, match=r"the model here is tiny-.*, it had tiny-"):
        pickle.loads(data)


def test_a_model_without_heads_is_refused(tmp_path: Path) -> None:
    from safetyclf import _modelfile
    from tiny_model import TinyModel

    file = TinyModel().build()
    encoder = dataclasses.replace(
        file,
        tensors={k: v for k, v in file.tensors.items() if k.startswith(("encoder.", "tokenizer."))},
        categories=(),
        calibration=None,
    )
    _modelfile.write(tmp_path / "encoder.safetensors", encoder)
    with pytest.raises(safetyclf.InvalidArgumentError, match=r"encoder\.safetensors: .* no calibrated heads"):
        Classifier(tmp_path / "encoder.safetensors")


@pytest.mark.parametrize(
    "command",
    [["classify_file.py", "examples/messages.txt"], ["explain.py", "the bad dog"], ["own_thresholds.py"]],
    ids=lambda command: command[0],
)
def test_examples_run(command: list[str], model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFETYCLF_MODEL", str(model_path))
    script, *arguments = command
    done = subprocess.run(
        [sys.executable, f"examples/{script}", *arguments], cwd=REPOSITORY, capture_output=True, check=True
    )
    assert done.stdout
    assert not done.stderr
