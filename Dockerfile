# Songprint with all features. The library, its keys and its uploads are stored in /data.
#
#   docker build -t songprint .
#   docker run --rm -v songprint:/data songprint keys create --name me --scope admin
#   docker run -p 8080:8080 -v songprint:/data songprint

FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY songprint songprint
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
# The wheels of PyAV, FAISS and ONNX Runtime contain their libraries, except OpenMP.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN wheel=$(ls /wheels/songprint-*.whl) \
    && pip install --no-cache-dir "${wheel}[server,mysql,postgresql,milvus]" \
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
