"""The app of people and projects."""

from django.apps import AppConfig
from django.db.models.signals import post_save


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from . import personal

        post_save.connect(personal.when_saved, sender=self.get_model("User"), dispatch_uid="personal project")
