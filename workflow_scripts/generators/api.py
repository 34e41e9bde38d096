"""A model behind an OpenAI-compatible HTTP API: what Private Evolution was made for.

RANDOM asks `images/generations` for the class's prompt; VARIATION sends the parent to
`images/edits` or `images/variations` (arXiv 2305.15560, where DALL-E 2 is such a model). Prompts
and synthetic images leave the machine, private ones never do.

Answers cost money and are not reproducible, so each is kept under the SHA-256 of its request. A
job that was killed, or that runs again, pays only for what is missing and returns the same bytes.
"""

import asyncio
import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openai
from aiolimiter import AsyncLimiter

from workflow_scripts.files import digest
from workflow_scripts.generators.answers import AnswerCache, Bill, Unreadable, fitted, png
from workflow_scripts.generators.population import Population
from workflow_scripts.problems import Problem

# Of asking for one image, when the API refuses it or answers with something else.
ATTEMPTS = 3
# What OpenAI, Azure and compatible servers call a refusal by content policy.
REFUSALS = {"content_policy_violation", "moderation_blocked", "content_filter", "contentFilter"}


class ApiProblem(Problem):
    """An API that cannot be used, with what it said; never with the key."""


class Refused(Exception):
    """The API's content policy refused one image."""


@dataclass(frozen=True)
class Request:
    """What is asked for one sample.

    Attributes
    ----------
    endpoint : str
        `generations`, `edits` or `variations`.
    nonce : bytes
        Drawn for the sample: equal requests are different samples. It is not sent.
    prompt : str or None
    parent : uint8 [H, W, C] or None
    strength : float or None
    """

    endpoint: str
    nonce: bytes
    prompt: str | None = None
    parent: np.ndarray | None = None
    strength: float | None = None


