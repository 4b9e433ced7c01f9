"""CurriculumSampler: prompts as tasks. Dataset indices in the order in which a curriculum draws them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from syllabus_client.open_prompts import OpenPrompts
from syllabus_client.ranks import Ranks, TorchRanks
from syllabus_client.rollouts import Rollouts
from syllabus_client.settings import SessionSettings
from syllabus_client.wrappers._session_link import ServiceHandle, SessionLink


class CurriculumSampler:
    """A sampler for ``torch.utils.data.DataLoader`` whose indices are tasks of a curriculum. Needs no torch.

    The task with index i is row i of the dataset. ``batch_size`` prompts are drawn when the first of them is wanted, so
    with a DataLoader without workers they are drawn after all that was reported before; each worker of a DataLoader
    holds ``prefetch_factor`` batches that were drawn earlier, and accelerate, and so TRL, takes one ahead. A prompt may
    be drawn again within an epoch.

    **What it yields**, for ``batch_size=2, group_size=3, repeat_count=2`` and a draw of prompts 5 and 8::

        5 5 5 8 8 8   5 5 5 8 8 8

    A prompt ``group_size`` times in a row, for a trainer that runs one rollout per row of the DataLoader (TRL's
    ``RepeatSampler`` calls it ``mini_repeat_count``), and the batch ``repeat_count`` times, for a trainer that takes
    several steps on the same rollouts. A trainer that repeats prompts itself (verl) wants ``expand_groups=False``: each
    prompt once.

    **What it is told**: each rollout is an episode, and is counted once. The first of a group ends the assignment that
    its prompt was drawn under. Report all rollouts, also those of groups that the trainer leaves out of its update: a
    prompt that was drawn and never reported stays open, and a session holds a bounded number of these.

    **Several processes.** Data-parallel processes that each have a sampler and a DataLoader of their own need no
    sharding: each draws its own prompts, from the one distribution of the run. A trainer that gives every rank the same
    stream of indices and cuts it up afterwards (TRL and others on ``accelerate``) needs ``distributed=True``: rank 0
    draws, and rank 0 reports. Iterating, and each call of ``report``, is then collective: every rank does it, in the
    same order, each with its own rows. What one rank raises there, all of them raise, so that none waits for it.

    **Resuming.** ``state_dict`` says where the epoch is and which prompts are under way, for torchdata's
    ``StatefulDataLoader`` or by hand. What the curriculum has learned is on the service, or in a checkpoint beside the
    model's (``CurriculumClient.save_checkpoint``), and not in here.

    Connects on first use, in the process that uses it. Not thread-safe.

    Args:
        target: address of the service, or a handle such as ``task_queue``; None: SYLLABUS_TARGET.
        curriculum: its name; None: SYLLABUS_CURRICULUM, or the handle's.
        token: what lets this process in; None: SYLLABUS_TOKEN, or the handle's.
        num_samples: prompts in an epoch, rounded down to whole batches; None: as many as the curriculum has tasks.
        batch_size: prompts drawn at once, at least 1.
        group_size: rollouts of each prompt, at least 1.
        repeat_count: how often each batch is yielded, at least 1.
        expand_groups: whether a prompt is yielded ``group_size`` times, or once.
        distributed: whether all ranks of ``torch.distributed``, where that is initialised, share one stream.
        settings: of the session. None: tasks are drawn when they are wanted, and never ahead.

    Raises ValueError, naming the argument.

    Example:
        >>> from syllabus_client.multiprocessing import make_multiprocessing_curriculum
        >>> from syllabus_client.task_spaces import DiscreteTaskSpace
        >>> from syllabus_service.curricula import create
        >>> rates = create("online_learning_progress", DiscreteTaskSpace(100), seed=1)
        >>> curriculum, task_queue, update_queue = make_multiprocessing_curriculum(rates)
        >>> with CurriculumSampler(task_queue, num_samples=4, batch_size=2, group_size=3) as sampler:
        ...     indices = list(sampler)
        ...     sampler.report(indices, [float(index % 2) for index in indices])
        >>> len(indices), indices[:3] == 3 * indices[:1], curriculum.summary().num_episodes
        (12, True, 12)
        >>> curriculum.close()
    """

    def __init__(
        self,
        target: str | ServiceHandle | None = None,
        *,
        curriculum: str | None = None,
        token: str | None = None,
        num_samples: int | None = None,
        batch_size: int = 1,
        group_size: int = 1,
        repeat_count: int = 1,
        expand_groups: bool = True,
        distributed: bool = False,
        settings: SessionSettings | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("group_size", group_size), ("repeat_count", repeat_count)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if num_samples is not None and num_samples < batch_size:
            raise ValueError(f"num_samples: expected at least a batch of {batch_size}, got {num_samples}")
        settings = settings or SessionSettings(prefetch=0)
        self._link = SessionLink(target, curriculum=curriculum, token=token, settings=settings)
        self._num_samples = num_samples
        self._batch_size = batch_size
        self._group_size = group_size
        self._repeats = (group_size if expand_groups else 1, repeat_count)
        self._ranks = TorchRanks() if distributed else Ranks()
        self._batch = 0  # of this epoch: those that were yielded whole
        self._prompts: list[int] = []  # the batch that is being yielded
        self._position = 0  # rows of it that were yielded
        self._resumed = False
        self._drawn = OpenPrompts(group_size)

    @property
    def num_batches(self) -> int:
        """Draws in an epoch. Where ``num_samples`` was not given, it connects; waits as drawing does."""
        if self._num_samples is None:
            self._num_samples = self._num_tasks
            if self._num_samples < self._batch_size:
                raise ValueError(f"batch_size: expected at most {self._num_samples} tasks, got {self._batch_size}")
        return self._num_samples // self._batch_size

    def __len__(self) -> int:
        """Rows in an epoch."""
        in_a_row, repeat_count = self._repeats
        return self.num_batches * self._batch_size * in_a_row * repeat_count

    def __iter__(self) -> Iterator[int]:
        """The rows of an epoch; of the one that was under way, after ``load_state_dict``.

        Raises TaskTimeoutError or another CurriculumServiceError where no prompt can be had.
        """
        if not self._resumed:
            self._batch, self._prompts, self._position = 0, [], 0
        self._resumed = False
        num_batches = self._ranks.from_first(lambda: self.num_batches)
        while self._batch < num_batches:
            if not self._prompts:
                self._prompts = self._ranks.from_first(self._draw)
            rows = self._rows()
            while self._position < len(rows):
                self._position += 1
                yield rows[self._position - 1]
            self._batch, self._prompts, self._position = self._batch + 1, [], 0

    def report(
        self, indices: Any, rewards: Any, *, progress: Any = None, lengths: Any = None, metrics: Any = None
    ) -> None:
        """Report n rollouts, in any order. Never waits for the network; ``distributed``, it waits for the other ranks.

        Args:
            indices: (n,) the dataset's rows that were run; arrays, tensors of any device, or lists, as all of these.
            rewards: (n,) finite; the returns of the episodes.
            progress: (n,) in [0, 1], what success is told by; None: the rewards, cut off at 0 and 1.
            lengths: (n,) for example tokens of the completions; None: 1.
            metrics: further (n,) columns by name, such as PLR's ``score``, NaN where a rollout has none.

        Raises ValueError, naming the argument, before anything is reported.
        """
        gathered = self._ranks.to_first(
            lambda: Rollouts.read(self._num_tasks, indices, rewards, progress, lengths, metrics)
        )
        self._ranks.from_first(lambda: self._report(Rollouts.joined(gathered or [])))

    def _report(self, columns: Rollouts) -> None:
        session = self._link.session
        session.report_episodes(
            self._drawn.take(columns.indices),
            session.task_space.from_index(columns.indices),
            columns.rewards,
            columns.lengths,
            columns.progress,
            np.zeros(len(columns.indices), np.int64),
            columns.metrics,
        )

    def flush(self) -> None:
        """Wait until all that was reported is in the service's journal. Raises ServiceUnavailableError."""
        if self._link.is_open:
            self._link.session.flush()

    def close(self) -> None:
        """Give back the prompts that were not reported, and deliver what was."""
        self._link.release(self._drawn.clear())
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """Where the epoch is, in plain values."""
        return {"batch": self._batch, "prompts": list(self._prompts), "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there: the next iteration yields what is left of the batch under way, and then draws.

        Raises ValueError for a state of other sizes.
        """
        prompts = [int(each) for each in state["prompts"]]
        if len(prompts) not in (0, self._batch_size) or not 0 <= state["position"] <= len(self._rows(prompts)):
            raise ValueError(f"state: expected one of batches of {self._batch_size} prompts, got {dict(state)}")
        self._batch, self._prompts, self._position = int(state["batch"]), prompts, int(state["position"])
        self._resumed = True

    @property
    def _num_tasks(self) -> int:
        count = self._link.session.task_space.num_tasks
        if count is None:
            raise ValueError("curriculum: expected one of an enumerable task space, whose indices are a dataset's rows")
        return count

    def _draw(self) -> list[int]:
        session = self._link.session
        tasks = session.next_tasks(self._batch_size)
        prompts: list[int] = session.task_space.to_index(tasks.encoded).tolist()
        self._drawn.add(prompts, tasks.ids.tolist())
        return prompts

    def _rows(self, prompts: list[int] | None = None) -> list[int]:
        in_a_row, repeat_count = self._repeats
        prompts = self._prompts if prompts is None else prompts
        return [prompt for prompt in prompts for _ in range(in_a_row)] * repeat_count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_drawn": OpenPrompts(self._group_size)}
