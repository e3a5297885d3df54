"""The grammar of --output and --annotation, as buildx has it."""

from __future__ import annotations

import pytest

from pyd.build import annotations as noted
from pyd.build.outputs import STDOUT, Output, check, parse
from pyd.errors import InvalidArgument, NotSupported, PydError
from pyd.oci.platform import Platform

TAG = "docker.io/library/a:latest"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("out", Output(type="local", dest="out")),
        ("/a dir/with spaces", Output(type="local", dest="/a dir/with spaces")),
        ("-", Output(type="tar", dest=STDOUT)),
        ("type=local,dest=out", Output(type="local", dest="out")),
        ("type=tar", Output(type="tar", dest=STDOUT)),
        ("type=tar,dest=a.tar,platform-split=false", Output(type="tar", dest="a.tar", platform_split=False)),
        ("type=oci,dest=a.tar", Output(type="oci", dest="a.tar", names=(TAG,))),
        ("type=oci,dest=dir,tar=false", Output(type="oci", dest="dir", names=(TAG,), tar=False)),
        ("type=docker", Output(type="image", names=(TAG,))),
        ("type=docker,dest=-", Output(type="docker", dest=STDOUT, names=(TAG,), oci_media_types=False)),
        ("type=image", Output(type="image", names=(TAG,))),
        ("type=image,name=other", Output(type="image", names=(TAG,))),
        ("type=registry", Output(type="image", names=(TAG,), push=True)),
        ("type=image,push=true", Output(type="image", names=(TAG,), push=True)),
        (
            "type=image,push-by-digest=true,name=h:5000/a,push=true,registry.insecure=1",
            Output(
                type="image",
                names=("h:5000/a",),
                push=True,
                push_by_digest=True,
                store=False,
                insecure=True,
            ),
        ),
        (
            "type=image,compression=zstd,compression-level=19,force-compression=true",
            Output(type="image", names=(TAG,), compression="zstd", level=19, force_compression=True),
        ),
        ("type=cacheonly", Output(type="cacheonly")),
        ("TYPE=local,Dest=out", Output(type="local", dest="out")),
    ],
)
def test_output(text: str, expected: Output) -> None:
    assert parse([text], ["a"]) == (expected,)


def test_nothing_asked_for_is_the_store() -> None:
    assert parse([], ["a", "a:2"]) == (Output(type="image", names=(TAG, "docker.io/library/a:2")),)


def test_names_in_the_value_count_without_tags() -> None:
    assert parse(['type=image,"name=a,b:2"'])[0].names == (TAG, "docker.io/library/b:2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=local", "dest is required for local output"),
        ("dest=a,tar=false", "type is required for output"),
        ("type=nosuch", "unknown output type 'nosuch'"),
        ("type=local,dest=a,nosuch=1", "unknown key 'nosuch' of output type local"),
        ("type=local,dest=a,annotation.x=1", "unknown key 'annotation.x'"),
        ("type=oci,dest=a,buildinfo=true", "unknown key 'buildinfo'"),
        ("type=oci,dest=a,tar=perhaps", "non-bool value specified for tar: 'perhaps'"),
        ("type=oci,tar=false", "dest is required"),
        ("type=image,dest=a", "output type image has no dest"),
        ("type=image,compression=lzma", "unsupported compression type 'lzma'"),
        ("type=image,compression=gzip,compression-level=10", "invalid compression-level '10' of gzip"),
        ("type=image,compression=zstd,oci-mediatypes=false", "need oci-mediatypes=true"),
        ("type=image,push-by-digest=true", "push-by-digest needs push=true"),
        ("type=image,store=false", "neither stores nor pushes"),
        ("type=image,,push=true", "invalid value "),
        ('type=image,"name=a', "invalid value"),
        ("type=image,type=oci", "type is given twice"),
    ],
)
def test_bad_output(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse([text], ["a"])
    assert message in caught.value.message


def test_what_means_nothing_here_says_so() -> None:
    for text in ("type=image,compression=estargz", "type=oci,dest=a,rewrite-timestamp=false"):
        with pytest.raises(NotSupported):
            parse([text])


@pytest.mark.parametrize("outputs", [("-", "type=oci"), ("a", "type=tar,dest=a")])
def test_two_outputs_do_not_share_a_place(outputs: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument):
        parse(outputs)


@pytest.mark.parametrize("tag", ["A", "a@sha256:" + "0" * 64, "a b"])
def test_bad_tags(tag: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid tag"):
        parse([], [tag])


def test_push_needs_a_name() -> None:
    with pytest.raises(InvalidArgument, match="tag is needed when pushing to registry"):
        parse(["type=registry"])


def test_what_outputs_cannot_hold() -> None:
    with pytest.raises(InvalidArgument, match="manifest lists, use the oci exporter"):
        check(parse(["type=docker,dest=a"]), indexed=True)
    with pytest.raises(InvalidArgument, match="incompatible with image ID file"):
        check(parse(["a"]), indexed=False, image_id_file=True)
    check(parse(["type=docker,dest=a", "b"]), indexed=False)


def test_annotations() -> None:
    amd64, arm64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
    found = noted.parse(
        ["a=1", "index:b=2=3", "manifest[linux/arm64],manifest-descriptor:c=4", "manifest[linux/arm64]:a=5"]
    )
    assert found.of("manifest", amd64) == {"a": "1"}
    assert found.of("manifest", arm64) == {"a": "5", "c": "4"}
    assert found.of("index") == {"b": "2=3"}
    assert found.of("manifest-descriptor", amd64) == {"c": "4"}
    given = parse(
        ["type=oci,dest=x,annotation.k=v,annotation-index.i=j,annotation-manifest[linux/arm64].m=n"]
    )
    made = given[0].annotations
    assert (made.of("manifest", arm64), made.of("index")) == ({"k": "v", "m": "n"}, {"i": "j"})
    assert made.of("manifest", amd64) == {"k": "v"}


@pytest.mark.parametrize(
    "text",
    ["novalue", "nosuch:a=b", "manifest[:a=b", "index[linux/amd64]:a=b", "manifest[x/y/z/w]:a=b", "=v"],
)
def test_bad_annotations(text: str) -> None:
    with pytest.raises(PydError):
        noted.parse([text])
