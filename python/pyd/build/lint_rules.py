"""The rules of `build --check`: names and words are BuildKit's (frontend/dockerfile/linter/ruleset.go)."""

from __future__ import annotations

from pyd.build.flags import parse_bool
from pyd.build.location import Location
from pyd.errors import InvalidArgument
from pyd.record import Record

_PAGES = "https://docs.docker.com/go/dockerfile/rule/"


class Rule(Record):
    """`text` is the message, with {} for what it is about."""

    name: str
    description: str
    text: str
    page: str
    experimental: bool = False

    @property
    def url(self) -> str:
        return f"{_PAGES}{self.page}/" if self.page else ""


class Finding(Record):
    rule: str
    description: str
    url: str
    message: str
    location: Location

    def __str__(self) -> str:
        return f"{self.rule}: {self.message} (line {self.location.line})"


class Options(Record):
    """`# check=skip=A,B;error=true`; `returns_error` makes findings an error of the build."""

    skipped: frozenset[str] = frozenset()
    skips_all: bool = False
    experimental: frozenset[str] = frozenset()
    all_experimental: bool = False
    returns_error: bool = False

    @classmethod
    def parse(cls, text: str) -> Options:
        """Raises InvalidArgument."""
        values: dict[str, str] = {}
        for part in text.split(";") if text.strip() else ():
            key, equals, value = part.partition("=")
            if not equals or key.strip() not in ("skip", "experimental", "error"):
                shown = key.strip() if equals else part
                raise InvalidArgument(f'invalid check option "{shown}"', "write skip=RULE,RULE;error=true")
            values[key.strip()] = value.strip()
        try:
            returns_error = parse_bool(values.get("error", "false"))
        except ValueError as error:
            raise InvalidArgument(f'failed to parse check option "error": {error}') from None
        skip, experimental = values.get("skip", ""), values.get("experimental", "")
        return cls(_names(skip), skip == "all", _names(experimental), experimental == "all", returns_error)

    def wants(self, rule: Rule) -> bool:
        if rule.experimental:
            return self.all_experimental or rule.name in self.experimental
        return not self.skips_all and rule.name not in self.skipped


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(","))


STAGE_NAME_CASING = Rule(
    "StageNameCasing",
    "Stage names should be lowercase",
    "Stage name '{}' should be lowercase",
    "stage-name-casing",
)
FROM_AS_CASING = Rule(
    "FromAsCasing",
    "The 'as' keyword should match the case of the 'from' keyword",
    "'{}' and '{}' keywords' casing do not match",
    "from-as-casing",
)
NO_EMPTY_CONTINUATION = Rule(
    "NoEmptyContinuation",
    "Empty continuation lines will become errors in a future release",
    "Empty continuation line",
    "no-empty-continuation",
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    "ConsistentInstructionCasing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
    "Command '{}' should match the case of the command majority ({})",
    "consistent-instruction-casing",
)
DUPLICATE_STAGE_NAME = Rule(
    "DuplicateStageName",
    "Stage names should be unique",
    'Duplicate stage name "{}", stage names should be unique',
    "duplicate-stage-name",
)
RESERVED_STAGE_NAME = Rule(
    "ReservedStageName",
    "Reserved words should not be used as stage names",
    'Stage name should not use the same name as reserved stage "{}"',
    "reserved-stage-name",
)
JSON_ARGS_RECOMMENDED = Rule(
    "JSONArgsRecommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
    "json-args-recommended",
)
MAINTAINER_DEPRECATED = Rule(
    "MaintainerDeprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    "Maintainer instruction is deprecated in favor of using label",
    "maintainer-deprecated",
)
UNDEFINED_ARG_IN_FROM = Rule(
    "UndefinedArgInFrom",
    "FROM command must use declared ARGs",
    "FROM argument '{}' is not declared{}",
    "undefined-arg-in-from",
)
WORKDIR_RELATIVE_PATH = Rule(
    "WorkdirRelativePath",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results if "
    "the base image changes",
    'Relative workdir "{}" can have unexpected results if the base image changes',
    "workdir-relative-path",
)
UNDEFINED_VAR = Rule(
    "UndefinedVar",
    "Variables should be defined before their use",
    "Usage of undefined variable '${}'{}",
    "undefined-var",
)
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    "MultipleInstructionsDisallowed",
    "Multiple instructions of the same type should not be used in the same stage",
    "Multiple {} instructions should not be used in the same stage because only the last one will be used",
    "multiple-instructions-disallowed",
)
LEGACY_KEY_VALUE_FORMAT = Rule(
    "LegacyKeyValueFormat",
    "Legacy key/value format with whitespace separator should not be used",
    '"{0} key=value" should be used instead of legacy "{0} key value" format',
    "legacy-key-value-format",
)
INVALID_BASE_IMAGE_PLATFORM = Rule(
    "InvalidBaseImagePlatform",
    "Base image platform does not match expected target platform",
    'Base image {} was pulled with platform "{}", expected "{}" for current build',
    "",
)
REDUNDANT_TARGET_PLATFORM = Rule(
    "RedundantTargetPlatform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
    "redundant-target-platform",
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    "SecretsUsedInArgOrEnv",
    "Sensitive data should not be used in the ARG or ENV commands",
    'Do not use ARG or ENV instructions for sensitive data ({} "{}")',
    "secrets-used-in-arg-or-env",
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    "InvalidDefaultArgInFrom",
    "Default value for global ARG results in an empty or invalid base image name",
    "Default value for ARG {} results in empty or invalid base image name",
    "invalid-default-arg-in-from",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    "FromPlatformFlagConstDisallowed",
    "FROM --platform flag should not use a constant value",
    'FROM --platform flag should not use constant value "{}"',
    "from-platform-flag-const-disallowed",
)
COPY_IGNORED_FILE = Rule(
    "CopyIgnoredFile",
    "Attempting to Copy file that is excluded by .dockerignore",
    'Attempting to {} file "{}" that is excluded by .dockerignore',
    "copy-ignored-file",
)
INVALID_DEFINITION_DESCRIPTION = Rule(
    "InvalidDefinitionDescription",
    "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If "
    "this is not intended to be a description comment, add an empty line or comment between the instruction "
    "and the comment.",
    "Comment for {} should follow the format: `# {} <description>`",
    "invalid-definition-description",
    experimental=True,
)
EXPOSE_PROTO_CASING = Rule(
    "ExposeProtoCasing",
    "Protocol in EXPOSE instruction should be lowercase",
    "Defined protocol '{}' in EXPOSE instruction should be lowercase",
    "expose-proto-casing",
)
EXPOSE_INVALID_FORMAT = Rule(
    "ExposeInvalidFormat",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in "
    "a future release",
    "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
    "expose-invalid-format",
)
