"""Term lists: what a term is, where it is found, what allow lists take back. docs/term-lists.md states it.

Terms are mild on purpose.
"""

from __future__ import annotations

import gc
import multiprocessing
import random
import re
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetyclf import Classifier, InvalidArgumentError, InvalidInputError, PolicyError, TextTooLargeError
from safetyclf._native import TermMatcher
from safetyclf.policy.document import PolicyDocument, TermList
from safetyclf.policy.terms import TermLists, TermMatch

# From Python 3.12 on every fork of a process with threads warns; here it is what a test is about.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

WORD, ANYWHERE, TEXT = range(3)
Find = Callable[..., list[str]]


@pytest.fixture
def rules(classifier: Classifier) -> None:
    if not classifier.info()["tokenizer"]["rules"]:
        pytest.skip("this model file has no normalisation rules")


@pytest.fixture
def find(classifier: Classifier) -> Find:
    """What stands in the text where one of the terms is found, in order."""

    def found(terms: str | Sequence[str], text: str, mode: int = WORD) -> list[str]:
        terms = [terms] if isinstance(terms, str) else terms
        matcher = TermMatcher(classifier._engine, terms, [mode] * len(terms))
        data = text.encode("utf-8", "surrogatepass")
        (matches,) = matcher.find([text])
        places = sorted((begin, end) for _, begin, end in matches)
        return [data[begin:end].decode("utf-8", "surrogatepass") for begin, end in places]

    return found


# Where a word begins and ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("ass", "a class of assassins, passing en masse"),
        ("ham", "Birmingham, shambles, Hampshire"),
        ("dumb", "dumbo thumb dumb2 2dumb dumb\u0301o"),
        ("don", "donor"),
        ("\u0434\u0443\u0440\u0430", "\u0434\u0443\u0440\u0430\u043a"),  # Russian
        ("\u0915", "\u0915\u093f"),  # a vowel sign belongs to its letter
        ("\ubc14\ubcf4", "\ubc14\ubcf4\ub4e4"),  # Hangul has spaces, so its words have ends
    ],
)
def test_no_part_of_a_word_is_a_word(term: str, text: str, find: Find) -> None:
    assert find(term, text) == []


@pytest.mark.parametrize(
    "text",
    [
        *("dumb", "DUMB", "so dumb.", "(dumb)", "un-dumb", "dumb's", "'dumb'", "dumb\u2019s", "dumb_person"),
        *("snake_dumb_case", "dumb,dumber", "a\tdumb\none", "dumb\u2192", "\u00a3dumb", "dumb\u2248!"),
        *("\u99acdumb\u9e7f", "dumb\u00a0x"),
    ],
)
def test_a_word_ends_at_anything_but_letters_digits_and_marks(text: str, find: Find) -> None:
    assert [word.lower() for word in find("dumb", text)] == ["dumb"]


def test_scripts_without_spaces_have_boundaries_everywhere(find: Find) -> None:
    assert find("\u99ac\u9e7f", "\u3042\u306e\u99ac\u9e7f\u91ce\u90ce") == ["\u99ac\u9e7f"]
    assert find("\u0e1a\u0e49\u0e32", "\u0e04\u0e19\u0e1a\u0e49\u0e32\u0e08\u0e23\u0e34\u0e07") == [
        "\u0e1a\u0e49\u0e32"
    ]
    # ... but not in front of a vowel sign
    assert find("\u0e04", "\u0e04\u0e34") == []


def test_a_term_may_have_several_words_and_punctuation(find: Find) -> None:
    assert find("dumb person", "a dumb \n\t person, dumb-person, dumbperson") == ["dumb \n\t person"]
    assert find("c++", "c++ and c++11, not C or c+") == ["c++", "c++"]
    assert find("don't", "don't, don\u2019t, dont") == ["don't", "don\u2019t"]


def test_anywhere_is_inside_words_too_but_not_across_them(find: Find) -> None:
    assert find("dumb", "undumbed dum by", ANYWHERE) == ["dumb"]
    assert find("aa", "aaaaa", ANYWHERE) == ["aa", "aa"]  # matches of one term do not overlap
    assert find(["ab", "bc", "abc"], "xabcx", ANYWHERE) == ["ab", "abc", "bc"]  # those of several do


