"""Your API tokens."""

from django.http import HttpRequest
from ninja import Query, Status

from accounts.access import as_uuid
from accounts.models import ApiToken
from accounts.refusals import NotVisible
from accounts.services import issue_token, revoke_token

from . import asked, shapes, show
from .door import actor, caller, router
from .paging import PageParams, paged

routes = router("tokens", keys=False)  # the answer holds a secret


@routes.get("tokens", response=shapes.Page[shapes.Token])
def list_tokens(request: HttpRequest, wanted: Query[PageParams]) -> shapes.Page[shapes.Token]:
    """Return your tokens that are not revoked, the latest first."""
    rows = ApiToken.objects.filter(user=caller(request), revoked_at=None)
    return paged(rows, ["-created_at", "-id"], wanted, show.token)


@routes.post("tokens", response={201: shapes.TokenWithSecret})
def create_token(request: HttpRequest, body: asked.NewToken) -> Status[shapes.TokenWithSecret]:
    """Make a token. Its secret is in this answer and nowhere else."""
    token, secret = issue_token(actor(request), body.name, scope=body.scope, expires_at=body.expires_at)
    token.refresh_from_db()
    return Status(201, shapes.TokenWithSecret(token=show.token(token), secret=secret))


@routes.delete("tokens/{token_id}", response={204: None})
def delete_token(request: HttpRequest, token_id: str) -> Status[None]:
    """Revoke a token; what was opened with it ends within seconds."""
    found = as_uuid(token_id)
    if found is None:
        raise NotVisible
    revoke_token(actor(request), found)
    return Status(204, None)
