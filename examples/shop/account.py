"""Login, logout, and the stream of events that a page listens to."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from examples.shop.extensions import kit
from flask_redis_kit import rate_limit

account = Blueprint("account", __name__)


@account.get("/login")
def login() -> str:
    return render_template("login.html")


@account.post("/login")
@rate_limit(limit=10, window=60)
def log_in() -> Response:
    name = " ".join(request.form.get("name", "").split())[:40]
    if not name:
        flash("Please tell us your name.")
        return redirect(url_for("account.login"))
    session.clear()  # nothing of a visitor before; a new id is given out, too
    session["user_id"] = session["name"] = name
    session.permanent = True
    return redirect(url_for("pages.home"))


@account.post("/logout")
def log_out() -> Response:
    session.clear()
    return redirect(url_for("pages.home"))


@account.get("/events")
def events() -> Response:
    return kit.events.stream(user=session.get("user_id"), channels=["sales"])
