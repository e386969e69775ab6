"""The shelves: cached pages, a limited search, and the sale that makes them stale."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from flask import (
    Blueprint,
    abort,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from markupsafe import Markup
from werkzeug.wrappers import Response

from examples.shop.extensions import catalogue, kit
from examples.shop.generator import GENRES
from flask_redis_kit import cache_result, rate_limit

P = ParamSpec("P")

pages = Blueprint("pages", __name__)
ACCOUNT = Markup("<!-- account -->")


def personal(view: Callable[P, Any]) -> Callable[P, Response]:
    """Puts the visitor's name into a page that is cached for everybody.

    The ETag is made anew, with the name in it: nobody's copy passes for another's.
    """

    @wraps(view)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Response:
        response = make_response(view(*args, **kwargs))
        account = render_template("account.html", name=session.get("name"))
        response.set_data(response.get_data(as_text=True).replace(ACCOUNT, account))
        response.add_etag(overwrite=True)
        response.headers["Cache-Control"] = "private, no-cache"  # ask each time; 304 is cheap
        return response.make_conditional(request)

    return wrapper


@pages.get("/")
@personal
@cache_result(key_prefix="home", ttl=300, tags=["sales"], public=True)
def home() -> str:
    return render_template("home.html", books=catalogue().best_sellers())


@pages.get("/search")
@rate_limit(limit=8, window=10)
@rate_limit(limit=40, window=60)
@rate_limit(limit=600, window=3600)
@personal
@cache_result(key_prefix="search", ttl=600, tags=["sales"], public=True)
def search() -> str:
    words = request.args.get("q", "").strip()[:80]
    genre = request.args.get("genre", "")
    if genre not in GENRES:
        genre = ""
    books = catalogue().search(words, genre)
    return render_template("search.html", books=books, words=words, genre=genre)


@pages.get("/books/<int:book_id>")
@personal
@cache_result(key_prefix="book", ttl=600, tags=["book:{book_id}"], public=True)
def book(book_id: int) -> str:
    found = catalogue().book(book_id) or abort(404)
    return render_template("book.html", book=found)


@pages.post("/books/<int:book_id>/buy")
@rate_limit(limit=20, window=60)
def buy(book_id: int) -> Response:
    found = catalogue().book(book_id) or abort(404)
    catalogue().sell(book_id)
    kit.cache.invalidate_tags("sales", f"book:{book_id}")
    sale = {"id": found.id, "title": found.title, "price": found.price}
    kit.events.publish("sales", "sale", {**sale, "buyer": session.get("name", "Somebody")})
    flash(f"“{found.title}” is on its way to you.")
    return redirect(url_for("pages.book", book_id=book_id))
