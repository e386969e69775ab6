"""The demo as its visitors meet it: two browsers against the running processes."""

from __future__ import annotations

from tests.demo.shop import Shop
from tests.waiting import wait_until


def test_a_sale_arrives_in_the_other_visitors_open_feed(shop: Shop) -> None:
    buyer, watcher = shop.browser(), shop.browser()
    buyer.log_in("Zoë <i>")
    with watcher.feed() as feed:
        page = buyer.post("/books/7/buy")
        wait_until(lambda: feed.of_type("sale"), what="the sale in the other browser")
    (sale,) = feed.of_type("sale")
    assert (sale["id"], sale["buyer"]) == (7, "Zoë <i>")
    assert sale["title"] in page.html
    assert "is on its way to you" in page.html
    assert "is on its way to you" not in buyer.get("/books/7").html


def test_no_visitor_sees_a_stale_count_after_a_purchase(shop: Shop) -> None:
    buyer, watcher = shop.browser(), shop.browser()
    before = watcher.get("/books/11").sold
    assert watcher.get("/books/11").fact("cache") == "hit"
    for n in range(1, 4):
        assert buyer.post("/books/11/buy").sold == before + n
        assert watcher.get("/books/11").sold == before + n
    again = watcher.get("/books/11")
    assert (again.fact("cache"), again.sold) == ("hit", before + 3)


def test_best_sellers_and_search_follow_a_purchase_too(shop: Shop) -> None:
    browser = shop.browser()
    for path in ("/", "/search?q=lantern"):
        browser.get(path)
        assert browser.get(path).fact("cache") == "hit"
    browser.post("/books/3/buy")
    for path in ("/", "/search?q=lantern"):
        assert browser.get(path).fact("cache") == "miss"


def test_each_visitor_is_greeted_by_the_right_name_whatever_the_browser_kept(shop: Shop) -> None:
    ada, bruno = shop.browser(), shop.browser()
    for path in ("/", "/books/5"):
        assert ada.get(path).visitor is None
        assert ada.get(path).cached
    assert ada.log_in("Ada").visitor == "Ada"
    bruno.log_in("Bruno")
    for path in ("/", "/books/5"):
        assert ada.get(path).visitor == "Ada"
        assert bruno.get(path).visitor == "Bruno"
        kept = ada.get(path)
        assert (kept.cached, kept.visitor) == (True, "Ada")
    ada.post("/logout")
    for path in ("/", "/books/5"):
        assert ada.get(path).visitor is None
        assert bruno.get(path).visitor == "Bruno"
    ada.log_in("Bruno & Söhne")
    assert ada.get("/").visitor == "Bruno & Söhne"


def test_a_name_is_text_on_every_page(shop: Shop) -> None:
    browser = shop.browser()
    page = browser.log_in('<script>alert("!")</script>')
    assert page.visitor == '<script>alert("!")</script>'
    for path in ("/", "/books/5", "/search?q=<script>alert(1)</script>", "/report"):
        assert "<script>alert" not in browser.get(path).html


def test_only_the_one_who_ordered_a_report_is_told_how_far_it_is(shop: Shop) -> None:
    ada, bruno = shop.browser(), shop.browser()
    ada.log_in("Ada")
    bruno.log_in("Bruno")
    with ada.feed() as feed, bruno.feed() as other:
        assert ada.post("/report").path == "/report"
        wait_until(
            lambda: feed.of_type("job")[-1:] and feed.of_type("job")[-1]["state"] == "finished"
        )
        ada.post("/books/5/buy")
        wait_until(lambda: other.of_type("sale"), what="a sale after the report's last event")
    told = feed.of_type("job")
    assert other.of_type("job") == []
    assert len({job["id"] for job in told}) == 1
    progress = [job["progress"] for job in told]
    assert progress == sorted(progress)
    assert len(progress) > 20
    assert progress[-1] == 1
    assert any(job["note"].startswith("Adding up 20") for job in told)
    assert "Turnover in euros" in ada.get("/report").html
    assert "Turnover in euros" not in bruno.get("/report").html


def test_the_report_is_for_those_who_are_logged_in(shop: Shop) -> None:
    browser = shop.browser()
    page = browser.get("/report")
    assert page.path == "/login"
    assert "Please log in to see the report." in page.html
    assert browser.post("/report").path == "/login"
    assert browser.log_in("  ").path == "/login"


def test_too_many_searches_are_refused_with_the_time_to_wait(shop: Shop) -> None:
    browser = shop.browser()
    pages = [browser.get("/search?q=winter") for _ in range(9)]
    refused = pages[-1]
    assert refused.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 10
    assert refused.headers["Cache-Control"] == "no-store"
    assert refused.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "One page at a time, please." in refused.html
    assert refused.fact("quota") == "0 of 8"
    assert browser.get("/").status == 200


def test_a_book_that_is_not_there_is_a_page_of_the_shop(shop: Shop) -> None:
    page = shop.browser().get("/books/999999")
    assert page.status == 404
    assert "Back to the shelves" in page.html


def test_tabs_that_were_closed_occupy_no_thread(shop: Shop) -> None:
    browser = shop.browser()
    for _ in range(2):
        feeds = [browser.feed() for _ in range(30)]
        for feed in feeds:
            feed.leave()
    assert browser.get("/").status == 200
