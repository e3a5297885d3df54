"""The packages as an SPDX 2.3 document (spdx.github.io/spdx-spec/v2.3), which depends on them alone."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from typing import Any

from pyd import __version__
from pyd.build.attestations import SPDX, Predicate
from pyd.build.sbom.package import Package
from pyd.build.sbom.scan import Found, scan

_FILE = "sbom.spdx.json"
_ROOT = "SPDXRef-DocumentRoot-Image"
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")
_WORDS = re.compile(r"[A-Za-z0-9.+-]+|[()]")
# Those that packages name most: an expression with any other word is told as a comment, since a document may
# use only licences that SPDX knows
_LICENSES = frozenset(
    """0BSD AFL-2.1 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 Artistic-1.0-Perl Artistic-2.0
    BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-3-Clause BSD-4-Clause BSL-1.0 CC-BY-3.0 CC-BY-4.0
    CC-BY-SA-4.0 CC0-1.0 CDDL-1.0 curl EPL-1.0 EPL-2.0 FTL GPL-1.0-only GPL-1.0-or-later GPL-2.0-only
    GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later ISC LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1-only
    LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later libpng-2.0 MIT MIT-0 MPL-1.1 MPL-2.0 MS-PL NCSA OFL-1.1
    OpenSSL PostgreSQL PSF-2.0 Python-2.0 Ruby TCL Unicode-3.0 Unlicense UPL-1.0 Vim W3C WTFPL X11 Zlib
    ZPL-2.1""".split()
)


def predicate(layers: Sequence[str], *, name: str, epoch: int) -> Predicate:
    """`layers`: directories, top first; `name`: of the image; `epoch`: the time of the document."""
    return Predicate(SPDX, document(scan(layers), name=name, epoch=epoch), _FILE)


def document(found: Found, *, name: str, epoch: int) -> dict[str, Any]:
    packages = [_package(one, places) for one, places in found.packages]
    root: dict[str, Any] = {
        "name": name,
        "SPDXID": _ROOT,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
    }
    system = _system(found)
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", _ROOT)]
    relations += [(_ROOT, "CONTAINS", one["SPDXID"]) for one in [*system, *packages]]
    made: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": "",
        "creationInfo": {
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
            "creators": [f"Tool: pyd-{__version__}"],
        },
        "packages": [root, *system, *packages],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in relations
        ],
    }
    # of the content: two documents that differ have different names
    made["documentNamespace"] = f"https://spdx.org/spdxdocs/pyd-{_hash(repr(made))}"
    return made


def _system(found: Found) -> list[dict[str, Any]]:
    if not found.system.id:
        return []
    return [
        {
            "name": found.system.id,
            "SPDXID": "SPDXRef-OperatingSystem",
            **({"versionInfo": found.system.version} if found.system.version else {}),
            **({"description": found.system.name} if found.system.name else {}),
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "primaryPackagePurpose": "OPERATING_SYSTEM",
        }
    ]


def _package(one: Package, places: Sequence[str]) -> dict[str, Any]:
    declared = expression(one.license)
    safe = _UNSAFE.sub("-", f"{one.kind}-{one.name}")[:80].strip("-")
    return {
        "name": one.name,
        "SPDXID": f"SPDXRef-Package-{safe}-{_hash(one.purl)[:16]}",
        **({"versionInfo": one.version} if one.version else {}),
        **({"supplier": f"Organization: {one.supplier}"} if one.supplier else {}),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": declared or "NOASSERTION",
        **({"licenseComments": one.license} if one.license and not declared else {}),
        "copyrightText": "NOASSERTION",
        "sourceInfo": f"from {', '.join(_shown(place) for place in places)}",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": one.purl,
            }
        ],
    }


def expression(text: str) -> str:
    """A licence as an SPDX expression; "" where that is not known to be one."""
    words = _WORDS.findall(text)
    if not words or " ".join(words).replace("( ", "(").replace(" )", ")") != " ".join(text.split()):
        return ""
    depth, wants_license = 0, True
    for word in words:
        if word == "(" and wants_license:
            depth += 1
        elif word == ")" and depth and not wants_license:
            depth -= 1
        elif word in ("AND", "OR") and not wants_license:
            wants_license = True
        elif word in _LICENSES and wants_license:
            wants_license = False
        else:
            return ""
    return "" if depth or wants_license else " ".join(text.split())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _shown(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
