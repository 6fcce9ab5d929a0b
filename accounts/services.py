"""What can be done with people, projects, limits and tokens: each one transaction, with its audit entry."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _

from .access import Verb, check
from .actor import Actor
from .audit import record
from .dimensions import Dimension
from .models import ApiToken, Membership, Project, QuotaLimit, Role, User
from .refusals import BadInput, Forbidden, NotVisible
from .retrying import retried

_TOUCH_EVERY = timedelta(minutes=1)  # how exact "last used" of a token has to be


@retried
@transaction.atomic
def create_user(actor: Actor, username: str, password: str, *, email: str = "", is_staff: bool = False) -> User:
    """Create a user, who gets a personal project (accounts.personal); BadInput when the name is taken."""
    try:
        with transaction.atomic():
            user = User.objects.create_user(username=username, email=email, password=password, is_staff=is_staff)
    except IntegrityError:
        raise BadInput({"username": [_("This name is taken.")]}) from None
    record(actor, "user.create", kind="user", target=user.id, name=username)
    return user


@retried
@transaction.atomic
def create_project(actor: Actor, name: str, owner: User, limits: Mapping[str, int | None] | None = None) -> Project:
    """Create a shared project; its limits default to those of a personal one."""
    try:
        with transaction.atomic():
            project = Project.objects.create(name=name)
    except IntegrityError:
        raise BadInput({"name": [_("This name is taken.")]}) from None
    Membership.objects.create(project=project, user=owner, role=Role.OWNER)
    _store_limits(project, None, limits if limits is not None else settings.PERSONAL_QUOTA)
    record(actor, "project.create", project=project, kind="project", target=project.id, name=name)
    return project


@retried
@transaction.atomic
def set_membership(actor: Actor, project: Project, username: str, role: str) -> Membership:
    """Add a member or change a role; the last owner stays one. BadInput, Forbidden, NotVisible."""
    check(actor.who, project.id, Verb.MANAGE)
    if role not in Role.values:
        raise BadInput({"role": [_("There is no such role.")]})
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None:
        raise BadInput({"username": [_("Nobody of that name has an account here.")]})
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if role != Role.OWNER:
        _keep_an_owner(project, user)
    membership, _created = Membership.objects.update_or_create(project=project, user=user, defaults={"role": role})
    record(actor, "project.set_member", project=project, kind="user", target=user.id, name=username, role=role)
    return membership


@retried
@transaction.atomic
def remove_membership(actor: Actor, project: Project, user_id: UUID) -> None:
    """Remove a member; open consoles are cut by the gateway within seconds."""
    check(actor.who, project.id, Verb.MANAGE)
    membership = Membership.objects.filter(project=project, user=user_id).select_related("user").first()
    if membership is None:
        raise NotVisible
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    _keep_an_owner(project, membership.user)
    membership.delete()
    record(
        actor,
        "project.remove_member",
        project=project,
        kind="user",
        target=user_id,
        name=membership.user.username,
    )


def _keep_an_owner(project: Project, user: User) -> None:
    owners = Membership.objects.filter(project=project, role=Role.OWNER)
    if project.personal_of_id == user.id or (
        owners.filter(user=user).exists() and not owners.exclude(user=user).exists()
    ):
        raise Forbidden(_("A project keeps at least one owner. Make someone else an owner first."))


@retried
@transaction.atomic
def set_limits(
    actor: Actor,
    project: Project,
    limits: Mapping[str, int | None],
    member_limits: Mapping[str, Mapping[str, int | None]] | None = None,
) -> None:
    """Set limits of a project and of members in it (by user name); staff only. Absent dimensions stay.

    Lowering a limit below what is used kills nothing: growth is refused from then on.
    """
    if not actor.who.is_staff:
        raise Forbidden(_("Only staff set quotas."))
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # the same lock as the one that counts
    errors: dict[str, list[object]] = {}
    _check_limits(errors, "limits", limits)
    members: dict[User, Mapping[str, int | None]] = {}
    for username, own in (member_limits or {}).items():
        membership = Membership.objects.filter(project=project, user__username=username).select_related("user").first()
        if membership is None:
            errors[f"member_limits.{username}"] = [_("is not a member of this project")]
        else:
            members[membership.user] = own
            _check_limits(errors, f"member_limits.{username}", own)
    if errors:
        raise BadInput(errors)  # type: ignore[arg-type]
    _store_limits(project, None, limits)
    for user, own in members.items():
        _store_limits(project, user, own)
    record(
        actor,
        "quota.set",
        project=project,
        kind="project",
        target=project.id,
        name=project.name,
        limits=dict(limits),
        member_limits={u.username: dict(own) for u, own in members.items()},
    )


def _check_limits(errors: dict[str, list[object]], where: str, limits: Mapping[str, int | None]) -> None:
    for dimension, limit in limits.items():
        if dimension not in Dimension.values:
            errors[f"{where}.{dimension}"] = [_("There is no such dimension.")]
        elif limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit < 2**53):
            errors[f"{where}.{dimension}"] = [_("A limit is a whole number from 0 up, or null for unlimited.")]


def _store_limits(project: Project, member: User | None, limits: Mapping[str, int | None]) -> None:
    for dimension, limit in limits.items():
        QuotaLimit.objects.update_or_create(
            project=project, member=member, dimension=dimension, defaults={"limit": limit}
        )


def issue_token(
    actor: Actor, name: str, *, scope: str = ApiToken.Scope.WRITE, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """Make a token for the actor; the secret is returned here and never again."""
    return issue_token_for(actor, actor.who, name, scope=scope, expires_at=expires_at)


@retried
@transaction.atomic
def issue_token_for(
    actor: Actor,
    user: User,
    name: str,
    *,
    scope: str = ApiToken.Scope.WRITE,
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """Make a token for a user; only the management command does so for somebody else."""
    if expires_at is not None and expires_at <= timezone.now():
        raise BadInput({"expires_at": [_("This moment has passed.")]})
    secret = ApiToken.make_secret()
    token = ApiToken.objects.create(
        user=user,
        name=name,
        scope=scope,
        expires_at=expires_at,
        hint=secret[-4:],
        secret_hash=ApiToken.hash_of(secret),
    )
    record(actor, "token.create", kind="token", target=token.id, name=name, scope=scope)
    return token, secret


@retried
@transaction.atomic
def revoke_token(actor: Actor, token_id: UUID) -> None:
    """Revoke one of the actor's own tokens; what was opened with it ends within seconds."""
    changed = ApiToken.objects.filter(id=token_id, user=actor.who, revoked_at=None).update(revoked_at=Now())
    if not changed:
        raise NotVisible
    record(actor, "token.revoke", kind="token", target=token_id)