def test_text_is_the_whole_text(find: Find) -> None:
    assert find("oh my", " \n Oh  MY\u00a0", TEXT) == ["Oh  MY"]
    assert find("oh my", "oh my!", TEXT) == []
    assert find("o*", "oh", TEXT) == ["oh"]
    assert find("o*", "oh my", TEXT) == []
    assert find("*h* m*", "oh my", TEXT) == ["oh my"]


# Wildcards -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "mode", "text", "expected"),
    [
        ("dumb*", WORD, "dumb dumber dumb-bell undumb", ["dumb", "dumber", "dumb"]),
        ("*dumb", WORD, "dumb undumb dumber", ["dumb", "undumb"]),
        ("*dumb*", WORD, "undumbed, dumdum", ["undumbed"]),
        ("d?mb", WORD, "dumb damb dmb duumb d\u00fcmb d-mb", ["dumb", "damb", "d\u00fcmb"]),
        ("?umb", WORD, "dumb thumb umb", ["dumb"]),
        ("d*b", WORD, "dumb db d b dumber d-b", ["dumb", "db"]),
        ("d*b", ANYWHERE, "xdumbob", ["dumb"]),  # as little as it can
        ("d??*", WORD, "d du dum dumber", ["dum", "dumber"]),
        ("d*?*?", WORD, "d du dum dumber", ["dum", "dumber"]),
        ("dumb* p*n", WORD, "a dumber person, dumb pan. dumb a pan", ["dumber person", "dumb pan"]),
        ("\u99ac*\u9e7f", WORD, "\u99ac\u3042\u9e7f\u9e7f", ["\u99ac\u3042\u9e7f"]),
        (r"d\*mb", WORD, "d*mb dumb", ["d*mb"]),
        (r"what\?", WORD, "what? whats", ["what?"]),
        (r"a\\b", WORD, r"a\b a\\b", [r"a\b"]),
    ],
)
def test_wildcards(term: str, mode: int, text: str, expected: list[str], find: Find) -> None:
    assert find(term, text, mode) == expected


@pytest.mark.parametrize(
    ("term", "problem"),
    [
        ("", "nothing is left"),
        (" \t", "nothing is left"),
        ("\u200b\u0301", "nothing is left"),
        ("\0", "nothing is left"),
        ("*", "only wildcards"),
        ("?*?", "only wildcards"),
        ("x" * 1001, "more than 1000 bytes"),
        ("dumb\\", "a backslash stands only before"),
        (r"d\umb", "a backslash stands only before"),
    ],
)
def test_what_is_no_term_is_refused_with_its_number(term: str, problem: str, classifier: Classifier) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^term 1: {problem}"):
        TermMatcher(classifier._engine, ["fine", term], [WORD, ANYWHERE])


