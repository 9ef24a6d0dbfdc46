"""Between HTTP and the model: checks every input, queues it, waits for its answer; loads, warms and drains."""

import asyncio
import dataclasses
import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from t2t_multimodel.decode_hparams import of_stream
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.serving.batcher import Batcher
from t2t_multimodel.serving.metrics import Metrics
from t2t_multimodel.serving.protocols import Query
from t2t_multimodel.serving.refusals import Refused, refuse_too_many
from t2t_multimodel.serving.streams import Stream, Streams
from t2t_multimodel.startup import processors

WARM_SIZES = (1, 8, 32)  # inputs at once; other numbers are filled up to one of these


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one client may ask of a server."""

    max_batch: int = 32  # inputs decoded at once
    max_queue: int = 256  # inputs that may wait
    timeout: float = 30.0  # seconds that a request may take
    max_request_bytes: int = 8 << 20
    beams: int = 4  # answers with scores that may be asked for


class Group(NamedTuple):
    """What inputs that may be decoded together have in common."""

    problem: str
    settings: tuple  # of pairs (name, value), sorted
    explained: bool = False  # whether an `Explanation` is wanted, one input at a time


class Service:
    """A `Predictor` that many requests share."""

    def __init__(self, predictor: Any, problems: list[str], limits: Limits) -> None:
        """
        Args:
          predictor: a `Predictor`. problems: names of those that are served.
        """
        self.predictor, self.problems, self.limits = predictor, problems, limits
        self.metrics = Metrics()
        self.ready = self.draining = False
        self._device = ThreadPoolExecutor(1, "decode")  # one thread has the model
        self._readers = ThreadPoolExecutor(2, "read")  # pictures and recordings are read beside it
        self._batcher = Batcher(
            self._decode,
            self._device,
            limits.max_batch,
            limits.max_queue,
            self.metrics.queue,
            lambda group: group.explained,
        )
        self._streams = Streams(
            self._device, limits.max_batch, limits.timeout, lambda: self._batcher.busy, self.metrics.streams
        )

    def start(self) -> None:
        """Starts to answer; to be called in the event loop."""
        self._batcher.start()

    async def stop(self) -> None:
        await self._batcher.stop()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._device.shutdown(wait=False, cancel_futures=True)

    async def warm(self) -> None:
        """Compiles what the first requests need; then the service is ready."""
        most = min(self.limits.max_batch, self.predictor.hparams.batch_examples)
        sizes = [*(size for size in WARM_SIZES if size < most), most]
        threads = ThreadPoolExecutor(processors(), "warm")
        try:
            for size in sizes:  # the smallest of all problems first: inputs are filled up to a size that is there
                await asyncio.gather(*(self._compiled(threads, problem, (size,)) for problem in self.problems))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
        self.ready = True

    async def warm_more(self) -> None:
        """Compiles what the web page asks for, streams and beams, beside the thread that answers."""
        thread = ThreadPoolExecutor(1, "warm")
        try:
            for problem in self.problems:
                if self.predictor.writes_text(problem):
                    await self._compiled(thread, problem, (1,), stream=True)
                if self._beams(problem):
                    await self._compiled(thread, problem, (1,), return_beams=self.limits.beams)
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    async def _compiled(
        self, thread: ThreadPoolExecutor, problem: str, sizes: tuple[int, ...], stream: bool = False, **asked: Any
    ) -> None:
        settings = self.settings(problem, asked) if asked else {}
        warm = functools.partial(self.predictor.warm, problem, sizes, stream, **settings)
        await asyncio.get_running_loop().run_in_executor(thread, warm)

    def known(self, problem: str) -> Any:
        """The `ProblemSpec` of a problem that is served; raises `Refused` for another."""
        if problem not in self.problems:
            raise Refused(404, str(unknown_name("problem", problem, self.problems)))
        return self.predictor.spec(problem)

    def settings(self, problem: str, decode_hparams: dict) -> dict[str, Any]:
        """The decode hparams of a request, which must not need a program of its own.

        Raises:
          Refused: 400, no such setting, or a value out of what this server allows.
        """
        try:
            settings = self.predictor.decode_settings(problem, **decode_hparams)
        except UserError as error:
            raise Refused(400, str(error)) from None
        ours = self.predictor.decode_settings(problem)
        own, beams = ours["beam_size"], self.limits.beams
        if settings["ctc"] != ours["ctc"]:
            raise Refused(400, f"ctc is {ours['ctc']:g} on this server")
        if settings["return_beams"] > beams:
            raise Refused(400, f"return_beams is at most {beams} on this server")
        if settings["return_beams"] > 1 and "beam_size" not in decode_hparams:
            settings["beam_size"] = beams
        allowed = sorted({1, own, beams})
        if settings["beam_size"] not in allowed or settings["return_beams"] > settings["beam_size"]:
            sizes = ", ".join(map(str, allowed))
            raise Refused(400, f"beam_size is one of {sizes} on this server, and at least return_beams")
        if self.predictor.spec(problem).targets.is_text:
            longest = self.predictor.longest_answer(problem)
            if settings["max_length"] > longest:
                raise Refused(400, f"max_length is at most {longest} for {problem}")
        return settings

    async def answer(self, problem: str, query: Query) -> tuple[list, bool]:
        """(the answers to the inputs of a query, whether they have scores).

        Raises:
          Refused: 400, an input or setting that is wrong; 404; 413; 429; 503 while draining; 504.
        """
        settings = self.settings(problem, query.decode_hparams)
        scored = settings["return_beams"] > 0
        if scored and not self._scored(problem):
            raise Refused(400, f"{problem}: its answers have no scores; leave out return_beams")
        group = Group(problem, tuple(sorted(settings.items())))
        return await self._answers(group, query.inputs, query.first_row), scored

    async def explain(self, problem: str, query: Query) -> Any:
        """(the `Explanation` of the answer to the one input of a query, seconds that it took).

        Raises:
          Refused: as of `answer`.
        """
        settings = self.settings(problem, query.decode_hparams)
        if settings["return_beams"]:
            raise Refused(400, f"{problem}: one answer is explained; leave out return_beams")
        (found,) = await self._answers(Group(problem, tuple(sorted(settings.items())), explained=True), query.inputs)
        return found

    async def _answers(self, group: Group, inputs: list, first_row: int = 0) -> list:
        try:
            async with asyncio.timeout(self.limits.timeout):
                samples = await self._checked(group.problem, inputs)
                return list(await asyncio.gather(*self._batcher.put(group, samples, first_row)))
        except TimeoutError:
            raise Refused(504, f"no answer within {self.limits.timeout:g} s; the server is busy") from None
        except UserError as error:
            raise Refused(400, str(error)) from None

    async def stream(self, problem: str, query: Query) -> Stream:
        """The answer to the one input of a query as it is written, by greedy search or sampling.

        Raises:
          Refused: as of `answer`, as far as it is known before the first word.
        """
        if not self.predictor.writes_text(problem):
            raise Refused(400, f"{problem}: its answers are not written word by word; leave out stream")
        asked = query.decode_hparams
        if asked.get("beam_size", 1) != 1 or asked.get("return_beams", 0) != 0:
            raise Refused(400, f"{problem}: a stream has one answer; leave out beam_size and return_beams")
        settings = of_stream(functools.partial(self.settings, problem), asked)
        try:
            async with asyncio.timeout(self.limits.timeout):
                (sample,) = await self._checked(problem, query.inputs)
        except TimeoutError:
            raise Refused(504, f"not read within {self.limits.timeout:g} s; the server is busy") from None
        except UserError as error:
            raise Refused(400, str(error)) from None
        write = functools.partial(self.predictor.stream, problem, sample, first_row=query.first_row, **settings)
        return self._streams.begin(write)

    def about(self, problem: str) -> dict[str, Any]:
        """What a problem reads and writes, for clients and the web page."""
        spec = self.predictor.spec(problem)
        members = spec.inputs.members or (("inputs", spec.inputs),)
        return {
            "name": problem,
            "inputs": [
                {"name": name, "line_is_data": member.line_is_data, **member.to_json()} for name, member in members
            ],
            "several_inputs": bool(spec.inputs.members),
            "targets": {"modality": spec.targets.modality_name},
            "beams": self._beams(problem),
            "streams": self.predictor.writes_text(problem),
        }

    def _scored(self, problem: str) -> bool:
        targets = self.predictor.spec(problem).targets
        return targets.is_text or targets.ranked

    def _beams(self, problem: str) -> int:
        """How many answers with scores may be asked for where nothing else is: none of a problem that samples."""
        samples = self.predictor.decode_settings(problem)["temperature"]
        return self.limits.beams if self._scored(problem) and not samples else 0

    async def _checked(self, problem: str, values: list) -> list:
        """All inputs read and checked; the first that is wrong is named by its place."""
        refuse_too_many(len(values), self.limits.max_queue)
        modality = self.predictor.spec(problem).inputs
        if modality.line_is_data:
            return [self._check(problem, place, len(values), value) for place, value in enumerate(values, 1)]
        loop = asyncio.get_running_loop()
        checks = [
            loop.run_in_executor(self._readers, self._check, problem, place, len(values), value)
            for place, value in enumerate(values, 1)
        ]
        return list(await asyncio.gather(*checks))

    def _check(self, problem: str, place: int, count: int, value: Any) -> Any:
        try:
            return self.predictor.check(problem, value)
        except UserError as error:
            raise UserError(f"input {place} of {count}: {error}" if count > 1 else str(error)) from None

    def _decode(self, group: Group, samples: list, rows: list) -> list:
        settings = dict(group.settings)
        if not group.explained:
            return self.predictor.decode(group.problem, samples, row_numbers=rows, **settings)
        start = time.perf_counter()
        explanations = [self.predictor.explain(group.problem, sample, **settings) for sample in samples]
        return [(explanation, time.perf_counter() - start) for explanation in explanations]


async def drain(service: Service, close: Any, seconds: float) -> None:
    """Lets everyone else know, for `seconds`, that this server goes; then `close()` it."""
    service.draining = True
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        await asyncio.sleep(0.05)
    close()
