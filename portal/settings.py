"""Settings: one file, driven by the environment, running with nothing set (portal/env.py has the table)."""

from datetime import timedelta
from urllib.parse import urlsplit

from . import env
from .csp import CONTENT_SECURITY_POLICY  # noqa: F401 - a setting of django-csp
from .logs import LOGGING, configure_structlog  # noqa: F401 - LOGGING is a setting of Django

BASE_DIR = env.BASE_DIR
VAR_DIR = env.var_dir()
VAR_DIR.joinpath("static").mkdir(parents=True, exist_ok=True)  # WhiteNoise looks there too

DEBUG = env.read("SLIPWAY_DEBUG")
SECRET_KEY = env.secret_key()

# --- what is Slipway's own -------------------------------------------------------------------------------
INSTALLATION_ID = env.installation_id()
DATA_DIR = env.data_dir()
NODE_NAME = env.node_name()
LIBVIRT_URI = env.read("SLIPWAY_LIBVIRT_URI")
VIRT_TYPE = env.read("SLIPWAY_VIRT_TYPE")
SUBNET = env.read("SLIPWAY_SUBNET")
PORTAL_URL = env.portal_url()
GATEWAY_URL = env.gateway_url()
SIGNUP = env.read("SLIPWAY_SIGNUP")
_port = urlsplit(PORTAL_URL).port
PORTAL_ORIGINS = frozenset(
    [
        PORTAL_URL,
        *env.read("SLIPWAY_ORIGINS"),
        # a portal that listens on loopback is reached by either name
        *([f"http://localhost:{_port}", f"http://127.0.0.1:{_port}"] if "127.0.0.1" in PORTAL_URL else []),
    ]
)
OPERATION_LEASE = timedelta(seconds=15)  # renewed every third of it; taken over when it ran out
NODE_AWAY_AFTER = timedelta(seconds=75)  # two resyncs of 30 s may be missed
AGENT_WAIT = timedelta(seconds=300)  # how long a create waits for the guest's first answer
STOP_WAIT = timedelta(seconds=60)  # how long a guest may take to shut down when asked
CONSOLES_PER_USER = 5
# how often one user may call: (number, seconds) windows that all have to have room
RATES = {
    "change": ((400, 60), (1500, 600)),  # every unsafe API call; a script may be quick, for a while
    "screenshot": ((600, 60),),  # those that have to be fetched from a node
}
# steps beside those of vms, imported by workers alone: {step name: function}
OPERATION_HANDLERS = ["sandboxes.operations.handlers.HANDLERS"]
SANDBOX_LEASE_MINUTES = (1, env.read("SLIPWAY_LEASE_MAX_MINUTES"))  # the least and the most that may be left of one
SANDBOX_GRACE = timedelta(hours=env.read("SLIPWAY_LEASE_GRACE_HOURS"))  # from a lease's end to the deletion
SANDBOX_WARN_BEFORE = (  # the bounds within which a tenth of a lease before its end is
    timedelta(minutes=env.read("SLIPWAY_LEASE_WARN_MIN_MINUTES")),
    timedelta(minutes=env.read("SLIPWAY_LEASE_WARN_MAX_MINUTES")),
)
SANDBOX_POOL_MEMORY_FREE = env.read("SLIPWAY_POOL_MEMORY_FREE_PERCENT") / 100  # of a node's memory
READY_SCRIPT_WAIT = timedelta(minutes=env.read("SLIPWAY_READY_SCRIPT_MINUTES"))
FILES_AT_MOST_BYTES = env.read("SLIPWAY_FILES_MAX_MIB") * 2**20  # of one transfer to or from a sandbox
EVENT_STREAMS_PER_USER = 10
CONSOLE_TICKET_TTL = timedelta(seconds=30)
PERSONAL_QUOTA = {
    "vms": 10,
    "vcpus": 16,
    "memory_mib": 16384,
    "disk_gib": 200,
    "running_vms": 10,
    "running_vcpus": 16,
    "running_memory_mib": 16384,
    "sandboxes": 10,
    "sandbox_minutes": 20000,
}

# --- Django ----------------------------------------------------------------------------------------------
ALLOWED_HOSTS = [
    "127.0.0.1",
    "localhost",
    "[::1]",
    urlsplit(PORTAL_URL).hostname or "",
    *env.read("SLIPWAY_ALLOWED_HOSTS"),
]
INSTALLED_APPS = [
    "portal.apps.PortalConfig",
    "accounts.apps.AccountsConfig",
    "vms.apps.VmsConfig",
    "sandboxes.apps.SandboxesConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "axes",
    "csp",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "portal.middleware.RequestIdMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "portal.middleware.BodyLimitMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "portal.api.ApiMiddleware",
]
ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "vms.context.shell",
            ],
        },
    },
]
DATABASES = {"default": env.database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "accounts:login"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
# per account and per address: either alone reaches its limit, so neither a botnet nor one guesser gets far
AXES_LOCKOUT_PARAMETERS = ["username", "ip_address"]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "accounts/locked.html"
AXES_VERBOSE = False

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("fr", "Français")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # no form or JSON body of ours is larger
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000
FORM_RENDERER = "django.forms.renderers.DjangoTemplates"

_https = env.read("SLIPWAY_HTTPS")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = _https
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = int(timedelta(days=14).total_seconds())
# cookies of two portals on one host name (other ports) must not overwrite each other
SESSION_COOKIE_NAME = f"slipway_session_{INSTALLATION_ID}"
CSRF_COOKIE_NAME = f"slipway_csrf_{INSTALLATION_ID}"
CSRF_TRUSTED_ORIGINS = sorted(PORTAL_ORIGINS)
CSRF_FAILURE_VIEW = "portal.errors.csrf_failure"
SECURE_SSL_REDIRECT = _https
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _https else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- mail: a service to people, that nothing waits for
_email = env.email()
EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT = _email["EMAIL_BACKEND"], _email["EMAIL_HOST"], _email["EMAIL_PORT"]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _email["EMAIL_HOST_USER"], _email["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS, EMAIL_USE_SSL = _email.get("EMAIL_USE_TLS", False), _email.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.read("SLIPWAY_EMAIL_FROM") or f"slipway@{urlsplit(PORTAL_URL).hostname}"

# --- Redis: a doorbell and a hint, never the truth --------------------------------------------------------
REDIS_URL = env.redis_url()
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # the client's 5 s socket timeout would close idle subscriptions
        "CONFIG": {
            "hosts": [{"address": REDIS_URL, "socket_timeout": None}],
            "prefix": f"slipway:{INSTALLATION_ID}",
        },
    },
}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # counted together by all web processes; whoever reads it lives without it (accounts/throttling.py)
    "shared": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"slipway:{INSTALLATION_ID}",
        "OPTIONS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
    },
}
CELERY_BROKER_URL = env.celery_broker_url()
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 300,
    "global_keyprefix": f"slipway:{INSTALLATION_ID}:",
    # a bell that cannot be rung is given up at once: the poller rings again
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
    "socket_connect_timeout": 2,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BEAT_SCHEDULE = {
    "ring-due-operations": {"task": "vms.ring_due_operations", "schedule": 5.0},
    "sweep": {"task": "vms.sweep", "schedule": 30.0},
    "sandboxes": {"task": "sandboxes.sweep", "schedule": 5.0, "options": {"expires": 5.0}},
}

configure_structlog()
