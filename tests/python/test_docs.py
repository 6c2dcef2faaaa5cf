"""What the pages say is run: examples, links, tables.

Convention: a fenced block marked `python` is run, as a doctest if it has prompts; in a block marked `console`
each line after `$ ` is a command that must print the lines below it, `...` standing for anything. Blocks with
other marks are not run.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import safetyclf

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "*/README.md", "python/safetyclf/models/*.md")
    for page in ROOT.glob(pattern)
    if not page.relative_to(ROOT).parts[0].startswith((".", "build"))
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(language: str) -> pytest.MarkDecorator:
    """Parametrises a test by page; the blocks of a page are joined, as they share their names."""
    found = [
        (page, [code for mark, code in FENCE.findall(text_of(page)) if mark == language]) for page in PAGES
    ]
    parameters = [pytest.param(page, "\n".join(codes), id=page_name(page)) for page, codes in found if codes]
    return pytest.mark.parametrize(("page", "code"), parameters)


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader stands: the examples are there, and what is written does not land in the repository."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    return tmp_path


@blocks("python")
@pytest.mark.usefixtures("reader_folder")
def test_python_blocks_run(page: Path, code: str) -> None:
    if ">>> " not in code:
        exec(compile(code, str(page), "exec"), {"__name__": "example"})
        return
    test = doctest.DocTestParser().get_doctest(code, {"__name__": "example"}, page.name, str(page), 0)
    failures: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=failures.append)
    assert not failures, "".join(failures)


@blocks("console")
@pytest.mark.usefixtures("reader_folder")
def test_console_blocks_run(page: Path, code: str) -> None:
    first, *parts = re.split(r"^\$ ", code, flags=re.MULTILINE)
    assert not first.strip(), "a console block begins with a command"
    for part in parts:
        command, _, expected = part.replace("\\\n", "").partition("\n")
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        found = (result.stdout + result.stderr).decode()
        assert doctest.OutputChecker().check_output(expected.strip() + "\n", found.strip() + "\n", OPTIONS), (
            f"{command}\nprinted (exit status {result.returncode})\n{found}"
        )


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(page))):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and anchor not in slugs(linked)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_files_named_in_a_page_exist(page: Path) -> None:
    """Paths in backticks that begin with a folder of the repository, with nothing to fill in."""
    folders = "|".join(
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(("build", "dist", "."))
    )
    named = re.findall(rf"`((?:{folders})/[a-z0-9_./-]+)`", text_of(page))
    missing = [path for path in named if not (ROOT / path).exists() and not (page.parent / path).exists()]
    assert not missing


def test_every_environment_variable_is_documented() -> None:
    reads = re.compile(r'(?:getenv\(|environ(?:\.get)?[(\[])\s*"(SAFETYCLF_\w+)"')
    sources = [
        *ROOT.glob("python/safetyclf/**/*.py"),
        *ROOT.glob("cpp/src/**/*.cpp"),
        *ROOT.glob("cpp/kernels/*.cpp"),
    ]
    read = {name for source in sources for name in reads.findall(source.read_text(encoding="utf-8"))}
    rows = {
        name for page in PAGES for name in re.findall(r"^\| `(SAFETYCLF_\w+)", text_of(page), re.MULTILINE)
    }
    assert read == rows


def test_every_public_name_is_documented() -> None:
    api = text_of(ROOT / "docs" / "api.md")
    assert [name for name in safetyclf.__all__ if not name.startswith("__") and f"`{name}" not in api] == []


def test_readme_states_the_coverage_of_the_bundled_model() -> None:
    rows = re.findall(r"^\| `([a-z/_-]+)` \| (\w+)", text_of(ROOT / "README.md"), re.MULTILINE)
    assert dict(rows) == safetyclf.Classifier().coverage


def test_ci_runs_the_second_command_of_the_readme() -> None:
    (commands,) = [code for mark, code in FENCE.findall(text_of(ROOT / "README.md")) if mark == "sh"]
    first, second = [line for line in commands.splitlines() if line and not line.startswith("#")]
    assert "examples/messages.txt" in first
    assert second in text_of(ROOT / ".ci" / "run")
