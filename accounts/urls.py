"""The pages of people."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from .views import projects, signing, tokens

app_name = "accounts"
urlpatterns = [
    path("login", signing.SignIn.as_view(), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("signup", signing.sign_up, name="signup"),
    path("password", signing.password, name="password"),
    path("preferences", signing.preferences, name="preferences"),
    path("tokens", tokens.tokens, name="tokens"),
    path("tokens/<uuid:token_id>/revoke", tokens.revoke, name="revoke"),
    path("projects/", projects.projects, name="projects"),
    path("projects/<uuid:project_id>/", projects.project, name="project"),
    path("projects/<uuid:project_id>/members/<uuid:user_id>/role", projects.set_role, name="set-role"),
    path("projects/<uuid:project_id>/members/<uuid:user_id>/remove", projects.remove, name="remove-member"),
]
