"""Self-play: opponents as tasks, added while the learner trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskNotInSpaceError, TaskSpace
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import Draw, EpisodeBatch
from syllabus_service.curricula.block_sums import BlockSums

_MOST_BY_DEFAULT = 1_000_000
_MOST_NARROW = np.iinfo(np.uint32).max


class OpponentPool(Curriculum):
    """What the self-play curricula share: stored agents, and how the learner fares against each.

    Agents get the ids 0, 1, 2 ... in the order in which they are added: the id is the opponent's task. The newest
    ``max_agents`` are kept; of an older one the bytes and the win rate are gone, and it is drawn no more. After
    ``num_tasks`` agents ids start at 0 again, so where ``max_agents`` is ``num_tasks`` a new agent takes the id of the
    oldest. Until the first agent is there, draws are empty and the distribution is all zeros.

    A game is a win or not; ``win_rates`` are over the last ``window`` games against each opponent. Games are told by
    ``custom_update``, where a reward of exactly 1 is a win, or by episodes, where a return above 0 is.

    A subclass defines ``_draw_slots``, ``_slot_probabilities`` and ``_slots_changed``. Agents are held by *slot*: the
    number of agents that were added before one, modulo ``max_agents``.

    Args:
        task_space: enumerable: the opponents' ids.
        seed: see ``Curriculum``.
        random_start_tasks: warm-up: opponents are drawn uniformly, of those that are there, until this many episodes
            have been reported.
        max_agents: how many agents are kept, 1 to num_tasks; None: num_tasks, where that is at most 1,000,000.
        max_agent_bytes: largest size of an agent, in bytes.
        window: over how many of the last games against an opponent its win rate goes, at least 1.
    """

    stores_agents = True
    """Whether ``add_agent`` takes agents."""

    state_fields = ("agents", "num_added", "games", "wins", "outcomes")

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        seed: int | None = None,
        random_start_tasks: int = 0,
        max_agents: int | None = None,
        max_agent_bytes: int = 16 * 1024 * 1024,
        window: int = 128,
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        if max_agents is None:
            if self.num_tasks > _MOST_BY_DEFAULT:
                raise ValueError(f"max_agents: expected it, as the space has {self.num_tasks} tasks")
            max_agents = self.num_tasks
        if not 1 <= max_agents <= self.num_tasks:
            raise ValueError(f"max_agents: expected 1 to {self.num_tasks}, the number of tasks, got {max_agents}")
        for name, value in (("max_agent_bytes", max_agent_bytes), ("window", window)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        self.max_agents = max_agents
        self.max_agent_bytes = max_agent_bytes
        self.window = window
        self.agents: list[bytes] = []
        """The agents that are kept, by slot."""
        self.num_added = 0
        """Number of agents added so far."""
        self.games = np.zeros(max_agents, dtype=np.uint32)
        """uint32 (max_agents,): games against the agent of each slot; uint64 once there were 2**32 - 1 against one."""
        self.wins = np.zeros(max_agents, dtype=np.min_scalar_type(window))
        """unsigned (max_agents,): how many of the last ``window`` of them were won."""
        self.outcomes = np.zeros((max_agents, -(-window // 8)), dtype=np.uint8)
        """uint8 (max_agents, window / 8 rounded up): one bit for each of the last games."""

    # Agents

    def add_agent(self, agent: bytes) -> int:
        """Store an agent as a new opponent; return its id. O(1), and one reference to its bytes.

        Raises ValueError, and nothing has changed, for more than ``max_agent_bytes``; TypeError for what isn't bytes.
        """
        self.check_agent(agent)
        slot = self.num_added % self.max_agents
        if slot == len(self.agents):
            self.agents.append(agent)
        else:
            self.agents[slot] = agent
        self.games[slot] = self.wins[slot] = 0
        self.outcomes[slot] = 0
        agent_id = self.num_added % self.num_tasks
        self.num_added += 1
        self._slots_changed(np.array([slot]))
        return agent_id

    def check_agent(self, agent: bytes) -> None:
        """Raise as ``add_agent`` would."""
        if not isinstance(agent, bytes):
            raise TypeError(f"agent: expected bytes, got {type(agent).__name__}")
        if len(agent) > self.max_agent_bytes:
            raise ValueError(f"agent: expected at most {self.max_agent_bytes} bytes, got {len(agent)}")

    def get_agent(self, agent_id: int) -> bytes:
        """The bytes of an agent. Raises ValueError for an id that was never added, or is kept no more."""
        slot = int(self._slots_of(np.array([agent_id]))[0])
        if slot < 0:
            raise ValueError(f"agent_id: agent {agent_id} is kept no more, only the last {self.max_agents}")
        return self.agents[slot]

    def win_rates(self) -> np.ndarray:
        """float64 (N,): the win rate against each opponent, by id; NaN for one that isn't there or has no game."""
        rates = np.full(self.num_tasks, np.nan)
        slots = np.arange(len(self.agents))
        games = np.minimum(self.games[slots], self.window)
        rates[self._ids_of(slots)] = np.where(games > 0, self.wins[slots] / np.maximum(games, 1), np.nan)
        return rates

    def _ids_of(self, slots: np.ndarray) -> np.ndarray:
        oldest = self.num_added - len(self.agents)
        return (oldest + (slots - oldest) % self.max_agents) % self.num_tasks

    def _slots_of(self, ids: np.ndarray) -> np.ndarray:
        """int64 (k,): the slot of each agent, -1 where it is kept no more. Raises ValueError for one never added."""
        absent = (ids < 0) | (ids >= min(self.num_added, self.num_tasks))
        if absent.any():
            raise TaskNotInSpaceError(f"opponents: expected ids of agents that were added, got {ids[absent][0]}")
        oldest = self.num_added - len(self.agents)
        age = (ids - oldest) % self.num_tasks
        return np.where(age < len(self.agents), (oldest + age) % self.max_agents, -1)

    # Drawing

    def _draw_slots(self, k: int) -> np.ndarray:
        """int64 (k,): slots of opponents; at least one is there."""
        raise NotImplementedError(f"{type(self).__name__} must define _draw_slots(k)")

    def _slot_probabilities(self, slots: np.ndarray) -> np.ndarray:
        """float64 (k,): the probability of the opponent in each of some slots."""
        raise NotImplementedError(f"{type(self).__name__} must define _slot_probabilities(slots)")

    def _slots_changed(self, slots: np.ndarray) -> None:
        """Learn that the agents, or the results, of distinct slots changed."""

    def _draw(self, k: int) -> Draw:
        if not self.agents:
            return self._draw_of(np.empty(0, dtype=np.int64), np.empty(0))
        slots = self._draw_slots(k)
        return self._draw_of(slots, self._slot_probabilities(slots))

    def _draw_uniform(self, k: int) -> Draw:
        count = len(self.agents)
        slots = self.rng.integers(0, count, size=k) if count else np.empty(0, dtype=np.int64)
        return self._draw_of(slots, np.full(len(slots), 1.0 / max(count, 1)))

    def _draw_of(self, slots: np.ndarray, probabilities: np.ndarray) -> Draw:
        return Draw(self.task_space.from_index(self._ids_of(slots)), probabilities)

    def distribution(self) -> np.ndarray:
        """float64 (N,): the probability of each opponent, by id; 0 for one that isn't there. O(N)."""
        probabilities = np.zeros(self.num_tasks)
        slots = np.arange(len(self.agents))
        if len(slots):
            uniform = np.full(len(slots), 1.0 / len(slots))
            probabilities[self._ids_of(slots)] = uniform if self.warming_up else self._slot_probabilities(slots)
        return probabilities

    # Learning

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        """Count a game against the opponent ``task``: won where the return is above 0."""
        self._count_games(self.task_space.to_index(np.asarray(task)[np.newaxis]), np.array([episode_return > 0]))
        self.num_episodes += 1

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        """Count n games, each won where the return is above 0."""
        self._count_games(self.task_space.to_index(batch.tasks), batch.episode_returns > 0)
        self.num_episodes += len(batch)

    def custom_update(self, **metrics: Any) -> None:
        """Count games: ``opponents`` (n,), ids of agents, and ``rewards`` (n,) of the learner, 1 for a win.

        A game against an agent that is kept no more is ignored. Raises ValueError, naming the argument, for an id that
        was never added or a reward that isn't finite; then nothing has changed. O(n).
        """
        if unknown := set(metrics) - {"opponents", "rewards"}:
            raise ValueError(f"{min(unknown)}: expected only opponents and rewards")
        columns = {name: np.asarray(metrics.get(name, ())) for name in ("opponents", "rewards")}
        opponents, rewards = columns["opponents"], columns["rewards"]
        if len(metrics) != 2 or opponents.ndim != 1 or rewards.shape != opponents.shape:
            raise ValueError(f"opponents, rewards: expected two columns, got {opponents.shape} and {rewards.shape}")
        if len(opponents) and opponents.dtype.kind not in "iu":
            raise ValueError(f"opponents: expected whole numbers, got {opponents.dtype}")
        if not np.isfinite(rewards.astype(np.float64)).all():
            raise ValueError("rewards: expected finite numbers")
        self._count_games(opponents.astype(np.int64), rewards == 1)

    def _count_games(self, ids: np.ndarray, won: np.ndarray) -> None:
        slots = self._slots_of(ids)
        kept = slots >= 0
        slots, won = slots[kept], won[kept]
        for slot, win in zip(slots.tolist(), won.tolist(), strict=True):
            game = int(self.games[slot])
            if game == _MOST_NARROW:
                self.games = self.games.astype(np.uint64)
            byte, bit = divmod(game % self.window, 8)
            mask = 1 << bit
            outcomes = int(self.outcomes[slot, byte])
            # A bit that is overwritten is the outcome of the game that leaves the window; before, it is 0.
            self.wins[slot] = int(self.wins[slot]) + int(win) - bool(outcomes & mask)
            self.outcomes[slot, byte] = outcomes | mask if win else outcomes & ~mask
            self.games[slot] = game + 1
        if len(slots):
            self._slots_changed(np.unique(slots))

    def _restore(self, state: Mapping[str, Any]) -> None:
        outcomes = state["fields"].get("outcomes", self.outcomes)
        if outcomes.shape != self.outcomes.shape:
            raise ValueError(
                f"expected the state of {self.max_agents} agents with a window of {self.window}, got {outcomes.shape}"
            )
        super()._restore(state)
        # In the state of an earlier program, both are int64.
        wide = self.games.max(initial=0) > _MOST_NARROW
        self.games = self.games.astype(np.uint64 if wide else np.uint32, copy=False)
        self.wins = self.wins.astype(np.min_scalar_type(self.window), copy=False)
        self._slots_changed(np.arange(len(self.agents)))