# Disguises -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize(
    "written",
    [
        *("DumB", "d\u00fcmb", "du\u0301\u0323mb", "d\u200bu\u200dmb", "d\u00adumb", "du\0mb", "du\ufe0fmb"),
        *("\uff44\uff55\uff4d\uff42", "\U0001d41d\U0001d42e\U0001d426\U0001d41b", "\u24d3\u24e4\u24dc\u24d1"),
        *("d\u057dmb", "d u m b", "d.u.m.b", "D-U-M-B"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("term", ["dumb", "d*b", "*um*", "du?b"])
def test_disguises_are_seen_through_and_the_original_is_reported(term: str, written: str, find: Find) -> None:
    assert find(term, f"you are {written}, my friend \u2014 {written}") == [written] * 2


@pytest.mark.usefixtures("rules")
def test_signs_for_letters(find: Find) -> None:
    assert find("stupid", "so $tup1d, st\u00fapid") == ["$tup1d", "st\u00fapid"]
    assert find("stup1d", "stupid") == ["stupid"]  # terms go through the rules as well


@pytest.mark.usefixtures("rules")
def test_the_name_of_an_emoji_stands_for_it(find: Find) -> None:
    assert find("\U0001f4a9", "you \U0001f4a9\ufe0f!") == ["\U0001f4a9\ufe0f"]
    assert find("pile of poo", "you\U0001f4a9") == ["\U0001f4a9"]


# Strange input ---------------------------------------------------------------------------------------------


def test_strange_texts_and_lists(classifier: Classifier) -> None:
    engine = classifier._engine
    assert TermMatcher(engine, [], []).find(["dumb", ""]) == [[], []]
    matcher = TermMatcher(engine, ["dumb", "dumb", "a rather long term"], [WORD] * 3)
    assert matcher.find([]) == []
    assert matcher.find(["", " ", "\0", "d", "\ud800", "\u0301"]) == [[]] * 6
    assert sorted(matcher.find(["\ud800 dumb"])[0]) == [(0, 4, 8), (1, 4, 8)]  # twins are both found
    assert matcher.find(["du\ud800mb"])[0][0] == (0, 0, 7)  # read as U+FFFD, which is dropped


def test_what_is_refused(classifier: Classifier) -> None:
    engine = classifier._engine
    matcher = TermMatcher(engine, ["dumb"], [WORD])
    with pytest.raises(InvalidInputError, match="text 1 must be str"):
        matcher.find(["a", None])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="text 0 must be str"):
        TermMatcher(engine, [b"dumb"], [WORD])  # type: ignore[list-item]
    with pytest.raises(TextTooLargeError, match="text 1 has"):
        matcher.find(["a", "x" * ((1 << 20) + 1)])
    for modes in ([], [3], [WORD, WORD]):
        with pytest.raises(InvalidArgumentError, match="one mode"):
            TermMatcher(engine, ["dumb"], modes)


def test_fifty_thousand_terms(classifier: Classifier) -> None:
    rng = random.Random(7)
    terms = ["".join(rng.choices("abcdefghij", k=rng.randint(5, 12))) for _ in range(50_000)]
    rng.shuffle(terms)
    chosen = rng.sample(range(len(terms)), 300)
    matcher = TermMatcher(classifier._engine, terms, [WORD] * len(terms))
    found = matcher.find([f"x {terms[i]} {terms[i]}q" for i in chosen])
    numbers: dict[str, set[int]] = {}
    for i, term in enumerate(terms):
        numbers.setdefault(term, set()).add(i)
    for i, matches in zip(chosen, found, strict=True):
        assert {number for number, begin, _ in matches if begin == 2} == numbers[terms[i]]


# Threads, processes, interrupts ----------------------------------------------------------------------------

TEXTS = [f"the dumb dog number {i} is dumber " * (1 + i % 5) for i in range(200)]


def test_many_threads_and_a_forked_child(tiny_path: Path) -> None:
    matcher = TermMatcher(Classifier(tiny_path, threads=3)._engine, ["dumb*", "dog"], [WORD, ANYWHERE])
    expected = matcher.find(TEXTS)
    assert all(len(found) == 3 * (1 + i % 5) for i, found in enumerate(expected))
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(matcher.find, [TEXTS] * 16))
    with multiprocessing.get_context("fork").Pool(1, initializer=_keep, initargs=(matcher,)) as processes:
        assert processes.apply_async(_find_again).get(60) == expected


def _keep(matcher: TermMatcher) -> None:
    global kept
    kept = matcher


def _find_again() -> list[list[tuple[int, int, int]]]:
    return kept.find(TEXTS)


def test_the_matcher_keeps_its_engine(tiny_path: Path) -> None:
    matcher = TermMatcher(Classifier(tiny_path, threads=1)._engine, ["dumb"], [WORD])
    gc.collect()
    assert matcher.find(["dumb"]) == [[(0, 0, 4)]]


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_stops_a_long_search(threads: int, tiny_path: Path) -> None:
    matcher = TermMatcher(Classifier(tiny_path, threads=threads)._engine, ["a*a*b"], [WORD])

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            matcher.find(["a" * (1 << 20)] * 300)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert matcher.find(["ab"]) == [[]]


# Against a regular expression ------------------------------------------------------------------------------

LETTERS = "abz"
pieces = st.sampled_from([*LETTERS, "a", "b", " ", "-"])


def pattern_of(term: str, mode: int) -> re.Pattern[str]:
    inside = "".join({"*": "[a-z]*?", "?": "[a-z]"}.get(c, re.escape(c)) for c in term)
    edge = {
        WORD: ("(?:(?<![a-z])|(?![a-z]))", "(?:(?<![a-z])|(?![a-z]))"),
        ANYWHERE: ("", ""),
        TEXT: (r"\A", r"\Z"),
    }
    first, last = edge[mode]
    return re.compile(first + inside + last)


