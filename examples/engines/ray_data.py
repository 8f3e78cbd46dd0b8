"""Ray: a data set in batches, and single tasks, on several processes under one budget.

python ray_data.py

On a cluster of several machines: FANMAP_SHARED=redis://HOST:6379/0 in `runtime_env={"env_vars": ...}`.
"""

import ray
from job import account, ask


def answered(batch: dict) -> dict:
    return batch | {"answer": ask.map(batch["prompt"])}


@ray.remote(num_cpus=0.25)
def single(prompt: str) -> str:
    return ask(prompt)


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    prompts = ray.data.from_items([{"prompt": f"Summarise document {number}."} for number in range(40)])
    answers = prompts.repartition(4).map_batches(answered, batch_size=10, num_cpus=0.5).take_all()
    answers += ray.get([single.remote("One more."), single.remote("And another.")])
    print(len(answers), "answers,", account.everybody.members, "processes")
    ray.shutdown()
