"""What a handler declares of its values: `input`, `result`, and the payloads of its emits.

The file of the host (`[handlers."NAME"]` of jobhost.toml) may say it too: its schema takes the place of the code's, but a
pydantic model of the code stays beside it, since the handler works with its instances.
"""

from __future__ import annotations

from .errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .inputs import Check
    from .outputs import Encode


class Contract:
    """The checks of one handler; None where nothing is declared.

    - `validate`: takes the data as JSON text and gives what `job.data` is; raises InvalidJobDataError
    - `result`, and `payloads` by trigger: take a value and give it as JSON text; raise InvalidValueError, InvalidJobDataError
    """

    __slots__ = ("_emits", "_input", "_result", "payloads", "result", "validate")

    def __init__(
        self,
        input: Any = None,
        result: Any = None,
        emits: dict[str, Any] | None = None,
        checked: dict[str, Any] | None = None,
    ) -> None:
        """`checked`: what payloads are checked by, if not by `emits`. Raises ConfigurationError at what is neither a schema nor a
        model."""
        self._input, self._result, self._emits = input, result, emits
        self.validate: Check | None = None
        self.result: Encode | None = None
        self.payloads: dict[str, Encode] | None = None
        if input is not None:
            from .inputs import input_check

            self.validate = input_check(input)
        if result is not None:
            from .outputs import output_check

            self.result = output_check(result, "result", "the result", "result")
        checked = emits if checked is None else checked
        if checked:
            self.payloads = _payloads(checked) or None

    def told(self) -> dict[str, Any]:
        """`input`, `result` and `emits`, each where it is declared, as `initialize` tells them."""
        from .schemas import told

        found: dict[str, Any] = {}
        if self._input is not None:
            found["input"] = told(_first(self._input), "validation")
        if self._result is not None:
            found["result"] = told(_first(self._result), "serialization")
        if self._emits is not None:
            found["emits"] = {
                trigger: None if each is None else told(each, "validation") for trigger, each in self._emits.items()
            }
        return found

    def overruled(self, given: dict[str, Any]) -> Contract:
        """This contract with what the host's file says of it."""
        input, result = given.get("input"), given.get("result")
        return Contract(
            self._input if input is None else _beside(input, self._input),
            self._result if result is None else _beside(result, self._result),
            self._emits,
            given.get("emits"),
        )


NONE = Contract()


def contract_of(settings: dict[str, Any]) -> Contract:
    """Take `input`, `result` and a table of `emits` out of settings. Raises ConfigurationError."""
    input, result = settings.pop("input", None), settings.pop("result", None)
    flow = settings.get("flow")
    emits = flow.get("emits") if isinstance(flow, dict) else None
    if not isinstance(emits, dict):
        emits = None
    elif not all(isinstance(trigger, str) for trigger in emits):
        raise ConfigurationError("emits is a list of triggers, or a dict from trigger to schema")
    return NONE if input is None and result is None and emits is None else Contract(input, result, emits)


def tell(settings: dict[str, Any], contract: Contract) -> dict[str, Any]:
    """Settings with what is told of their contract."""
    if contract is NONE:
        return settings
    found = contract.told()
    emits = found.pop("emits", None)
    if emits is not None:
        found["flow"] = {**settings["flow"], "emits": emits}
    return {**settings, **found}


def _payloads(emits: dict[str, Any]) -> dict[str, Encode]:
    from .outputs import output_check

    return {
        trigger: output_check(declared, f"emits.{trigger}", f"the payload of {trigger!r}", "payload")
        for trigger, declared in emits.items()
        if declared is not None
    }


def _beside(given: Any, declared: Any) -> Any:
    from .schemas import is_model

    return (given, declared) if is_model(declared) else given


def _first(declared: Any) -> Any:
    return declared[0] if isinstance(declared, tuple) else declared