def authenticate_token(secret: str) -> ApiToken | None:
    """Return the live token with this secret and an active user, or None; notes that it was used."""
    if not secret.startswith(ApiToken.PREFIX):
        return None
    token = live_tokens().filter(secret_hash=ApiToken.hash_of(secret)).select_related("user").first()
    if token is not None:
        ApiToken.objects.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=timezone.now() - _TOUCH_EVERY), id=token.id
        ).update(last_used_at=Now())
    return token


def live_tokens() -> QuerySet[ApiToken]:
    """Return tokens that are neither revoked nor expired, of users who may sign in."""
    return ApiToken.objects.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None, user__is_active=True)


@retried
@transaction.atomic
def deactivate_user(actor: Actor, user: User) -> None:
    """Shut someone out at once: sign-in, sessions, tokens, consoles; machines are left as they are."""
    if not actor.who.is_staff:
        raise Forbidden(_("Only staff do that."))
    User.objects.filter(pk=user.pk).update(is_active=False)
    ApiToken.objects.filter(user=user, revoked_at=None).update(revoked_at=Now())
    record(actor, "user.deactivate", kind="user", target=user.id, name=user.username)


@retried
@transaction.atomic
def reactivate_user(actor: Actor, user: User) -> None:
    """Let someone in again; tokens stay revoked."""
    if not actor.who.is_staff:
        raise Forbidden(_("Only staff do that."))
    User.objects.filter(pk=user.pk).update(is_active=True)
    record(actor, "user.reactivate", kind="user", target=user.id, name=user.username)


@retried
@transaction.atomic
def change_password(actor: Actor, password: str) -> None:
    """Give the actor a new password; their other logins end, and so do the consoles opened from them."""
    user = actor.who
    user.set_password(password)
    user.save(update_fields=["password"])
    record(actor, "user.password", kind="user", target=user.id, name=user.username)


def set_preferences(actor: Actor, *, single_keys: bool) -> None:
    """Keep what a person chose for themselves. Nobody else is concerned, so it leaves no trace."""
    User.objects.filter(pk=actor.who.pk).update(single_keys=single_keys)


def session_is_live(session_key: str, user_id: UUID) -> bool:
    """Is this login still there, not expired, this user's, and from after their last change of password?"""
    return live_sessions([session_key]).get(session_key) == user_id


def live_sessions(keys: Collection[str]) -> dict[str, UUID]:
    """Return, for those of these logins that are live (as above), whose they are: two queries for any number."""
    rows = Session.objects.filter(session_key__in=set(keys), expire_date__gt=timezone.now())
    found = {row.session_key: row.get_decoded() for row in rows}
    users = {
        str(user.pk): user
        for user in User.objects.filter(pk__in={d[SESSION_KEY] for d in found.values() if SESSION_KEY in d})
    }
    live: dict[str, UUID] = {}
    for key, data in found.items():
        user = users.get(data.get(SESSION_KEY, ""))
        if user and constant_time_compare(data.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash()):
            live[key] = user.pk
    return live
