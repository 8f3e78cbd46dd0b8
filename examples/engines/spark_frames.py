"""Spark: `mapInPandas` over the partitions of a frame, under one budget.

python spark_frames.py

On a cluster: FANMAP_SHARED=redis://HOST:6379/0 by `spark.executorEnv.FANMAP_SHARED`.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas
from job import account, ask
from pyspark.sql import SparkSession


def answered(parts: Iterator[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
    for part in parts:
        yield part.assign(answer=ask.map(part["prompt"]))


if __name__ == "__main__":
    spark = SparkSession.builder.master("local[4]").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.addPyFile(str(Path(__file__).with_name("job.py")))  # the executors import it, too
    prompts = [(f"Summarise document {number}.",) for number in range(40)]
    frame = spark.createDataFrame(prompts, "prompt string").repartition(4)
    answers = frame.mapInPandas(answered, "prompt string, answer string").collect()
    print(len(answers), "answers,", account.everybody.members, "processes")
    spark.stop()
