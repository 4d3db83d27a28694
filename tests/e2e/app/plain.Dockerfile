# Your own image, and server-jobs in it: on any Python from 3.11 on.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim
FROM ${PYTHON_IMAGE}
# Here the wheel of this checkout; from an index it would be "server-jobs[postgres]".
COPY server_jobs-*.whl /tmp/
RUN python -m pip install --no-cache-dir --only-binary :all: "$(echo /tmp/server_jobs-*.whl)[postgres]" \
    && rm /tmp/server_jobs-*.whl
COPY jobs.py /app/jobs.py
# Where it runs nothing can be written: what isn't compiled now, every pod compiles for itself.
RUN python -m compileall -q /app "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ENV PYTHONPATH=/app \
    SERVER_JOBS_APP=jobs:registry
# A number: by a name, Kubernetes can't tell that it isn't root.
USER 65532:65532
ENTRYPOINT ["server-jobs"]
