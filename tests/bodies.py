"""What servers really answer: the one table of error bodies, with what each is and where it was seen.

`python -m tests.bodies` prints the table with what is read today. Names of accounts, organizations and requests are
left out or replaced; what else stands here is as it was reported. A body that is known as a text only is a text here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GITHUB = "https://github.com/"


@dataclass(frozen=True)
class Body:
    """One answer.

    Attributes:
        provider: who answers.
        status: HTTP status.
        body: the JSON, or the text.
        kind: what it is.
        wait: seconds that it names; None: none.
        source: where it was seen; below github.com where it is no address.
        headers: that say something.
    """

    provider: str
    status: int
    body: Any
    kind: str
    source: str
    wait: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.source if "://" in self.source or " " in self.source else GITHUB + self.source


def said(message: str, **more: Any) -> dict[str, Any]:
    """As OpenAI and most others have it."""
    return {"error": {"message": message, **more}}


def google(message: str, *details: dict[str, Any], status: str = "RESOURCE_EXHAUSTED") -> dict[str, Any]:
    return {"error": {"code": 429, "message": message, "status": status, "details": list(details)}}


def quota(*names: str) -> dict[str, Any]:
    violations = [{"quotaMetric": f"generativelanguage.googleapis.com/{name}", "quotaId": name} for name in names]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


def retry_in(delay: str) -> dict[str, str]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


_PLAN = "You exceeded your current quota, please check your plan and billing details."
_TPM = "The input or output tokens must be reduced in order to run successfully. Visit https://platform.openai.com/account/rate-limits to learn more."
_XAI = (
    "Your team T has either used all available credits or reached its monthly spending limit. To continue making API "
    "requests, please purchase more credits or raise your spending limit."
)
_FIREWORKS = (
    "Account A is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices. "
    "Please go to https://fireworks.ai/account/billing for more information."
)
_AZURE = "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-05-01-preview have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after {} seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."

BODIES = [
    # One request above the whole limit: no wait makes room for it.
    Body("OpenAI", 429, said(f"Request too large for gpt-4o in organization O on tokens per min (TPM): Limit 30000, Requested 30601. {_TPM}", type="tokens", param=None, code="rate_limit_exceeded"), "permanent", "vanderschaarlab/climb/issues/1"),
    Body("OpenAI", 429, said(f"Request too large for gpt-4.1-2025-04-14 (for limit gpt-4.1) in organization O on tokens per min (TPM): Limit 30000, Requested 37313. {_TPM}", type="tokens", code="rate_limit_exceeded"), "permanent", "continuedev/continue/issues/11717"),
    Body("OpenAI", 429, said("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389. The input or output tokens must be reduced in order to run successfully."), "permanent", "vanna-ai/vanna-flask/issues/11"),
    Body("Groq", 413, said("Request too large for model `openai/gpt-oss-20b` in organization `O` service tier `on_demand` on tokens per minute (TPM): Limit 8000, Requested 33991, please reduce your message size and try again. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing", type="tokens", code="rate_limit_exceeded"), "permanent", "autohandai/code-cli/issues/308"),
    Body("LiteLLM proxy", 429, said("litellm.RateLimitError: RateLimitError: OpenAIException - Error code: 429 - {'error': {'message': 'Request too large for gpt-4o in organization O on tokens per min (TPM): Limit 30000, Requested 36278. The input or output tokens must be reduced in order to run successfully.', 'type': 'tokens', 'param': None, 'code': 'rate_limit_exceeded'}}"), "permanent", "Aider-AI/aider/issues/1880"),
    Body("Google, gRPC", 429, {"message": "Received message larger than max (5013781 vs. 4194304)", "code": 8, "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "grpc-status", "data": "8"}, {"@type": "grpc-message", "data": "Received message larger than max (5013781 vs. 4194304)"}]}, "permanent", "googleapis/gax-php/issues/320"),
    # A rate, with a wait in words or fields.
    Body("Groq", 429, said("Rate limit reached for model `llama-3.3-70b-versatile` in organization `O` service tier `on_demand` on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing", type="tokens", code="rate_limit_exceeded"), "rate", "continuedev/continue/issues/10920", 578.016),
    Body("OpenAI", 429, said("Rate limit reached for default-gpt-3.5-turbo in organization O on requests per min. Limit: 3 / min. Please try again in 20s. Contact us through our help center at help.openai.com if you continue to have issues. Please add a payment method to your account to increase your rate limit. Visit https://platform.openai.com/account/billing to add a payment method."), "rate", "RayVentura/ShortGPT/issues/48", 20.0),
    Body("Azure", 429, said(_AZURE.format(9), code="429"), "rate", "microsoft/sample-app-aoai-chatGPT/issues/406", 9.0),
    Body("Azure", 429, said(_AZURE.format(86400), code="429"), "rate", "alex-wolf-ps/dbchatprov2/issues/2", 86_400.0),
    Body("Azure", 429, said("The system is currently experiencing high demand and cannot process your request. Your request exceeds the maximum usage size allowed during peak load. Please retry after 20 seconds. For improved latency reliability, consider switching to Provisioned Throughput."), "rate", "pollinations/pollinations/issues/6260", 20.0),
    Body("LiteLLM proxy", 429, said("litellm.RateLimitError: AzureException RateLimitError - Error code: 429 - {'error': {'code': '429', 'message': 'Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2023-05-15 have exceeded token rate limit of your current AIServices S0 pricing tier. Please retry after 86400 seconds. Please contact Azure support service if you would like to further increase the default rate limit.'}}\nReceived Model Group=azure-gpt-4o-mini\nAvailable Model Group Fallbacks=None", type="throttling_error", param=None, code="429"), "rate", "jasonacox/TinyLLM/issues/17", 86_400.0),
    Body("Gemini", 429, google(_PLAN, quota("GenerateContentInputTokensPerModelPerMinute-FreeTier"), retry_in("26s")), "rate", "RooCodeInc/Roo-Code/issues/3883", 26.0),
    Body("Gemini, JSON in a string", 429, {"error": {"message": '{\n  "error": {\n    "code": 429,\n    "message": "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.",\n    "status": "RESOURCE_EXHAUSTED",\n    "details": [\n      {\n        "@type": "type.googleapis.com/google.rpc.QuotaFailure",\n        "violations": [\n          {\n            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count",\n            "quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier",\n            "quotaValue": "250000"\n          }\n        ]\n      },\n      {\n        "@type": "type.googleapis.com/google.rpc.RetryInfo",\n        "retryDelay": "26s"\n      }\n    ]\n  }\n}\n', "code": 429, "status": "Too Many Requests"}}, "rate", "RooCodeInc/Roo-Code/issues/3883", 26.0),
    Body("Gemini, JSON in a string", 429, {"error": {"message": '{\n  "error": {\n    "code": 429,\n    "message": "You exceeded your current quota, please check your plan and billing details. \\n* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 0, model: gemini-3.1-pro\\nPlease retry in 55.576865699s.",\n    "status": "RESOURCE_EXHAUSTED"\n  }\n}\n', "code": 429, "status": "Too Many Requests"}}, "rate", "continuedev/continue/issues/12205", 55.576865699),
    Body("Gemini", 429, [google("You have exhausted your capacity on this model. Your quota will reset after 26s.", {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED", "domain": "cloudcode-pa.googleapis.com", "metadata": {"model": "gemini-3-pro-preview", "uiMessage": "true"}})], "rate", "vybestack/llxprt-code/issues/813", 26.0),
    # A rate that names no wait, whatever else it speaks of.
    Body("OpenAI", 429, said("Rate limit reached for default-global-with-image-limits in organization O on requests per min. Limit: 60 / min. Current: 70 / min. Contact support@openai.com if you continue to have issues. Please add a payment method to your account to increase your rate limit. Visit https://platform.openai.com/account/billing to add a payment method."), "rate", "mckaywrigley/wait-but-why-gpt/issues/1"),
    Body("Anthropic", 429, {"type": "error", "error": {"type": "rate_limit_error", "message": "This request would exceed your account's rate limit. Please try again later."}}, "rate", "anthropics/claude-code/issues/64462"),
    Body("Anthropic", 429, said("This request would exceed the rate limit for your organization of 20,000 input tokens per minute. For details, refer to: https://docs.anthropic.com/en/api/rate-limits. You can see the response headers for current usage. Please reduce the prompt length or the maximum tokens requested, or try again later. You may also contact sales at https://www.anthropic.com/contact-sales to discuss your options for a rate limit increase.", code="rate_limit_error", type="invalid_request_error", param=None), "rate", "FoundationAgents/OpenManus/issues/746"),
    Body("Voyage", 429, {"detail": "You have not yet added your payment method in the billing page and will have reduced rate limits of 3 RPM and 10K TPM.  Please add your payment method in the billing page (https://dash.voyageai.com/billing/payment-methods) to unlock our standard rate limits (https://docs.voyageai.com/docs/rate-limits).  Even with payment methods entered, the free tokens (200M tokens for Voyage series 3) will still apply. See our pricing docs (https://docs.voyageai.com/docs/pricing) for the free tokens for your model."}, "rate", "assafelovic/gpt-researcher/issues/1148"),
    Body("Cerebras", 429, '"Tokens per minute limit exceeded - too many tokens processed."', "rate", "continuedev/continue/issues/9800"),
    Body("Mistral", 429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "param": None, "code": "1300", "raw_status_code": 429}, "rate", "raycast/extensions/issues/31107"),
    Body("Mistral", 429, {"object": "error", "message": "Service tier capacity exceeded for this model.", "type": "invalid_request_error", "param": None, "code": None}, "rate", "continuedev/continue/issues/6185"),
    Body("Bedrock", 429, {"message": "Too many tokens, please wait before trying again."}, "rate", "RooCodeInc/Roo-Code/issues/5050"),
    Body("Gemini", 429, google("Resource has been exhausted (e.g. check quota)."), "rate", "google-gemini/gemini-cli/issues/23981"),
    Body("Gemini, JSON in a string", 429, {"error": {"message": '{\n  "error": {\n    "code": 429,\n    "message": "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to: https://ai.dev/rate-limit. ",\n    "status": "RESOURCE_EXHAUSTED"\n  }\n}\n', "code": 429, "status": "Too Many Requests"}}, "rate", "continuedev/continue/issues/10181"),
    Body("Gemini", 429, google("No capacity available for model on the server", {"reason": "MODEL_CAPACITY_EXHAUSTED"}), "rate", "google-gemini/gemini-cli/issues/26633"),
    Body("Vertex", 429, google("Resource exhausted, please try again later."), "rate", "https://cloud.google.com/vertex-ai/generative-ai/docs/provisioned-throughput/error-code-429"),
    Body("Vertex", 429, google("Too many requests. Exceeded the Provisioned Throughput."), "rate", "https://cloud.google.com/vertex-ai/generative-ai/docs/provisioned-throughput/error-code-429"),
    Body("Kimi Code", 429, said("The engine is currently overloaded, please try again later"), "rate", "https://www.kimi.com/code/docs/en/kimi-code/error-reference.html"),
    Body("Xiaomi, through OpenCode", 429, {"code": "429", "message": "Error from provider (Xiaomi): Too many requests", "type": "limitation"}, "rate", "anomalyco/opencode/issues/29912"),
    Body("OpenRouter", 429, said("Provider returned error", code=429, metadata={"raw": "z-ai/glm-5.3-flash is temporarily rate-limited upstream. Please retry shortly, or add your own key to accumulate your rate limits: https://openrouter.ai/settings/integrations", "provider_name": "BaseTen", "limit_source": "upstream_provider_shared_pool", "remedy_hint": "Retry shortly, add your own provider key, or route to another provider"}), "rate", "open-webui/computer/issues/293"),
    Body("OpenRouter", 429, said("Provider returned error", code=429, metadata={"raw": "error code: 1015", "provider_name": "Kluster"}), "rate", "BerriAI/litellm/issues/8448"),
    Body("ElevenLabs", 429, {"detail": {"status": "system_busy", "message": "Our services are experiencing high levels of traffic and your request could not be processed."}}, "rate", "https://help.elevenlabs.io/hc/en-us/articles/19571824571921-API-Error-Code-429"),
    Body("Cloudflare", 429, {"errors": [{"code": 3040, "message": "No more data centers to forward the request to"}], "success": False}, "rate", "https://developers.cloudflare.com/workers-ai/platform/errors/"),
    Body("VibeSDK", 429, said("AI inference rate limit exceeded. Consider using lighter models. Maximum 100 credits per 1 hour or 400 credits per day. Gemini pro models cost 4 credits per call, flash models cost 1 credits per call, and flash lite models cost 0 credit per call."), "rate", "cloudflare/vibesdk/issues/164"),
    Body("Django REST framework", 429, {"detail": "Request was throttled. Expected available in 17 seconds."}, "rate", "encode/django-rest-framework/blob/master/rest_framework/exceptions.py", 17.0),
    Body("Google, before google.rpc", 403, {"error": {"code": 403, "message": "User Rate Limit Exceeded", "errors": [{"message": "User Rate Limit Exceeded", "domain": "usageLimits", "reason": "userRateLimitExceeded"}]}}, "rate", "https://developers.google.com/workspace/drive/api/guides/handle-errors"),
    Body("GitHub", 403, {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}, "rate", "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api", 60.0, {"retry-after": "60"}),
    # Too many at once.
    Body("ElevenLabs", 429, {"detail": {"status": "too_many_concurrent_requests", "message": "Too many concurrent requests."}}, "concurrency", "https://help.elevenlabs.io/hc/en-us/articles/19571824571921-API-Error-Code-429"),
    Body("CoreWeave", 429, said("Concurrency limit reached for requests"), "concurrency", "https://docs.coreweave.com/support/inference/tags/quotas-rate-limits"),
    Body("Z.ai", 429, said("High concurrency usage of this API, please reduce concurrency or contact customer service to increase limits", code="1302"), "concurrency", "https://docs.z.ai/api-reference/api-code"),
    Body("Zhipu", 429, said("您当前使用该API的并发数过高,请降低并发,或联系客服增加限额", code="1302"), "concurrency", "https://docs.bigmodel.cn/cn/api/api-code"),
    # A busy server.
    Body("Fireworks", 503, said("The deployment is scaled to zero and is being scaled up", code="DEPLOYMENT_SCALING_UP", type="error"), "overloaded", "https://docs.fireworks.ai/deployments/autoscaling", 0.0),
    Body("Hugging Face", 503, {"error": "Model distilbert-base-cased-distilled-squad is currently loading", "estimated_time": 20.0}, "overloaded", "huggingface/unity-api/issues/18", 20.0),
    Body("Hugging Face", 503, {"error": "Model mrm8488/t5-base-finetuned-emotion is currently loading", "estimated_time": 35.6677131652832}, "overloaded", "ela-codes/vibin/issues/2", 35.6677131652832),
    Body("Ollama", 503, {"error": "server busy, please try again.  maximum pending requests exceeded"}, "overloaded", "ollama/ollama/issues/4159", 0.0),
    Body("Ollama cloud", 503, {"error": "Server overloaded, please retry shortly (ref: R)"}, "overloaded", "ollama/ollama/issues/15934"),
    Body("Groq", 498, said("Flex tier capacity exceeded", code="capacity_exceeded"), "overloaded", "https://console.groq.com/docs/flex-processing"),
    # Out of money, or of a day's or a month's quota.
    Body("xAI", 403, {"code": "permission-denied", "error": _XAI}, "spent", "warpdotdev/warp/issues/14863"),
    Body("xAI", 429, {"code": "resource-exhausted", "error": _XAI}, "spent", "continuedev/continue/issues/10373"),
    Body("xAI", 403, {"error": "Your newly created team doesn't have any credits or licenses yet. You can purchase those on https://console.x.ai/team/T."}, "spent", "continuedev/continue/issues/12670"),
    Body("xAI", 403, {"error": "You have run out of credits or need a Grok subscription."}, "spent", "luxus/pi-xai/issues/10"),
    Body("OpenRouter", 403, said("Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys", code=403), "spent", "gptme/gptme/issues/1449"),
    Body("OpenRouter", 403, said("Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", code=403), "spent", "MCPJam/inspector/issues/1287"),
    Body("OpenRouter", 403, said("Key limit exceeded. Manage it using https://openrouter.ai/keys", code=403), "spent", "RooCodeInc/Roo-Code/issues/515"),
    Body("OpenRouter", 402, said("This request requires more credits, or fewer max_tokens. You requested up to 32000 tokens, but can only afford 0. To increase, visit https://openrouter.ai/settings/keys and create a key with a higher monthly limit", code=402), "spent", "anomalyco/opencode/issues/12219"),
    Body("OpenRouter", 429, said("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day", code=429, metadata={"headers": {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1777420800000"}, "provider_name": None}), "spent", "Gitlawb/openclaude/issues/936"),
    Body("OpenRouter", 429, said("Rate limit exceeded: free-models-per-day-high-balance.", type="rate_limit_error", code="429"), "spent", "Gitlawb/openclaude/issues/1549"),
    Body("OpenRouter", 429, said("Rate limit exceeded", code=429, metadata={"limit_source": "openrouter_free_tier_daily"}), "spent", "Avarok-Cybersecurity/atlas/pull/543"),
    Body("Moonshot, through two gateways", 429, {"error": {"message": "Error from provider: Provider returned error", "code": 429, "metadata": {"raw": '{"error":{"message":"Your account O <K> is suspended due to insufficient balance, please recharge your account or check your plan and billing details","type":"exceeded_current_quota_error"}}'}}}, "spent", "anomalyco/opencode/issues/24462"),
    Body("Moonshot", 403, said("Your account A is not active, organization O exceeded current quota, please check your plan and billing details", type="exceeded_current_quota_error"), "spent", "MoonshotAI/Kimi-K2/issues/5"),
    Body("Kimi Code", 403, said("You've reached your usage limit for this billing cycle"), "spent", "https://www.kimi.com/code/docs/en/kimi-code/error-reference.html"),
    Body("Fireworks", 412, said(_FIREWORKS, param=None, code="PRECONDITION_FAILED", type="error"), "spent", "pollinations/pollinations/issues/12136"),
    Body("Fireworks, through LiteLLM", 412, said(f'Flux.APIError: APIError: Fireworks_aiException - {{"error":{{"message":"{_FIREWORKS}","param":null,"code":"PRECONDITION_FAILED","type":"error"}},"request_id":"R"}}. Received Model Group=glm-5-2\nAvailable Model Group Fallbacks=None', type=None, param=None, code="412"), "spent", "FerroxLabs/wayland/issues/545"),
    Body("Gemini", 429, google("Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project and billing."), "spent", "https://discuss.ai.google.dev/t/170539"),
    Body("Gemini Code Assist", 429, google("Quota exceeded for quota metric 'Gemini 2.5 Pro Requests' and limit 'Gemini 2.5 Pro Requests per day per user per tier' of service 'cloudcode-pa.googleapis.com' for consumer 'project_number:1'."), "spent", "google-gemini/gemini-cli/issues/5377"),
    Body("Cloudflare", 429, {"errors": [{"code": 3036, "message": "You have used up your daily free allocation of 10,000 neurons. Please upgrade to Cloudflare's Workers Paid plan if you would like to continue usage."}], "success": False}, "spent", "https://developers.cloudflare.com/workers-ai/platform/errors/"),
    Body("Cloudflare", 429, {"errors": [{"message": "4006: you have used up your daily free allocation of 10,000 neurons"}]}, "spent", "get-engram/engram/issues/34"),
    Body("Bedrock", 429, {"message": "Too many tokens per day, please wait before trying again."}, "spent", "minorun365/agent-book/issues/29"),
    Body("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}, "spent", "anthropics/claude-code/issues/66314"),
    Body("Zhipu", 429, {"error": {"code": "1113", "message": "Insufficient balance or no resource package. Please recharge."}, "request_id": "R"}, "spent", "7836246/cursor2api/issues/30"),
    Body("Zhipu", 429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}, "spent", "edison7009/EchoBird/issues/104"),
    Body("SiliconFlow", 403, {"code": 30011, "message": "The selected model requires paid balance. Your paid balance is insufficient. Please top up and try again.", "data": None}, "spent", "FoundationAgents/OpenManus/issues/438"),
    Body("DeepSeek", 402, said("Insufficient Balance", type="unknown_error", param=None, code="invalid_request_error"), "spent", "continuedev/continue/issues/9853"),
    Body("Hugging Face", 402, {"error": "You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO to get 20x more monthly included credits."}, "spent", "huggingface/agents-course/issues/386"),
    Body("CoreWeave", 402, said(_PLAN), "spent", "https://docs.coreweave.com/support/inference/tags/quotas-rate-limits"),
    Body("Flux Router, a repr for a message", 402, said("{'error': 'credit_unresolved', 'message': 'A prior charge is still being reconciled. Please retry shortly.', 'upgrade_url': 'https://fluxrouter.ai/home/billing/topup', 'model': 'flux-auto'}", type="None", param="None", code="402"), "spent", "FerroxLabs/wayland/issues/545"),
    Body("DashScope", 400, said("Access denied, please make sure your account is in good standing.", code="Arrearage", param=None, type="Arrearage"), "spent", "https://help.aliyun.com/en/model-studio/error-code"),
    Body("OpenCode Zen", 401, {"type": "error", "error": {"type": "CreditsError", "message": "No payment method. Add a payment method here: https://opencode.ai/workspace/W/billing"}}, "spent", "anomalyco/opencode/issues/37161"),
    Body("Kimi Code", 403, said("You've reached your weekly (7-day) usage limit. Your quota will reset when the current 7-day window ends. To continue now, purchase extra usage or upgrade your plan: https://www.kimi.com/membership/subscription?tab=quota", type="access_terminated_error"), "spent", "openclaw/openclaw/pull/142656"),
    Body("A coding plan, through OpenCode", 429, said("You have exceeded the monthly usage quota. It will reset at 2026-08-29 23:59:59 +0800 CST. We recommend upgrading your plan for more quota, or waiting for the reset. Request id: R"), "spent", "anomalyco/opencode/issues/44099"),
    Body("GitHub Copilot", 429, said("You've reached your weekly rate limit. Please wait for your limit to reset on April 19, 2026 at 9:00 PM or switch to auto model to continue."), "spent", "github/copilot-cli/issues/2742"),
    Body("Abacus", 400, {"success": False, "error": "You have no remaining credits to use the LLM apis."}, "spent", "tinyhumansai/openhuman/issues/4043"),
    Body("Groq", 400, said("Blocked from API access", code="blocked_api_access", type="invalid_request_error"), "spent", "https://console.groq.com/docs/spend-limits"),
    Body("ElevenLabs", 401, {"detail": {"status": "quota_exceeded", "message": "This request exceeds your quota of 10000. You have 0 credits remaining, while 91 credits are required for this request."}}, "spent", "home-assistant/core/issues/160414"),
    Body("Z.ai", 429, said("Your GLM Coding Plan package has expired and is temporarily unavailable. You can resume using it after renewing the subscription on the official website. https://z.ai/subscribe", code="1309"), "spent", "https://docs.z.ai/api-reference/api-code"),
    Body("Z.ai", 429, said("Daily call limit for this API reached. For more requests, please contact customer service to purchase", code="1304"), "spent", "https://docs.z.ai/api-reference/api-code"),
    Body("Zhipu", 429, said("该API已达到今日调用次数限额,如有更多调用需求请联系客服购买", code="1304"), "spent", "https://docs.bigmodel.cn/cn/api/api-code"),
    Body("Huawei ModelArts", 403, {"error_code": "ModelArts.81019", "error_msg": "You have no valid token plan subscription, or subscription has expired."}, "spent", "https://support.huaweicloud.com/Token-plan-maas/tokenplan-maas-0013.html"),
    Body("Huawei ModelArts", 403, {"error_code": "ModelArts.81022", "error_msg": "Your Token plan quota has been exhausted. You can upgrade to a higher-tier plan or wait for the quota reset in the next billing cycle."}, "spent", "https://support.huaweicloud.com/Token-plan-maas/tokenplan-maas-0013.html"),
    Body("Volcano Ark", 429, said("Your account [1] has reached the set inference limit for the [doubao] model, and the model service has been paused. To continue using this model, please visit the Model Activation page to adjust or close the \"Safe Experience Mode\".", code="SetLimitExceeded", param="", type="TooManyRequests"), "spent", "https://volcengine.com/docs/82379/1299023"),
    Body("Azure Translator", 403, {"error": {"code": 403001, "message": "The operation is not allowed because the subscription has exceeded its free quota."}}, "spent", "https://learn.microsoft.com/azure/ai-services/translator/text-translation/reference/v3/reference"),
    Body("Glean", 403, {"title": "Spend Limit Exceeded", "status": 403, "detail": "Spend Limit Exceeded", "code": "spend_limit_exceeded"}, "spent", "https://developers.glean.com/errors/spend-limit-exceeded"),
    Body("Tavily", 432, {"detail": {"error": "This request exceeds your plan's set usage limit. Please upgrade your plan or contact support@tavily.com"}}, "spent", "https://docs.tavily.com/documentation/api-reference/endpoint/search"),
    Body("DeepL", 456, {"message": "Quota Exceeded"}, "spent", "https://developers.deepl.com/docs/best-practices/error-handling"),
    # The key, or the item.
    Body("OpenRouter", 403, said("Your chosen model requires moderation and your input was flagged", code=403, metadata={"reasons": ["finance"], "flagged_input": "I reached my monthly spending limit, my balance is insufficient and I have run out of credits", "provider_name": "OpenAI"}), "forbidden", "https://openrouter.ai/docs/api-reference/errors"),
]  # fmt: skip


def table() -> str:
    """The bodies with what is read, one a line."""
    from types import SimpleNamespace

    from fanmap._policy.failures.signals import read_error

    lines: list[str] = []
    for body in BODIES:
        error = Exception()
        error.__dict__.update(status_code=body.status, body=body.body, response=SimpleNamespace(headers=body.headers))
        verdict = read_error(error, wall=0.0)
        mark = " " if (verdict.kind, verdict.wait) == (body.kind, body.wait) else "!"
        wait = "" if verdict.wait is None else f"{verdict.wait:.6g} s"
        lines.append(f"{mark} {body.provider:32.32} {body.status} {verdict.kind:12}{wait:>10}  {body.address}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
