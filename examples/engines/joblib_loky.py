"""joblib with its default backend, loky: a decorated function goes to its workers by name, or by value from a notebook.

python joblib_loky.py
"""

import joblib
from job import account, ask

if __name__ == "__main__":
    prompts = [f"Summarise document {number}." for number in range(40)]
    with joblib.Parallel(n_jobs=4) as parallel:
        answers = parallel(joblib.delayed(ask.map)(prompts[part::4]) for part in range(4))
        print(sum(map(len, answers)), "answers,", account.everybody.members, "processes")
