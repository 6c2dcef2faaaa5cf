"""Arrow in: arrays of every string type, read where they lie; malformed ones, made by hand, are refused."""

from __future__ import annotations

import ctypes
import gc
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetyclf import Classifier, InvalidInputError, TextTooLargeError

pa = pytest.importorskip("pyarrow", minversion="14")
if not hasattr(pa, "string_view"):
    pytest.skip("this pyarrow has no string_view", allow_module_level=True)

TEXTS = ["hello friends", "", "the bad dog is angry", "x", "\u65e5\u672c \U0001f600 \xe9", "a\0b"] + [
    f"we like the weather in city {i} " * (i % 7) for i in range(40)
]
INDICES = [pa.int8, pa.uint8, pa.int16, pa.uint16, pa.int32, pa.uint32, pa.int64, pa.uint64]
TYPES = [pa.string(), pa.large_string(), pa.string_view()]
TYPES += [pa.dictionary(index(), pa.string()) for index in INDICES]
# Dictionaries of the other string types cannot be cast to; they are put together.
TYPES += [pa.dictionary(pa.int32(), values) for values in (pa.large_string(), pa.string_view())]


def make(texts: list[str | None], kind: Any) -> Any:
    if not pa.types.is_dictionary(kind):
        return pa.array(texts, kind)
    seen = list(dict.fromkeys(text for text in texts if text is not None))
    indices = pa.array([None if text is None else seen.index(text) for text in texts], kind.index_type)
    return pa.DictionaryArray.from_arrays(indices, pa.array(seen, kind.value_type))


class OnlyCapsules:
    """Has no way to its texts but the capsules."""

    def __init__(self, array: Any) -> None:
        name = "__arrow_c_array__" if hasattr(array, "__arrow_c_array__") else "__arrow_c_stream__"
        self._export = getattr(array, name)
        self.asked = 0
        setattr(type(self), name, OnlyCapsules._ask)

    def __new__(cls, array: Any) -> OnlyCapsules:
        # A class of its own, for a method of its own.
        return object.__new__(type("OnlyCapsules", (cls,), {}))

    def _ask(self, requested_schema: object = None) -> Any:
        self.asked += 1
        return self._export()


def assert_equal(classifier: Classifier, array: Any, texts: list[str]) -> None:
    wrapped = OnlyCapsules(array)
    assert classifier.scores(wrapped).tobytes() == classifier.scores(texts).tobytes()
    assert wrapped.asked == 1


# Valid arrays ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_arrays_and_slices_score_as_lists_do(kind: Any, tiny: Classifier) -> None:
    array = make(TEXTS, kind)
    assert_equal(tiny, array, TEXTS)
    assert_equal(tiny, array[3:], TEXTS[3:])
    assert_equal(tiny, array[9:17][2:5], TEXTS[11:14])
    assert_equal(tiny, array[:0], [])
    assert_equal(tiny, make([], kind), [])
    assert tiny.classify_batch(OnlyCapsules(array)) == tiny.classify_batch(TEXTS)


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_chunks_also_empty_ones(kind: Any, tiny: Classifier) -> None:
    chunks = [make([], kind), make(TEXTS[:5], kind), make([], kind), make(TEXTS, kind)[5:], make([], kind)]
    assert_equal(tiny, pa.chunked_array(chunks), TEXTS)
    assert_equal(tiny, pa.chunked_array(chunks)[4:7], TEXTS[4:7])
    assert_equal(tiny, pa.chunked_array([], kind), [])


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_nulls_are_refused_by_their_index_in_the_whole_input(kind: Any, tiny: Classifier) -> None:
    for null in (0, 7, 8, 45):
        texts: list[str | None] = list(TEXTS)
        texts[null] = None
        array = make(texts, kind)
        for whole in (array, pa.chunked_array([array[:8], array[8:8], array[8:]])):
            for method in (tiny.scores, tiny.classify_batch):
                with pytest.raises(InvalidInputError, match=f"^text {null} must be str, not NoneType$"):
                    method(OnlyCapsules(whole))
        # Those outside of a slice do not count, whatever bit of a byte they are.
        assert_equal(tiny, array[null + 1 :], TEXTS[null + 1 :])
        assert_equal(tiny, array[:null], TEXTS[:null])


