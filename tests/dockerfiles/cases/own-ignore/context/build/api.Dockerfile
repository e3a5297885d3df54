ARG REGISTRY
FROM ${REGISTRY}/busybox:latest
WORKDIR /src
COPY . .
CMD find . -type f | sort
