"""Interrupts that are held come through where they are asked for, and only there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from firstlight.studies.interrupts import held


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Started in the background by a shell, pytest itself would be deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_waits_for_a_check() -> None:
    reached: list[bool] = []

    def work() -> None:
        with held() as interrupts:
            interrupts.check()
            signal.raise_signal(signal.SIGINT)
            reached.append(True)
            interrupts.check()
            reached.append(False)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == [True]


def test_the_second_does_not_wait() -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), held():
        twice()


def test_none_is_lost_at_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), held():
        signal.raise_signal(signal.SIGINT)


def test_the_handlers_are_as_they_were_and_others_are_left_alone() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with held():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_holds_nothing() -> None:
    seen = []

    def run() -> None:
        with held() as interrupts:
            interrupts.check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
