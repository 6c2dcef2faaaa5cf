"""Descriptions of ONNX models: how labels become categories, and what is refused with which words."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_models import (
    CATEGORIES,
    HEADER,
    INPUT,
    OUTPUT,
    Graph,
    TensorProto,
    helper,
    numpy_helper,
    onnx,
    outputs_of,
    sigmoid,
    tokenizers,
    weights,
    word_pieces,
    write_model,
)
from places import REPOSITORY
from safetyclf import (
    Classifier,
    MissingDependencyError,
    ModelFileError,
    ModelFormatError,
)
from safetyclf.onnx import read_description
from safetyclf.onnx.files import external_files

TEXTS = ["bad dog", "the nice cat and you are happy"]
SOFTMAX = OUTPUT.replace("sigmoid", "softmax")


def raw() -> np.ndarray:
    """Outputs of the graph, float64 [n, labels]."""
    tokenizer = word_pieces()
    table = weights(tokenizer.get_vocab_size())
    return np.array([outputs_of(tokenizer.encode(text).ids, table) for text in TEXTS])


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def scores_of(folder: Path, output: str, category: str, **model: object) -> np.ndarray:
    path = write_model(
        folder, output=output, categories=f'[categories.x]\ncoverage = "weak"\n{category}', **model
    )  # type: ignore[arg-type]
    return Classifier(path).scores(TEXTS)[:, 0]


@pytest.mark.parametrize(
    ("output", "category", "expected"),
    [
        (OUTPUT, 'labels = ["insult", "threat"]', lambda: sigmoid(raw())[:, 1:].max(axis=1)),
        (
            OUTPUT.replace('ignored = ["safe"]', 'ignored = ["insult", "threat"]'),
            'labels = ["safe"]\ninvert = true',
            lambda: 1 - sigmoid(raw())[:, 0],
        ),
        (
            OUTPUT + "temperature = 2.5",
            'labels = ["insult", "threat"]',
            lambda: sigmoid(raw() / 2.5)[:, 1:].max(axis=1),
        ),
        (SOFTMAX, 'labels = ["insult", "threat"]', lambda: softmax(raw())[:, 1:].max(axis=1)),
        (
            SOFTMAX,
            'labels = ["insult", "threat"]\ncombine = "sum"',
            lambda: softmax(raw())[:, 1:].sum(axis=1),
        ),
        (
            SOFTMAX.replace('ignored = ["safe"]', 'ignored = ["insult", "threat"]'),
            'labels = ["safe"]\ninvert = true',
            lambda: 1 - softmax(raw())[:, 0],
        ),
        (
            SOFTMAX + "temperature = 0.5",
            'labels = ["insult", "threat"]\nslope = 2\nintercept = 0.5',
            lambda: sigmoid(
                2 * np.log((p := softmax(raw() / 0.5)[:, 1:].max(axis=1)) / (1 - p)) + 0.5
            ),
        ),
    ],
)  # fmt: skip
def test_labels_become_categories(output: str, category: str, expected: object, tmp_path: Path) -> None:
    np.testing.assert_allclose(scores_of(tmp_path, output, category), expected(), rtol=1e-5)  # type: ignore[operator]


@pytest.mark.parametrize("combine", ["max", "sum"])
def test_probabilities_of_the_graph(combine: str, tmp_path: Path) -> None:
    output = OUTPUT.replace("sigmoid", "none")
    category = f'labels = ["insult", "threat"]\ncombine = "{combine}"'
    got = scores_of(tmp_path, output, category, graph=Graph(end="Softmax"))
    expected = softmax(raw())[:, 1:]
    np.testing.assert_allclose(got, getattr(expected, combine)(axis=1), rtol=1e-5)


def test_extreme_logits(tmp_path: Path) -> None:
    table = weights(word_pieces().get_vocab_size()) * np.float32(1e6)
    for number, output in enumerate((OUTPUT, SOFTMAX)):
        got = scores_of(tmp_path / str(number), output, 'labels = ["insult", "threat"]', table=table)
        assert np.isin(got, (0, 1)).all()


def test_one_label_counts_for_several(tmp_path: Path) -> None:
    categories = "".join(
        f'[categories."{name}"]\nlabels = ["insult"{more}]\ncoverage = "derived"\n'
        for name, more in (("harassment", ""), ("harassment/threatening", ', "threat"'))
    )
    classifier = Classifier(write_model(tmp_path, categories=categories))
    assert classifier.coverage == {"harassment": "derived", "harassment/threatening": "derived"}
    assert (np.diff(classifier.scores(TEXTS)) >= 0).all()


BAD = {
    "format": ('format = "safetyclf-onnx/1"', 'format = "2"', "model.toml:2: 'format' must be"),
    "no name": ('name = "tiny-bert"', "", "'name' is missing"),
    "no licence": ('licence = "CC0-1.0"', "", "'licence' is missing"),
    "unknown key": ("[input]", "[input]\nmax_token = 3", "model.toml:13: unknown key 'input.max_token'"),
    "unknown table": ("[input]", "[inputs]", "unknown key 'inputs'; did you mean 'input'?"),
    "not toml": ("[input]", "[input", "model.toml:12: not valid TOML"),
    "twice": ("[categories.threat]", "[categories.harassment]", "model.toml:27: not valid TOML"),
    "no file": ('model = "model.onnx"', "", "'files.model' is missing"),
    "files": ("[files]", "files = 3\n[other]", "'files' must be a table, not 3; see docs/onnx.md"),
    "activation": ('"sigmoid"', '"sigmod"', "did you mean 'sigmoid'?"),
    "no activation": ('activation = "sigmoid"', "", "'output.activation' is missing"),
    "labels twice": ('"safe", "insult", "threat"]', '"safe", "insult", "safe"]', "'safe' stands twice in"),
    "no labels": ('labels = ["safe", "insult", "threat"]', "", "'output.labels' is missing"),
    "empty labels": ('labels = ["insult"]', "labels = []", "must be a list that is not empty"),
    "unknown label": ('labels = ["insult"]', 'labels = ["insults"]', "no label 'insults' in output.labels"),
    "forgotten label": ('ignored = ["safe"]', "", "the label 'safe' counts for no category; give it to one"),
    "ignored and used": ('ignored = ["safe"]', 'ignored = ["threat"]', "'threat' counts for a category"),
    "unknown ignored": ('ignored = ["safe"]', 'ignored = ["safe", "x"]', "no label 'x' in output.labels"),
    "no coverage": ('coverage = "weak"', "", "'categories.threat.coverage' is missing"),
    "coverage none": ('coverage = "weak"', 'coverage = "none"', 'one of "trained", "weak", "derived"'),
    "review": ("review = 0.5", "review = 1.5", "must be a number from 0 to 1, not 1.5"),
    "block": ("block = 0.9", "block = 0.4", "must be at least 'review', not 0.4"),
    "block alone": ("review = 0.5", "", "must be at least 'review', not 0.9"),
    "category": ("[categories.threat]", "[categories.Threat]", "'Threat' cannot be the name of a category"),
    "no categories": (CATEGORIES, "", "'categories' is missing; add a table [categories.NAME]"),
    "tokens": ("max_tokens = 16", 'max_tokens = "16"', "must be a whole number from 1 on, not '16'"),
    "slope": ("block = 0.9", "slope = 0", "must be a number above 0, not 0"),
    "infinite": ("block = 0.9", "intercept = inf", "must be a number, not inf"),
    "huge": ("block = 0.9", f"intercept = 1{'0' * 400}", "must be a number, not 1000"),
    "sum": ("block = 0.9", 'combine = "sum"', "with sigmoid several labels may hold at once"),
    "temperature": ("[output]", "[output]\ntemperature = -1", "must be a number above 0, not -1"),
    "invert": ("block = 0.9", 'invert = "yes"', "must be true or false, not 'yes'"),
    "curve": ("block = 0.9", "curve = { logits = [1, 0], probabilities = [0, 1] }", "two ascending lists"),
    "curve range": ("block = 0.9", "curve = { logits = [0, 1], probabilities = [0, 2] }", "from 0 to 1"),
    "curve and slope": (
        "block = 0.9",
        "slope = 2.0\ncurve = { logits = [0, 1], probabilities = [0, 1] }",
        "a category has a curve, or slope and intercept",
    ),
    "pooling": ("[output]", '[output]\npooling = "first"', 'must be one of "none", "cls", "mean", "max"'),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_wrong_descriptions(case: str, tmp_path: Path) -> None:
    before, after, message = BAD[case]
    path = tmp_path / "model.toml"
    text = HEADER + INPUT + OUTPUT + CATEGORIES
    assert before in text
    path.write_text(text.replace(before, after, 1), "utf-8")
    with pytest.raises(ModelFormatError) as caught:
        read_description(path)
    assert message in str(caught.value)
    assert all(line.startswith(f"{path}:") for line in str(caught.value).split("\n"))


def test_the_example_of_the_page(tmp_path: Path) -> None:
    """It is read as it stands, and the page's tables name every key."""
    page = (REPOSITORY / "docs" / "onnx.md").read_text("utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "model.toml").write_text(example, "utf-8")
    assert len(read_description(tmp_path / "model.toml").categories) == 3
    keys = {"labels", "format", "name", "version", "licence", "description", "model", "tokenizer"}
    keys |= {"max_tokens", "overlap_tokens", "pad_token", "pooling", "activation", "ignored", "temperature"}
    keys |= {
        "combine",
        "invert",
        "coverage",
        "review",
        "block",
        "slope",
        "intercept",
        "logits",
        "probabilities",
    }
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    assert keys <= {name.split(".")[-1] for row in rows for name in re.findall(r"`([a-zA-Z_.]+)`", row)}


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text('format = "safetyclf-onnx/1"\nname = "A"\n[output]\nlabels = 3\n', "utf-8")
    with pytest.raises(ModelFormatError) as caught:
        read_description(path)
    assert len(str(caught.value).split("\n")) >= 6


def test_softmax_of_all_labels(tmp_path: Path) -> None:
    for output, labels, message in (
        (SOFTMAX.replace('"safe", "insult", "threat"', '"x"'), '"x"', "softmax over one label says nothing"),
        (SOFTMAX.replace('ignored = ["safe"]', ""), '"safe", "insult", "threat"', "not all labels"),
    ):
        categories = f'[categories.x]\nlabels = [{labels}]\ncoverage = "weak"\n'
        with pytest.raises(ModelFormatError, match=message):
            read_description(write_model(tmp_path, output=output, categories=categories))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"absent\.toml: cannot read the description: No such file"):
        Classifier(tmp_path / "absent.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes(b"format = 1\nname = '\xe9'\n")
    with pytest.raises(ModelFileError, match=r"latin\.toml:2: not UTF-8"):
        Classifier(path)
    for name in ("model.onnx", "tokenizer.json"):
        model = write_model(tmp_path / name)
        (model.parent / name).unlink()
        with pytest.raises(ModelFileError, match=f"{name}: cannot read .*No such file"):
            Classifier(model)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x3a\xff\xff\xff\xff\x0f", b"\x08\x07"])
def test_no_onnx_file(content: bytes, tmp_path: Path) -> None:
    path = write_model(tmp_path)
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(
        ModelFormatError, match=r"model\.onnx: (not an ONNX file|ONNX Runtime cannot read it)"
    ):
        Classifier(path)


def test_a_graph_without_a_description(tmp_path: Path) -> None:
    write_model(tmp_path)
    with pytest.raises(ModelFormatError, match=r"model\.onnx: an ONNX model needs a description, NAME\.toml"):
        Classifier(tmp_path / "model.onnx")


def test_a_tokenizer_that_fails(tmp_path: Path) -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"good": 0, "a": 1}, unk_token="<none>"))
    path = write_model(tmp_path, tokenizer=words)
    with pytest.raises(ModelFormatError, match=r"tokenizer\.json: the tokenizer fails on a text"):
        Classifier(path).classify("bad")


