"""A Streamlit page: many texts with a bar, one story word by word, all users on one account.

pip install fanmap streamlit openai
OPENAI_API_KEY=... streamlit run web_streamlit.py
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing

import streamlit as st
from openai import OpenAI

from fanmap import Limits, ParallelFunction, parallel_map

MODEL = os.environ.get("MODEL", "gpt-5-mini")


@st.cache_resource  # once a process: the script runs again at each click, and for each user
def functions() -> tuple[ParallelFunction[[str], str], ParallelFunction[[str], Generator[str]]]:
    account = Limits(max_concurrency=8)
    client = OpenAI(max_retries=0)

    @parallel_map(limits=account)
    def summarise(text: str) -> str:
        return client.responses.create(model=MODEL, input=f"Summarise: {text}").output_text

    @parallel_map(limits=account)
    def tell(prompt: str) -> Generator[str]:
        with client.responses.create(model=MODEL, input=prompt, stream=True) as events:
            for event in events:
                if event.type == "response.output_text.delta":
                    yield event.delta

    return summarise, tell


summarise, tell = functions()

texts = st.text_area("One text per line").splitlines()
if st.button("Summarise"):
    bar = st.progress(0.0)
    answers = [""] * len(texts)
    with summarise.as_completed(texts) as outcomes:
        for done, outcome in enumerate(outcomes, 1):
            answers[outcome.index] = outcome.value if outcome.error is None else type(outcome.error).__name__
            bar.progress(done / len(texts))
    st.table({"text": texts, "summary": answers})

if prompt := st.chat_input("Ask for a story"):
    with closing(tell(prompt)) as words:
        st.write_stream(words)
