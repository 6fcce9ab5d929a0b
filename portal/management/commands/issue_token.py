"""`manage.py issue_token USER`: print an API token for a user. For development and for whoever has the shell."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.actor import Actor
from accounts.models import User
from accounts.services import issue_token_for


class Command(BaseCommand):
    help = "Prints a new API token for a user, valid for 30 days."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        user = User.objects.filter(username=username, is_active=True).first()
        if user is None:
            known = ", ".join(
                User.objects.filter(is_active=True).order_by("username").values_list("username", flat=True)[:20]
            )
            raise CommandError(f"There is no user {username}. There are: {known}.")
        _token, secret = issue_token_for(
            Actor.system(), user, "command line", expires_at=timezone.now() + timedelta(days=30)
        )
        self.stdout.write(secret)
