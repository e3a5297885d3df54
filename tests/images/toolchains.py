"""Images to build programs in: one per language, as the official ones of that name are used in Dockerfiles.

They are big, so the suite does not make them; `python -m tests.dockerfiles` does, at its first run.
"""

from __future__ import annotations

from tests.images.recipes import PATH, Recipe

# What every one needs to reach package registries; a proxy's own certificates come as a build secret.
_CERTIFICATES = ("ca-certificates",)

DEBIAN = Recipe("debian", {"Cmd": ["bash"], "Env": [f"PATH={PATH}"]}, packages=("apt", *_CERTIFICATES))

GCC = Recipe(
    "gcc",
    {"Cmd": ["bash"], "Env": [f"PATH={PATH}"]},
    packages=("build-essential", "cmake", "ninja-build", "pkg-config", "zlib1g-dev", *_CERTIFICATES),
)

PYTHON_DEV = Recipe(
    "python-dev",
    {"Cmd": ["python3"], "Env": [f"PATH={PATH}", "LANG=C.UTF-8"]},
    packages=("python3-minimal", "python3-pip", "python3-venv", *_CERTIFICATES),
)

NODE = Recipe("node", {"Cmd": ["node"], "Env": [f"PATH={PATH}"]}, packages=("nodejs", "npm", *_CERTIFICATES))

GOLANG = Recipe(
    "golang",
    {"Cmd": ["bash"], "Env": [f"PATH=/go/bin:{PATH}", "GOPATH=/go"], "WorkingDir": "/go"},
    packages=("golang-go", *_CERTIFICATES),
)

RUST = Recipe(
    "rust",
    {"Cmd": ["bash"], "Env": [f"PATH={PATH}"]},
    packages=("cargo-web", "rustc-web", "libc6-dev", *_CERTIFICATES),
)

JAVA = Recipe(
    "maven",
    {"Cmd": ["mvn"], "Env": [f"PATH={PATH}", "JAVA_HOME=/usr/lib/jvm/default-java"]},
    packages=("default-jdk-headless", "maven", *_CERTIFICATES),
)

JRE = Recipe(
    "jre",
    {"Cmd": ["bash"], "Env": [f"PATH={PATH}", "JAVA_HOME=/usr/lib/jvm/default-java"]},
    packages=("default-jre-headless",),
)

TOOLCHAINS = {recipe.name: recipe for recipe in (DEBIAN, GCC, PYTHON_DEV, NODE, GOLANG, RUST, JAVA, JRE)}
