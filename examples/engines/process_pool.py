"""A process pool: each process takes a list of prompts, all of them share one budget.

python process_pool.py [fork|spawn|forkserver]
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from job import account, ask

if __name__ == "__main__":
    prompts = [f"Summarise document {number}." for number in range(40)]
    parts = [prompts[part::4] for part in range(4)]
    how = multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else "spawn")
    with ProcessPoolExecutor(4, mp_context=how) as pool:
        answers = list(pool.map(ask.map, parts))
        print(sum(map(len, answers)), "answers,", account.everybody.members, "processes")
