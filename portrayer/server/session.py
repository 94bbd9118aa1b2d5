"""A browser shows the token once, and is known by a cookie from then on: pictures and downloads are
fetched without headers of one's own.
"""

from __future__ import annotations

import hmac

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from portrayer.server.edge import COOKIE, session
from portrayer.server.refusal import Unauthorized
from portrayer.server.schemas import refusals

PATH = "/v1/session"
DAYS = 30


class Key(BaseModel):
    """What the operator gave."""

    token: str = Field(max_length=1000)


def routes(token: str) -> APIRouter:
    """``/v1/session``, for a server of this token; "" needs none, and takes any."""
    router = APIRouter(tags=["system"])

    @router.post(
        PATH,
        status_code=204,
        operation_id="open_session",
        summary="Give the token once, for a cookie",
        responses=refusals(400),
    )
    async def begin(key: Key, request: Request) -> Response:
        if not hmac.compare_digest(key.token.encode("utf-8", "replace"), token.encode()):
            raise Unauthorized("the token is wrong")
        answer = Response(status_code=204)
        answer.set_cookie(
            COOKIE,
            session(token),
            max_age=DAYS * 86_400,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    @router.delete(PATH, status_code=204, operation_id="end_session", summary="Forget the cookie")
    async def end() -> Response:
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return router
