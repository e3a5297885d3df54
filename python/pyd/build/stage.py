"""One stage for one platform: its base, then its instructions one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from pyd.build import arguments, config, copy_step, history, run_step, workdir_step
from pyd.build.command import execution
from pyd.build.events import Step
from pyd.build.expansion import expand
from pyd.build.failure import BuildFailed
from pyd.build.instructions import trigger
from pyd.build.kinds import Arg, Env, Instruction, Maintainer, Run, Transfer, Workdir
from pyd.build.location import DockerfileError
from pyd.build.result import Layer, State
from pyd.build.steps import Outcome
from pyd.errors import Cancelled, PydError
from pyd.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.build import Build
    from pyd.build.kinds import Stage
    from pyd.build.solver import Solver


class StageJob:
    """What executes a stage. Each has a thread of its own."""

    def __init__(self, solver: Solver, stage: Stage) -> None:
        self.solver = solver
        self.build: Build = solver.build
        self.stage = stage
        self.label = stage.name or f"stage-{stage.index}"
        self._number = 0
        self._total = 1
        # why the files of the stage are not those of the last time, for the steps that follow
        self.reason = ""

    @property
    def fresh(self) -> bool:
        """Whether its steps are to be done again in any case."""
        request = self.build.request
        wanted = {self.stage.name, str(self.stage.index)}
        return request.no_cache or bool(wanted & {name.lower() for name in request.no_cache_filter})

    def run(self) -> State:
        self._total += sum(map(_has_step, self.stage.instructions))
        state = self._base()
        triggers = [trigger(text, self.stage.base) for text in state.config.get("OnBuild") or ()]
        if triggers:
            state = replace(state, config={**state.config, "OnBuild": None})
            self._total += sum(map(_has_step, triggers))
        for instruction in triggers:
            state = self._apply(state, instruction, "ONBUILD ")
        for instruction in self.stage.instructions:
            state = self._apply(state, instruction)
        return state

    def _base(self) -> State:
        step = self.step(f"FROM {self.solver.base_text(self.stage)}", self.stage.location.line)
        self.build.watcher.begins(step)
        try:
            state = self.solver.base(self.stage, step)
        except DockerfileError as error:
            self.build.watcher.ends(step, error)
            raise
        except PydError as error:
            self.build.watcher.ends(step, error)
            location = self.stage.location
            raise BuildFailed(
                error.message,
                error.hint,
                step=step,
                dockerfile=self.build.dockerfile.name,
                line=location.line,
                end_line=location.end_line,
                cause=error,
            ) from error
        self.build.watcher.ends(step)
        return state

    def _apply(self, state: State, written: Instruction, prefix: str = "") -> State:
        self.build.check()
        if isinstance(written, Arg):
            return self._arg(state, written)
        instruction = expand(written, state.env)
        if not _has_step(instruction):
            return self._configure(state, instruction)
        step = self.step(prefix + written.text, instruction.location.line)
        self.build.watcher.begins(step)
        try:
            outcome, said = self._step(state, instruction, step)
        except Cancelled as error:
            self.build.watcher.ends(step, error)
            raise
        except (BuildFailed, DockerfileError) as error:
            self.build.watcher.ends(step, error)
            raise
        except PydError as error:
            self.build.watcher.ends(step, error)
            raise self.build.failure(error, step, instruction) from error
        self.build.watcher.ends(step)
        return self._grown(state, instruction, outcome, said)

    def _step(self, state: State, instruction: Instruction, step: Step) -> tuple[Outcome, str]:
        if isinstance(instruction, Run):
            return run_step.do(self, state, instruction, step)
        if isinstance(instruction, Transfer):
            return copy_step.do(self, state, instruction, step)
        assert isinstance(instruction, Workdir)
        return workdir_step.do(self, state, instruction, step)

    def _grown(self, state: State, instruction: Instruction, outcome: Outcome, said: str) -> State:
        layers = state.layers
        if outcome.layer is not None:
            made = outcome.layer
            layers = (*layers, Layer(made.diff_id, made.chain_id, made.plain_size, made.size))
        if said and outcome.layer is not None:
            self.reason = f"line {instruction.location.line} gave other files"
        if isinstance(instruction, Workdir):
            state = self._settings(state, instruction)
        entry = self._entry(_said(state, instruction), empty=outcome.layer is None)
        return replace(state, layers=layers, history=(*state.history, entry))

    def _configure(self, state: State, instruction: Instruction) -> State:
        state = self._settings(state, instruction)
        said = _said(state, instruction)
        if not said:  # ONBUILD leaves no trace but its trigger
            return state
        return replace(state, history=(*state.history, self._entry(said, empty=True)))

    def _settings(self, state: State, instruction: Instruction) -> State:
        settings = config.apply(state.config, instruction, cmd_is_set=state.cmd_given)
        env = {**state.env, **dict(instruction.pairs)} if isinstance(instruction, Env) else state.env
        changes: dict[str, Any] = {"config": settings, "env": env}
        if isinstance(instruction, Maintainer):
            changes["author"] = instruction.maintainer
        if instruction.keyword == "CMD":
            changes["cmd_given"] = True
        return replace(state, **changes)

    def _arg(self, state: State, instruction: Arg) -> State:
        found = arguments.resolve(
            instruction, state.env, self.build.request.build_args, self.solver.scope.values
        )
        given = {
            name: value
            for name, value in found
            if value is not None and name not in arguments.NOT_IN_ENVIRONMENT
        }
        return replace(
            state,
            env={**state.env, **given},
            args={**state.args, **dict(found)},
            history=(*state.history, self._entry(history.of_arg(found), empty=True)),
        )

    def _entry(self, text: str, *, empty: bool) -> Mapping[str, Any]:
        return {
            "created": created(self.build.epoch),
            "created_by": text,
            "comment": history.COMMENT,
            **({"empty_layer": True} if empty else {}),
        }

    def step(self, text: str, line: int) -> Step:
        self._number += 1
        name = f"{self.label} " if len(self.build.script.stages) > 1 else ""
        platform = f"{self.solver.platform} " if self.solver.several else ""
        width = 1 + int(math.log10(self._total)) if self._total else 1
        return self.build.step(
            f"[{platform}{name}{self._number:{width}}/{self._total}] {text}",
            stage=self.label,
            instruction=text,
            line=line,
            platform=str(self.solver.platform),
        )

    def place(self, kind: str) -> str:
        """Where this build does such steps, for explanations."""
        return "\0".join((self.build.identity, self.build.dockerfile.name, self.label, kind))


def created(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _said(state: State, instruction: Instruction) -> str:
    """What the history says of an instruction that has led to `state`."""
    if isinstance(instruction, Run):
        values = {name: state.env.get(name, value or "") for name, value in state.args.items()}
        return history.of_run(execution(instruction, state.config).args, values)
    return history.created_by(instruction, state.config)


def _has_step(instruction: Instruction) -> bool:
    return isinstance(instruction, (Run, Transfer, Workdir))