@given(
    terms=st.lists(
        st.tuples(st.lists(pieces | st.sampled_from("*?"), max_size=5).map("".join), st.integers(0, 2)),
        max_size=5,
    ),
    text=st.lists(pieces, max_size=30).map("".join),
)
def test_equal_to_regular_expressions(
    terms: list[tuple[str, int]], text: str, classifier: Classifier
) -> None:
    # Left to itself the alphabet has no disguises; two letters apart by spaces are no spelled word.
    if re.search(r"(\b\w\b\W){2}\b\w\b", text) or any(
        re.search(r"\b\w\b\W\b\w\b", term) for term, _ in terms
    ):
        return
    text = " ".join(text.split())
    # A leading `*` takes the nearest begin, as no expression does: cpp/fuzz/terms.cpp tests it.
    usable = [(t, m) for t, m in terms if re.search("[^*? ]", t) and t == " ".join(t.split()) and t[0] != "*"]
    usable = [(t, m) for t, m in usable if not re.match(r"\?+\*", t)]
    matcher = TermMatcher(classifier._engine, [t for t, _ in usable], [m for _, m in usable])
    expected = {
        (number, found.start(), found.end())
        for number, (term, mode) in enumerate(usable)
        for found in pattern_of(term, mode).finditer(text)
    }
    assert set(matcher.find([text])[0]) == expected


# Lists of a policy -----------------------------------------------------------------------------------------


def document(*lists: TermList, **rest: Any) -> PolicyDocument:
    return PolicyDocument(
        id="example", version="1.0.0", title="", description="", categories={}, audiences={},
        lists={terms.name: terms for terms in lists}, calibration=None, sha256="0" * 64, **rest,
    )  # fmt: skip


RUDE = TermList("rude", "Rude words", "block", "word", ("dick", "dumb*"), "harassment")
BOOKS = TermList("books", "Titles", "allow", "word", ("moby dick",))
JOKE = TermList("joke", "A running joke", "allow", "text", ("dumb and dumber",))
PARTS = TermList("parts", "Parts", "review", "anywhere", ("umb",))


def test_matches_of_a_policy(classifier: Classifier) -> None:
    lists = TermLists(document(RUDE, PARTS), classifier._engine)
    text = "\U0001f600 d\u00fcmber thumb"
    assert lists.matches([text, "fine"]) == [
        (
            TermMatch("rude", "dumb*", "block", "harassment", 2, 8),
            TermMatch("parts", "umb", "review", None, 3, 6),
            TermMatch("parts", "umb", "review", None, 11, 14),
        ),
        (),
    ]
    assert [(m.start, m.end) for m in lists.matches([text], unit="byte")[0]] == [(5, 12), (6, 10), (15, 18)]
    assert [(m.start, m.end) for m in lists.matches([text], unit="utf16")[0]] == [(3, 9), (4, 7), (12, 15)]


@pytest.mark.usefixtures("rules")
def test_allow_lists_take_back_what_lies_within(classifier: Classifier) -> None:
    lists = TermLists(document(RUDE, BOOKS, JOKE), classifier._engine)
    kept = [[(m.list, m.start) for m in found] for found in lists.matches(
        ["Moby Dick is long", "moby dick, a dick", "M\u043eby D1ck! dumb", "Dumb and Dumber", "a dumb dumber"]
    )]  # fmt: skip
    assert kept == [[], [("rude", 13)], [("rude", 11)], [("joke", 0)], [("rude", 2), ("rude", 7)]]


def test_no_lists(classifier: Classifier) -> None:
    assert TermLists(document(), classifier._engine).matches(["dumb", ""]) == [(), ()]


def test_a_bad_term_is_named(classifier: Classifier) -> None:
    bad = TermList("bad", "", "block", "word", ("fine", "**"))
    with pytest.raises(PolicyError, match=r"^rules.toml:12: list 'bad', term '\*\*': only wildcards; take"):
        TermLists(document(RUDE, bad, path="rules.toml", lines={("lists", "bad"): 12}), classifier._engine)
    with pytest.raises(PolicyError, match=r"^list 'bad', term"):
        TermLists(document(bad), classifier._engine)
