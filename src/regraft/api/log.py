"""What work says of itself, for Python users: Python's own logging, and a list."""

import logging

from regraft.progress import Observer

LOGGER = logging.getLogger("regraft")


class LogObserver(Observer):
    """Hands what is said to the logger "regraft", as information, and keeps it.

    Attributes:
        said: findings and plans, in order.
    """

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Log and keep `text`."""
        LOGGER.info("%s", text)
        self.said.append(text)
