"""Machines with home folders of their own exchange what is finished through one store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.conftest import Open
from tests.factories import hand_artifact, hand_harvest
from tests.jobs.conftest import config_of, has_ended, url_of, wait_for, workers_in
from workers.jobs.harvesting import harvest_place
from workers.jobs.queue import JobQueue
from workers.jobs.store import Mirror, Store, StoreError
from workers.spd.artifact import read_artifact


@pytest.fixture(scope="module")
def buckets() -> Iterator[None]:
    """A server that speaks S3, where there is `pip install s3fs moto[server]`."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        yield
    server.stop()


@pytest.fixture(params=["folder", "memory", pytest.param("s3", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store in a folder, in a file system that is none, and in a bucket."""
    if request.param == "folder":
        yield str(tmp_path / "shared store")
    elif request.param == "memory":
        yield "memory://unweave/store"
        fsspec.filesystem("memory").store.clear()
    else:
        request.getfixturevalue("buckets")
        bucket = tmp_path.name.replace("_", "-")
        fsspec.filesystem("s3").mkdir(bucket)
        yield f"s3://{bucket}/unweave"


class Machine:
    """A home folder and its mirror of the store."""

    def __init__(self, home: Path, url: str) -> None:
        home.mkdir(exist_ok=True)
        self.home, self.store = home, Store(url)
        self.mirror = Mirror(home, self.store)

    def names(self) -> list[str]:
        return sorted(path.name for path in (self.home / "artifacts").glob("[!.]*"))


@pytest.fixture
def two(tmp_path: Path, url: str) -> tuple[Machine, Machine]:
    return Machine(tmp_path / "a", url), Machine(tmp_path / "b", url)


def test_what_one_has_made_the_other_has_to_the_last_bit(two: tuple[Machine, Machine]) -> None:
    a, b = two
    made = hand_artifact(a.home / "artifacts")
    harvest = hand_harvest(made, harvest_place(a.home, made.hash))
    for machine in (a, b, a):
        machine.mirror.sync()
        assert machine.mirror.warnings() == []
    got = read_artifact(b.home / "artifacts" / "tiny")
    assert got.hash == made.hash
    there, here = (home / harvest.relative_to(a.home) for home in (a.home, b.home))
    assert [path.read_bytes() for path in sorted(there.iterdir())] == [
        path.read_bytes() for path in sorted(here.iterdir())
    ]


def test_what_is_deleted_on_one_goes_on_the_other_and_does_not_come_back(
    two: tuple[Machine, Machine],
) -> None:
    a, b = two
    made = hand_artifact(a.home / "artifacts")
    a.mirror.sync()
    b.mirror.sync()
    b.mirror.remove(made.hash)
    shutil.rmtree(b.home / "artifacts" / "tiny")
    for machine in (b, a, b):
        machine.mirror.sync()
    assert a.names() == b.names() == []
    assert a.store.list() == set()


def test_one_that_was_put_in_place_of_another_is_so_everywhere(two: tuple[Machine, Machine]) -> None:
    a, b = two
    old = hand_artifact(a.home / "artifacts")
    a.mirror.sync()
    b.mirror.sync()
    shutil.rmtree(a.home / "artifacts" / "tiny")
    new = hand_artifact(a.home / "artifacts", title="Another")
    assert new.hash != old.hash
    a.mirror.sync()
    b.mirror.sync()
    assert read_artifact(b.home / "artifacts" / "tiny").hash == new.hash
    assert len(a.store.list()) == 1


def test_two_of_one_name_stay_where_they_are_with_a_sentence(two: tuple[Machine, Machine]) -> None:
    a, b = two
    mine, theirs = hand_artifact(a.home / "artifacts"), hand_artifact(b.home / "artifacts", title="Another")
    for machine in (a, b, a):
        machine.mirror.sync()
    assert read_artifact(a.home / "artifacts" / "tiny").hash == mine.hash
    assert read_artifact(b.home / "artifacts" / "tiny").hash == theirs.hash
    assert b.mirror.warnings() == ["“tiny” in the store is another than the one here; rename one of them."]


def test_what_was_damaged_on_the_way_is_left_out(two: tuple[Machine, Machine], url: str) -> None:
    a, b = two
    hand_artifact(a.home / "artifacts")
    a.mirror.sync()
    files, root = fsspec.url_to_fs(url)
    [path] = files.glob(f"{root}/artifacts/*/components.safetensors")
    files.pipe_file(path, files.cat_file(path)[:-1] + b"\x7f")
    b.mirror.sync()
    assert b.names() == []
    [said] = b.mirror.warnings()
    assert said.startswith("“artifacts/tiny@")
    assert "is damaged and was left out" in said


def test_half_of_one_does_not_count(two: tuple[Machine, Machine], url: str) -> None:
    a, b = two
    hand_artifact(a.home / "artifacts")
    a.mirror.sync()
    files, root = fsspec.url_to_fs(url)
    [marker] = files.glob(f"{root}/artifacts/*/manifest.json")
    files.rm_file(marker)
    b.mirror.sync()
    assert (b.names(), b.mirror.warnings()) == ([], [])


def test_a_store_that_is_away_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    machine = Machine(tmp_path / "a", str(tmp_path / "file" / "store"))
    hand_artifact(machine.home / "artifacts")
    machine.mirror.sync()
    assert machine.mirror.warnings()[0].startswith("The store of finished decompositions cannot be used: ")
    assert machine.names() == ["tiny"]


def test_a_store_of_an_unknown_kind_is_refused_in_a_sentence() -> None:
    with pytest.raises(StoreError, match="UNWEAVE_STORE cannot be used: Protocol not known: gopher"):
        Store("gopher://lab/unweave")


def test_a_server_shows_and_deletes_what_another_machine_made(
    tmp_path: Path, home: Path, open_app: Open
) -> None:
    other = Machine(tmp_path / "other", str(tmp_path / "store"))
    client = open_app(home, store=str(tmp_path / "store"))
    made = hand_artifact(other.home / "artifacts")
    other.mirror.sync()
    client.app.state.services.catalogue.mirror._synced = 0.0  # type: ignore[attr-defined]
    assert client.get(f"/api/decompositions/{made.hash}").json()["id"] == "tiny"
    assert client.delete("/api/decompositions/tiny").status_code == 204
    other.mirror.sync()
    assert other.names() == []


@pytest.mark.slow
def test_a_job_done_on_another_machine_is_in_the_gallery_of_this_one(tmp_path: Path, home: Path) -> None:
    here = Machine(tmp_path / "here", str(tmp_path / "store"))
    queue = JobQueue(here.home, url_of(here.home))
    job = queue.enqueue(config_of(steps=5), preset=None, name=None)
    with workers_in(home) as workers:  # whose home folder is its own
        workers.start(store=str(tmp_path / "store"), url=url_of(here.home))
        done = wait_for(queue, job.id, has_ended)
    queue.close()
    assert (done.state, done.decomposition) == ("done", "tiny"), done.error
    [key] = here.store.list()
    assert key.startswith("artifacts/tiny@")