class SelfPlay(OpponentPool):
    """Self-play: the opponent is the newest agent.

    Where the space has one task, that is always task 0; in a larger space each new agent has a new id, so that whoever
    keeps agents by id notices. O(1) a draw.

    Args:
        task_space: enumerable.
        seed: see ``Curriculum``.
        random_start_tasks: see ``OpponentPool``.
        max_agent_bytes: largest size of an agent, in bytes.
        window: see ``OpponentPool``.
    """

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        seed: int | None = None,
        random_start_tasks: int = 0,
        max_agent_bytes: int = 16 * 1024 * 1024,
        window: int = 128,
    ) -> None:
        super().__init__(
            task_space,
            seed=seed,
            random_start_tasks=random_start_tasks,
            max_agents=1,
            max_agent_bytes=max_agent_bytes,
            window=window,
        )

    def _draw_slots(self, k: int) -> np.ndarray:
        return np.zeros(k, dtype=np.int64)

    def _slot_probabilities(self, slots: np.ndarray) -> np.ndarray:
        return np.ones(len(slots))


class FictitiousSelfPlay(OpponentPool):
    """Fictitious self-play (Heinrich et al., ICML 2015): the opponent is any of the agents so far, uniformly.

    O(1) a draw. Takes the arguments of ``OpponentPool``.
    """

    def _draw_slots(self, k: int) -> np.ndarray:
        return self.rng.integers(0, len(self.agents), size=k)

    def _slot_probabilities(self, slots: np.ndarray) -> np.ndarray:
        return np.full(len(slots), 1.0 / len(self.agents))


