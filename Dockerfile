# hotspan in a container: built in one stage, run without root in another.
#
#   docker build -t hotspan .
#   docker run --rm --network host -v "$PWD/runs:/work/runs" hotspan run http://127.0.0.1:8080/ --rate 50 --duration 30s
#
# Checked: that each COPY source is there, that the base images are pinned and that the last stage is not root's (tests/stack,
# suite files). A build is not, since the tests have no container engine.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
# A C compiler and make for SQLite and ring: nothing else (no protoc, no cmake).
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
COPY Cargo.toml Cargo.lock ./
COPY src ./src
COPY benches ./benches
COPY README.md ./
RUN cargo build --locked --profile dist --bin hotspan && cp target/dist/hotspan /usr/local/bin/hotspan

FROM debian:12.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /work hotspan \
    && mkdir -p /work/runs && chown -R hotspan /work
COPY --from=build /usr/local/bin/hotspan /usr/local/bin/hotspan
USER 10001
WORKDIR /work
# OTLP from the services under test: gRPC and HTTP.
EXPOSE 4317 4318
ENTRYPOINT ["hotspan"]
CMD ["--help"]
