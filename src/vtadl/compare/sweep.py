"""A sweep: one weight of an objective takes several values."""

import math
import re
from dataclasses import dataclass

from vtadl.errors import ConfigError
from vtadl.losses.objective import TERMS, parse_objective


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """An objective with a letter for a weight, and the letter's values."""

    expression: str
    name: str
    values: tuple[float, ...]
    """Rising."""

    @property
    def objectives(self) -> dict[float, str]:
        """The objective of each value."""
        pattern = _weight(self.name)
        return {value: str(parse_objective(pattern.sub(f"{value!r}*", self.expression))) for value in self.values}


def parse_sweep(expression: str, assignment: str) -> Sweep:
    """Read ``"a*mse + vae"`` and ``a=0.1,1,10``.

    Raises:
        ConfigError: a letter that is not a weight of the objective, values that are no positive numbers, or an
            objective that cannot be.
    """
    name, equals, text = (part.strip() for part in assignment.partition("="))
    if not equals or not name.isidentifier():
        raise ConfigError(f"--sweep expects a weight's values, such as a=0.1,1,10; got '{assignment}'")
    if name in TERMS:
        raise ConfigError(f"--sweep: '{name}' is a loss; give the weight another name, such as a=0.1,1,10")
    if len(_weight(name).findall(expression)) != 1:
        raise ConfigError(f"--sweep: '{name}' must weigh one term of '{expression}', as in {name}*mse + vae")
    sweep = Sweep(
        expression=expression, name=name, values=tuple(sorted({_value(part, name) for part in text.split(",")}))
    )
    assert sweep.objectives, "there is a value"
    return sweep


def _weight(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.]){re.escape(name)}\s*\*")


def _value(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"--sweep: '{text.strip()}' is no value for '{name}'; expected finite numbers above 0")
    return value
