"""The websocket routes of the web role."""

from django.urls import URLPattern

websocket_urlpatterns: list[URLPattern] = []
