"""The registry's pages and REST calls, really served on loopback."""

import threading
from collections.abc import Callable
from typing import Any

import waitress
from waitress import wasyncore


class WebServer:
    """Serves a WSGI application until it is closed; `prepare` is given the server before it begins."""

    def __init__(self, app: Any, prepare: Callable[[Any], None] = lambda server: None, **settings: Any) -> None:
        self._server = waitress.create_server(app, host="127.0.0.1", port=0, **settings)
        prepare(self._server)
        self.port: int = self._server.effective_port
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it. The server's own thread closes the connections: closed under its feet, they break its loop."""
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._server._map))
        self._thread.join(10)
        self._server.task_dispatcher.shutdown()
        assert not self._thread.is_alive(), "the server does not end"
