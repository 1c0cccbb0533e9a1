# syntax=docker/dockerfile:1
# The image of the one program: a worker by default, any other subcommand when it is named.

ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-slim-trixie AS build
WORKDIR /src
# Not rust-toolchain.toml: it would have rustup fetch another toolchain than the image's.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
# What was compiled stays in the cache, so that the next build compiles what has changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --bin bankrefresh \
    && cp target/release/bankrefresh /bankrefresh

# glibc, libgcc and the certificate authorities; no shell, no package manager. The Debian that is built on.
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /bankrefresh /usr/local/bin/bankrefresh
# By number, for Kubernetes to see that it is not root.
USER 65532:65532
ENV BANKREFRESH__ADMIN__LISTEN=0.0.0.0:9464
EXPOSE 9464
# For `docker run` and Compose. Kubernetes has its own probes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/bankrefresh", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/bankrefresh"]
CMD ["worker"]
