"""Objectives: weighted sums of losses, written ``5*mse + 0.5*ssim + nll``."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from vtadl.config import plugins
from vtadl.errors import ConfigError

Head = Literal["reconstruction", "mixture", "variational", "image-variational"]


@dataclass(frozen=True)
class Term:
    """What a name in an objective stands for."""

    summary: str
    head: Head | None
    """The part of the model that the term is computed from, and that exists only where a term needs it; ``None``: the
    embeddings, which every model has."""
    scores: bool = True
    """Whether the term says how abnormal a place is; an objective needs one such term."""
    density: bool = False
    """Whether the term gives each patch a value that is the anomaly map."""


TERMS: dict[str, Term] = {
    "mse": Term("mean squared error of the pixels (context: of embeddings)", "reconstruction"),
    "l1": Term("mean absolute error of the pixels (context: of embeddings)", "reconstruction"),
    "ssim": Term("1 - structural similarity, window 11", "reconstruction"),
    "ms_ssim": Term("1 - structural similarity over five scales", "reconstruction"),
    "gms": Term("1 - gradient magnitude similarity over four scales", "reconstruction"),
    "cosine": Term("1 - cosine similarity of each patch's pixels (context: of embeddings)", "reconstruction"),
    "nll": Term("negative log-likelihood of a Gaussian mixture, nats per embedding dimension", "mixture", density=True),
    "nll_reference": Term(
        "what VT-ADL's published code computes instead of nll, summed over patches", "mixture", density=True
    ),
    "vae": Term("negative ELBO of each patch embedding, nats per embedding dimension", "variational", density=True),
    "kl": Term(
        "the bound's divergence from the prior alone, nats per embedding dimension", "variational", scores=False
    ),
    "var": Term("how far the embeddings' deviation in each dimension falls short of 1 (VICReg)", None, scores=False),
    "cov": Term("squared covariances between the embeddings' dimensions (VICReg)", None, scores=False),
    "vae_image": Term(
        "negative ELBO of the whole image, decoded from a sampled z, nats per pixel value", "image-variational"
    ),
}


def term_of(name: str) -> Term | None:
    """What a name in an objective stands for: one of `TERMS`, else a loss of another's, else nothing."""
    if name in TERMS:
        return TERMS[name]
    if not plugins.is_known(plugins.LOSSES, name):
        return None
    return Term("between a reconstruction and its target", "reconstruction")


_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TERM = re.compile(rf"\s*(?:(?P<weight>{_NUMBER})\s*\*\s*)?(?P<name>{plugins.NAME}|[A-Za-z_]\w*)\s*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A weighted sum of terms, each minimised; ``str`` gives the expression that `parse_objective` reads back."""

    terms: tuple[tuple[str, float], ...]
    """(name, weight) in the order written; `term_of` knows the names, weights are finite and above zero."""

    def __str__(self) -> str:
        return " + ".join(name if weight == 1 else f"{_number(weight)}*{name}" for name, weight in self.terms)

    @property
    def heads(self) -> frozenset[Head]:
        """The heads that a model needs for this objective."""
        found = (term_of(name) for name, _ in self.terms)
        return frozenset(term.head for term in found if term is not None and term.head is not None)

    @property
    def densities(self) -> tuple[tuple[str, float], ...]:
        """The terms whose weighted sum per patch is the anomaly map; empty where the residual is."""
        return tuple((name, weight) for name, weight in self.terms if name in TERMS and TERMS[name].density)


def parse_objective(expression: str) -> Objective:
    """Read ``[NUMBER *] NAME + ...``; a weight left out is 1.

    >>> parse_objective("5*mse + 0.5*ssim + nll").terms
    (('mse', 5.0), ('ssim', 0.5), ('nll', 1.0))

    Raises:
        ConfigError: not such an expression, an unknown or repeated name, a weight that is not finite and above zero,
            or nothing in it that could score an image.
    """
    expression = " ".join(expression.split())  # errors are one line
    terms: dict[str, float] = {}
    position = 0
    while True:
        match = _TERM.match(expression, position)
        end = match.end() if match else position
        if match is None or (end < len(expression) and expression[end] != "+"):
            raise _unreadable(expression, position if match is None else end)
        _add(terms, match["name"], match["weight"], expression)
        if end == len(expression):
            break
        position = end + 1
    if not any((term := term_of(name)) and term.scores for name in terms):
        scoring = ", ".join(name for name, term in TERMS.items() if term.scores)
        raise ConfigError(f"objective '{expression}' has no term that scores an image; add one of: {scoring}")
    return Objective(terms=tuple(terms.items()))


def _add(terms: dict[str, float], name: str, weight_text: str | None, expression: str) -> None:
    if term_of(name) is None:
        raise ConfigError(f"objective '{expression}': unknown term '{name}'; choose from: {_names()}")
    if name in terms:
        raise ConfigError(f"objective '{expression}': '{name}' stands there twice; add its weights up")
    weight = float(weight_text) if weight_text is not None else 1.0
    if not (math.isfinite(weight) and weight > 0):
        raise ConfigError(
            f"objective '{expression}': the weight of '{name}' is {weight_text}; expected a finite number above 0, "
            "such as 0.5 or 1e-3 (leave the term out instead of weighing it 0)"
        )
    terms[name] = weight


def _unreadable(expression: str, position: int) -> ConfigError:
    rest = expression[position:].strip()
    where = f"cannot read '{rest}'" if rest else "it ends where a term should follow"
    return ConfigError(
        f"objective '{expression}': {where}; expected terms such as 5*mse + 0.5*ssim + nll, "
        f"weights above 0, names from: {_names()}"
    )


def _names() -> str:
    return ", ".join([*TERMS, *plugins.installed(plugins.LOSSES), "module:function"])


def _number(weight: float) -> str:
    return str(int(weight)) if weight.is_integer() and weight < 1e15 else repr(weight)
