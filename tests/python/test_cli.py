"""The command line: what docs/cli.md promises. Bad input never costs the answers to the other lines."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetyclf
from places import BUNDLED
from safetyclf import Classifier, _modelfile
from safetyclf._cli import main
from safetyclf._cli._inputs import LineReader
from safetyclf._cli._progress import TaskProgress
from test_bad_input import DAMAGE
from tiny_model import TinyModel

COMMAND = [sys.executable, "-m", "safetyclf"]

Run = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def run(tiny_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `safetyclf classify` here, with the tiny model: exit code, parsed lines, standard error."""
    monkeypatch.setenv("SAFETYCLF_MODEL", str(tiny_path))

    def classify(*arguments: str | Path) -> tuple[int, list[dict[str, Any]], str]:
        try:
            code = main(["classify", *map(str, arguments)])
        except SystemExit as exit:
            code = int(exit.code or 0)
        out, err = capfd.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return classify


@pytest.fixture
def environment(tiny_path: Path) -> dict[str, str]:
    return {**os.environ, "SAFETYCLF_MODEL": str(tiny_path)}


@contextmanager
def start(*arguments: str, environment: dict[str, str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with subprocess.Popen([*COMMAND, *arguments], env=environment, **pipes) as process:
        try:
            yield process
        except BaseException:
            process.kill()  # or the end of the block would wait for it
            raise


# Output ----------------------------------------------------------------------------------------------------


def test_lines_have_the_promised_keys_and_the_scores_of_the_api(run: Run, tiny: Classifier) -> None:
    code, (line,), err = run("--text", "the bad dog")
    verdict = tiny.classify("the bad dog")
    assert (code, err) == (0, "")
    assert list(line) == ["file", "line", "flagged", "action", "categories", "scores", "windows", "model"]
    assert (line["file"], line["line"], line["windows"]) == ("--text", 1, 1)
    assert (line["flagged"], line["action"], line["model"]) == (
        verdict.flagged,
        verdict.action,
        verdict.model,
    )
    assert line["categories"] == verdict.categories
    import numpy as np

    assert {c: float(np.float32(s)) for c, s in line["scores"].items()} == verdict.scores


def test_with_text_repeats_what_was_classified(run: Run, tmp_path: Path) -> None:
    texts = ['say "hello"', "日本 \U0001f600", "tab\there", ""]
    code, lines, _ = run("--with-text", *(x for text in texts for x in ("--text", text)))
    assert code == 0
    assert [line["text"] for line in lines] == texts
    file = tmp_path / "in.jsonl"
    file.write_text('"a\\ud800b"\n')
    code, (line,), _ = run("--with-text", file)
    assert (code, line["text"], line["repaired"]) == (0, "a\ufffdb", True)


def test_bytes_on_the_command_line_that_are_no_text(run: Run) -> None:
    code, (line,), _ = run("--with-text", "--text", "a\udcffb")
    assert (code, line["text"], line["repaired"]) == (0, "a\ufffdb", True)


def test_table_is_one_line_per_message(
    tiny_path: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(b"the bad dog\n\xff\nhello\x1b[31m\n")
    assert main(["classify", "--model", str(tiny_path), "--format", "table", "--with-text", str(file)]) == 2
    first, second, third = capfd.readouterr().out.splitlines()
    assert first.startswith(f"{file}:1 ")
    assert first.endswith("the bad dog")
    assert "error   invalid UTF-8" in second
    assert "\x1b" not in third  # a message cannot steer the terminal


def test_output_file(run: Run, tmp_path: Path, tiny: Classifier) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old\n" * 1000)
    assert run("--text", "dog", "--output", out) == (0, [], "")
    assert json.loads(out.read_text())["action"] == tiny.classify("dog").action


# Input formats ---------------------------------------------------------------------------------------------


def texts_of(lines: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(line["line"], line.get("text", f"error: {line.get('error')}")) for line in lines]


def test_text_is_one_message_per_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(b"\xef\xbb\xbfhello\r\n\ngood\x00dog\r\nlast\x0cline\xc2\x85x\xe2\x80\xa8y")
    code, lines, _ = run("--with-text", file)
    assert code == 0
    assert texts_of(lines) == [(1, "hello"), (2, ""), (3, "good\0dog"), (4, "last\x0cline\x85x\u2028y")]
    file.write_bytes(b"")
    assert run(file) == (0, [], "")


def test_invalid_utf8_is_reported_by_line_and_processing_goes_on(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(b"hello\nbad \xff\xfe\n\xed\xa0\x80\ncut \xe2\x82\ngood\n")
    code, lines, err = run("--with-text", file)
    assert code == 2
    assert texts_of(lines) == [
        (1, "hello"),
        (2, "error: invalid UTF-8 at byte 5 of the line"),
        (3, "error: invalid UTF-8 at byte 1 of the line"),
        (4, "error: invalid UTF-8 at byte 5 of the line"),
        (5, "good"),
    ]
    assert [line for line in lines if "error" in line and line.keys() != {"file", "line", "error"}] == []
    assert f"safetyclf: {file}:2: invalid UTF-8 at byte 5 of the line\n" in err
    assert err.count("\n") == 3


def test_jsonl(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(
        '{"text": "hello", "id": 7}\n"plain"\n\n{"body": "x"}\n{"text": null}\n{"text": 5}\n[1]\n'
        + '{"text": "cut\n'
        + "[" * 100_000
        + '\n{"text": "a\\u0000b\\ud83d\\ude00"}\n'
    )
    code, lines, err = run("--with-text", file)
    found = texts_of(lines)
    assert code == 2
    assert found[:2] == [(1, "hello"), (2, "plain")]
    assert found[2:6] == [
        (4, "error: no key 'text'"),
        (5, "error: 'text' must be a string, not NoneType"),
        (6, "error: 'text' must be a string, not int"),
        (7, "error: 'text' must be a string, not list"),
    ]
    assert found[6][1].startswith("error: invalid JSON: ")
    assert found[7][1].startswith("error: invalid JSON: ")
    assert found[8:] == [(10, "a\0b\U0001f600")]
    assert err.count("\n") == 6
    file.write_text('{"body": "hello"}\n')
    assert texts_of(run("--with-text", "--field", "body", file)[1]) == [(1, "hello")]


def test_csv(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(
        b'\xef\xbb\xbfid,text\r\n1,hello\r\n2,"two\r\nlines, ""quoted"""\r\n\r\n'
        b'3\r\n4,bad \xff\r\n5,"x"y\r\n6,good\r\n7,"open'
    )
    code, lines, err = run("--with-text", file)
    found = texts_of(lines)
    assert code == 2
    assert found[:4] == [
        (2, "hello"),
        (3, 'two\r\nlines, "quoted"'),
        (6, "error: the row has 1 columns only"),
        (7, "error: invalid UTF-8"),
    ]
    assert found[4][0] == 8
    assert found[4][1].startswith("error: invalid CSV: ")
    assert found[5] == (9, "good")
    assert found[6][0] == 10
    assert found[6][1].startswith("error: invalid CSV: ")
    assert len(found) == 7
    assert err.count("\n") == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", b"id,body\n1,x\n", "in.csv:1: no column 'text'; columns are: 'id', 'body'"),
        ("in.csv", b'"id\n', "in.csv:1: not a CSV header"),
        ("in.parquet", b"PAR1 not really", "in.parquet: not a readable Parquet file"),
    ],
)
def test_a_file_that_is_not_of_its_format_does_not_stop_the_others(
    name: str, content: bytes, message: str, run: Run, tmp_path: Path
) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    bad, good = tmp_path / name, tmp_path / "good.txt"
    bad.write_bytes(content)
    good.write_text("hello\n")
    code, lines, err = run("--with-text", bad, good)
    assert (code, texts_of(lines)) == (2, [(1, "hello")])
    assert message in err


def test_parquet(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    file = tmp_path / "in.parquet"
    texts = [None if i == 700 else f"dog {i}" for i in range(1500)]
    parquet.write_table(pyarrow.table({"id": list(range(1500)), "text": texts}), file)
    code, lines, err = run("--with-text", file)
    assert code == 2
    assert [line["line"] for line in lines] == list(range(1, 1501))
    assert lines[700]["error"] == "'text' must be a string, not NoneType"
    assert [line["text"] for line in lines if "text" in line] == [text for text in texts if text is not None]
    assert err.count("\n") == 1
    code, lines, err = run("--field", "body", file)
    assert (code, lines) == (2, [])
    assert "no column 'body'; columns are: 'id', 'text'" in err
    assert "Parquet cannot be read from standard input" in run("--input-format", "parquet", "-")[2]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, lines, err = run(file)
    assert (code, lines) == (2, [])
    assert "pip install 'safetyclf[parquet]'" in err


def test_files_are_named_and_kept_in_order(run: Run, tmp_path: Path) -> None:
    names = [tmp_path / "a.txt", tmp_path / "b.jsonl"]
    names[0].write_text("dog\n" * 1100)
    names[1].write_text('"cat"\n' * 3)
    code, lines, _ = run(*names)
    assert code == 0
    expected = [(str(names[0]), i) for i in range(1, 1101)] + [(str(names[1]), i) for i in (1, 2, 3)]
    assert [(line["file"], line["line"]) for line in lines] == expected


def test_input_format_overrides_the_suffix(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text('{"text": "dog"}\n')
    assert texts_of(run("--with-text", "--input-format", "jsonl", file)[1]) == [(1, "dog")]
    assert texts_of(run("--with-text", file)[1]) == [(1, '{"text": "dog"}')]


def test_too_long_messages_are_reported_and_the_others_answered(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(
        b"dog\n" + b"a" * 101 + b"\n" + b"b" * 10_000_000 + b"\n" + b"c" * 100 + b"\r\n" + b"d" * 5000
    )
    code, lines, err = run("--with-text", "--max-text-bytes", "100", file)
    assert code == 2
    assert texts_of(lines) == [
        (1, "dog"),
        (2, "error: the message has 101 bytes, more than max_text_bytes = 100"),
        (3, "error: the line is too long: 10000000 bytes (see --max-text-bytes)"),
        (4, "c" * 100),
        (5, "error: the line is too long: 5000 bytes (see --max-text-bytes)"),
    ]
    assert err.count("\n") == 3
    table = tmp_path / "in.csv"
    table.write_text("text\ndog\n" + "a" * 101 + "\ncat\n")
    code, lines, _ = run("--with-text", "--max-text-bytes", "100", table)
    assert (code, [line for line, _ in texts_of(lines)]) == (2, [2, 3, 4])


def test_ten_megabytes_in_one_line(run: Run, tmp_path: Path) -> None:
    for name, content in {"in.txt": b"%s", "in.jsonl": b'{"text": "%s"}', "in.csv": b"text\n%s"}.items():
        file = tmp_path / name
        file.write_bytes(content % (b"x" * 10_000_000) + b"\n")
        code, (line,), err = run(file)
        assert code == 2
        assert "10000000 bytes" in line["error"]
        assert "10000000 bytes" in err


def test_csv_lines_beyond_all_bounds(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(b"text\ndog\n" + b"x" * (17 << 20) + b"\ncat\n")
    code, lines, _ = run("--with-text", "--max-text-bytes", "100", file)
    assert code == 2
    assert texts_of(lines) == [(2, "dog"), (3, "error: the line is too long"), (4, "cat")]


def test_line_reader_against_split(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    for content in (b"", b"\n", b"a", b"a\n", b"\n\na", b"x" * 200_000 + b"\ny\n" + b"z" * 70_000):
        file.write_bytes(content)
        expected = content.split(b"\n")
        if not expected[-1]:
            expected.pop()
        for longest in (1 << 20, 1000, 0):
            lines = list(LineReader(os.open(file, os.O_RDONLY), longest))
            assert lines == [line if len(line) <= longest else len(line) for line in expected]


# Options and exit codes ------------------------------------------------------------------------------------


def test_fail_on_flagged(run: Run, tmp_path: Path) -> None:
    never = ("--threshold", "harassment=never,never", "--threshold", "violence=never")
    assert run("--text", "dog", *never)[0] == 0
    assert run("--text", "dog", *never, "--fail-on-flagged")[0] == 0
    assert run("--text", "dog", *never, "--threshold", "violence/graphic=0")[0] == 0
    assert run("--text", "dog", *never, "--threshold", "violence/graphic=0", "--fail-on-flagged")[0] == 1
    file = tmp_path / "in.txt"
    file.write_bytes(b"\xff\ndog\n")
    assert run(file, "--threshold", "violence=0", "--fail-on-flagged")[0] == 2


def test_thresholds(run: Run, tiny: Classifier) -> None:
    score = tiny.classify("dog").scores["violence"]
    for value, action in ((f"{score}", "review"), (f"0,{score}", "block"), (f"0,{score + 0.01}", "review")):
        line = run("--text", "dog", "--threshold", "harassment=never", "--threshold", f"violence={value}")[1][
            0
        ]
        assert (line["action"], line["categories"]["violence"]) == (action, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "violence"], "'violence' is not of the form CATEGORY=REVIEW[,BLOCK]"),
        (["--threshold", "violence=x"], "not of the form"),
        (["--threshold", "violence=1,2,3"], "not of the form"),
        (["--threshold", "violence=2"], "'violence': a threshold is a number in [0, 1]"),
        (["--threshold", "other=0.5"], "no such category: 'other'"),
        (["--threads", "0"], "threads must be an integer from 1 to 1024, not 0"),
        (["--threads", "x"], "invalid int value: 'x'"),
        (["--isa", "mmx"], "unknown instruction set 'mmx'"),
        (["--max-text-bytes", "0"], "max_text_bytes must be"),
        (["--model", "missing.safetensors"], "missing.safetensors: cannot open the file: No such file"),
        (["in.txt"], "give messages with --text or FILEs, not both"),
        (["--format", "xml"], "invalid choice: 'xml'"),
        (["--output", "no/such/folder/out"], "no/such/folder/out: cannot write: No such file or directory"),
        (["--output", "."], ".: cannot write: Is a directory"),
        (["--output", "/dev/full"], "/dev/full: cannot write: No space left on device"),
    ],
)
def test_what_cannot_run_says_why(arguments: list[str], message: str, run: Run) -> None:
    code, lines, err = run("--text", "dog", *arguments)
    assert (code, lines) == (2, [])
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_model_files(name: str, run: Run, tiny_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(DAMAGE[name](tiny_path.read_bytes()))
    code, lines, err = run("--text", "dog", "--model", path)
    assert (code, lines) == (2, [])
    assert err.startswith("safetyclf: error: ")
    assert "damaged.safetensors" in err
    assert err.count("\n") == 1


def test_unreadable_inputs_do_not_stop_the_others(run: Run, tmp_path: Path) -> None:
    good = tmp_path / "good.txt"
    good.write_text("dog\n")
    code, lines, err = run("missing.txt", tmp_path, good, "b\udcffd")
    assert (code, [line["file"] for line in lines]) == (2, [str(good)])
    assert "missing.txt: cannot read: No such file or directory" in err
    assert f"{tmp_path}: cannot read: Is a directory" in err
    assert "b\\udcffd: cannot read: No such file" in err


def test_a_read_error_does_not_cost_what_was_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for file in files:
        file.write_bytes(b"cats\n" * 30_000)
    read, calls = os.read, []

    def fail(descriptor: int, size: int) -> bytes:
        calls.append(size)
        if len(calls) in (2, 3):  # the reader looks whether it must wait, then waits
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", fail)
    code, lines, err = run(*files)
    assert code == 2
    assert err == f"safetyclf: {files[0]}: cannot read: Input/output error\n"
    answered = [sum(line["file"] == str(file) for line in lines) for file in files]
    assert answered == [calls[0] // 5, 30_000]


def test_the_output_may_not_overwrite_an_input(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("dog\n")
    code, _, err = run(file, "--output", tmp_path / "." / "in.txt")
    assert (code, file.read_text()) == (2, "dog\n")
    assert "is both input and output" in err


def test_a_file_name_that_is_no_text(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "b\udcffd.txt"
    file.write_text("dog\n")
    code, (line,), _ = run(file)
    assert (code, line["file"]) == (0, f"{tmp_path}/b\ufffdd.txt")


def test_usage(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    for command in ("classify", "info", "convert", "train", "export"):
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0
        assert f"usage: safetyclf {command}" in capfd.readouterr().out


def test_a_bug_is_not_mistaken_for_flagged(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Classifier, "classify_batch", lambda *_: 1 / 0)
    code, _, err = run("--text", "dog", "--fail-on-flagged")
    assert code == 70
    assert "ZeroDivisionError" in err
    assert "please report it" in err


def test_info(tiny: Classifier, tiny_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--model", str(tiny_path), "--threads", "2", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == json.loads(json.dumps(tiny.info()))
    assert main(["info", "--model", str(tiny_path)]) == 0
    text = capfd.readouterr().out
    for part in (tiny.model_id, "Apache-2.0", safetyclf.build_info()["isa"], *tiny.coverage):
        assert part in text


def test_info_prints_what_thresholds_promise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def statement(rule: str, never: str) -> dict[str, Any]:
        return {
            "rule": rule,
            "set": "some rows",
            "confidence": 0.95,
            "positives": 31,
            "negatives": 2048,
            "review": {"threshold": 0.5, "recall": 0.4375, "bound": 0.0099},
            "block": {"threshold": _modelfile.NEVER, "recall": 0.0, "bound": 0.0099, "never": never},
        }

    names = ("harassment", "violence")
    statements = {name: statement("the rule", f"too little {name}") for name in names}
    file = TinyModel().build()
    block = file.tensors["thresholds.block"].copy()
    block[:] = _modelfile.NEVER
    file = dataclasses.replace(
        file,
        categories=tuple(
            dataclasses.replace(category, threshold_statement=statements.get(category.name))
            for category in file.categories
        ),
        tensors={**file.tensors, "thresholds.block": block},
        provenance={"uncovered": {"illicit": "no texts of it"}},
    )
    path = tmp_path / "model.safetensors"
    _modelfile.write(path, file)

    assert main(["info", "--model", str(path)]) == 0
    lines = capfd.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[lines.index("") + 1 :][:5]}
    assert rows["harassment"][0] == "trained"
    assert rows["harassment"][2:] == ["43.8%", "0.990%", "never", "-", "-", "31", "2048"]
    assert rows["violence/graphic"][0] == "derived"
    assert rows["violence/graphic"][2:] == ["-", "-", "never", "-", "-", "-", "-"]
    assert rows["illicit"] == ["none", *"--------"]
    assert "bound: the rule; confidence 95%; on some rows" in lines
    assert "no block threshold for harassment: too little harassment" in lines
    assert "illicit has no score: no texts of it" in lines
    assert not any("{" in line for line in lines)


def test_export_needs_onnx(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "safetyclf.onnx.graph", raising=False)
    assert main(["export", "--model", str(tiny_path), "--onnx", str(tmp_path / "out.onnx")]) == 2
    assert "pip install 'safetyclf[convert]'" in capfd.readouterr().err


def test_convert_and_export(tiny_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    onnx = pytest.importorskip("onnx")
    graph = tmp_path / "out.onnx"
    assert main(["export", "--model", str(tiny_path), "--onnx", str(graph)]) == 0
    assert {output.name for output in onnx.load(graph).graph.output} == {"logits", "pooled"}
    options = ["--name", "again", "--version", "1.0.0", "--licence", "Apache-2.0"]
    assert main(["convert", str(tmp_path / "missing"), str(tmp_path / "out"), *options]) == 2
    assert "missing: no such file or folder" in capfd.readouterr().err


def test_version(tiny: Classifier, tiny_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    build = safetyclf.build_info()
    for path, model in ((str(tiny_path), tiny.model_id), ("missing", "none \\(.*missing: cannot open")):
        monkeypatch.setenv("SAFETYCLF_MODEL", path)
        with pytest.raises(SystemExit) as caught:
            main(["--version"])
        assert not caught.value.code
        out = capfd.readouterr().out
        assert out.startswith(f"safetyclf {build['version']}, model {model[:4]}")
        assert out.endswith(f", isa {build['isa']}\n")


# Processes, pipes and terminals ----------------------------------------------------------------------------


def test_standard_input_is_answered_line_by_line(environment: dict[str, str]) -> None:
    for form, lines in {
        "text": [b"dog", b"cat"],
        "jsonl": [b'"dog"', b'"cat"'],
        "csv": [b"text\ndog", b"cat"],
    }.items():
        with start("classify", "--input-format", form, "-", environment=environment) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for line in lines:
                # Half a line first: it must not be waited for with an answer pending, nor answered.
                process.stdin.write(line[:-2])
                process.stdin.flush()
                time.sleep(0.05)
                process.stdin.write(line[-2:] + b"\n")
                process.stdin.flush()
                assert b'"flagged"' in process.stdout.readline()  # blocks for ever otherwise
            process.stdin.close()
            assert process.wait(60) == 0


def test_no_input_option_reads_standard_input(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*COMMAND, "classify", "--with-text"],
        input=b"dog\ncat",
        env=environment,
        capture_output=True,
        check=True,
    )
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["dog", "cat"]
    assert done.stderr == b""


def test_closed_standard_input(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{' '.join(COMMAND)} classify <&-"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == b"safetyclf: -: cannot read: Bad file descriptor\n"


def test_a_closed_pipe_ends_it_quietly(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("dog\n" * 200_000)
    with start("classify", str(file), environment=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


@pytest.mark.parametrize("arguments", [["classify", "--text", "dog"], ["info"], ["--version"]], ids=" ".join)
def test_full_and_closed_outputs(arguments: list[str], environment: dict[str, str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], env=environment, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert done.stderr == b"safetyclf: error: standard output: cannot write: No space left on device\n"
    script = f"{' '.join(COMMAND)} {' '.join(arguments)} >&-"
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr == b"safetyclf: error: standard output: cannot write: Bad file descriptor\n"


def test_ctrl_c_ends_it_promptly_and_quietly(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("the angry dog and the happy cat\n" * 3_000_000)
    with start("classify", str(file), environment=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        assert process.wait(60) == 130
        assert time.monotonic() - sent < 5
        drain.join()
        assert process.stderr.read() == b""


def test_ctrl_c_while_waiting_for_input(environment: dict[str, str]) -> None:
    with start("classify", environment=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"dog\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""


def test_progress_only_on_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(b"the angry dog\n" * 30_000 + b"\xff\n")
    ours, theirs = os.openpty()
    with start(
        "classify", str(file), environment=environment, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            shown += data
    os.close(ours)
    assert process.returncode == 2
    assert b" messages, " in shown
    assert b"%" in shown
    assert b"\r\x1b[Ksafetyclf: " in shown  # messages stand on lines of their own
    assert shown.endswith(b"\r\x1b[K")

    done = subprocess.run(
        [*COMMAND, "classify", str(file)], env=environment, capture_output=True, check=False
    )
    assert done.stderr.count(b"\n") == 1


def peak_memory_kib(*arguments: str, environment: dict[str, str]) -> int:
    """Most memory that the command line ever held, in KiB.

    Asked of the process itself: what wait4() reports includes this process as it was when it forked.
    """
    code = (
        "import sys; from safetyclf.__main__ import main; status = main()\n"
        "peak = [line for line in open('/proc/self/status') if line.startswith('VmHWM:')][0]\n"
        "print(peak.split()[1], file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
    return int(done.stderr)


@pytest.mark.skipif(not BUNDLED.exists(), reason="the package was built without its model")
def test_one_message_needs_little_memory() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "SAFETYCLF_MODEL"}
    assert peak_memory_kib("classify", "--text", "hello", environment=environment) < 120 * 1024


def test_memory_does_not_grow_with_the_input(environment: dict[str, str], tmp_path: Path) -> None:
    peaks = []
    for lines in (5_000, 50_000):
        file = tmp_path / "in.txt"
        file.write_bytes(b"the angry dog and the happy cat\n" * lines)
        peaks.append(peak_memory_kib("classify", str(file), environment=environment))
    # Both have many batches; the larger one has 3 MB more input and 20 MB more output.
    assert peaks[1] < peaks[0] + 2 * 1024


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_task_progress_draws_on_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, expected in ((Terminal(), "[############            ] steps: 5 of 10 "), (io.StringIO(), "")):
        monkeypatch.setattr(sys, "stderr", stream)
        progress = TaskProgress()
        progress("steps", 5, 10)
        assert stream.getvalue().removeprefix("\r").removesuffix("\x1b[K") == expected
        progress("steps", 6, 10)  # too soon after the last drawing
        progress("steps", 10, 10)
        assert stream.getvalue().count("steps") == (2 if expected else 0)
        progress.clear()
        assert stream.getvalue().endswith("\r\x1b[K" if expected else "")
