"""A warm thread comes to the next run as it was made."""

from __future__ import annotations

import threading

from fanmap._drive.drivers.thread_state import ThreadState


def in_a_thread(function):
    """What it returns, in a thread of its own."""
    seen = []
    thread = threading.Thread(target=lambda: seen.append(function()))
    thread.start()
    thread.join()
    return seen[0]


def test_what_was_left_on_the_thread_is_taken_off_and_what_was_changed_is_put_back():
    def work():
        thread = threading.current_thread()
        before = dict(vars(thread))
        state = ThreadState()
        thread.script_run_ctx = "one user's"
        thread.name = "renamed"
        del thread._initialized
        state.put_back()
        return vars(thread) == before and thread.name == before["_name"]

    assert in_a_thread(work)


def test_again_and_again():
    def work():
        thread, state = threading.current_thread(), ThreadState()
        seen = []
        for user in range(3):
            seen.append(getattr(thread, "user", None))
            thread.user = user
            state.put_back()
        return seen

    assert in_a_thread(work) == [None, None, None]


def test_what_objects_to_being_compared_is_taken_off_too():
    class Odd:
        def __eq__(self, other):
            raise RuntimeError("not with me")

    def work():
        thread = threading.current_thread()
        thread.mine = odd = Odd()
        state = ThreadState()
        thread.mine = Odd()
        thread.another = Odd()
        state.put_back()
        return thread.mine is odd and not hasattr(thread, "another")

    assert in_a_thread(work)


def test_an_attribute_that_came_for_one_that_went_is_noticed():
    def work():
        thread, state = threading.current_thread(), ThreadState()
        del thread._initialized
        thread.mine = 1
        state.put_back()
        return thread._initialized and not hasattr(thread, "mine")

    assert in_a_thread(work)