def test_no_tokenizer(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(ModelFormatError, match=r"tokenizer\.json: not a tokenizer\.json"):
        Classifier(path)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname"])
def test_weights_elsewhere(location: str, tmp_path: Path) -> None:
    path = write_model(tmp_path)
    graph = onnx.load(tmp_path / "model.onnx")
    tensor = graph.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFormatError, match="lies outside of the model's folder"):
        Classifier(path)


def test_weights_missing(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    graph = onnx.load(tmp_path / "model.onnx")
    onnx.save(graph, tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=64)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelFileError, match=r"w\.bin: cannot read: No such file"):
        Classifier(path)


def test_external_data_is_found_wherever_it_is(tmp_path: Path) -> None:
    """In initializers, attributes, graphs within graphs and functions."""

    def tensor(name: str) -> object:
        made = numpy_helper.from_array(np.zeros(2, np.float32), name)
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value=f"{name}.bin")
        made.external_data.add(key="length", value="8")
        return made

    def constant(name: str) -> object:
        return helper.make_node("Constant", [], [name], value=tensor(name))

    inner = helper.make_graph([constant("inner")], "inner", [], [], [tensor("within")])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    function = helper.make_function(
        "d", "f", [], ["o"], [constant("function")], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph([branch, constant("node")], "g", [], [], [tensor("top"), tensor("top2")])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph, functions=[function]).SerializeToString())
    names = ("function", "inner", "node", "top", "top2", "within")
    assert external_files(str(tmp_path / "m.onnx")) == tuple(f"{name}.bin" for name in names)


