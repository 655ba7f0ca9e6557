"""Stop strings in a text as it comes. Each character takes the same work, however long the text is."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes a text on up to the first stop string. What may begin one is held back until that is certain."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.found: str | None = None  # the stop string that has ended the text
        self._matches = [_Match(text) for text in texts if text]
        self._held = ""

    @property
    def num_held(self) -> int:
        return len(self._held)

    def push(self, text: str) -> str:
        """The text that is certain now: it is before every stop string."""
        num_held, text = len(self._held), self._held + text
        for place in range(num_held, len(text)):
            completed = [match.text for match in self._matches if match.advance(text[place])]
            if completed:
                self.found = max(completed, key=len)
                self._held = ""
                return text[: place + 1 - len(self.found)]
        num_certain = len(text) - max((match.length for match in self._matches), default=0)
        self._held = text[num_certain:]
        return text[:num_certain]

    def flush(self) -> str:
        """What is held back, where the text ends or something else follows it."""
        held, self._held = self._held, ""
        for match in self._matches:
            match.length = 0
        return held


class _Match:
    """How much of one stop string the text so far ends with (Knuth, Morris and Pratt)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.length = 0
        self._shorter = _borders(text)

    def advance(self, character: str) -> bool:
        """Takes the next character; True if it completes the stop string."""
        while self.length and self.text[self.length] != character:
            self.length = self._shorter[self.length - 1]
        if self.text[self.length] == character:
            self.length += 1
        return self.length == len(self.text)


def _borders(text: str) -> list[int]:
    """For each prefix of the text, the length of its longest proper prefix that it also ends with."""
    borders = [0] * len(text)
    length = 0
    for place in range(1, len(text)):
        while length and text[length] != text[place]:
            length = borders[length - 1]
        if text[length] == text[place]:
            length += 1
        borders[place] = length
    return borders
