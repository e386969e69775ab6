"""The sales report: a job of the queue, whose progress only its user's browser is told."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, session, url_for
from werkzeug.wrappers import Response

from examples.shop.extensions import catalogue, kit
from flask_redis_kit import rate_limit
from flask_redis_kit.queue import current_job

report = Blueprint("report", __name__)


@kit.queue.task(keep_result=True)
def sales_report() -> dict[str, dict[str, int]]:
    """Turnover in cents by month and genre."""
    months = catalogue().months()
    table = {}
    for n, month in enumerate(months):
        current_job().progress(n / len(months), f"Adding up {month}")
        table[month] = catalogue().sales_of(month)
    return table


@report.app_template_filter()
def turnover(sales: dict[str, int]) -> int:
    return sum(sales.values())


@report.app_template_filter()
def euros(cents: int) -> str:
    return f"{cents / 100:,.0f}"


@report.get("/report")
def show() -> Response | str:
    if "user_id" not in session:
        flash("Please log in to see the report.")
        return redirect(url_for("account.login"))
    # first the position in the stream, then the state: what happens between is not missed
    cursor = kit.events.cursor(["sales"], user=session["user_id"])
    job = kit.queue.job(session["report"]) if "report" in session else None
    return render_template("report.html", job=job, cursor=cursor)


@report.post("/report")
@rate_limit(limit=6, window=60)
def order() -> Response:
    if "user_id" not in session:
        return redirect(url_for("account.login"))
    session["report"] = kit.queue.enqueue(sales_report, user=session["user_id"])
    return redirect(url_for("report.show"))
