"""What people call things, and what they are called here."""

from __future__ import annotations

# What people call a setting: the setting as they should write it, with their number in it. `{n}` is that number,
# `{more}` one more (a repeat is not an attempt).
_SETTINGS = {
    "max_concurrency={n}": """
        concurrency concurrent concurrent_calls concurrent_requests concurrency_limit max_concurrent
        max_concurrent_calls max_concurrent_requests max_concurrent_tasks max_parallel max_parallelism max_workers
        max_threads max_tasks max_at_once max_in_flight max_connections max_coroutines max_calls at_once workers
        num_workers n_workers n_jobs jobs n_threads num_threads threads processes num_processes n_proc num_proc nproc
        parallel parallelism pool_size pool limit limiter_size n num slots semaphore sem throttle""",
    "rpm={n}": """
        requests_per_minute request_per_minute req_per_minute calls_per_minute per_minute max_per_minute max_rpm
        rpm_limit rate_limit ratelimit rate_per_minute max_requests_per_minute""",
    "rate=Rate({n}, per=1.0)": """
        rps qps tps requests_per_second calls_per_second per_second max_per_second max_rps rate_per_second
        queries_per_second max_requests_per_second""",
    "rate=Rate({n}, per=3600.0)": "rph requests_per_hour calls_per_hour per_hour max_per_hour",
    "rate=Rate({n}, per=86400.0)": "rpd requests_per_day calls_per_day per_day max_per_day daily_limit",
    "tpm={n}": "tokens_per_minute max_tokens_per_minute tpm_limit token_limit tokens max_tpm",
    "max_spend={n}": """
        max_cost max_budget max_dollars max_usd max_price spend_limit spending_limit cost_limit budget_limit
        max_spending""",
    "retry=Retry(attempts={n})": """
        attempts max_attempts retry_attempts num_attempts n_attempts tries max_tries num_tries
        stop_after_attempt""",
    "retry=Retry(attempts={more})": "retries max_retries num_retries n_retries max_retry retry_count retry_times",
    "retry=Retry(wait=...)": """
        backoff backoff_factor retry_delay retry_wait wait delay sleep sleep_time interval exponential_backoff jitter
        initial_delay max_delay base_delay wait_initial wait_max wait_jitter wait_exp_base wait_exponential_jitter
        exponential_jitter_params wait_fixed""",
    "retry=Retry(on=...)": """
        retry_on retry_exceptions retry_if exceptions on on_exception retry_on_exceptions retry_if_exception_type
        giveup""",
    "retry=Retry(stop=...)": "stop",
    "rate=Rate(..., per={n})": "per period time_period",
    "rate=Rate(..., burst={n})": "burst burst_size max_burst max_bucket_size",
    "rate=Rate(..., cost=...)": "cost weight weights",
    "timeout={n}": "call_timeout request_timeout per_call_timeout item_timeout timeout_seconds timeout_s time_out",
    "limits=...": "limiter rate_limiter budget account shared_limits share",
    "progress=True": """
        progress_bar show_progress bar verbose desc tqdm use_tqdm show_progress_bar with_progress total leave
        tqdm_class tqdm_kwargs unit unit_scale ncols dynamic_ncols bar_format mininterval miniters position smoothing
        colour""",
    "progress=callback": "callback callbacks on_progress progress_callback",
    "deadline={n}": "total_timeout max_time time_limit overall_timeout max_seconds max_duration run_timeout",
    "return_exceptions=True": """
        on_error on_errors ignore_errors ignore_exceptions errors raise_on_error raise_exceptions raise_errors
        fail_fast stop_on_error continue_on_error suppress catch handle_errors error_handling return_errors
        skip_errors exceptions_as_results""",
    'resume="answers.jsonl"': """
        cache cache_dir cache_path checkpoint checkpoint_path checkpoint_file journal journal_path save save_to
        save_path store output output_path output_file out path file filename persist resume_from resume_path memo
        memory""",
    "unpack=True": "star starmap star_args splat expand unpack_args spread",
    "max_waiting={n}": """
        max_queue max_queued max_queue_size queue_size queue_limit queue_length max_pending max_backlog backlog""",
    "max_failures={n}": "max_errors max_exceptions failure_limit error_limit tolerate allowed_failures",
}
MEANT = {word: line for line, words in _SETTINGS.items() for word in words.split()}

OF_LIMITS = frozenset({"rpm", "tpm", "rate"})  # beside max_concurrency, which a run has as well
OF_LIMITS_ALONE = frozenset({"max_wait", "classify", "max_waiting", "max_spend", "price", "read_responses", "shared"})
OF_CALLS = frozenset({"retry", "timeout"})
OF_RUNS = frozenset(
    {
        "progress", "deadline", "return_exceptions", "resume", "unpack", "max_failures", "key", "encode", "decode",
        "version", "durable", "trace",
    }
)  # fmt: skip