class PrioritizedFictitiousSelfPlay(OpponentPool):
    """Prioritised fictitious self-play (Vinyals et al., Nature 575, 2019, methods: f_hard(x) = (1 - x)^p).

    P(i) is proportional to (1 - w_i)^p + s over the agents that are there, with the win rate w_i of the learner against
    agent i (0 where there was no game yet), p = entropy_parameter and s = smoothing_constant. Uniform where all of
    these are 0. O(64) a draw and a game.

    Args:
        task_space: enumerable.
        seed: see ``Curriculum``.
        random_start_tasks: see ``OpponentPool``.
        max_agents: see ``OpponentPool``.
        max_agent_bytes: see ``OpponentPool``.
        window: see ``OpponentPool``.
        entropy_parameter: p, above 0: the larger, the more the hardest opponents are preferred.
        smoothing_constant: s, at least 0: what keeps an opponent in play that is always beaten.
    """

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        seed: int | None = None,
        random_start_tasks: int = 0,
        max_agents: int | None = None,
        max_agent_bytes: int = 16 * 1024 * 1024,
        window: int = 128,
        entropy_parameter: float = 1.0,
        smoothing_constant: float = 0.01,
    ) -> None:
        super().__init__(
            task_space,
            seed=seed,
            random_start_tasks=random_start_tasks,
            max_agents=max_agents,
            max_agent_bytes=max_agent_bytes,
            window=window,
        )
        if not 0 < entropy_parameter < np.inf:
            raise ValueError(f"entropy_parameter: expected a number above 0, got {entropy_parameter}")
        if not 0 <= smoothing_constant < np.inf:
            raise ValueError(f"smoothing_constant: expected a number of at least 0, got {smoothing_constant}")
        self.entropy_parameter = entropy_parameter
        self.smoothing_constant = smoothing_constant
        self._weights = BlockSums(np.zeros(self.max_agents))

    def _slots_changed(self, slots: np.ndarray) -> None:
        games = np.minimum(self.games[slots], self.window)
        lost = 1.0 - self.wins[slots] / np.maximum(games, 1)
        self._weights.update(slots, lost**self.entropy_parameter + self.smoothing_constant)

    def _draw_slots(self, k: int) -> np.ndarray:
        if not self._weights.total > 0:
            return self.rng.integers(0, len(self.agents), size=k)
        return self._weights.draw(k, self.rng)

    def _slot_probabilities(self, slots: np.ndarray) -> np.ndarray:
        total = self._weights.total
        return self._weights[slots] / total if total > 0 else np.full(len(slots), 1.0 / len(self.agents))

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._weights = BlockSums(np.zeros(self.max_agents))
        super()._restore(state)
