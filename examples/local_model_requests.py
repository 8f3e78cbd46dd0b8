"""Five prompts to a local model with `requests` and threads, before and after.

    python examples/local_model_requests.py
    python examples/local_model_requests.py --model llama3.2          (Ollama on port 11434)
    python examples/local_model_requests.py --base-url http://localhost:8000/v1 --model NAME

Before: one thread a prompt without a bound, results in the order in which they came, errors printed and
turned into None. After: eight worker threads at most, results in the order of the prompts, an error is
raised, and what the server refuses comes again when the server allows.
"""

from threading import Thread

import requests
from _endpoint import endpoint, stopwatch

from fanmap import parallel_map

PROMPTS = [
    "Why is the sky blue?",
    "Who was Ada Lovelace?",
    "What is a monad, for a cook?",
    "How does bread rise?",
    "Name three uses of a heap.",
]

there = endpoint("ollama", __doc__)


def post(prompt):
    body = {"model": there.model, "messages": [{"role": "user", "content": prompt}]}
    key = {"Authorization": f"Bearer {there.api_key}"}
    return requests.post(f"{there.base_url}/chat/completions", headers=key, json=body, timeout=30)


# Before


@stopwatch.call
def ask_and_append(prompt, answers):
    try:
        response = post(prompt)
        response.raise_for_status()
        answers.append((prompt, response.json()["choices"][0]["message"]["content"]))
    except requests.RequestException as error:
        print(f"  {prompt} failed: {error}")
        answers.append((prompt, None))


def before():
    answers = []
    threads = [Thread(target=ask_and_append, args=(prompt, answers)) for prompt in PROMPTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


# After


@parallel_map  # the change: the threads, the list and the None are gone
@stopwatch.call
def ask(prompt):
    response = post(prompt)
    response.raise_for_status()
    return response.json()["choices"][0]["message"]["content"]


def after():
    return list(zip(PROMPTS, ask.map(PROMPTS), strict=True))


def main():
    for way in (before, after):
        print(f"{way.__name__}:")
        with stopwatch:
            answers = way()
        for prompt, answer in answers:
            print(f"  {prompt} -> {answer}")


if __name__ == "__main__":
    main()
