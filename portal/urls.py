"""The URL table of the portal."""

from django.urls import URLPattern, URLResolver, path

from . import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("healthz/<str:part>", health.healthz, name="healthz-part"),
    path("metrics", health.metrics, name="metrics"),
]

handler400 = "portal.errors.bad_request"
handler403 = "portal.errors.permission_denied"
handler404 = "portal.errors.not_found"
handler500 = "portal.errors.server_error"