# What needs no setting.
SAID = {
    word: line
    for words, line in {
        "ordered order preserve_order keep_order in_order sort sorted unordered": (
            "map, amap and imap keep the order of the inputs, and as_completed gives outcomes as they finish"
        ),
        "return_as as_generator": (
            "imap hands out results one at a time in the order of the inputs, and as_completed as they finish"
        ),
        "pre_dispatch buffersize buffer_size prefetch": (
            "imap and as_completed read the inputs while you take results, at most 8 times the concurrency ahead"
        ),
        "reraise": "what is raised is always the function's own exception",
        "before before_sleep after retry_error_callback on_retry on_backoff on_giveup": (
            "there are no callbacks for repeats, and `stats.attempts` counts them"
        ),
        "disable disable_tqdm": "there is no bar unless you write progress=True",
        "config": "settings are keyword arguments, such as max_concurrency=8",
        """executor thread_pool threadpool process_pool backend thread_name_prefix initializer initargs mp_context
        max_tasks_per_child prefer require inner_max_num_threads temp_folder max_nbytes mmap_mode""": (
            "a `def` runs in fanmap's threads and an `async def` on the event loop, with nothing to set up; the "
            "number of calls at once is max_concurrency="
        ),
        "loop event_loop": "it runs on the event loop of whoever awaits it, so none is needed",
        "priority low_priority nice background": (
            "low-priority calls run under limits=account.background, where account is the Limits that both share"
        ),
        "batch_size batchsize chunksize chunk_size chunks": (
            "inputs are taken one by one, so there are no chunks; the number of calls at once is max_concurrency="
        ),
    }.items()
    for word in words.split()
}

# Words that say that a failure ends the run: with True, what a run does anyway.
STOPS = dict.fromkeys(
    ("raise_on_error", "raise_exceptions", "raise_errors", "fail_fast", "stop_on_error"),
    "the first failure ends a run anyway, unless you write return_exceptions=True",
)

# What people call the function and the inputs, where they give them by name.
THE_FUNCTION = frozenset({"function", "func", "fn", "f", "callable", "target", "async_function", "coroutine"})
INPUTS = frozenset(
    {
        "inputs", "iterable", "iterables", "items", "data", "prompts", "args_list", "arguments", "coros", "coroutines",
        "aws", "awaitables", "tasks", "futures", "sequence", "it", "seq",
    }
)  # fmt: skip
STATUSES = frozenset({"status_codes", "statuses", "status_forcelist", "status_code"})

# What people write in a Limits for what has another name there than at a function.
OF_LIMITS_ELSEWHERE = {
    word: line
    for line, words in {
        "max_spend={n}": "budget",
        "rate=...": "limiter rate_limiter limits",
        "shared=...": "share shared_limits shared_name account scope",
        'shared="redis://HOST:6379/0#NAME"': "redis redis_url url storage storage_uri backend",
    }.items()
    for word in words.split()
}

# What people call the parameters of one class.
OF_CLASS: dict[str, dict[str, str]] = {
    "Retry": {
        "attempts={n}": """max_attempts tries max_tries n num_attempts stop_after_attempt times count
            retry_attempts""",
        "attempts={more}": "retries max_retries num_retries n_retries max_retry retry retry_count",
        "on=...": """exceptions exception retry_on retry_if errors error catch on_exception on_exceptions on_error
            retry_exceptions exception_types expected_exception retry_if_exception_type giveup""",
        "wait=tenacity.wait_exponential_jitter(...)": """backoff backoff_factor exponential exponential_base
            multiplier factor jitter base max_delay min_delay max_wait min_wait initial_delay cap wait_initial wait_max
            wait_jitter wait_exp_base wait_exponential_jitter exponential_jitter_params""",
        "wait={n}": "delay sleep wait_seconds interval pause wait_time wait_fixed seconds",
        "total={n}": """timeout max_time max_seconds deadline total_timeout stop_after_delay max_elapsed
            max_duration time_limit total_time""",
    },
    "Rate": {
        "Rate({n})": "rpm requests_per_minute per_minute calls_per_minute",
        "Rate({n}, per=1.0)": "rps qps requests_per_second per_second calls_per_second max_per_second",
        "Rate({n}, per=3600.0)": "rph per_hour requests_per_hour",
        "Rate({n}, per=86400.0)": "rpd per_day requests_per_day",
        "tpm={n} in place of the Rate": "tpm tokens tokens_per_minute",
        "per={n}": """seconds period window interval time_period duration secs sec per_seconds time time_window
            window_seconds unit""",
        "Rate({n}, ...)": "max_rate limit calls n number count requests max_calls max_requests rate value max capacity",
        "burst={n}": "burst_size max_burst bucket bucket_size burst_limit max_bucket_size",
        "cost=...": "weight weights cost_function get_cost",
    },
    "Adaptive": {
        "start={n}": "initial begin init start_at initial_limit initial_concurrency",
        "minimum={n}": "min lower low floor min_concurrency min_limit at_least",
        "maximum={n}": "max upper high limit ceiling max_concurrency max_limit max_workers at_most",
    },
    "Verdict": {"wait={n}": "retry_after delay seconds after wait_for sleep", "kind=...": "type verdict retry"},
}

