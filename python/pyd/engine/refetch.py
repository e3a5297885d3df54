"""A layer's blob that was dropped to save space, again from a registry that has the image."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

from pyd.errors import Cancelled, PydError, from_os_error
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference

if TYPE_CHECKING:
    from pyd.oci.descriptor import Descriptor
    from pyd.registry.pull import Repository
    from pyd.store import Store
    from pyd.store.images import Image


def refetch(store: Store, image: Image, blob: Descriptor) -> bool:
    """Whether the blob is in the content store again. The caller keeps the collector away
    (`intake.fetching`); afterwards that may drop it again.
    """
    if not image.digests:
        return False  # it never was in a registry
    from pyd.registry.pull import Repository

    platform = Platform.of(image.config.os, image.config.architecture, image.config.variant)
    for name in image.digests:
        repository = Repository(Reference.parse(name))
        try:
            repository.resolve(platform)
            _fetch(store, repository, blob)
        except Cancelled:
            raise
        except PydError:
            continue  # another one may have it; what is then still missing is named by the caller
        else:
            return True
        finally:
            repository.close()
    return False


def _fetch(store: Store, repository: Repository, blob: Descriptor) -> None:
    store.paths.make()
    partial = f"{store.paths.ingest}/{blob.digest.hex}.{os.urandom(6).hex()}"
    digest, size = sha256(), 0
    try:
        with open(partial, "xb", buffering=0) as file:
            for chunk in repository.read(blob, 0):
                size += len(chunk)
                if size > blob.size:
                    break
                digest.update(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) or 0 :]
            os.fsync(file.fileno())
        if size != blob.size or f"sha256:{digest.hexdigest()}" != blob.digest:
            raise PydError(f"blob {blob.digest} from the registry is not what its name says")
        store.content.publish(partial, blob.digest)
    except OSError as error:
        raise from_os_error(error, f"writing {partial}") from error
    finally:
        if os.path.lexists(partial):
            os.unlink(partial)
