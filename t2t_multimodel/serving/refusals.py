"""What a client is told when it gets no answer: a status, one line of text, and headers."""

from t2t_multimodel.errors import printable


class Refused(Exception):
    """A request that is not answered. `status`: of HTTP. `headers`: more of them, such as Retry-After."""

    def __init__(self, status: int, said: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(printable(said))
        self.status, self.headers = status, headers or {}
