"""Dask: a frame in partitions, and single tasks, on several processes under one budget.

python dask_frames.py
"""

import dask.dataframe
import pandas
from dask.distributed import Client, LocalCluster
from job import account, ask


def answered(part: pandas.DataFrame) -> pandas.DataFrame:
    return part.assign(answer=ask.map(part["prompt"]))


if __name__ == "__main__":
    prompts = pandas.DataFrame({"prompt": [f"Summarise document {number}." for number in range(40)]})
    with LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        frame = dask.dataframe.from_pandas(prompts, npartitions=4)
        answers = frame.map_partitions(answered, meta={"prompt": str, "answer": str}).compute()
        single = client.gather(client.map(ask, ["One more.", "And another."]))
        print(len(answers) + len(single), "answers,", account.everybody.members, "processes")
