"""One classifier in many threads and in forked and spawned processes. docs/threading.md states what holds."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetyclf import Classifier

# From Python 3.12 on every fork of a process with threads warns; here it is what the tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

BATCH = [f"the angry dog {i} loves the weather " * (1 + i % 7) for i in range(300)]


@pytest.fixture
def shared(tiny_path: Path) -> Classifier:
    return Classifier(tiny_path, threads=3)


@pytest.fixture(scope="module")
def expected(tiny_path: Path) -> bytes:
    return Classifier(tiny_path, threads=1).scores(BATCH).tobytes()


def test_sixteen_threads_at_once(shared: Classifier, expected: bytes) -> None:
    start = threading.Barrier(16)

    def work(number: int) -> bool:
        start.wait()
        same = [shared.scores(BATCH).tobytes() == expected for _ in range(3)]
        verdict = shared.classify(BATCH[number])
        return all(same) and verdict.explain("violence").category == "violence"

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))


def test_other_threads_run_during_a_call(shared: Classifier) -> None:
    call = threading.Thread(target=shared.scores, args=(BATCH * 100,))
    call.start()
    turns = 0
    while call.is_alive():
        turns += 1
        time.sleep(0.001)
    # With the GIL held the loop would get two or three turns.
    assert turns > 20


def test_a_list_may_be_changed_during_a_call(shared: Classifier, expected: bytes) -> None:
    # New strings, owned by the list alone: the call must keep them alive.
    texts = ["".join(list(text)) for text in BATCH] * 20
    results = []
    call = threading.Thread(target=lambda: results.append(shared.scores(texts).tobytes()))
    call.start()
    while call.is_alive() and texts:
        time.sleep(0.02)
        texts.clear()
    call.join()
    # Cleared before the call read it, or after.
    assert results in ([expected * 20], [b""])


def test_errors_of_one_thread_do_not_disturb_another(shared: Classifier, expected: bytes) -> None:
    def work(number: int) -> bool:
        if number % 2:
            with pytest.raises(TypeError):
                shared.scores([*BATCH, None])  # type: ignore[list-item]
            return True
        return shared.scores(BATCH).tobytes() == expected

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(32)))


def in_child(work: Callable[[], bool]) -> None:
    """Forks; fails unless `work` is true in the child, within 60 seconds."""
    child = os.fork()
    if child == 0:
        # Never back into pytest.
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    deadline = time.monotonic() + 60
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)


def test_fork_before_the_first_call(shared: Classifier, expected: bytes) -> None:
    in_child(lambda: shared.scores(BATCH).tobytes() == expected)
    assert shared.scores(BATCH).tobytes() == expected


def test_fork_after_use_and_grandchildren(shared: Classifier, expected: bytes) -> None:
    assert shared.scores(BATCH).tobytes() == expected

    def child() -> bool:
        in_child(lambda: shared.scores(BATCH).tobytes() == expected)
        same = shared.scores(BATCH).tobytes() == expected
        in_child(lambda: shared.classify(BATCH[0]).explain("violence").window == 0)
        return same

    in_child(child)
    assert shared.scores(BATCH).tobytes() == expected


def test_fork_while_other_threads_are_inside(shared: Classifier, expected: bytes) -> None:
    stop = threading.Event()
    results: list[bool] = []

    def work() -> None:
        while not stop.is_set():
            results.append(shared.scores(BATCH).tobytes() == expected)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            in_child(lambda: shared.scores(BATCH).tobytes() == expected)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert results
    assert all(results)


def test_a_child_that_never_calls_can_exit_normally(shared: Classifier) -> None:
    shared.scores(BATCH)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=len, args=("",))  # unlike os._exit it runs destructors
    process.start()
    process.join(60)
    assert process.exitcode == 0


def score_bytes(classifier: Classifier, batch: list[str]) -> bytes:
    return classifier.scores(batch).tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_pools(method: str, shared: Classifier, expected: bytes) -> None:
    shared.scores(BATCH)
    with multiprocessing.get_context(method).Pool(2) as pool:
        # The classifier travels as a pickle.
        assert pool.starmap(score_bytes, [(shared, BATCH)] * 4) == [expected] * 4
        pool.close()
        pool.join()


def test_a_pool_that_inherits_the_classifier(shared: Classifier, expected: bytes) -> None:
    shared.scores(BATCH)
    global inherited
    inherited = shared
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(score_inherited, [BATCH] * 4) == [expected] * 4
        pool.close()
        pool.join()


def score_inherited(batch: list[str]) -> bytes:
    return inherited.scores(batch).tobytes()