def test_nulls_of_a_dictionary_count_where_they_are_used(tiny: Classifier) -> None:
    values = pa.array(["dog", None, "cat"])
    assert_equal(tiny, pa.DictionaryArray.from_arrays(pa.array([0, 2, 0]), values), ["dog", "cat", "dog"])
    with pytest.raises(InvalidInputError, match="text 2 must be str, not NoneType"):
        tiny.scores(pa.DictionaryArray.from_arrays(pa.array([0, 2, 1]), values))


def test_slices_of_a_dictionary(tiny: Classifier) -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["x", "dog", "cat", "bad"])[1:])
    assert_equal(tiny, array, ["dog", "cat", "bad"])


def test_arrays_of_type_null(tiny: Classifier) -> None:
    assert_equal(tiny, pa.array([]), [])
    with pytest.raises(InvalidInputError, match="text 0 must be str, not NoneType"):
        tiny.scores(pa.nulls(1000))


def test_extension_types_are_read_by_their_storage(tiny: Classifier) -> None:
    storage = pa.array(TEXTS)
    if not hasattr(pa, "json_"):
        pytest.skip("this pyarrow has no json")
    assert_equal(tiny, pa.ExtensionArray.from_storage(pa.json_(), storage), TEXTS)


def test_ill_formed_bytes_read_as_replacement_characters(tiny: Classifier) -> None:
    texts = [b"dog\xff cat", b"\xed\xa0\x80 dog", b"dog \xf0\x9f\x98", b"\xe9", b"hello"]
    decoded = [text.decode("utf-8", "replace") for text in texts]
    for binary, kind in [(pa.binary(), pa.string()), (pa.large_binary(), pa.large_string())]:
        _, offsets, data = pa.array(texts, binary).buffers()
        array = pa.Array.from_buffers(kind, len(texts), [None, offsets, data])
        assert_equal(tiny, array, decoded)
        assert [v.scores for v in tiny.classify_batch(array)] == [
            v.scores for v in tiny.classify_batch(decoded)
        ]


def test_pandas_series(tiny: Classifier) -> None:
    pandas = pytest.importorskip("pandas")
    for dtype in ("object", "str", "category", "string"):
        series = pandas.Series(TEXTS, dtype=dtype)
        assert tiny.scores(series).tobytes() == tiny.scores(TEXTS).tobytes()
        assert tiny.classify_batch(series) == tiny.classify_batch(TEXTS)
    # Objects are taken as they are: Arrow has no form for a lone surrogate.
    assert tiny.classify_batch(pandas.Series(["\ud800", "dog"], dtype="object"))[0].repaired
    for table in (pandas.DataFrame({"text": TEXTS}), pandas.DataFrame({"dtype": TEXTS})):
        with pytest.raises(InvalidInputError, match="one-dimensional array of texts, not one of 2 dim"):
            tiny.scores(table)


def test_an_exporter_that_lacks_its_library_is_iterated(tiny: Classifier) -> None:
    class Series:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            raise ImportError("no pyarrow")

        def __iter__(self) -> Any:
            return iter(TEXTS)

    assert tiny.scores(Series()).tobytes() == tiny.scores(TEXTS).tobytes()
    assert tiny.classify_batch(Series()) == tiny.classify_batch(TEXTS)


def test_texts_are_not_copied(tiny_path: Path) -> None:
    # 256 MiB of pages never touched, in texts that are refused for their size: collecting them must not grow
    # the process by what they hold, as one copy would.
    code = """
import resource, struct, sys
import numpy as np, pyarrow as pa
from safetyclf import Classifier, TextTooLargeError
classifier = Classifier(sys.argv[1], threads=1, max_text_bytes=100)
n, size = 256, 1 << 20
data = pa.py_buffer(np.zeros(n * size, np.uint8))
def strings(kind, dtype):
    offsets = pa.py_buffer(np.arange(0, (n + 1) * size, size).astype(dtype))
    return pa.Array.from_buffers(kind, n, [None, offsets, data])
views = pa.py_buffer(b"".join(struct.pack("<iiii", size, 0, 0, i * size) for i in range(n)))
utf8 = strings(pa.string(), np.int32)
for array in (
    utf8,
    strings(pa.large_string(), np.int64),
    pa.Array.from_buffers(pa.string_view(), n, [None, views, data]),
    pa.DictionaryArray.from_arrays(pa.array(range(n)), utf8),
    pa.chunked_array([utf8, utf8]),
):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        classifier.scores(array)
        raise SystemExit("not refused")
    except TextTooLargeError:
        pass
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 16 << 10, f"{array.type}: {grown} KiB"
"""
    subprocess.run([sys.executable, "-c", code, str(tiny_path)], check=True)


