"""`pyd registry serve`: an OCI registry (github.com/opencontainers/distribution-spec, 1.1).

What is kept (no HTTP in these):   store database schema files sessions document collector quota
Who may do what:                   auth htpasswd access token certificate
What is asked and answered (HTTP): app routes blobs uploads manifests tags referrers mirror metrics

aiohttp is imported by the third row alone, and they by nobody but `engine.registry_server`.
"""
