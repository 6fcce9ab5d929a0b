"""Who acts, and by which way they came: what services need for permission and for the audit trail."""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from django.http import HttpRequest

from .models import ApiToken, User


@dataclass(frozen=True, slots=True)
class Actor:
    """A signed-in user with the session or the token they came by; `system()` is the portal itself."""

    user: User | None
    via: str = "session"
    session_key: str = ""
    token_id: UUID | None = None
    origin: str = ""
    address: str | None = None
    request_id: str = ""

    @classmethod
    def system(cls) -> Self:
        return cls(user=None, via="system")

    @classmethod
    def of(cls, request: HttpRequest, token: ApiToken | None = None) -> Self:
        """Return who makes this request; the request must be authenticated."""
        user = token.user if token else request.user
        assert isinstance(user, User)
        return cls(
            user=user,
            via="token" if token else "session",
            session_key="" if token else (request.session.session_key or ""),
            token_id=token.id if token else None,
            origin="" if token else f"{request.scheme}://{request.get_host()}",
            address=request.META.get("REMOTE_ADDR") or None,
            request_id=getattr(request, "slipway_id", ""),
        )

    @property
    def who(self) -> User:
        """The user; a service that needs one is never called by the system."""
        assert self.user is not None
        return self.user

    @property
    def name(self) -> str:
        return self.user.username if self.user else "slipway"
