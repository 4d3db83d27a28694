# server-jobs in your own image, which has Python 3.11 or newer.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim
FROM ${PYTHON_IMAGE}
# This installs the wheel of a checkout. From a package index, install "server-jobs[postgres]".
COPY server_jobs-*.whl /tmp/
RUN python -m pip install --no-cache-dir --only-binary :all: "$(echo /tmp/server_jobs-*.whl)[postgres]" \
    && rm /tmp/server_jobs-*.whl
COPY jobs.py /app/jobs.py
# Compile to bytecode now: pods can't write to these folders, so each of them would compile it again.
RUN python -m compileall -q /app "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ENV PYTHONPATH=/app \
    SERVER_JOBS_APP=jobs:registry
# A number, since Kubernetes can't tell by a name that the user isn't root.
USER 65532:65532
ENTRYPOINT ["server-jobs"]
