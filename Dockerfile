# The image of the one program: a worker by default, any other subcommand when it is named.

# scripts/base-images builds both for machines without a registry.
ARG RUST_IMAGE=rust:1.95-slim-trixie
# glibc, libgcc and the certificate authorities; no shell, no package manager. The Debian that is built on.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian13:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# Not rust-toolchain.toml: it would have rustup fetch another toolchain than the image's.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
# Code in C would have the time of its compilation in it, and the same sources would make another file each time.
ENV SOURCE_DATE_EPOCH=0
# What was compiled stays in the cache, so that the next build compiles what has changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --profile dist --locked --bin bankrefresh \
    && cp target/dist/bankrefresh /bankrefresh

FROM ${RUNTIME_IMAGE}
COPY --from=build /bankrefresh /usr/local/bin/bankrefresh
# By number, for Kubernetes to see that it is not root.
USER 65532:65532
ENV BANKREFRESH__ADMIN__LISTEN=0.0.0.0:9464
EXPOSE 9464
# For `docker run` and Compose. Kubernetes has its own probes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/bankrefresh", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/bankrefresh"]
CMD ["worker"]
# A release names both.
ARG SOURCE REVISION
LABEL org.opencontainers.image.title="bankrefresh" \
    org.opencontainers.image.description="Keeps finAPI bank connections fresh, driven by RabbitMQ" \
    org.opencontainers.image.version="0.2.0" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.revision="${REVISION}"
