"""Flow models that are told their prompts by a language model as a `Prior`: what all of them have in common."""

from __future__ import annotations

from abc import abstractmethod

from .flow_prior import FlowPrior, evenly_down
from .prior import Text
from .reading import counter


class LanguagePrior(FlowPrior):
    """A language model reads the prompt, in a chat or after an instruction, and its hidden states are the conditioning.

    It reads prose, and no weights of words. What is around a prompt takes room, too, and what is too long would be cut
    off at the end, with the view words and the end of the chat: so a prompt is cut before.
    """

    _reads_pieces = False
    _reads_weights = False

    _longest: int
    """Tokens that the model is told at most, with those of `_around`."""

    @abstractmethod
    def _told(self, prompt: str) -> Text:
        """The conditioning for a prompt that there is room for, as `_encode`."""

    def _around(self) -> int:
        """Tokens around a prompt that count towards `_longest`."""
        return 0

    @property
    def _room(self) -> int:
        return self._longest - self._around()

    def _encode(self, prompt: str) -> Text:
        return self._told(self._read(prompt).short)

    def _chat_tokens(self, **options: bool) -> int:
        """Tokens of a chat in which nothing is said yet; `options` are its template's."""
        tokenizer = self._pipeline.tokenizer
        message = [{"role": "user", "content": ""}]
        chat = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, **options)
        return counter(tokenizer)(chat)

    def _unshifted_times(self, steps: int) -> list[float] | None:
        return evenly_down(steps)