class RemoteModel:
    """RANDOM and VARIATION of a model that is reached through an API only.

    Parameters
    ----------
    classes : sequence of str
        The class for every label, as prompts name it.
    settings : mapping
        The catalogue entry of kind `api`.
    cache : path or None
        The folder of answers and of `cost.json`; None: nothing is kept.

    Raises
    ------
    ApiProblem
        If a class has no prompt. RANDOM and VARIATION raise it if the key is missing or refused,
        if the API cannot be reached or rejects a request, and if it gives no image for a prompt;
        answers that were paid for are in the cache then.
    """

    def __init__(self, classes: Sequence[str], settings: Mapping, cache: str | Path | None = None):
        self.settings = settings
        self.url = settings["base_url"].rstrip("/")
        self.prompts = _prompts(classes, settings)
        asked = settings["variation_prompt"]
        self.variation_prompts = [_named(asked, c) for c in classes] if asked else self.prompts
        size, channels = settings["image"]["size"], settings["image"]["channels"]
        self.shape = (size, size, channels)
        folder = None if cache is None else Path(cache)
        self.cache = AnswerCache(folder, self.shape)
        self.costs = folder and folder / "cost.json"
        self.response_format = "b64_json"

    def random(self, labels: np.ndarray, rng: np.random.Generator) -> Population:
        """RANDOM: one image per label (int64 [N])."""
        labels = np.asarray(labels, dtype=np.int64)
        requests = [
            Request("generations", rng.bytes(16), self.prompts[label]) for label in labels.tolist()
        ]
        return Population(self._images(requests), labels, {"prompt": labels.copy()})

    def vary(
        self, population: Population, degree: Mapping[str, float], rng: np.random.Generator
    ) -> Population:
        """VARIATION: one image per sample; where the API refuses, the parent stays.

        Parameters
        ----------
        degree : mapping
            `strength` in (0, 1] if the settings name a `strength_parameter`, else empty: how much
            of the parent remains is then the API's choice.
        """
        endpoint = self.settings["variation"]
        prompts = population.state["prompt"]
        requests = [
            Request(
                endpoint,
                rng.bytes(16),
                self.variation_prompts[prompt] if endpoint == "edits" else None,
                parent,
                degree.get("strength"),
            )
            for prompt, parent in zip(prompts.tolist(), population.images, strict=True)
        ]
        return Population(self._images(requests), population.labels, {"prompt": prompts})

    def adopt(self, population: Population, rng: np.random.Generator) -> Population:
        """Another generator's images in this one's shape, each with the prompt of its label."""
        from workflow_scripts.resizing import fit

        size, _, channels = self.shape
        images = fit(population.images, size, channels)
        return Population(images, population.labels, {"prompt": population.labels.copy()})

    def _images(self, requests: Sequence[Request]) -> np.ndarray:
        bill = Bill(self.costs, self.settings["price_per_image"])
        try:
            return asyncio.run(self._answers(requests, bill))
        finally:
            bill.settle()
            print(f"{self.url}: {bill}", flush=True)

    async def _answers(self, requests: Sequence[Request], bill: Bill) -> np.ndarray:
        """The images of all requests, in their order: uint8 [N, H, W, C]."""
        images = np.empty((len(requests), *self.shape), dtype=np.uint8)
        missing = []
        for row, request in enumerate(requests):
            kept = self.cache.get(self._key(request))
            if kept is None:
                missing.append(row)
            else:
                images[row] = kept
        bill.add(cached=len(requests) - len(missing))
        if not missing:
            return images

        waiting, failures = iter(missing), []

        async def work(client: openai.AsyncOpenAI) -> None:
            for row in waiting:
                try:
                    images[row] = await self._ask(client, requests[row], bill)
                except Exception as failure:
                    failures.append(failure)
                # After a failure nothing new is paid for; what is under way is awaited and kept.
                if failures:
                    return

        async with await self._client(bill) as client:
            workers = min(self.settings["concurrency"], len(missing))
            await asyncio.gather(*(work(client) for _ in range(workers)))
        if failures:
            raise failures[0]
        return images

    async def _client(self, bill: Bill) -> openai.AsyncOpenAI:
        variable = self.settings["api_key_variable"]
        key = os.environ.get(variable, "").strip()
        if not key:
            raise ApiProblem(
                f"environment variable {variable}: not set; allowed: the key of {self.url}, or "
                "any word if it asks for none"
            )
        if not (key.isascii() and key.isprintable()):
            # Found here, because the HTTP library would repeat the key.
            raise ApiProblem(
                f"environment variable {variable}: found a character that no key has; allowed: "
                "printable ASCII"
            )

        rate = self.settings["requests_per_minute"]
        # One at a time: a bucket of a whole minute would let twice the rate through in the first.
        limiter = AsyncLimiter(1, 60 / rate) if rate else None
        if limiter:
            # The call before this one may have asked a moment ago.
            await limiter.acquire()

        async def before_request(request) -> None:
            # Called before every attempt, so that retries count too. A GET fetches an image.
            if request.method == "POST":
                if limiter:
                    await limiter.acquire()
                retry = request.headers.get("x-stainless-retry-count", "0") != "0"
                bill.add(requests=1, retries=int(retry))

        return openai.AsyncOpenAI(
            api_key=key,
            base_url=self.url,
            max_retries=self.settings["retries"],
            timeout=self.settings["timeout"],
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": [before_request]}),
        )

    async def _ask(self, client: openai.AsyncOpenAI, request: Request, bill: Bill) -> np.ndarray:
        """The image of one request, kept before it is returned: uint8 [H, W, C]."""
        size, _, channels = self.shape
        for _ in range(ATTEMPTS):
            try:
                image = fitted(await self._send(client, request, bill), size, channels)
                break
            except (Refused, Unreadable) as error:
                reason = error
        else:
            if request.parent is None or isinstance(reason, Unreadable):
                prompt = f" (prompt {request.prompt!r})" if request.prompt else ""
                raise ApiProblem(f"{self.url}: no image, asked {ATTEMPTS} times: {reason}{prompt}")
            # Kept like an answer, so that another run returns it too.
            image = request.parent
            bill.add(refused=1)
        self.cache.put(self._key(request), image)
        bill.settle()
        return image

    async def _send(self, client: openai.AsyncOpenAI, request: Request, bill: Bill) -> bytes:
        """The file that the API answers with."""
        sent = self.response_format
        try:
            try:
                answer = await self._post(client, request, sent)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if sent is openai.omit or "response_format" not in str(error):
                    raise
                # Models that do not know the parameter (GPT image) answer in base64 anyway.
                self.response_format = openai.omit
                answer = await self._post(client, request, openai.omit)
        except openai.APIError as error:
            raise self._explained(error, client.api_key) from None
        except ValueError:
            raise Unreadable("the answer is not JSON") from None
        try:
            [image] = answer.data[:1]
            content = base64.b64decode(image.b64_json) if image.b64_json else image.url
        except (AttributeError, TypeError, ValueError):
            content = None
        if not content:
            raise Unreadable("the answer holds no image")
        bill.add(images=1)
        return content if isinstance(content, bytes) else await _fetch(client, str(content))

    async def _post(self, client: openai.AsyncOpenAI, request: Request, response_format):
        size = self.settings["request_size"]
        common = {
            "model": self.settings["model"],
            "n": 1,
            "size": openai.omit if size == "auto" else size,
            "response_format": response_format,
        }
        if request.endpoint == "generations":
            return await client.images.generate(prompt=request.prompt, **common)
        file = ("parent.png", png(request.parent), "image/png")
        if request.endpoint == "variations":
            return await client.images.create_variation(image=file, **common)
        name = self.settings["strength_parameter"]
        extra = {name: request.strength} if name else None
        return await client.images.edit(
            image=file, prompt=request.prompt, extra_body=extra, **common
        )

    def _explained(self, error: openai.APIError, key: str) -> Exception:
        """A failed request in one line, in which the key does not stand."""
        said = error.body or error.__cause__ or error
        said = said.get("message", said) if isinstance(said, Mapping) else said
        said = " ".join(str(said).split()).replace(key, "[key]")[:300]
        match error:
            case openai.APIResponseValidationError():
                return Unreadable("the answer is not what the API promises")
            case openai.AuthenticationError():
                # What it says may hold a part of the key.
                return ApiProblem(
                    f"{self.url}: HTTP 401, it refused the key in the environment variable "
                    f"{self.settings['api_key_variable']}"
                )
            case openai.APITimeoutError():
                return ApiProblem(
                    f"{self.url}: no answer within {self.settings['timeout']:g} s, after "
                    f"{self.settings['retries']} retries"
                )
            case openai.APIStatusError() if error.code in REFUSALS:
                return Refused(f"refused by content policy: {said}")
            case openai.APIStatusError():
                return ApiProblem(f"{self.url}: HTTP {error.status_code}: {said}")
        return ApiProblem(f"{self.url}: no connection: {said}")

    def _key(self, request: Request) -> str:
        asked = {
            "url": f"{self.url}/images/{request.endpoint}",
            "model": self.settings["model"],
            "size": self.settings["request_size"],
            "prompt": request.prompt,
            "strength": [self.settings["strength_parameter"], request.strength],
            "image": self.shape,
        }
        parent = () if request.parent is None else (request.parent,)
        return digest(json.dumps(asked, sort_keys=True), request.nonce, *parent)


