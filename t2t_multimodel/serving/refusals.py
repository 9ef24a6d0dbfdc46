"""What a client is told when it gets no answer: a status, one line of text, and headers."""

from t2t_multimodel.errors import printable

CLIENT_GONE = 499  # what /metrics counts, as nginx does, where a client did not wait for the end


class Refused(Exception):
    """A request that is not answered. `status`: of HTTP. `headers`: more of them, such as Retry-After."""

    def __init__(self, status: int, said: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(printable(said))
        self.status, self.headers = status, headers or {}


def refuse_too_many(inputs: int, most: int) -> None:
    """Raises `Refused`, 413, where a request has more inputs than may ever wait."""
    if inputs > most:
        raise Refused(413, f"a request has at most {most} inputs; send them in parts")
