"""`bake`: several builds described by files, in HCL, JSON or Compose's YAML.

    files -> hcl_parser or json_files -> definition (variables, functions, targets; evaluated by need) ->
    target compose files -> compose -> target targets with groups, inheritance and --set -> plan, whose
    targets become BuildRequests

Only what a bake command needs is imported: YAML for Compose files alone.
"""

from __future__ import annotations

from pyd.build.bake.plan import Bake, Group, Plan, default_files, load, read
from pyd.build.bake.target import BakeTarget

__all__ = ["Bake", "BakeTarget", "Group", "Plan", "default_files", "load", "read"]
