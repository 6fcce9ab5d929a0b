# Two images of one tree: `web` (pages, API, beat, mail; no libvirt) and `node` (what talks to the local hypervisor).
#   docker build --target web -t slipway-web .      docker build --target node -t slipway-node .

FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
      gcc gettext libc6-dev libvirt-dev pkg-config python3-dev python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements/base.txt ./
# the locked setuptools builds libvirt-python, the one package that is compiled here
RUN python3 -m venv /opt/slipway/venv \
 && awk 'index($0, "setuptools==") == 1 { on = 1 } on { print } on && !/\\$/ { exit }' base.txt > setuptools.txt \
 && /opt/slipway/venv/bin/pip install --no-cache-dir --require-hashes -r setuptools.txt \
 && /opt/slipway/venv/bin/pip install --no-cache-dir --require-hashes --no-build-isolation \
      --only-binary :all: --no-binary libvirt-python -r base.txt
COPY locale ./locale
RUN find locale -name '*.po' -exec sh -c 'msgfmt -o "${1%.po}.mo" "$1"' _ {} \;

FROM debian:12-slim AS web
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libvirt0 python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/slipway-web --create-home slipway
COPY --from=build /opt/slipway/venv /opt/slipway/venv
WORKDIR /opt/slipway/app
COPY manage.py ./
COPY portal portal
COPY accounts accounts
COPY hypervisor hypervisor
COPY vms vms
COPY sandboxes sandboxes
COPY console console
COPY templates templates
COPY static static
COPY --from=build /build/locale locale
ENV PATH=/opt/slipway/venv/bin:$PATH PYTHONUNBUFFERED=1 SLIPWAY_VAR_DIR=/var/lib/slipway-web DJANGO_SETTINGS_MODULE=portal.settings
USER slipway
EXPOSE 8000
CMD ["uvicorn", "portal.asgi:application", "--host", "127.0.0.1", "--port", "8000", "--ws", "websockets-sansio", \
     "--ws-per-message-deflate", "false", "--no-access-log", "--no-server-header"]

# The libvirt socket that a node needs makes its owner root on the host: this image is for nothing else.
FROM web AS node
USER root
RUN apt-get update && apt-get install -y --no-install-recommends libnftables1 libvirt-clients qemu-utils util-linux \
 && rm -rf /var/lib/apt/lists/*
EXPOSE 8001
CMD ["python3", "manage.py", "node_agent"]
