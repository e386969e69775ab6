"""Declaring tasks, and what ``enqueue`` refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from flask_redis_kit import CodecError
from flask_redis_kit.core.errors import NotInitialized
from flask_redis_kit.queue import QueueFeature, TaskError, current_job
from tests.queue.conftest import MakeApp
from tests.queue.jobs_app import kit, record


def test_a_task_stays_the_function_it_was() -> None:
    def send(order: int) -> int:
        return order + 1

    assert QueueFeature().task(send) is send
    assert QueueFeature().task(name="other")(send) is send
    assert send(1) == 2


def test_two_functions_with_one_name_are_refused() -> None:
    feature = QueueFeature()

    @feature.task
    def send(order: int) -> None: ...

    def other(order: int) -> None: ...

    with pytest.raises(TaskError, match=r"two tasks named 'send'.*<locals>\.send.*<locals>\.other"):
        feature.task(name="send")(other)


def test_a_function_made_again_by_its_factory_replaces_itself_unless_it_has_a_closure() -> None:
    feature = QueueFeature()

    def plain() -> Callable[[], str]:
        @feature.task
        def job() -> str:
            return "plain"

        return job

    def closing(over: str) -> Callable[[], str]:
        @feature.task(name="closing")
        def job() -> str:
            return over

        return job

    plain()
    plain()
    closing("first")
    with pytest.raises(TaskError, match="two tasks named 'closing'"):
        closing("second")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name=''"),
        ({"name": "x" * 201}, "no name for a task"),
        ({"queue": "a{b}"}, "no name for a queue"),
        ({"queue": ""}, "no name for a queue"),
        ({"retries": -1}, "0 to 1000"),
    ],
)
def test_what_a_task_can_not_be_is_told_at_decoration(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        QueueFeature().task(**options)(lambda: None)


def test_a_task_can_not_have_positional_parameters() -> None:
    def first(order: int, /) -> None: ...
    def second(*orders: int) -> None: ...

    for function in (first, second):
        with pytest.raises(TypeError, match=r"keyword arguments.*order"):
            QueueFeature().task(function)


def test_retries_must_be_a_number() -> None:
    with pytest.raises(TypeError, match="retries='3'"):
        QueueFeature().task(retries="3")(lambda: None)  # type: ignore[call-overload]


def test_enqueue_checks_the_arguments_of_a_task_that_is_known(app: Flask) -> None:
    for wrong, message in (
        ({}, "missing a required argument: 'n'"),
        ({"n": 1, "m": 2}, "unexpected keyword argument 'm'"),
    ):
        for task in (record, "record"):
            with pytest.raises(TypeError, match=message):
                kit.queue.enqueue(task, wrong)
    assert kit.queue.enqueue("known elsewhere", {"any": "thing"})


def test_enqueue_refuses_what_can_not_be(app: Flask) -> None:
    def undecorated() -> None: ...

    refused: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (TaskError, "is no task", lambda: kit.queue.enqueue(undecorated)),
        (TaskError, "must not be empty", lambda: kit.queue.enqueue("")),
        (TypeError, "must be a dict", lambda: kit.queue.enqueue("x", [1])),  # type: ignore[arg-type]
        (TypeError, "keys must be str", lambda: kit.queue.enqueue("x", {1: 1})),  # type: ignore[dict-item]
        (CodecError, r"\"p\"\]\[\"f\"\].*register", lambda: kit.queue.enqueue("x", {"f": print})),
        (TaskError, "'high', 'normal', 'low'", lambda: kit.queue.enqueue("x", priority="urgent")),  # type: ignore[arg-type]
        (TaskError, "between 0 seconds", lambda: kit.queue.enqueue("x", delay=-1)),
        (TaskError, "between 0", lambda: kit.queue.enqueue("x", delay=timedelta(days=5000))),
        (TaskError, "between 0", lambda: kit.queue.enqueue("x", delay=float("nan"))),
        (TypeError, "delay='1'", lambda: kit.queue.enqueue("x", delay="1")),  # type: ignore[arg-type]
        (TypeError, "user=", lambda: kit.queue.enqueue("x", user=object())),  # type: ignore[arg-type]
        (TaskError, "queue='a:b'", lambda: kit.queue.enqueue("x", queue="a:b")),
    ]
    for error, message, call in refused:
        with pytest.raises(error, match=message):
            call()
    assert kit.queue.stats() == []


def test_nothing_is_sent_when_one_of_many_is_wrong(app: Flask) -> None:
    with pytest.raises(TypeError):
        kit.queue.enqueue_many([(record, {"n": 1}), (record, {})])
    assert kit.queue.stats() == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [("LEASE", 0), ("GRACE", -1), ("THREADS", 0), ("RETRIES", -1), ("RESULT_TTL", 0)],
)
def test_settings_that_can_not_be_are_refused(make_app: MakeApp, setting: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"REDIS_QUEUE_{setting} must be"):
        make_app(**{f"REDIS_QUEUE_{setting}": value})


def test_there_is_no_current_job_outside_of_one() -> None:
    with pytest.raises(NotInitialized, match="no current job"):
        current_job()
