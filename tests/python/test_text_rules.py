"""The normalisation rules: one by one, together, and what they may never do."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_helpers import FULL, UNLIMITED, native, pieces, read_vocabulary, tokenizer

EMOJI, INVISIBLE, COMPATIBILITY, CONFUSABLES, JOIN, LEET = RULES = native.known_rules()
NORMALIZERS = {
    rules: tokenizer(rules=list(rules), window=UNLIMITED)
    for count in range(len(RULES) + 1)
    for rules in itertools.combinations(RULES, count)
}
ALL = tuple(RULES)
UNICODE_RULES = ALL[:4]  # those that leave ASCII alone and need no vocabulary
EXAMPLES = 3_000 if FULL else 400
UNICODE = Path("/usr/share/unicode")

TRICKY = (
    "aZ1#* .'\xe9\u0301\u0430\u0440\u041a\u03bc\u03b1\u05d5\u200b\u200c\u200d\xad\u202e\u2066\ufeff\ufe0e"
    "\ufe0f\u3164\u034f\u20e3\xa9\u2122\u2194\u2764\u263a\u2460\u24b6\uff41\uff11\uff03\uff9e\uffe3\U0001d4d1"
    "\U0001d6c2\U0001f170\U0001f469\U0001f680\U0001f3fd\U0001f44d\U0001f1fa\U0001f1f8\U0001f3f4\U000e0067"
    "\U000e0062\U000e007f\u4e00\u30c4"
)
tricky_text = st.text(
    st.one_of(st.sampled_from(TRICKY), st.characters(exclude_categories=["Cs"])), max_size=30
)


# Letters, separators, signs that stand for letters, and what ends words without being a blank.
DISGUISES = "aabeilnorstcduABIST0134578$@!|+ .-_*,/~'\t\x01\xe9\u0441\uff41\u200b"
disguised_text = st.lists(
    st.one_of(
        st.sampled_from(DISGUISES),
        st.sampled_from(["a b c", "s t o p", "c.a.t", "h|i|t", "st0p", "h!t", "@t", "b1rd", "a|b|c|d"]),
    ),
    max_size=30,
).map("".join)
any_text = st.one_of(tricky_text, disguised_text)


def normalize(text: str, *rules: str) -> str:
    return NORMALIZERS[rules or ALL].normalize(text.encode())[0].decode()


def test_known_rules() -> None:
    assert RULES == [
        "emoji_names/1",
        "strip_invisible/1",
        "fold_compatibility/1",
        "fold_confusables/1",
        "join_spelled/1",
        "fold_leet/1",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I \u2764\ufe0f it", "I  red heart  it"),
        ("I \u2764 it", "I  red heart  it"),  # without its variation selector
        ("\U0001f44d\U0001f3fd", " thumbs up: medium skin tone "),
        ("\U0001f44d \U0001f3fd", " thumbs up   medium skin tone "),
        ("\U0001f469\u200d\U0001f680!", " woman astronaut !"),
        ("\U0001f469\u200d\U0001f469", " woman \u200d woman "),  # no such sequence
        ("\U0001f469\u200b\u200d\U0001f680", " woman astronaut "),  # something invisible in between
        ("\U0001f1fa\U0001f1f8", " flag: United States "),
        ("\U0001f1fa\U0001f1fa\U0001f1f8", "\U0001f1fa flag: United States "),
        ("\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", " flag: England "),
        ("1\ufe0f\u20e3 2\u20e3", " keycap: 1   keycap: 2 "),
        ("1 2 # * x\u20e3", "1 2 # * x"),  # a stray keycap mark goes
        ("\xa9 \xa9\ufe0f \u2194 \u2122", "\xa9  copyright  \u2194 \u2122"),  # typographic signs stay
        ("\U0001f171", "\U0001f171"),  # a letter: fold_compatibility/1's business
        ("plain text", "plain text"),
    ],
)
def test_emoji_names(text: str, expected: str) -> None:
    assert normalize(text, EMOJI) == expected


@pytest.mark.skipif(not UNICODE.is_dir(), reason="Debian package unicode-data is not installed")
def test_every_emoji_has_its_name() -> None:
    letters = {"\u24c2", "\U0001f170", "\U0001f171", "\U0001f17e", "\U0001f17f"}
    count = 0
    for line in (UNICODE / "emoji/emoji-test.txt").read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"([0-9A-F ]+?) *; *(?:fully-qualified|component) *# \S+ E\S+ (.+)", line)
        if match is None or (emoji := "".join(chr(int(code, 16)) for code in match[1].split()))[0] in letters:
            continue
        count += 1
        assert normalize(f"x{emoji}y", EMOJI) == f"x {match[2]} y", match[1]
        assert normalize(f"x{emoji}y") == f"x {normalize(match[2])} y", match[1]
    assert count > 3600


def test_strip_invisible() -> None:
    hidden = "\xad\u034f\u061c\u115f\u180b\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2066\u2069"
    hidden += "\ufe0e\ufe0f\ufeff\u3164\uffa0\ufff9\U000e0001\U000e0041\U000e007f\U000e0100"
    for character in hidden:
        assert normalize(f"a{character}b", INVISIBLE) == "ab", hex(ord(character))
    for character in "\t\n \xa0\u2028\u3000\u0301\u4e00\x00\x7f":
        assert normalize(f"a{character}b", INVISIBLE) == f"a{character}b", hex(ord(character))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\uff48\uff45\uff4c\uff4c\uff4f\uff01", "hello!"),
        ("\U0001d4f1\U0001d4ee\U0001d4f5\U0001d4f5\U0001d4f8", "hello"),
        ("\u210b\u2115 \U0001d7d8", "HN 0"),
        ("\u24d7\u24d8 \u2460 \u2776 \u2474", "hi 1 1 1"),
        ("\U0001f177\U0001f178 \U0001f157 \U0001f137 \U0001f1ed", "HI H H H"),
        ("\u1d1b\u1d07s\u1d1b", "TEsT"),
        ("\ufb01sh \u2173", "fish iv"),
        ("\u02b0\u1d43", "ha"),
        ("\uff8a\uff9b\uff70", "\u30cf\u30ed\u30fc"),
        (
            "10\xb2 H\u2082O \xbd",
            "10\xb2 H\u2082O \xbd",
        ),  # exponents, indices and fractions keep their meaning
        ("\u3297 \u32d0 \xe9 \u1e9e", "\u3297 \u32d0 \xe9 \u1e9e"),  # not Latin, or not compatibility
    ],
)
def test_fold_compatibility(text: str, expected: str) -> None:
    assert normalize(text, COMPATIBILITY) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u0440aypal", "paypal"),
        ("h\u0435ll\u043e w\u043erld", "hello world"),
        ("\u041aind \u043aind", "Kind kind"),
        ("L\u0406ON l\u0456on", "LION lion"),
        ("\u03b1lpha", "alpha"),
        ("\u0441\u043e\u0440\u0430", "\u0441\u043e\u0440\u0430"),  # Cyrillic only
        ("\u03b1\u03b2\u03b3", "\u03b1\u03b2\u03b3"),
        ("\u0441\u043e\u0440\u0430-cat", "\u0441\u043e\u0440\u0430-cat"),  # two words
        ("\u03bcm", "\u03bcm"),
        ("T\u30b7\u30e3\u30c4", "T\u30b7\u30e3\u30c4"),
        ("1\u043e", "1\u043e"),  # digits have no script
    ],
)
def test_fold_confusables(text: str, expected: str) -> None:
    assert normalize(text, CONFUSABLES) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("you are a d u m b person", "you are a dumb person"),
        ("U.S.A.", "USA."),
        ("h-e-l-l-o", "hello"),
        ("h_e_l_l_o h*e*l*l*o h,e,l,l,o", "hello hello hello"),
        ("h/e/l/l/o h|e|l|l|o h+e+l+l+o h~e~l~l~o", "hello hello hello hello"),
        ("S t O p!", "StOp!"),  # case is kept
        ("c a t s  a r e", "cats  are"),  # two blanks end a run
        ("c a t s\na r e", "cats\nare"),
        ("g o o d d a y", "good day"),
        ("g.o.o.d.d.a.y", "good.day"),  # a separator that stays is as it was
        ("(c a t s) 'd o g s' \"b i r d s\"", "(cats) 'dogs' \"birds\""),
        ("t h 1 n g s", "th1ngs"),  # looked up as "things"; the 1 is fold_leet/1's business
        ("d 0 g s $ t o p", "d0gs $top"),
        ("w o m b a t s", "womb ats"),  # not in the vocabulary
        ("u g l y d o g g o s", "ugly doggos"),  # neither, but in two pieces
        ("q q q q q q", "qqqqqq"),  # no word: one all the same
        ("c a t-o-x", "cat-o-x"),  # what two runs share is the first one's
        ("x a b-c-a-t", "x ab-cat"),  # ... unless it stays a word
    ],
)
def test_join_spelled(text: str, expected: str) -> None:
    assert normalize(text, JOIN) == expected


SENTENCES = """
I like cats
the weather is nice today
she went to the market to buy some bread
we will meet at the station at noon
please close the door when you leave
he is a very good friend of mine
my brother plays the guitar every evening
they walked along the river until dark
can you help me with my homework
this is the best coffee in town
I do not want to go there again
the children are playing in the garden
nobody knows where the keys are
that was a really boring movie
what time does the train arrive
there is no milk left in the fridge
open the window and let some air in
her sister works in a hospital
stop talking and listen to me
the old man sat on a bench in the park
I am so tired of this
a cup of tea would be lovely
football is more popular than cricket here
these tomatoes taste wonderful
""".strip().splitlines()


@pytest.mark.parametrize("separator", [" ", ".", "-", "_"])
def test_spelled_sentences_come_back(separator: str) -> None:
    for sentence in SENTENCES:
        spelled = separator.join(sentence.replace(" ", ""))
        assert normalize(spelled, JOIN) == sentence.replace(" ", separator)


@pytest.mark.parametrize(
    "text",
    [
        "J. R. R. Tolkien",
        "e.g. this, i.e. that, 5 p.m.",
        "a + b + c, x - y - z",
        "a, b, c",
        "a b",  # too short
        "version 1.2.3, 10 4 1 5",
        "1 0 1 a b c",  # not more letters than others
        "2 a 2 b 2 c",  # 2 looks like no letter
        "x-ray, plan-b, t-shirt",
        "it's a",
        "it's s a",
        "caf\xe9 a \xe9 b c",
        "\xe9a b c\xe9",
        "a\x01 b \x01c",
        "a\tb\tc",
        "a|b|c|dog, dog+a+b+c",
        "https://example.com/about/a/b?x=1",
        "first.last@example.com",
    ],
)
def test_not_spelled(text: str) -> None:
    assert normalize(text, JOIN) == text


def test_joining_what_is_no_word() -> None:
    """Known and harmless: docs/text.md names them."""
    assert normalize("A B C, f(a,b,c)", JOIN) == "ABC, f(abc)"
    assert normalize("https://example.com/a/b/c", JOIN) == "https://example.com/abc"


def test_long_runs() -> None:
    """The cheapest cut is that of the whole run, however long it is."""
    for count in (1, 10, 100, 3000):
        assert normalize(" ".join("thegarden" * count), JOIN) == " ".join(["the garden"] * count)
    # A word of more than 100 characters would be [UNK]; its letters stay apart.
    subject = native.Tokenizer(b"[UNK]\n[CLS]\n[SEP]\nba\n##bb", rules=[JOIN])
    for count, joined in ((49, True), (50, False)):
        word = b"ba" + b"bb" * count
        spelled = b" ".join(bytes([letter]) for letter in word)
        assert subject.normalize(spelled)[0] == (word if joined else spelled)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w0m3n h3ll0 st0p k1tt3n", "women hello stop kitten"),
        ("H3LL0 H3ll0 h3LL0", "HELLO Hello heLLo"),
        ("p@ssw0rd @pple a$$ume $hop ca$h", "password apple assume shop cash"),
        ("no!se, he|p, s+op", "noise, help, stop"),
        ("b1rd pa1n he1p", "bird pain help"),  # 1 is an i or an l
        ("!!st0p!! |st0p|", "!!stop!! |stop|"),  # signs at the ends are none of the word
        ("br34kf4st-t1m3", "breakfast-time"),
        ("sn0wb0arders", "snowboarders"),  # not in the vocabulary, but much shorter than before
        ("undert@k!ngs", "undertakings"),
        ("mov3 chanc3 3ggs 0nly", "move chance eggs only"),  # one digit that the rest is no word without
        ("4gr33m3n7", "agreement"),  # mostly signs
    ],
)
def test_fold_leet(text: str, expected: str) -> None:
    assert normalize(text, LEET) == expected


@pytest.mark.parametrize(
    "text",
    [
        "hello! wow!! c++ a+ (b+c) +1 |x|",
        "bob@home.com, tom@hawk.com, me@mail.org",
        "@long @home",  # handles
        "this+that go+home yes|maybe yes|no wow!that ok!fine go!now",
        "top5 html5 page3 1ike 4pm 50cent",
        "h1n1 k8s $100 100k 3d 5hrs 1st 4th 10am 1990s",
        "mp3 ps4 covid19 version10 b12",
        "a1b0c3 0x41 e0a3 x86 i18n",
        "COL1A1 TUBA1A CMT4D NF1 ETHE1",  # genes
        "@SomebodyElse 10secs 7digital",
        "st0p\xe9 \xe9st0p st0p\x01",  # next to what is not ASCII
        "w0m2n",  # 2 looks like no letter
        "a0a0a0a0 q0q",
        "a0",
    ],
)
def test_not_leet(text: str) -> None:
    assert normalize(text, LEET) == text


def test_disguises_work_together() -> None:
    assert normalize("a n 1 c 3 d @ y") == "a nice day"
    assert normalize("\uff53 t \u24de p, st\uff10p") == "stop, stop"
    assert normalize("s\u200bt0p") == "stop"


def test_ill_formed_bytes_stay_apart() -> None:
    subject = NORMALIZERS[ALL]
    assert subject.normalize(b"\xffs t o p\xff")[0].decode() == "\ufffds t o p\ufffd"
    assert subject.normalize(b"\xff s t o p \xffst0p")[0].decode() == "\ufffd stop \ufffdst0p"


def test_rules_work_together() -> None:
    assert normalize("p\u200b\u0430y\u200dp\uff41l") == "paypal"
    assert normalize("\U0001f171\ufe0fest") == "Best"
    assert normalize("b\u0435\u0301st") == "be\u0301st"


def test_origins() -> None:
    text = "a\U0001f44dxb\xe9\u24d2"
    out, origins = NORMALIZERS[ALL].normalize(text.encode())
    assert out.decode() == "a thumbs up xb\xe9c"
    assert origins.tolist() == [0, *[1] * 11, 5, 6, 7, 7, 9, 12]


def test_offsets_of_pieces() -> None:
    text = "so \U0001f44d\U0001f3fd, \U0001d4f1\U0001d4ee y\xad\u043eu".encode()
    begins_ends = [(begin, end) for _, begin, end in pieces(NORMALIZERS[ALL], [text])[0]]
    thumb = (3, 11)
    assert begins_ends == [(0, 2), thumb, thumb, thumb, thumb, thumb, thumb, (11, 12), (13, 21), (22, 28)]


def test_offsets_of_disguises() -> None:
    text = b"so d u m b, h3ll0 c a t s d o g s"
    begins_ends = [(begin, end) for _, begin, end in pieces(NORMALIZERS[ALL], [text])[0]]
    assert begins_ends == [(0, 2), (3, 10), (10, 11), (12, 17), (18, 25), (26, 33)]
    assert NORMALIZERS[ALL].normalize(b"x h 3 y")[1].tolist() == [0, 1, 2, 4, 6, 7]


@settings(max_examples=EXAMPLES, deadline=None)
@given(text=any_text, rules=st.sampled_from(sorted(NORMALIZERS)))
def test_normalize_is_idempotent(text: str, rules: tuple[str, ...]) -> None:
    once = NORMALIZERS[rules].normalize(text.encode())[0]
    assert NORMALIZERS[rules].normalize(once)[0] == once


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    data=st.one_of(st.binary(max_size=40), any_text.map(str.encode)),
    rules=st.sampled_from(sorted(NORMALIZERS)),
)
def test_normalize_keeps_its_promises(data: bytes, rules: tuple[str, ...]) -> None:
    out, origins = NORMALIZERS[rules].normalize(data)
    out.decode()  # well-formed
    assert len(origins) == len(out) + 1
    assert origins[-1] == len(data)
    assert (origins[1:] >= origins[:-1]).all()
    if not rules:
        assert out == data.decode(errors="replace").encode()


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    data=st.one_of(st.binary(max_size=40), any_text.map(str.encode)),
    rules=st.sampled_from(sorted(NORMALIZERS)),
)
def test_encode_equals_normalize_then_encode(data: bytes, rules: tuple[str, ...]) -> None:
    found = pieces(NORMALIZERS[rules], [data])[0]
    out, origins = NORMALIZERS[rules].normalize(data)
    plain = pieces(NORMALIZERS[()], [out])[0]
    assert [number for number, _, _ in found] == [number for number, _, _ in plain]
    assert [begin for _, begin, _ in found] == [origins[begin] for _, begin, _ in plain]
    for _, begin, end in found:
        assert begin < end <= len(data)


# Between them, every sign that stands for a letter makes a known word, and letters are set apart.
@pytest.mark.parametrize(
    "context",
    ["s{}op", "st{}p", "{}top", "c{}rs", "{}st0p", "st0p{}", "{}s t o p", "s t o p{}", "s{}t{}o{}p"],
)
def test_rules_are_skipped_only_where_they_change_nothing(context: str) -> None:
    # Whether a text concerns a rule is seen from 64 bytes at a time; every byte, across the border of two.
    signs = [bytes([code]) for code in range(256)]
    texts = [
        b"." * lead + context.encode().replace(b"{}", sign) for sign in signs for lead in (0, *range(56, 66))
    ]
    normalized = [NORMALIZERS[ALL].normalize(text)[0] for text in texts]
    assert normalized != texts
    found = NORMALIZERS[ALL].encode(texts, False)
    plain = NORMALIZERS[()].encode(normalized, False)
    for ours, theirs in zip(found[:3], plain[:3], strict=True):
        assert ours.tolist() == theirs.tolist()


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(st.characters(max_codepoint=0x7F), max_size=40))
def test_ascii_is_left_alone(text: str) -> None:
    assert normalize(text, *UNICODE_RULES) == text


def test_rules_change_what_the_model_reads() -> None:
    plain = native.Tokenizer(read_vocabulary())
    text = "h\u0435ll\u043e \U0001f600".encode()
    assert plain.encode([text])[0].tolist() != NORMALIZERS[ALL].encode([text])[0].tolist()
    assert NORMALIZERS[ALL].encode([text])[0].tolist() == plain.encode([b"hello grinning face"])[0].tolist()
