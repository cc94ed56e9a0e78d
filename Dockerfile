# hadolint global ignore=DL3013
# Three images for CPUs, by the commands of docs/install.md:
#   docker build --tag regraft .                        answers photos: without PyTorch
#   docker build --tag regraft:serve --target serve .   the same by HTTP: compose.yaml starts it
#   docker build --tag regraft:train --target train .   learns, too: with PyTorch for CPUs
# Photos lie in the folder that is mounted as /work, and what is computed once stays in the volume on /cache:
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" --volume regraft:/cache regraft predict pets.safetensors new-photos

FROM python:3.11-slim AS packages
# The image's pip installs into an environment without one: nobody installs anything into an image later.
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PYTHON=/opt/regraft/bin/python
RUN python -m venv --without-pip /opt/regraft
WORKDIR /source

FROM packages AS runtime-packages
COPY . .
RUN pip install .

FROM packages AS serve-packages
COPY . .
RUN pip install '.[serve]'

FROM packages AS train-packages
# Before the source, which changes more often: the layer is kept.
RUN pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu
COPY . .
RUN pip install '.[train]'

FROM python:3.11-slim AS base
# /cache is every user's home, for `docker run --user` may name any: features, downloaded networks, what libraries keep.
RUN mkdir --mode=1777 /cache /work && useradd --no-create-home --home-dir /cache --uid 1000 regraft
ENV HOME=/cache PATH=/opt/regraft/bin:$PATH
VOLUME /cache
WORKDIR /work
USER 1000
ENTRYPOINT ["regraft"]
CMD ["--help"]

FROM base AS serve
COPY --from=serve-packages /opt/regraft /opt/regraft
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=3)"]
CMD ["serve", "/work/classifier.safetensors", "--host", "0.0.0.0"]

FROM base AS train
COPY --from=train-packages /opt/regraft /opt/regraft

FROM base AS runtime
COPY --from=runtime-packages /opt/regraft /opt/regraft
