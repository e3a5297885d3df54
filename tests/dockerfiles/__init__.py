"""Dockerfiles as projects have them, built by pyd and by other engines, and compared file by file.

    python -m tests.dockerfiles                                  every case, pyd beside Docker's BuildKit
    python -m tests.dockerfiles python-flask go-http             some
    python -m tests.dockerfiles --fast --engine docker,buildah   those of the suite; one beside the others

A case is a directory below `cases/`:

    case.toml            what it is, what its image prints, which differences are allowed and why (`case.py`)
    context/             the build context, with its Dockerfile
    Dockerfile.docker    the same in the words of Docker 20.10, where that lacks what the Dockerfile uses
    contexts/NAME/       further build contexts
    secrets/NAME         build secrets
    served/              files that a server on loopback gives; its address is the build argument FILES
"""