def refused(path: Path, message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        Classifier(path)


def test_outputs_that_do_not_fit(tmp_path: Path) -> None:
    refused(
        write_model(tmp_path / "a", table=weights(99, 5)),
        r"has the shape \[1, 5\] where \[1, 3\] was expected: windows, 3 labels",
    )
    refused(
        write_model(tmp_path / "b", graph=Graph(mean=False)),
        r"output\.pooling is for outputs with a token axis",
    )
    pooled = OUTPUT + 'pooling = "mean"'
    refused(write_model(tmp_path / "c", output=pooled), r'as output\.pooling = "mean" needs')
    refused(
        write_model(tmp_path / "d", graph=Graph(output="a", more_outputs=["b"])),
        r"the graph has no output 'logits'; output\.name must be one of a, b",
    )
    named = OUTPUT + 'name = "b"'
    assert Classifier(write_model(tmp_path / "e", graph=Graph(output="a", more_outputs=["b"]), output=named))


def test_inputs_that_do_not_fit(tmp_path: Path) -> None:
    refused(
        write_model(tmp_path / "a", graph=Graph(inputs=("input_ids", "position_ids"), mean=False)),
        r"the graph must take input_ids .* it takes input_ids, position_ids",
    )
    refused(
        write_model(tmp_path / "b", graph=Graph(columns=8)),
        r"windows have up to 16 tokens, and the graph takes 8",
    )
    refused(write_model(tmp_path / "c", graph=Graph(columns=16, inputs=("input_ids",))), r"no attention_mask")
    refused(
        write_model(tmp_path / "d", inputs="[input]\nmax_tokens = 6\noverlap_tokens = 4"),
        r"leaves no room beside 2 special tokens and input\.overlap_tokens = 4",
    )
    refused(write_model(tmp_path / "e", inputs=""), r"input\.max_tokens is missing")
    refused(
        write_model(tmp_path / "f", inputs=INPUT + 'pad_token = "[NONE]"'),
        r"the tokenizer has no token '\[NONE\]'",
    )


def test_a_vocabulary_larger_than_the_model(tmp_path: Path) -> None:
    classifier = Classifier(write_model(tmp_path, table=weights(10)))
    assert classifier.classify("good bad").model.startswith("tiny-bert")
    with pytest.raises(
        ModelFormatError, match=r"text 1: ONNX Runtime cannot run .* do tokenizer and input\.max_tokens"
    ):
        classifier.scores(["good", "zebra", "bad"])


def test_outputs_that_are_no_scores(tmp_path: Path) -> None:
    tokenizer = word_pieces()
    table = weights(tokenizer.get_vocab_size())
    table[tokenizer.token_to_id("rude"), 1] = np.nan
    classifier = Classifier(write_model(tmp_path / "a", table=table))
    with pytest.raises(ModelFormatError, match="text 2: the model gave nan for the label 'insult'"):
        classifier.classify_batch(["good", "bad", "rude", "good"])
    assert classifier.classify("good").scores  # it goes on
    none = OUTPUT.replace("sigmoid", "none")
    refused(write_model(tmp_path / "b", output=none), "which is no probability: output.activation must be")


def test_padding_of_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = word_pieces()
    tokenizer.enable_padding(pad_id=1, pad_token="[UNK]", length=12)
    tokenizer.enable_truncation(4)
    padded = Classifier(write_model(tmp_path / "a", tokenizer=tokenizer))
    plain = Classifier(write_model(tmp_path / "b"))
    long = "good bad nice rude " * 10
    assert padded.scores([*TEXTS, long]).tobytes() == plain.scores([*TEXTS, long]).tobytes()
    assert padded._engine._windows.pad == 1  # type: ignore[attr-defined]
    own = Classifier(write_model(tmp_path / "c", inputs=INPUT + 'pad_token = "[SEP]"'))
    assert own._engine._windows.pad == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_missing_packages(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tokenizers
    path = write_model(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{package}: pip install 'safetyclf\[onnx\]'"):
        Classifier(path)
