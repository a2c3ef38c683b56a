# Songprint with all features. The library, its keys and its uploads are stored in /data.
#
#   docker build -t songprint .
#   docker run --rm -v songprint:/data songprint keys create --name me --scope admin
#   docker run -p 8080:8080 -v songprint:/data songprint
#
# For several architectures: docker buildx build --platform linux/amd64,linux/arm64 -t songprint .
#
# The wheel of PyAV contains FFmpeg with libx264 and libx265, which are under the GPL. The image therefore builds FFmpeg
# under the LGPL, without them and without network protocols, and PyAV from its source; see THIRD_PARTY_NOTICES.md.

FROM python:3.12-slim-bookworm AS ffmpeg
# Debian removes older versions of its packages, so they cannot be pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates curl gcc gnupg libc6-dev make nasm pkg-config xz-utils zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
ARG FFMPEG_VERSION=8.1.2
# The key that signs releases, as https://ffmpeg.org/download.html names it.
ARG FFMPEG_KEY=FCF986EA15E6E293A5644F10B4322F04D67658D8
WORKDIR /ffmpeg
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN curl --fail --silent --show-error --location --remote-name-all \
        "https://ffmpeg.org/releases/ffmpeg-${FFMPEG_VERSION}.tar.xz" \
        "https://ffmpeg.org/releases/ffmpeg-${FFMPEG_VERSION}.tar.xz.asc" \
        https://ffmpeg.org/ffmpeg-devel.asc \
    && gpg --batch --quiet --import ffmpeg-devel.asc \
    && gpg --batch --status-fd 1 --verify "ffmpeg-${FFMPEG_VERSION}.tar.xz.asc" "ffmpeg-${FFMPEG_VERSION}.tar.xz" \
        | grep --quiet "VALIDSIG.*${FFMPEG_KEY}" \
    && tar --extract --strip-components=1 --file "ffmpeg-${FFMPEG_VERSION}.tar.xz"
# Without --enable-gpl and --enable-nonfree, FFmpeg is under the LGPL 2.1 or later.
RUN ./configure --prefix=/opt/ffmpeg --enable-shared --disable-static --disable-programs --disable-doc \
        --disable-network --disable-autodetect --enable-zlib --disable-encoders --disable-muxers --disable-devices \
    && make --jobs="$(nproc)" install
COPY requirements.lock ./
RUN grep --after-context=40 '^av==' requirements.lock | sed --quiet '1,/[^\\]$/p' > av.lock \
    && PKG_CONFIG_PATH=/opt/ffmpeg/lib/pkgconfig LDFLAGS=-Wl,-rpath,/opt/ffmpeg/lib \
        pip wheel --no-cache-dir --no-deps --require-hashes --no-binary av --wheel-dir /wheels --requirement av.lock

FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY songprint songprint
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
# The wheels of FAISS and ONNX Runtime contain their libraries, except OpenMP.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=ffmpeg /opt/ffmpeg/lib /opt/ffmpeg/lib
COPY --from=ffmpeg /wheels /wheels
COPY --from=build /wheels /wheels
COPY requirements.lock THIRD_PARTY_NOTICES.md /usr/share/doc/songprint/
# All packages except PyAV as requirements.lock names them, with their hashes; then the wheels of the other stages.
# hadolint ignore=DL3013
RUN sed '/^av==/,/[^\\]$/d' /usr/share/doc/songprint/requirements.lock > /wheels/others.lock \
    && pip install --no-cache-dir --no-deps --require-hashes --requirement /wheels/others.lock \
    && pip install --no-cache-dir --no-deps --no-index --find-links /wheels av songprint \
    && pip check \
    && rm -rf /wheels
# A numeric user lets Kubernetes verify that it is not root.
RUN groupadd --gid 10001 songprint \
    && useradd --uid 10001 --gid songprint --home-dir /data --no-create-home songprint \
    && install --directory --owner=songprint --group=songprint /data
USER 10001:10001
ENV SONGPRINT_LIBRARY=/data/library PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8080
# /healthz needs no key.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["songprint"]
CMD ["serve", "--host", "0.0.0.0"]