# Other types -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (pa.array([1, 2]), "int64"),
        (pa.array([True]), "bool"),
        (pa.array([1.5]), "float64"),
        (pa.array([b"x"]), "binary; decode it first"),
        (pa.array([b"x"], pa.large_binary()), "large_binary; decode it first"),
        (pa.array([b"x"], pa.binary_view()), "binary_view; decode it first"),
        (pa.array([b"x"], pa.binary(1)), "fixed-size binary; decode it first"),
        (pa.array([["x"]]), "list"),
        (pa.array([["x"]], pa.large_list(pa.string())), "list"),
        (pa.array([{"text": "x"}]), "struct"),
        (pa.array([1, 2], pa.date32()), "a date or time"),
        (pa.array([1]).dictionary_encode(), "a dictionary of int64"),
        (pa.table({"text": ["x"]}), "struct, as tables and record batches are; pass one column"),
        (pa.record_batch({"text": ["x"]}), "struct, as tables and record batches are; pass one column"),
        (pa.chunked_array([[1], [2]]), "int64"),
    ],
    ids=str,
)
def test_other_types_are_refused_by_name(array: Any, found: str, tiny: Classifier) -> None:
    taken = "must have type string, large_string or string_view, or be a dictionary of one"
    for method in (tiny.scores, tiny.classify_batch):
        with pytest.raises(InvalidInputError, match=f"{taken}, not {found}"):
            method(array)


def test_size_limit_names_the_index_in_the_whole_input(tiny_path: Path) -> None:
    classifier = Classifier(tiny_path, max_text_bytes=10)
    with pytest.raises(TextTooLargeError, match="text 2 has 11 bytes"):
        classifier.scores(pa.chunked_array([["a"], ["b", "x" * 11]]))


# Arrays made by hand ---------------------------------------------------------------------------------------


class Schema(ctypes.Structure):
    pass


class Array(ctypes.Structure):
    pass


class Stream(ctypes.Structure):
    pass


RELEASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
GET = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
LAST_ERROR = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
Schema._fields_ = [
    *((name, ctypes.c_char_p) for name in ("format", "name", "metadata")),
    *((name, ctypes.c_int64) for name in ("flags", "n_children")),
    ("children", ctypes.c_void_p),
    ("dictionary", ctypes.POINTER(Schema)),
    ("release", RELEASE),
    ("private_data", ctypes.c_void_p),
]
Array._fields_ = [
    *((name, ctypes.c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.c_void_p),
    ("dictionary", ctypes.POINTER(Array)),
    ("release", RELEASE),
    ("private_data", ctypes.c_void_p),
]
Stream._fields_ = [
    ("get_schema", GET),
    ("get_next", GET),
    ("get_last_error", LAST_ERROR),
    ("release", RELEASE),
    ("private_data", ctypes.c_void_p),
]

new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Column:
    """A column made by hand. What is released, and how often, is counted by kind."""

    def __init__(
        self,
        layout: bytes | None,
        buffers: list[bytes | None],
        length: int,
        dictionary: Column | None = None,
        **fields: Any,
    ) -> None:
        self.released = {"schema": 0, "array": 0, "stream": 0}
        self._kept: list[Any] = [dictionary, buffers]
        pointers = [None if b is None else ctypes.cast(b, ctypes.c_void_p).value for b in buffers]
        self.buffers = (ctypes.c_void_p * max(len(buffers), 1))(*pointers)
        self.schema = Schema(format=layout, release=self.release("schema", Schema))
        self.array = Array(length=length, n_buffers=len(buffers), release=self.release("array", Array))
        self.array.buffers = ctypes.cast(self.buffers, ctypes.POINTER(ctypes.c_void_p))
        if dictionary is not None:
            self.schema.dictionary = ctypes.pointer(dictionary.schema)
            self.array.dictionary = ctypes.pointer(dictionary.array)
        for name, value in fields.items():
            setattr(self.array, name, value)

    def release(self, kind: str, structure: type[ctypes.Structure]) -> Any:
        def count(pointer: int) -> None:
            self.released[kind] += 1
            released = structure.from_address(pointer)
            # As the interface asks of a release callback; setting a function to None keeps the pointer.
            ctypes.memset(ctypes.addressof(released) + structure.release.offset, 0, 8)

        self._kept.append(RELEASE(count))
        return self._kept[-1]

    def capsule(self, structure: Any, name: bytes) -> Any:
        return new_capsule(ctypes.addressof(structure), name, None)


class Made(Column):
    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[Any, Any]:
        return self.capsule(self.schema, b"arrow_schema"), self.capsule(self.array, b"arrow_array")


class MadeStream(Column):
    """A stream of the same array, `chunks` times. `fail` names the function that fails, saying `message`."""

    def __init__(self, *args: Any, chunks: int = 2, fail: str = "", message: bytes | None = None) -> None:
        super().__init__(*args)
        self.left = chunks
        said = ctypes.create_string_buffer(message) if message is not None else None

        def get_schema(_: int, out: int) -> int:
            if fail == "get_schema":
                return 5
            ctypes.memmove(out, ctypes.addressof(self.schema), ctypes.sizeof(Schema))
            return 0

        def get_next(_: int, out: int) -> int:
            self.left -= 1
            if self.left < 0:
                ctypes.memset(out, 0, ctypes.sizeof(Array))
                return 5 if fail == "get_next" else 0
            ctypes.memmove(out, ctypes.addressof(self.array), ctypes.sizeof(Array))
            return 0

        def get_last_error(_: int) -> int | None:
            return None if said is None else ctypes.addressof(said)

        self.stream = Stream(
            get_schema=GET(get_schema),
            get_next=GET(get_next),
            get_last_error=LAST_ERROR(get_last_error),
            release=self.release("stream", Stream),
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        return self.capsule(self.stream, b"arrow_array_stream")


def views(data: bytes | None, sizes: bytes | None) -> Made:
    return Made(b"vu", [None, i32(13, 0, 0, 0), data, sizes], 1)


def i32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def i64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def utf8(**fields: Any) -> Made:
    """ "dog" and "cat"."""
    return Made(b"u", [None, i32(0, 3, 6), b"dogcat"], **{"length": 2, **fields})


def view(*four: int) -> Made:
    return Made(b"vu", [None, i32(1, 120, 0, 0, *four), b"x" * 20, i64(20)], 2)


def indices(layout: bytes, packed: bytes) -> Made:
    return Made(layout, [None, packed], 2, dictionary=utf8())


def two_dictionaries() -> Made:
    return Made(b"i", [None, i32(0, 0)], 2, dictionary=indices(b"i", i32(0, 1)))


def with_schema(made: Made, **fields: Any) -> Made:
    for name, value in fields.items():
        setattr(made.schema, name, value)
    return made


def without_buffers() -> Made:
    made = utf8()
    made.array.buffers = ctypes.POINTER(ctypes.c_void_p)()
    return made


def without_dictionary() -> Made:
    made = indices(b"i", i32(0, 1))
    made.array.dictionary = ctypes.POINTER(Array)()
    return made


def test_arrays_made_by_hand_are_valid_to_begin_with(tiny: Classifier) -> None:
    for made, texts in [
        (utf8(), ["dog", "cat"]),
        (Made(b"U", [None, i64(0, 3, 6), b"dogcat"], 2), ["dog", "cat"]),
        (view(13, 0, 0, 7), ["x", "x" * 13]),
        (indices(b"l", i64(1, 0)), ["cat", "dog"]),
        (Made(b"u", [None, None, None], 0), []),
        (Made(b"u", [None, i32(0, 0), None], 1), [""]),
        (Made(b"vu", [None, None, None], 0), []),
        (utf8(null_count=-1), ["dog", "cat"]),
        (utf8(offset=1, length=1), ["cat"]),
        (Made(b"u", [b"\2", i32(0, 3, 6), b"dogcat"], 1, offset=1, null_count=-1), ["cat"]),
    ]:
        assert tiny.scores(made).tobytes() == tiny.scores(texts).tobytes()
        assert made.released == {"schema": 1, "array": 1, "stream": 0}
        assert not made.schema.release
        assert not made.array.release


MALFORMED: dict[str, tuple[Callable[[], Made], str]] = {
    "offsets decrease": (lambda: Made(b"u", [None, i32(0, 6, 3), b"dogcat"], 2), "decrease at text 1"),
    "offsets are negative": (lambda: Made(b"u", [None, i32(-3, 3, 6), b"dogcat"], 2), "at text 0"),
    "large offsets decrease": (lambda: Made(b"U", [None, i64(9, 3, 6), b"dogcat"], 2), "decrease at text 0"),
    "large offsets are negative": (lambda: Made(b"U", [None, i64(-2, -1), b"dogcat"], 1), "at text 0"),
    "no offsets": (lambda: Made(b"u", [None, None, b"dogcat"], 2), "a buffer is missing"),
    "no data": (lambda: Made(b"u", [None, i32(0, 3), None], 1), "a buffer is missing at text 0"),
    "two buffers": (lambda: Made(b"u", [None, i32(0, 3)], 1), "wrong number of buffers"),
    "four buffers": (lambda: Made(b"u", [None, i32(0, 3), b"dog", b"dog"], 1), "wrong number of buffers"),
    "buffers not there": (without_buffers, "no buffers"),
    "negative length": (lambda: utf8(length=-1), "length or offset out of range"),
    "negative offset": (lambda: utf8(offset=-1), "length or offset out of range"),
    "length overflows": (lambda: utf8(length=2**62, offset=2**62), "length or offset out of range"),
    "children": (lambda: utf8(n_children=1), "children"),
    "children of the schema": (lambda: with_schema(utf8(), n_children=1), "children"),
    "nulls without bitmap": (lambda: utf8(null_count=1), "nulls without a validity bitmap"),
    "no format": (lambda: with_schema(utf8(), format=None), "no format"),
    "empty format": (lambda: with_schema(utf8(), format=b""), "an unknown format"),
    "unknown format": (lambda: with_schema(utf8(), format=b"\xff?"), "an unknown format"),
    "view of negative length": (lambda: view(-1, 0, 0, 0), "a view of negative length at text 1"),
    "view past its buffer": (lambda: view(13, 0, 0, 8), "a view outside its buffer at text 1"),
    "view before its buffer": (lambda: view(13, 0, 0, -1), "a view outside its buffer"),
    "view overflows": (lambda: view(2**31 - 1, 0, 0, 2**31 - 1), "a view outside its buffer"),
    "view into no buffer": (lambda: view(13, 0, 1, 0), "a view into no buffer"),
    "view into a negative buffer": (lambda: view(13, 0, -1, 0), "a view into no buffer"),
    "views without sizes": (lambda: views(b"x" * 20, None), "no buffer sizes"),
    "negative size": (lambda: views(b"x", i64(-(2**63))), "a view outside"),
    "view into a null": (lambda: views(None, i64(20)), "a buffer is missing"),
    "views without views": (lambda: Made(b"vu", [None, None, b"x" * 20, i64(20)], 1), "a buffer is missing"),
    "too few for views": (lambda: Made(b"vu", [None, i32(1, 0, 0, 0)], 1), "wrong number of buffers"),
    "index past the end": (lambda: indices(b"i", i32(0, 2)), "dictionary index out of range at text 1"),
    "negative index": (lambda: indices(b"c", b"\0\xff"), "dictionary index out of range at text 1"),
    "large unsigned index": (lambda: indices(b"L", b"\xff" * 16), "dictionary index out of range at text 0"),
    "dictionary not there": (without_dictionary, "dictionary missing or unexpected"),
    "dictionary unexpected": (lambda: utf8(dictionary=utf8()), "not dictionary"),
    "dictionary of dictionaries": (two_dictionaries, "not a dictionary of dictionary"),
    "floating indices": (lambda: indices(b"g", b"\0" * 16), "not dictionary"),
    "bad offsets in a dictionary": (
        lambda: Made(b"i", [None, i32(0)], 1, dictionary=Made(b"u", [None, i32(5, 1), b"dogcat"], 1)),
        "decrease at text 0",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_arrays_are_refused_and_released_once(name: str, tiny: Classifier) -> None:
    make_it, message = MALFORMED[name]
    for method in (tiny.scores, tiny.classify_batch):
        made = make_it()
        with pytest.raises(InvalidInputError, match=message):
            method(made)
        assert made.released == {"schema": 1, "array": 1, "stream": 0}


STREAM = (b"u", [None, i32(0, 3, 6), b"dogcat"], 2)


def test_streams_release_every_chunk_once(tiny: Classifier) -> None:
    for chunks in (0, 1, 20):
        made = MadeStream(*STREAM, chunks=chunks)
        assert tiny.scores(made).tobytes() == tiny.scores(["dog", "cat"] * chunks).tobytes()
        assert made.released == {"schema": 1, "array": chunks, "stream": 1}


@pytest.mark.parametrize(
    ("fail", "said", "message", "schemas"),
    [
        ("get_schema", b"disk \xff gone", "the Arrow stream failed: disk \ufffd gone", 0),
        ("get_next", b"disk gone", "the Arrow stream failed: disk gone", 1),
        ("get_next", None, "the Arrow stream failed: Input/output error", 1),
    ],
)
def test_streams_that_fail(
    fail: str, said: bytes | None, message: str, schemas: int, tiny: Classifier
) -> None:
    made = MadeStream(*STREAM, fail=fail, message=said)
    with pytest.raises(InvalidInputError, match=message):
        tiny.scores(made)
    assert made.released == {"schema": schemas, "array": 2 * schemas, "stream": 1}


def test_malformed_chunks_in_a_stream(tiny: Classifier) -> None:
    made = MadeStream(b"u", [None, i32(0, 6, 3), b"dogcat"], 2)
    with pytest.raises(InvalidInputError, match="decrease at text 1"):
        tiny.scores(made)
    assert made.released == {"schema": 1, "array": 1, "stream": 1}


def test_capsules_that_are_none_or_used_up(tiny: Classifier) -> None:
    class Gives:
        def __init__(self, given: Any) -> None:
            self.given = given

        def __arrow_c_array__(self, requested_schema: object = None) -> Any:
            return self.given

    good = utf8().__arrow_c_array__()
    for given in (None, (), (1, 2), good[::-1], (*good, 3), [*good]):
        with pytest.raises(InvalidInputError, match="capsule"):
            tiny.scores(Gives(given))
    made = utf8()
    pair = made.__arrow_c_array__()
    assert tiny.scores(Gives(pair)).shape == (2, len(tiny.categories))
    with pytest.raises(InvalidInputError, match="no valid capsule arrow_schema"):
        tiny.scores(Gives(pair))
    assert made.released == {"schema": 1, "array": 1, "stream": 0}


def test_errors_of_the_exporter_come_through(tiny: Classifier) -> None:
    class Failing:
        def __arrow_c_array__(self, requested_schema: object = None) -> Any:
            raise ZeroDivisionError("of the exporter")

    with pytest.raises(ZeroDivisionError, match="of the exporter"):
        tiny.scores(Failing())


# Threads ---------------------------------------------------------------------------------------------------


def run_all(*targets: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def guarded(target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_threads_share_an_array(tiny: Classifier) -> None:
    array = pa.chunked_array([make(TEXTS, pa.string_view()), make(TEXTS, pa.string_view())])
    expected = tiny.scores(TEXTS * 2).tobytes()

    def score() -> None:
        for _ in range(3):
            assert tiny.scores(array).tobytes() == expected

    run_all(score, score)


def test_streams_are_read_without_the_gil(tiny: Classifier) -> None:
    # Their functions may wait for other threads. Called for the next array, this one says 1, an error, to a
    # thread that holds the GIL, and else 0 without an array: the end.
    made = MadeStream(*STREAM)
    made.stream.get_next = ctypes.cast(ctypes.pythonapi.PyGILState_Check, GET)
    assert tiny.scores(made).shape == (0, len(tiny.categories))


def test_an_array_may_be_dropped_while_it_is_scored(tiny: Classifier) -> None:
    texts = TEXTS * 20
    expected = tiny.scores(texts).tobytes()
    holder = [make(texts, pa.string())]
    started = threading.Event()

    class Exports:
        """Tells when it has been asked, and keeps nothing."""

        def __arrow_c_array__(self, requested_schema: object = None) -> Any:
            pair = holder[0].__arrow_c_array__()
            holder.clear()
            started.set()
            return pair

    def score() -> None:
        assert tiny.scores(Exports()).tobytes() == expected

    def overwrite() -> None:
        started.wait(60)
        gc.collect()
        for i in range(50):  # would get the memory of the array, were it free
            make([str(i) * len(text) for text in texts], pa.string())

    run_all(score, overwrite)
    assert holder == []
