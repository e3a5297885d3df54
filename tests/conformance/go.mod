// The validation programs of the OCI runtime-tools, built by build.py; nothing of Go is part of pyd itself.
module pyd.dev/conformance

go 1.19

require github.com/opencontainers/runtime-tools v0.9.1-0.20250303011046-260e151b8552