ATTRIBUTES = {
    "{f}.map(inputs, unpack=True)": "starmap map_star star_map starmap_async map_unpack astarmap",
    "{call}": "submit apply call run apply_async execute invoke ainvoke acall start delay remote send schedule",
    "{f}.as_completed(inputs)": """imap_unordered map_unordered amap_unordered unordered unordered_map aas_completed
        as_complete completed imap_as_completed iter_completed aimap_unordered batch_as_completed abatch_as_completed
        amap_as_completed map_as_completed as_completed_async""",
    "{f}.stream(inputs)": "astream map_stream stream_chunks astream_events",
    "{f}.imap(inputs)": "iter iterate lazy lazy_map stream_map iter_map map_iter aiter",
    "`async for answer in {f}.imap(inputs)`": "aimap async_imap amap_iter imap_async aimap_ordered",
    "`await {f}.amap(inputs)`": "map_async async_map gather abatch_map agather amapped map_awaitable",
    "{f}.map(inputs)": """parallel pmap parallel_map mapped run_all run_many map_all thread_map
        process_map bulk many all over for_each foreach each multi parallelize parallelise vmap map_dict""",
    "{f}.partial(name=value)": "bind curry fix with_args set_args args kwargs",
    "{f}.with_options(...)": """options with_settings with_config configure config set copy replace clone override retry
        timeout with_retry with_timeout max_concurrency with_concurrency settings""",
    "{f}.with_options(limits=Limits(...))": "rpm tpm rate with_limits with_rate set_limits",
    "{f}.limits": "limit limiter budget account rate_limiter",
    "{f}.stats": "statistics usage metrics status info counts",
    "{f}.__wrapped__": "func function fn wrapped original undecorated inner unwrap sync_function",
    "{f}.__name__": "name",
}
OF_MODULE = {
    "parallel_map(function).map(inputs)": """map pmap parallel parallelize parmap map_parallel thread_map process_map
        starmap run map_async amap imap concurrent_map async_map batch fan_map fanmap Parallel ParallelMap
        ThreadPoolExecutor Pool decorate parallelise aparallel_map async_parallel_map bounded_map""",
    "gather_bounded(...)": """gather agather gather_with_concurrency bounded_gather gather_limited gather_with_limit
        gather_limit""",
    "from fanmap.types import {name}": """Change Stats RunStats Results Summary JournalOptions RunOptions Usage
        Everybody BatchInfo BatchOptions BatchProgress BatchSummary""",
    "from fanmap import {name}": "testing",
    "Limits(...)": "Limit Limiter RateLimiter RateLimit Semaphore Throttle Budget Account limits limiter",
    "Rate(amount, per)": "rate_limit AsyncLimiter TokenBucket rate",
    "Retry(attempts=4)": "retry retries Retrying RetryPolicy",
    "to_sync(function)": "sync async_to_sync run_sync syncify run_until_complete",
    "to_async(function)": "sync_to_async asyncify run_in_thread to_thread",
    "from fanmap.testing import {name}": """SimulatedLLM serve VirtualTime SimulatedAPIError Reply SimulatedStore
        BatchScript""",
}

# Attributes of the objects that people are handed.
OF_OBJECTS = {
    "Limits": {
        "write `with account:` around the code, or `async with account:`": "acquire release wait block limit slot",
        "write @parallel_map(limits=account)": "parallel_map decorate wrap map amap run apply",
        "write account.stats": "statistics metrics usage info status counts remaining",
        "write account.stats.in_flight": "in_flight running active current",
        "write account.stats.spent": "spent cost dollars",
        "write account.stats.tokens": "tokens",
        "a Limits cannot be changed: make another": """with_options replace copy set update configure""",
        "write limits=account.background for work that may wait": "bg low_priority priority lower batch",
        "there is nothing to close: threads and loops need no shutdown": "close aclose shutdown",
    },
    "Results": {
        "write list(results)": "tolist to_list collect values results result all aslist",
        "write next(results)": "next get",
        "write results.stop()": "cancel abort terminate shutdown",
        "write partial_results(results)": "partial_results partial so_far",
        "write results.stats": "progress status done remaining",
    },
    "Outcome": {
        "write outcome.error": "exception exc err exception_value failure",
        "write outcome.error is None": "ok success is_ok succeeded successful done",
        "write outcome.error is not None": "failed is_error has_error",
        "write outcome.value, or outcome.result(), which raises what the item raised": """output response answer unwrap
            get data res return_value""",
        "write inputs[outcome.index]": "input item prompt arg args key",
        "write outcome.seconds": "duration elapsed time latency took",
        "write outcome.index": "i idx position number n",
    },
}

NOTHING_TO_CLOSE = frozenset(["close", "aclose", "shutdown", "terminate", "join", "stop", "dispose"])
