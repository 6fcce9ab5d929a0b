"""The websocket routes of the web role."""

from django.urls import URLPattern, path

from .consumers import StatusConsumer

websocket_urlpatterns: list[URLPattern] = [
    path("ws/status", StatusConsumer.as_asgi()),  # type: ignore[arg-type]  # an ASGI application, not a view
]