def _named(prompt: str, name: str) -> str:
    return prompt.replace("{class}", name)


def _prompts(classes: Sequence[str], settings: Mapping) -> list[str]:
    """The prompt for every label: its class's own, or the one for all with the class's name."""
    prompts = settings["prompts"] or dict.fromkeys(classes, settings["prompt"])
    missing = [name for name in classes if name not in prompts]
    if missing:
        raise ApiProblem(f"prompts: found {sorted(prompts)}; missing: {missing}")
    return [_named(prompts[name], name) for name in classes]


async def _fetch(client: openai.AsyncOpenAI, address: str) -> bytes:
    """The file at an answer's address, with the same retries but without the key.

    The address is another host's, which must not learn the key.
    """
    private = ("Authorization", "OpenAI-Organization", "OpenAI-Project")
    headers = dict.fromkeys(private, openai.Omit())
    try:
        if not address.startswith(("http://", "https://")):
            raise ValueError(address)
        answer = await client.get(
            address, cast_to=openai.HttpxBinaryResponseContent, options={"headers": headers}
        )
    except (openai.APIError, ValueError) as error:
        # Not with the address: it is signed, and who has it has the image.
        status = getattr(error, "status_code", "no connection")
        raise Unreadable(f"its address cannot be fetched ({status})") from None
    return answer.content
