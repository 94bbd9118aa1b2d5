"""A browser shows the token once; a cookie that does not tell it opens the door from then on."""

from __future__ import annotations

import httpx

from .running import TOKEN, Running
from .test_photos import refused


def test_the_token_once_and_the_cookie_from_then_on(server: Running) -> None:
    """Everything is open with it, nothing without, and it is gone at the end."""
    with httpx.Client(base_url=server.address, trust_env=False) as browser:
        assert refused(browser.get("/v1/jobs"), 401)
        assert refused(browser.post("/v1/session", json={"token": TOKEN + "x"}), 401)
        assert not browser.cookies
        answer = browser.post("/v1/session", json={"token": TOKEN})
        assert answer.status_code == 204
        kept = answer.headers["set-cookie"].lower()
        assert "httponly" in kept
        assert "samesite=strict" in kept
        assert TOKEN not in kept
        assert browser.get("/v1/jobs").status_code == 200
        browser.delete("/v1/session")
        assert refused(browser.get("/v1/jobs"), 401)


def test_another_cookie_is_none(server: Running) -> None:
    """Neither the token itself nor one that is nearly right."""
    for said in (TOKEN, "0" * 64, ""):
        headers = {"cookie": f"a=b; portrayer={said}"}
        with httpx.Client(base_url=server.address, trust_env=False) as browser:
            assert refused(browser.get("/v1/jobs", headers=headers), 401)


def test_the_page_is_for_everyone_and_foreign_pages_for_nobody(server: Running) -> None:
    """Who has no token yet sees where to give it."""
    with httpx.Client(base_url=server.address, trust_env=False) as browser:
        assert browser.get("/").status_code == 200
        assert refused(browser.get(f"{server.address}//v1/jobs"), 401)
        foreign = {"origin": "https://elsewhere.example"}
        assert refused(browser.post("/v1/session", json={"token": TOKEN}, headers=foreign), 403)
