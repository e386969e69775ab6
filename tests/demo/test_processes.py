"""The demo's processes: how they start, and that none is left."""

from __future__ import annotations

import socket
from collections.abc import Callable

from tests.demo.shop import Shop
from tests.waiting import wait_until


def test_ctrl_c_ends_every_process_and_the_next_start_finds_the_data(
    start_shop: Callable[..., Shop],
) -> None:
    first = start_shop().opened()
    browser = first.browser()
    browser.log_in("Ada")
    sold = browser.post("/books/7/buy").sold
    assert len(first.left()) >= 4  # web, worker, its watcher, server
    with browser.feed() as feed:
        assert first.interrupt() == 0
        wait_until(lambda: feed.over, what="the live feed's end")
    first.is_gone()
    assert first.output.rstrip().endswith("Closed.")
    assert "still running" not in first.output  # a feed that holds up the end
    assert "Traceback" not in first.output

    second = start_shop(port=first.port).opened()
    assert "Made one" not in second.output
    page = browser.get("/books/7")
    assert (page.visitor, page.sold) == ("Ada", sold)


def test_sigterm_ends_every_process(start_shop: Callable[..., Shop]) -> None:
    shop = start_shop().opened()
    shop.browser().get("/")
    assert shop.terminate() == 0
    shop.is_gone()
    assert "Traceback" not in shop.output


def test_ctrl_c_while_the_catalogue_is_made_leaves_no_half_of_it(
    start_shop: Callable[..., Shop],
) -> None:
    shop = start_shop(lines=50_000_000)
    wait_until(lambda: (shop.instance / "shop.draft").exists(), what="the draft of the catalogue")
    assert shop.interrupt() == 0
    shop.is_gone()
    assert "Traceback" not in shop.output
    assert not (shop.instance / "shop.sqlite").exists()
    assert start_shop().opened().browser().get("/").status == 200


def test_a_killed_shop_takes_worker_and_server_with_it(start_shop: Callable[..., Shop]) -> None:
    shop = start_shop().opened()
    shop.kill()
    shop.is_gone()


def test_a_port_in_use_is_named_and_no_process_is_left(start_shop: Callable[..., Shop]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        shop = start_shop(port=port)
        assert shop.process.wait(timeout=60) == 1
    assert f"Can't listen on 127.0.0.1:{port}: Address already in use." in shop.output
    assert f"make demo PORT={port + 1}" in shop.output
    assert "Traceback" not in shop.output
    assert shop.left() == []
