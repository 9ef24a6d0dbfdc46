"""The routes of the server, as a Starlette application: what a request asks, its statuses, and how it is counted."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t2t_multimodel.serving import protocols
from t2t_multimodel.serving.access import Access
from t2t_multimodel.serving.bodies import Bodies, Place
from t2t_multimodel.serving.explanations import explanation_response
from t2t_multimodel.serving.metrics import CONTENT_TYPE
from t2t_multimodel.serving.openapi import openapi
from t2t_multimodel.serving.page import Page
from t2t_multimodel.serving.protocols import Query
from t2t_multimodel.serving.refusals import Refused
from t2t_multimodel.serving.service import Service
from t2t_multimodel.serving.streams import EventStream, Stream

_log = logging.getLogger("t2t_multimodel.serving")


def make_app(service: Service, access: Access, on_start: Callable[[], Awaitable[None]] | None = None) -> Any:
    """The application of a `Service`.

    Args:
      access: who may ask. on_start: is run beside the first requests, for example to warm up.
    """
    routes = _Routes(service)

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> Any:
        service.start()
        task = asyncio.get_running_loop().create_task(on_start()) if on_start else None
        yield
        if task is not None:
            task.cancel()
        await service.stop()
        routes.stop()

    def post(path: str, name: str) -> list[Route]:
        return [Route(path, getattr(routes, name), methods=["POST"])]

    app = Starlette(
        routes=[
            Route("/", routes.page),
            Route("/openapi.json", routes.openapi),
            Route("/problems", routes.problems),
            *post("/decode", "decode"),
            *post("/explain", "explain"),
            *post("/v1/models/{problem}:predict", "predict"),
            *post("/v1/models/{problem}/versions/{version}:predict", "predict"),
            Route("/v1/models/{problem}/metadata", routes.metadata),
            Route("/v1/models/{problem}/versions/{version}", routes.status),
            Route("/v1/models/{problem}", routes.status),
            Route("/v2", routes.server),
            Route("/v2/health/live", routes.live),
            Route("/v2/health/ready", routes.ready),
            Route("/v2/models/{problem}", routes.infer_metadata),
            Route("/v2/models/{problem}/ready", routes.ready),
            *post("/v2/models/{problem}/infer", "infer"),
            Route("/metrics", routes.metrics),
        ],
        exception_handlers={
            Refused: _refused,
            HTTPException: _http_error,
            Exception: _bug,
        },
        lifespan=lifespan,
    )
    return access.guard(app)


class _Routes:
    """A method for each route."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._page = Page()
        limits, metrics = service.limits, service.metrics
        self._bodies = Bodies(limits.max_request_bytes, limits.max_queue, limits.timeout, metrics.bodies)
        self._most = limits.max_queue  # inputs of a request

    def stop(self) -> None:
        self._bodies.stop()

    async def decode(self, request: Request) -> Response:
        start = time.perf_counter()

        def read(body: Any) -> tuple[Any, Query]:
            spec = self._named(request, body)
            return spec, protocols.parse_decode(body, spec.inputs, self._most)

        async def answered(place: Place) -> Any:
            spec, query = await place.read(request, read)
            if query.stream:
                return self._streamed(request, await self._service.stream(spec.name, query), start)
            return protocols.decode_response(query, *await self._service.answer(spec.name, query))

        return await self._counted(request, answered)

    async def explain(self, request: Request) -> Response:
        def read(body: Any) -> tuple[Any, Query]:
            spec = self._named(request, body)
            return spec, protocols.parse_explain(body, spec.inputs)

        async def answered(place: Place) -> Any:
            spec, query = await place.read(request, read)
            explanation, seconds = await self._service.explain(spec.name, query)
            return explanation_response(explanation, seconds)

        return await self._counted(request, answered)

    async def predict(self, request: Request) -> Response:
        async def answered(place: Place) -> Any:
            spec = self._of_path(request)
            query = await place.read(request, lambda body: protocols.parse_predict(body, spec.inputs, self._most))
            return protocols.predict_response(query, *await self._service.answer(spec.name, query))

        return await self._counted(request, answered)

    async def infer(self, request: Request) -> Response:
        async def answered(place: Place) -> Any:
            spec = self._of_path(request)
            query = await place.read(request, lambda body: protocols.parse_infer(body, spec.inputs, self._most))
            answers, scored = await self._service.answer(spec.name, query)
            return protocols.infer_response(query, answers, scored, spec.name, self._version)

        return await self._counted(request, answered)

    def _streamed(self, request: Request, stream: Stream, start: float) -> EventStream:
        """The response that sends a stream, and is counted at its end."""
        problem = request.scope["problem"]

        def note(status: int) -> None:
            self._service.metrics.request(problem, status, time.perf_counter() - start)

        return EventStream(stream, f"{request.method} {json.dumps(request.url.path)}", note)

    async def _counted(self, request: Request, answered: Callable[[Place], Awaitable[Any]]) -> Response:
        """The response that `answered(place)` makes, or the refusal that it raises, counted with its time."""
        start = time.perf_counter()
        status: int | None = 500
        try:
            with self._bodies.place() as place:
                answer = await answered(place)
            if isinstance(answer, EventStream):  # is counted when it has ended
                status = None
                return answer
            response: Response = JSONResponse(answer)
            status = response.status_code
        except Refused as refused:
            status, response = refused.status, _refusal(refused)
        except Exception as error:  # answered here: from Starlette's own handler it would close the connection
            response = _error_of_the_server(request, error)
        finally:
            if status is not None:
                problem = request.scope.get("problem", "unknown")
                self._service.metrics.request(problem, status, time.perf_counter() - start)
        return response

    def _named(self, request: Request, body: Any) -> Any:
        """The `ProblemSpec` of the problem that the body names; raises `Refused`."""
        problem = body.get("problem") if isinstance(body, dict) else None
        if not isinstance(problem, str):
            raise Refused(400, 'the body is {"problem": "…", "input": …}')
        spec = self._service.known(problem)
        request.scope["problem"] = problem
        return spec

    def _of_path(self, request: Request) -> Any:
        """The `ProblemSpec` that a path names; raises `Refused`."""
        problem = request.path_params["problem"]
        spec = self._service.known(problem)
        version = request.path_params.get("version", self._version)
        if version != self._version:
            raise Refused(404, f"{problem} has the version {self._version} alone, not {version}")
        request.scope["problem"] = problem
        return spec

    @property
    def _version(self) -> str:
        return str(self._service.predictor.step)

    async def status(self, request: Request) -> Response:
        self._of_path(request)
        state = "AVAILABLE" if self._service.ready else "LOADING"
        status = {"version": self._version, "state": state, "status": {"error_code": "OK", "error_message": ""}}
        return JSONResponse({"model_version_status": [status]})

    async def metadata(self, request: Request) -> Response:
        about = self._service.about(self._of_path(request).name)
        spec = {"name": about["name"], "signature_name": "", "version": self._version}
        return JSONResponse({"model_spec": spec, "metadata": about})

    async def infer_metadata(self, request: Request) -> Response:
        spec = self._of_path(request)
        members = spec.inputs.members or (("inputs", spec.inputs),)
        return JSONResponse(
            {
                "name": spec.name,
                "versions": [self._version],
                "platform": "t2t_multimodel",
                "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name, _ in members],
                "outputs": [{"name": "outputs", "datatype": "BYTES", "shape": [-1]}],
            }
        )

    async def problems(self, request: Request) -> Response:
        listed = [self._service.about(name) for name in self._service.problems]
        return JSONResponse({"problems": listed, "step": self._service.predictor.step})

    async def server(self, request: Request) -> Response:
        return JSONResponse({"name": "t2t-server", "version": self._version, "extensions": []})

    async def live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        if "problem" in request.path_params:
            self._of_path(request)
        ready = self._service.ready and not self._service.draining
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(self._service.metrics.text(), media_type=CONTENT_TYPE)

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(openapi(self._service))

    async def page(self, request: Request) -> Response:
        return self._page.response()


def _refusal(refused: Refused) -> Response:
    return JSONResponse({"error": str(refused)}, refused.status, headers=refused.headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _refusal(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "no such path; GET /openapi.json lists them", 405: "the path takes another method"}
    return JSONResponse({"error": said.get(error.status_code, error.detail)}, error.status_code, headers=error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    return _error_of_the_server(request, error, {"Connection": "close"})  # as uvicorn will do


def _error_of_the_server(request: Request, error: Exception, headers: dict[str, str] | None = None) -> Response:
    _log.error("%s %s", request.method, json.dumps(request.url.path), exc_info=error)
    return JSONResponse({"error": "an error in the server; its log has more"}, 500, headers=headers)
