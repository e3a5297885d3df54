"""The tables, as a list of migrations: element n leads from schema n to n+1. Never change one that was
released.
"""

from __future__ import annotations

_FIRST = (
    # An image: one config. `config` is its JSON, kept here so that `run` reads no blob.
    """CREATE TABLE images (
        id TEXT PRIMARY KEY,            -- digest of the config
        manifest TEXT NOT NULL,         -- digest of a manifest with this config
        config TEXT NOT NULL,
        platform TEXT NOT NULL,         -- os/arch[/variant]
        size INTEGER NOT NULL,          -- bytes, unpacked
        created TEXT NOT NULL,          -- RFC 3339, as the config says
        stored TEXT NOT NULL            -- RFC 3339, when it came here
    ) STRICT""",
    # docker.io/library/a:tag (a tag) or docker.io/library/a@sha256:.. (what a registry gave us)
    """CREATE TABLE image_references (
        name TEXT PRIMARY KEY,
        image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE
    ) STRICT""",
    "CREATE INDEX image_references_image ON image_references(image)",
    # Everything in the content store that the image keeps alive: index, manifests, config, layers
    """CREATE TABLE image_blobs (
        image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        size INTEGER NOT NULL,
        media_type TEXT NOT NULL,
        PRIMARY KEY (image, digest)
    ) STRICT, WITHOUT ROWID""",
    # A row exists only when the directory is complete and on disk
    """CREATE TABLE snapshots (
        chain_id TEXT PRIMARY KEY,
        diff_id TEXT NOT NULL,
        parent TEXT,
        size INTEGER NOT NULL,          -- bytes of this layer, unpacked
        created TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE image_layers (
        image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
        position INTEGER NOT NULL,      -- 0 is the bottom
        chain_id TEXT NOT NULL REFERENCES snapshots(chain_id),
        PRIMARY KEY (image, position)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX image_layers_chain ON image_layers(chain_id)",
    """CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created TEXT NOT NULL,
        image_ref TEXT NOT NULL,
        image_id TEXT NOT NULL,
        config TEXT NOT NULL,           -- JSON
        host TEXT NOT NULL,             -- JSON
        network TEXT NOT NULL,          -- JSON
        state TEXT NOT NULL,
        pid INTEGER NOT NULL,
        shim_pid INTEGER NOT NULL,
        exit_code INTEGER NOT NULL,
        error TEXT NOT NULL,
        oom_killed INTEGER NOT NULL,
        started_at TEXT NOT NULL,
        finished_at TEXT NOT NULL,
        restart_count INTEGER NOT NULL,
        auto_remove INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE container_layers (
        container TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
        position INTEGER NOT NULL,      -- 0 is the top, as overlayfs lists them
        chain_id TEXT NOT NULL REFERENCES snapshots(chain_id),
        PRIMARY KEY (container, position)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX container_layers_chain ON container_layers(chain_id)",
    """CREATE TABLE volumes (
        name TEXT PRIMARY KEY,
        driver TEXT NOT NULL,
        created TEXT NOT NULL,
        labels TEXT NOT NULL,           -- JSON
        options TEXT NOT NULL,          -- JSON
        anonymous INTEGER NOT NULL,
        populated INTEGER NOT NULL      -- 1 once the image's files were copied in: happens on first use only
    ) STRICT""",
    """CREATE TABLE container_volumes (
        container TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
        volume TEXT NOT NULL REFERENCES volumes(name),
        PRIMARY KEY (container, volume)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX container_volumes_volume ON container_volumes(volume)",
    """CREATE TABLE networks (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        driver TEXT NOT NULL,
        created TEXT NOT NULL,
        config TEXT NOT NULL            -- JSON: bridge, subnet, gateway, options, labels
    ) STRICT""",
    # One row per address in use: the primary key is what makes two processes choose different ones
    """CREATE TABLE addresses (
        network TEXT NOT NULL REFERENCES networks(id) ON DELETE CASCADE,
        address TEXT NOT NULL,
        container TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
        PRIMARY KEY (network, address)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX addresses_container ON addresses(container)",
)

_PUSHED = (
    # What a plain layer became when it was pushed first: the second push is to send the same bytes
    """CREATE TABLE compressed_layers (
        diff_id TEXT PRIMARY KEY,
        digest TEXT NOT NULL,
        size INTEGER NOT NULL,          -- bytes, compressed
        media_type TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # Lists of `manifest create` that were not pushed yet
    """CREATE TABLE manifest_lists (
        name TEXT PRIMARY KEY,          -- canonical reference
        document TEXT NOT NULL          -- JSON: the entries with their manifests
    ) STRICT""",
)

_TAGGED = (
    # RFC 3339; "" for names that are older than this column
    "ALTER TABLE image_references ADD COLUMN tagged TEXT NOT NULL DEFAULT ''",
)

_BUILT = (
    # Results of build steps, by the digest of their structure. `boot`: empty once their files are synced,
    # else the id of the boot in which they came (build_cache.py)
    """CREATE TABLE build_steps (
        key TEXT PRIMARY KEY,
        place TEXT NOT NULL,
        structure TEXT NOT NULL,        -- JSON
        chain_id TEXT NOT NULL,         -- of the layer that it made, or ''
        value TEXT NOT NULL,            -- JSON
        boot TEXT NOT NULL,
        created REAL NOT NULL,
        used REAL NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX build_steps_chain ON build_steps(chain_id)",
    # Snapshots that the build cache keeps; images and containers keep theirs by rows of `snapshots`
    """CREATE TABLE build_layers (
        chain_id TEXT PRIMARY KEY,
        diff_id TEXT NOT NULL,
        parent TEXT,
        plain_size INTEGER NOT NULL,    -- bytes of the tar
        size INTEGER NOT NULL,          -- bytes of the files
        late INTEGER,                   -- epoch to which times of its files are still to be set
        boot TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX build_layers_diff ON build_layers(diff_id)",
    """CREATE TABLE build_aliases (
        key TEXT PRIMARY KEY,
        target TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX build_aliases_target ON build_aliases(target)",
    # Which steps were done or found where, also those whose rows are gone: a miss is explained by them
    """CREATE TABLE build_places (
        place TEXT NOT NULL,
        key TEXT NOT NULL,
        used REAL NOT NULL,
        PRIMARY KEY (place, key)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE build_mounts (
        name TEXT PRIMARY KEY,          -- of the directory
        id TEXT NOT NULL,
        created REAL NOT NULL,
        used REAL NOT NULL
    ) STRICT, WITHOUT ROWID""",
)

MIGRATIONS = (_FIRST, _PUSHED, _TAGGED, _BUILT)
