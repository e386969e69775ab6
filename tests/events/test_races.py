"""Many publishers, readers and browsers while connections die: nothing lost, repeated, swapped."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import redis

from flask_redis_kit.events import EventReader
from tests.events.browser import Browser
from tests.events.publishing import publish_numbered
from tests.events.shop import Shop, serving
from tests.harness.servers import Server
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
CHANNELS = ["sales", "stock"]
PUBLISHERS = 4
COUNT = 800
TOTAL = PUBLISHERS * COUNT * len(CHANNELS)

Heard = list[tuple[str, str, str, int]]  # channel, id, publisher, n


def check(heard: Heard) -> None:
    """Every event once, each channel by ascending id, each publisher's in his order."""
    for channel in CHANNELS:
        ids = [tuple(map(int, at.split("-"))) for name, at, _, _ in heard if name == channel]
        assert len(ids) == TOTAL // len(CHANNELS)
        assert ids == sorted(set(ids)), "repeated or out of order"
        for publisher in range(PUBLISHERS):
            found = [n for name, _, by, n in heard if (name, by) == (channel, str(publisher))]
            assert found == list(range(COUNT))


def read_all(reader: EventReader) -> Heard:
    """In this process, through a reader."""
    heard: Heard = []
    while len(heard) < TOTAL:
        event = reader.get(30)
        assert event is not None, f"nothing came after {len(heard)} of {TOTAL}"
        assert event.type == "made", event
        heard.append((event.channel, event.id, event.data["by"], event.data["n"]))
    return heard


def browse_all(port: int, path: str, position: str, seed: int, reconnects: list[int]) -> Heard:
    """Over HTTP, going away and coming back at random."""
    dice = random.Random(seed)
    hashes: dict[str, str] = {}
    heard: Heard = []
    while len(heard) < TOTAL:
        with Browser(port, path, position, timeout=30) as browser:
            for _ in range(dice.randint(1, 800)):
                event = browser.next()
                assert event is not None, "the stream ended"
                assert event.type == "made", event
                data = event.content["data"]
                changed = set(event.last_event_id.split(";")) - set(position.split(";"))
                (mine,) = changed  # an event moves its own channel's position only
                name, _, at = mine.partition("=")
                assert hashes.setdefault(data["channel"], name) == name
                position = event.last_event_id
                heard.append((data["channel"], at, data["by"], data["n"]))
                if len(heard) == TOTAL:
                    break
        reconnects.append(1)
    return heard


def test_nothing_is_lost_repeated_or_swapped_while_the_hubs_connection_is_killed_again_and_again(
    open_shop: Callable[..., Shop], server: Server, redis_client: redis.Redis
) -> None:
    shop = open_shop(history_length=2 * TOTAL, replay_limit=2 * TOTAL, queue_length=40)
    with shop.app.app_context():
        position = shop.kit.events.cursor(CHANNELS)
        readers = [shop.kit.events.subscribe(CHANNELS) for _ in range(3)]
    path = "/events?" + "&".join(f"channel={name}" for name in CHANNELS)
    done, kills, reconnects = threading.Event(), [0], list[int]()

    def kill() -> None:
        while not done.wait(random.uniform(0.002, 0.03)):
            kills[0] += int(redis_client.client_kill_filter(_type="pubsub"))
            if kills[0] % 10 == 0:
                redis_client.script_flush()

    killer = threading.Thread(target=kill)
    command = [sys.executable, "-m", "tests.events.publishing", server.url, str(2 * TOTAL)]
    with serving(shop.app) as port, ThreadPoolExecutor(16) as pool:
        try:
            futures = [pool.submit(read_all, reader) for reader in readers]
            futures += [
                pool.submit(browse_all, port, path, position, seed, reconnects) for seed in range(3)
            ]
            killer.start()
            processes = [
                subprocess.Popen([*command, str(n), str(COUNT), *CHANNELS], cwd=ROOT)
                for n in range(2)
            ]
            for n in range(2, PUBLISHERS):
                pool.submit(publish_numbered, shop, str(n), COUNT, CHANNELS)
            heard = [future.result(120) for future in futures]
        finally:
            done.set()
            killer.join()
            shop.close()
    assert [process.wait(60) for process in processes] == [0, 0]
    for each in heard:
        check(each)
    print(
        f"{TOTAL} published, {TOTAL * len(heard)} delivered, {kills[0]} kills, "
        f"{len(reconnects)} reconnects, {sum(r.overflows for r in readers)} overflows"
    )
    assert kills[0] >= 10
    assert len(reconnects) >= 6


def test_threads_that_come_and_go_each_hear_their_own_and_leave_nothing_subscribed(
    open_shop: Callable[..., Shop], redis_client: redis.Redis
) -> None:
    shop = open_shop(history_length=1000)
    done = threading.Event()

    def come_and_go(number: int) -> None:
        for n in range(25):
            mine = f"own.{number}.{n % 3}"
            with (
                shop.app.app_context(),
                shop.kit.events.subscribe(["shared", mine], user=number % 2) as reader,
            ):
                shop.publish("shared", f"{number}:{n}")
                shop.publish(mine, f"{number}:{n}")
                expected = {"shared", mine}
                while expected:
                    event = reader.get(30)
                    assert event is not None
                    assert event.type == "made"
                    if event.data == f"{number}:{n}":
                        expected.remove(event.channel)

    def kill() -> None:
        while not done.wait(0.05):
            redis_client.client_kill_filter(_type="pubsub")

    killer = threading.Thread(target=kill)
    killer.start()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(come_and_go, number) for number in range(8)]
        try:
            for future in futures:
                future.result(120)
        finally:
            done.set()
            killer.join()
    assert shop.engine.hub.readers == 0
    wait_until(lambda: not redis_client.pubsub_channels("frk:*"))
    with shop.app.app_context(), shop.kit.events.subscribe(["shared"]) as reader:
        shop.publish("shared", "last")
        event = reader.get(30)
        assert event is not None
        assert event.data == "last"


def test_a_forked_child_has_its_own_hub_and_harms_not_the_parents(server: Server) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.events.forked", server.url]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.stdout.splitlines() == ["child ok", "parent ok"], found.stderr
    assert "Warning" not in found.stderr
    assert found.returncode == 0
