"""Prompts as tasks with TRL: its GRPO trainer, whose sampler is the curriculum's, and a language model of two layers.

    HF_HUB_OFFLINE=1 .venv-libraries/bin/python -m examples.prompts_trl

Nothing is downloaded: the model is initialised at random, and a token is a number or a sign. (Without HF_HUB_OFFLINE,
TRL sends a note of its use.)
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, set_seed
from trl import GRPOConfig, GRPOTrainer

from syllabus_client import CurriculumSampler, DiscreteTaskSpace, make_multiprocessing_curriculum
from syllabus_service.curricula import create

NUMBERS = 10
BATCH, GROUP = 64, 8  # rollouts in a step, and of a prompt
PARAMS = {"update_interval": 200, "topk": 40, "learnable_prob": 0.5}


def make_dataset() -> Dataset:
    """100 prompts: which of two numbers is larger."""
    rows = [divmod(index, NUMBERS) for index in range(NUMBERS * NUMBERS)]
    prompts = [{"prompt": f"max {a} {b} =", "answer": str(max(a, b)), "index": row} for row, (a, b) in enumerate(rows)]
    return Dataset.from_list(prompts)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each number and sign."""
    words = ["<pad>", "<end>", "max", "=", *map(str, range(NUMBERS))]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """What to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> tuple[list[float], list[dict[str, float]]]:
    """Train; return the rewards of all rollouts, and the trainer's log."""
    set_seed(1)
    dataset, tokenizer = make_dataset(), make_tokenizer()
    sizes = GPT2Config(vocab_size=len(tokenizer), n_embd=64, n_layer=2, n_head=2, eos_token_id=1, pad_token_id=0)
    curriculum, queue, _ = make_multiprocessing_curriculum(create("learnability", DiscreteTaskSpace(100), PARAMS, 1))
    sampler = CurriculumSampler(queue, batch_size=BATCH // GROUP, group_size=GROUP, distributed=True)
    seen: list[float] = []

    def is_right(completions: list[str], answer: list[str], index: list[int], **_: Any) -> list[float]:
        rewards = [float(said.strip() == expected) for said, expected in zip(completions, answer, strict=True)]
        if trainer.model.training:  # evaluate() asks for rewards, too
            seen.extend(rewards)
            sampler.report(index, rewards)
        return rewards

    with tempfile.TemporaryDirectory() as directory:
        trainer = GRPOTrainer(
            model=GPT2LMHeadModel(sizes),
            processing_class=tokenizer,
            reward_funcs=is_right,
            train_dataset=dataset,
            eval_dataset=dataset.select(range(0, len(dataset), 12)),
            args=GRPOConfig(
                output_dir=directory,
                max_steps=args.steps,
                per_device_train_batch_size=BATCH,
                per_device_eval_batch_size=BATCH,
                num_generations=GROUP,
                max_completion_length=1,
                learning_rate=0.003,
                use_cpu=True,
                bf16=False,
                report_to="none",
                logging_steps=max(1, args.steps // 4),
                save_strategy="no",
                disable_tqdm=True,
            ),
        )
        trainer._get_train_sampler = lambda dataset=None: sampler
        trainer.train()
        print(f"evaluation: reward {trainer.evaluate()['eval_reward']:.2f}")
    sampler.close()
    curriculum.close()
    return seen, [log for log in trainer.state.log_history if "reward" in log]


if __name__ == "__main__":
    for entry in main(parse())[1]:
        print(f"step {entry['step']}: reward {entry['reward']:.2f}")
