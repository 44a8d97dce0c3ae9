"""The logic of work on a cluster, with a Ray that this test plays: who is hired, what is done again, what is raised.

On a real cluster the same is shown by `python -m tests.cluster`.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import InputError
from engine.workers import cluster
from engine.workers.cluster import Cluster


class RayError(Exception):
    """An actor or a machine is lost."""


class RayTaskError(RayError):
    """The work raised."""

    def __init__(self, cause: Exception):
        self.cause = cause


class FakeRay:
    """As much of the module ray as is used. `fate` says what becomes of each call of an actor: a value, or an error."""

    exceptions = type("exceptions", (), {"RayError": RayError, "RayTaskError": RayTaskError})

    def __init__(self, resources: list[dict[str, float]], fate: Any):
        self.resources, self.fate = resources, fate
        self.hired: list[dict[str, int]] = []
        self.killed: list[Any] = []

    def put(self, work: Any) -> Any:
        return work

    def cluster_resources(self) -> dict[str, float]:
        return self.resources.pop(0) if len(self.resources) > 1 else self.resources[0]

    def remote(self, **options: int) -> Any:
        def hire(_: Any) -> Any:
            self.hired.append(options)
            return Actor(self, len(self.hired))

        return lambda kind: type("Remote", (), {"remote": staticmethod(hire)})

    def wait(self, references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: Any) -> Any:
        number, item = reference.of
        result = None if item == "begin" else self.fate(number, item)
        if isinstance(result, Exception):
            raise result
        return result

    def kill(self, actor: Any) -> None:
        self.killed.append(actor.number)


class Reference:
    def __init__(self, *of: Any):
        self.of = of


class Actor:
    def __init__(self, ray: FakeRay, number: int):
        self.number = number
        self.begin = type("Begin", (), {"remote": staticmethod(lambda: Reference(number, "begin"))})
        self.do = type("Do", (), {"remote": staticmethod(lambda item: Reference(number, item))})


def found(monkeypatch: pytest.MonkeyPatch, ray: FakeRay, items: list[int]) -> dict[int, Any]:
    monkeypatch.setattr(cluster, "connected", lambda address: ray)
    with Cluster("auto").crew(object()) as crew:  # type: ignore[arg-type]
        return dict(crew.each(items))


def test_a_piece_that_was_lost_with_its_worker_is_done_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay([{"CPU": 2}], lambda number, item: RayError() if number == 1 else item * item)
    assert found(monkeypatch, ray, [1, 2, 3, 4]) == {1: 1, 2: 4, 3: 9, 4: 16}
    assert 1 in ray.killed and len(ray.hired) >= 3 and ray.hired[0] == {"num_cpus": 1}


def test_graphics_cards_are_taken_where_there_are_some_and_machines_that_join(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay([{"CPU": 8, "GPU": 1}, {"CPU": 16, "GPU": 3}], lambda number, item: item)
    assert found(monkeypatch, ray, list(range(9))) == {n: n for n in range(9)}
    assert ray.hired == [{"num_gpus": 1}] * 3
    assert sorted(ray.killed) == [1, 2, 3], "they are given back"


def test_what_the_work_raises_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay([{"CPU": 1}], lambda number, item: RayTaskError(InputError("no such model")))
    with pytest.raises(InputError, match="no such model"):
        found(monkeypatch, ray, [1])


def test_work_that_kills_every_worker_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="died 4 times on one piece"):
        found(monkeypatch, FakeRay([{"CPU": 1}], lambda number, item: RayError()), [1])
    ray = FakeRay([{"CPU": 1}], None)
    monkeypatch.setattr(ray, "get", lambda reference: (_ for _ in ()).throw(RayError("no module named engine")))
    with pytest.raises(InputError, match="die as they start"):
        found(monkeypatch, ray, [1])
    with pytest.raises(InputError, match="neither GPUs nor CPU cores"):
        found(monkeypatch, FakeRay([{}], None), [1])
