"""The headers and parameters by which a source knows us."""

from __future__ import annotations

import base64
import time
from urllib.parse import urlencode

from recordgate.collecting.fetching import Fetcher, json_of, place
from recordgate.collecting.secrets import secret_value
from stores.contract.collect import Auth
from stores.errors import SourceError

_EARLY = 30.0
"""Seconds before its end at which a token is renewed."""


class Credentials:
    """The credentials of one source. Secrets are read when they are needed, so that a changed file
    counts at once."""

    def __init__(self, auth: Auth, fetcher: Fetcher) -> None:
        self._auth, self._fetcher = auth, fetcher
        self._token, self._until = "", 0.0

    def headers(self) -> dict[str, str]:
        auth = self._auth
        if auth.by == "bearer":
            return {"Authorization": f"Bearer {secret_value(auth.secret('token'))}"}
        if auth.by == "basic":
            pair = f"{secret_value(auth.secret('user'))}:{secret_value(auth.secret('password'))}"
            return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        if auth.by == "oauth2":
            return {"Authorization": f"Bearer {self._valid_token()}"}
        if auth.by == "apiKey" and not auth.param:
            return {auth.header or "X-API-Key": secret_value(auth.secret("key"))}
        return {}

    def params(self) -> dict[str, str]:
        auth = self._auth
        return (
            {auth.param: secret_value(auth.secret("key"))}
            if auth.by == "apiKey" and auth.param
            else {}
        )

    def renew(self) -> bool:
        """Forget a token that was refused; whether another can be had."""
        had, self._token = self._token, ""
        return bool(had)

    def _valid_token(self) -> str:
        if self._token and time.monotonic() < self._until:
            return self._token
        auth = self._auth
        form = {"grant_type": "client_credentials", **({"scope": auth.scope} if auth.scope else {})}
        pair = f"{secret_value(auth.secret('client'))}:{secret_value(auth.secret('secret'))}"
        answer = self._fetcher.post(
            auth.token_url,
            {
                "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
                "Content-Type": "application/x-www-form-urlencoded",
            },
            urlencode(form).encode(),
        )
        found = json_of(answer) if answer.status == 200 else None
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not token.isprintable():
            code = "SOURCE_DOWN" if answer.status >= 500 else "SOURCE_AUTH"
            raise SourceError(
                f"{place(auth.token_url)} gives no token ({answer.status})", code=code
            )
        life = found.get("expires_in") if isinstance(found, dict) else None
        seconds = (
            float(life) if isinstance(life, int | float) and not isinstance(life, bool) else 300.0
        )
        self._token, self._until = token, time.monotonic() + max(1.0, seconds - _EARLY)
        return self._token
