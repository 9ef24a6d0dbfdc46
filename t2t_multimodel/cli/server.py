"""Serves a trained model over HTTP: a web page, TensorFlow Serving's REST, the Open Inference Protocol, plain JSON.

It listens to programs on this machine alone unless --host says otherwise. SIGTERM lets it finish what it has taken on.

Examples:
  t2t-server --output_dir=run
  t2t-server --output_dir=run --problems=tiny_ende,tiny_image --port=8080
  t2t-server --output_dir=run --host=0.0.0.0 --token_file=token.txt
  curl -d '{"instances": ["the red circle sleeps"]}' http://127.0.0.1:8501/v1/models/tiny_ende:predict
"""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import time
import traceback

from t2t_multimodel import compile_cache, startup
from t2t_multimodel.cli.command import Command
from t2t_multimodel.decode_hparams import QUANTIZE
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.regular_files import open_regular

command = Command("t2t-server", __doc__)

command.group("What to serve")
command.text("output_dir", None, "the run directory of t2t-trainer", metavar="DIR", required=True)
command.text("problems", None, "names with commas between them; default: all of the run", metavar="NAMES")
command.integer("step", None, "the checkpoint of this step; default: the newest", at_least=0)
command.choice("quantize", QUANTIZE[0], QUANTIZE, "int8: matrices in a quarter of the memory; answers differ a little")
command.text("compile_cache", None, "folder that keeps compiled programs; default: in the user's cache", metavar="DIR")

command.group("Where")
command.text("host", "127.0.0.1", "address to listen at; 0.0.0.0: all of this machine", metavar="ADDRESS")
command.integer("port", 8501, "port to listen at; 0: any that is free", at_least=0)
command.text("token_file", None, "file with the token that requests must bring, in one line", metavar="FILE")
command.switch("no_auth", "let anyone who reaches --host ask without a token")

command.group("How much")
command.integer("max_batch", 32, "inputs decoded at once", at_least=1)
command.integer("max_queue", 256, "inputs that may wait; more are refused with status 429", at_least=1)
command.integer("timeout", 30, "seconds after which a request is refused with status 504", at_least=1)
command.integer("max_request_bytes", 8 << 20, "bytes of a request; a larger one is refused with status 413", at_least=1)
command.integer("beams", 4, "answers with scores that a request may ask for (return_beams)", at_least=1)
command.integer("drain_seconds", 1, "after SIGTERM, time for load balancers to see that it is not ready", at_least=0)

command.standard_flags()

_MOST_TOKEN_BYTES = 4096
_TIMEOUTS_OF_A_REQUEST = 4  # it arrives, is parsed, its input is read, its answer is written: each has --timeout


def main(argv=None):
    return command.run(_serve, argv)


def _serve(flags):
    start = time.monotonic()
    try:
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(f"t2t-server needs {error.name}; pip install 't2t-multimodel[serve]'") from None
    from t2t_multimodel.serving.access import Access, is_loopback
    from t2t_multimodel.serving.app import make_app
    from t2t_multimodel.serving.service import Limits, Service, drain

    token = _token(flags.token_file)
    if flags.no_auth and token:
        raise UserError("--no_auth and --token_file exclude each other")
    if not is_loopback(flags.host) and not token and not flags.no_auth:
        raise UserError(
            f"--host={flags.host} lets others ask; give --token_file=FILE, or say --no_auth if anyone may ask"
        )
    compile_cache.begin(flags.compile_cache)
    with _bound(flags.host, flags.port) as listener:
        startup.import_backend()
        from t2t_multimodel.predictor import load

        predictor = load(flags.output_dir, step=flags.step, quantize=flags.quantize)
        problems = _problems(flags.problems, predictor.problems)
        limits = Limits(flags.max_batch, flags.max_queue, flags.timeout, flags.max_request_bytes, flags.beams)
        service = Service(predictor, problems, limits)

        async def begin():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
            print(f"listening at {_url(listener)}; getting warm", flush=True)
            try:
                await service.warm()
            except Exception:  # of the model: nothing that is asked could be answered
                traceback.print_exc()
                failed.append(True)
                return stop()
            print(f"ready after {time.monotonic() - start:.1f} s", flush=True)
            try:
                await service.warm_more()
            except Exception:  # a request for these is told the same
                traceback.print_exc()
            else:
                print(f"streams and beams are ready too, after {time.monotonic() - start:.1f} s", flush=True)
            await loop.run_in_executor(None, compile_cache.keep_new_of_xla)  # the process may be killed

        def stop():
            if service.draining:  # asked twice
                server.force_exit = True
                return
            tasks.add(asyncio.get_running_loop().create_task(drain(service, close, flags.drain_seconds)))

        def close():
            server.should_exit = True
            asyncio.get_running_loop().call_later(_TIMEOUTS_OF_A_REQUEST * flags.timeout, leave)

        def leave():
            """Closes connections to clients that do not read their answers, which are all there by now.

            `timeout_graceful_shutdown` of uvicorn ends in a traceback for each of them.
            """
            for connection in list(server.server_state.connections):
                connection.transport.abort()
                left.append(connection)

        tasks, failed, left = set(), [], []
        app = make_app(service, Access(flags.host, token), begin)
        server = _Server(
            uvicorn.Config(
                app, log_level="warning", access_log=False, server_header=False, lifespan="on", proxy_headers=False
            )
        )
        _run(server, listener)
    if left:
        print(f"ended; {len(left):,} × a client that does not read its answers was left", flush=True)
    else:
        print("ended; every request that was taken on is answered", flush=True)
    return 0 if server.started and not failed else 1


def _Server(config):  # noqa: N802 - uvicorn is imported where it is used
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves signals to `stop`: uvicorn's own handlers would end the process by the signal, not with status 0."""

        @contextlib.contextmanager
        def capture_signals(self):
            yield

    return Server(config)


def _run(server, listener):
    """Serves until the server ends; raises `UserError` where another process has begun to listen there meanwhile."""
    try:
        server.run(sockets=[listener])
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        host, port = listener.getsockname()[:2]
        raise UserError(f"--host={host} --port={port}: another server began to listen there; give another") from None


def _bound(host, port):
    """A socket at this address, before the model is loaded; raises `UserError` where it is taken."""
    if port > 65535:
        raise UserError(f"--port={port} must be at most 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        return listener
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a machine can be like that
        said = getattr(error, "strerror", None) or "no address"
        raise UserError(f"--host={host} --port={port}: {said}; give another") from None


def _url(listener):
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _token(path):
    if path is None:
        return None
    try:
        with open_regular(path) as file:
            token = file.read(_MOST_TOKEN_BYTES + 1).strip()
            readable = os.fstat(file.fileno()).st_mode & 0o044
    except OSError as error:
        raise UserError(f"--token_file={path}: {error.strerror or error}") from None
    if not 16 <= len(token) <= _MOST_TOKEN_BYTES or not all(33 <= byte < 127 for byte in token):
        raise UserError(f"--token_file={path} must hold one line of 16 or more letters, digits and signs")
    if readable:
        print(f"warning: others on this machine may read {path}; chmod 600 it", file=sys.stderr)
    return token.decode("ascii")


def _problems(asked, known):
    if not asked:
        return known
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if not names:
        raise UserError(f"--problems={asked} names none; the run has {', '.join(known)}")
    for name in names:
        if name not in known:
            raise unknown_name("problem of this run", name, known)
    return sorted(set(names))


if __name__ == "__main__":
    sys.exit(main())
