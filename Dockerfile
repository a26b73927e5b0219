# Two images: `worker` (one trial in, one folder out) and `mlflow` (the tracking server).
#
#   docker build --target worker -t albench-worker .
#   docker build --target mlflow -t albench-mlflow .
#
# `albench run --executor docker` finds or builds the worker image by itself. BASE needs Python 3.11 with its venv module
# and the machine's certificates; torch's wheels bring CUDA's own libraries, so a slim one is enough. A tag moves; to pin it:
#
#   docker pull python:3.11-slim-bookworm
#   docker inspect --format '{{index .RepoDigests 0}}' python:3.11-slim-bookworm     # name@sha256:...
#   docker build --build-arg BASE=name@sha256:... ...                                # or ALBENCH_DOCKER_BASE
#
# No RUN --mount: the classic builder must be able to read this file too.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
ENV LC_ALL=C.UTF-8 TZ=UTC PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin albench && chmod 1777 /tmp

# uv checks the hash of everything it installs; it trusts the certificates of the base image.
FROM base AS builder
ENV UV_SYSTEM_CERTS=true UV_LINK_MODE=copy UV_NO_CACHE=true PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements-uv.lock /locks/
RUN python3 -m venv /opt/uv && /opt/uv/bin/python -m pip install --quiet --require-hashes -r /locks/requirements-uv.lock

FROM builder AS worker-packages
COPY requirements-worker.lock /locks/
RUN python3 -m venv --without-pip /opt/albench \
    && /opt/uv/bin/uv pip sync --quiet --require-hashes --compile-bytecode --python /opt/albench/bin/python \
        /locks/requirements-worker.lock

# Packages change rarely and are one layer; the code is another, small one.
FROM base AS worker
ENV PATH=/opt/albench/bin:$PATH PYTHONPATH=/opt/src
COPY --from=worker-packages /opt/albench /opt/albench
COPY benchmark /opt/src/benchmark
RUN python -m compileall -q /opt/src
WORKDIR /tmp
USER 10001:10001
ARG REVISION=
ENV ALBENCH_REVISION=${REVISION}
LABEL org.opencontainers.image.title="albench worker" org.opencontainers.image.revision="${REVISION}"
CMD ["python", "-m", "benchmark.worker", "--help"]

FROM builder AS mlflow-packages
COPY requirements-mlflow.lock /locks/
RUN python3 -m venv --without-pip /opt/mlflow \
    && /opt/uv/bin/uv pip sync --quiet --require-hashes --compile-bytecode --python /opt/mlflow/bin/python \
        /locks/requirements-mlflow.lock

FROM base AS mlflow
ENV PATH=/opt/mlflow/bin:$PATH HOME=/tmp MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
COPY --from=mlflow-packages /opt/mlflow /opt/mlflow
# A new named volume takes the owner of the folder it is mounted over.
RUN mkdir /tracking && chown 10001:10001 /tracking
VOLUME /tracking
WORKDIR /tracking
USER 10001:10001
EXPOSE 5000
ARG REVISION=
LABEL org.opencontainers.image.title="albench tracking server" org.opencontainers.image.revision="${REVISION}"
CMD ["python", "-m", "mlflow", "server", "--backend-store-uri", "sqlite:////tracking/mlflow.db", \
     "--artifacts-destination", "/tracking/artifacts", "--host", "0.0.0.0", "--port", "5000", "--workers", "1"]
