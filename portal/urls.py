"""The URL table of the portal."""

from django.urls import URLPattern, URLResolver, include, path
from django.views.i18n import set_language

from sandboxes.views.home import home
from vms.urls import desk_urlpatterns
from vms.views.operation import operation
from vms.views.quotas import quotas_page

from . import health
from .api import api
from .api_docs import docs

urlpatterns: list[URLPattern | URLResolver] = [
    path("", home, name="home"),
    path("vms/", include("vms.urls")),
    path("sandboxes/", include("sandboxes.urls")),
    path("operations/<uuid:operation_id>", operation, name="operation"),
    path("quotas/", quotas_page, name="quotas"),
    path("admin-desk/", include((desk_urlpatterns, "desk"))),
    path("accounts/", include("accounts.urls")),
    path("language", set_language, name="set_language"),
    path("api/v1/docs", docs, name="api-docs"),
    path("api/v1/", api.urls),
    path("healthz", health.healthz, name="healthz"),
    path("healthz/<str:part>", health.healthz, name="healthz-part"),
    path("metrics", health.metrics, name="metrics"),
]

handler400 = "portal.errors.bad_request"
handler403 = "portal.errors.permission_denied"
handler404 = "portal.errors.not_found"
handler500 = "portal.errors.server_error"
