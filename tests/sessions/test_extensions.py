"""Flask-Login and Flask-WTF on our sessions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import render_template_string, session

from tests.sessions.conftest import MakeShop
from tests.sessions.shop import Shop, sid_of

flask_login = pytest.importorskip("flask_login")
flask_wtf = pytest.importorskip("flask_wtf")


@pytest.fixture
def members(make_shop: MakeShop, redis_url: str) -> Shop:
    """A shop with Flask-Login, strong protection, and CSRF tokens on all forms."""
    shop = make_shop(redis_url, SECRET_KEY="for tokens")
    flask_wtf.CSRFProtect(shop.app)
    manager = flask_login.LoginManager(shop.app)
    manager.session_protection = "strong"

    class Member(flask_login.UserMixin):  # type: ignore[name-defined,misc]  # it has no types
        def __init__(self, name: str) -> None:
            self.id = name

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load(name: str) -> Any:
        return Member(name)

    @shop.app.get("/form")
    def form() -> str:
        return render_template_string("{{ csrf_token() }}")

    @shop.app.post("/member/<name>")
    def become(name: str) -> str:
        flask_login.login_user(Member(name), remember=False)
        return "in"

    @shop.app.get("/member")
    def who() -> str:
        user = flask_login.current_user
        return str(user.id) if user.is_authenticated else "nobody"

    @shop.app.post("/leave")
    def leave() -> str:
        flask_login.logout_user()
        return str(sorted(session))

    return shop


def post(visitor: Any, path: str) -> Any:
    """With the token of the form."""
    token = visitor.get("/form").text
    assert re.fullmatch(r"[\w.-]{40,}", token)
    return visitor.post(path, headers={"X-CSRFToken": token})


def test_a_member_logs_in_with_a_new_id_is_known_and_logs_out(members: Shop) -> None:
    visitor = members.visitor()
    assert visitor.post("/member/ann").status_code == 400  # no token
    visitor.get("/form")
    anonymous = sid_of(visitor)
    assert post(visitor, "/member/ann").text == "in"
    inside = sid_of(visitor)
    assert inside != anonymous
    assert members.read(anonymous) == {}
    assert visitor.get("/member").text == "ann"
    with members.app.app_context():
        (device,) = members.kit.sessions.list("ann")
    assert device.user_agent.startswith("Werkzeug")
    assert post(visitor, "/leave").status_code == 200
    assert sid_of(visitor) != inside
    assert members.read(inside) == {}
    assert visitor.get("/member").text == "nobody"


def test_a_member_who_is_revoked_is_nobody(members: Shop) -> None:
    visitor = members.visitor()
    post(visitor, "/member/ann")
    with members.app.app_context():
        assert members.kit.sessions.revoke_user("ann") == 1
    assert visitor.get("/member").text == "nobody"
    assert post(visitor, "/member/ann").text == "in"
    assert visitor.get("/member").text == "ann"


def test_the_token_of_a_form_outlives_the_login(members: Shop) -> None:
    visitor = members.visitor()
    before = visitor.get("/form").text
    post(visitor, "/member/ann")
    assert visitor.post("/leave", headers={"X-CSRFToken": before}).status_code == 200


def test_a_session_that_comes_from_another_browser_is_refused_by_strong_protection(
    members: Shop,
) -> None:
    visitor = members.visitor()
    post(visitor, "/member/ann")
    thief = members.visitor(sid_of(visitor))
    assert thief.get("/member", headers={"User-Agent": "Other"}).text == "nobody"
