import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtadl.errors import ConfigError
from vtadl.losses.objective import TERMS, Objective, parse_objective


@pytest.mark.parametrize(
    ("expression", "terms", "canonical"),
    [
        ("mse", (("mse", 1.0),), "mse"),
        ("5*mse + 0.5*ssim + nll", (("mse", 5.0), ("ssim", 0.5), ("nll", 1.0)), "5*mse + 0.5*ssim + nll"),
        ("  1.0 *mse+ 1e-3* kl ", (("mse", 1.0), ("kl", 0.001)), "mse + 0.001*kl"),
        ("1e+2*l1 + .5*vae", (("l1", 100.0), ("vae", 0.5)), "100*l1 + 0.5*vae"),
        ("3.*gms", (("gms", 3.0),), "3*gms"),
    ],
)
def test_reads_and_writes(expression, terms, canonical):
    objective = parse_objective(expression)
    assert objective.terms == terms and str(objective) == canonical


WEIGHTS = st.floats(min_value=1e-300, max_value=1e300, allow_nan=False)


@given(
    st.lists(st.tuples(st.sampled_from(sorted(TERMS)), WEIGHTS), min_size=1, max_size=6, unique_by=lambda term: term[0])
)
def test_every_objective_reads_back(terms):
    objective = Objective(terms=tuple(terms))
    if not any(TERMS[name].scores for name, _ in terms):
        with pytest.raises(ConfigError):
            parse_objective(str(objective))
    else:
        assert parse_objective(str(objective)) == objective


@given(st.text(alphabet="mse klnvae_0123456789.+*-eE()", max_size=30))
def test_other_text_is_one_line_of_error_or_a_sound_objective(text):
    try:
        objective = parse_objective(text)
    except ConfigError as error:
        message = str(error)
    else:
        message = ""
        assert all(name in TERMS and math.isfinite(weight) and weight > 0 for name, weight in objective.terms)
        assert parse_objective(str(objective)) == objective
    assert "\n" not in message


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "it ends where a term should follow"),
        ("mse +", "it ends where a term should follow"),
        ("mse + nlll", "unknown term 'nlll'; choose from: mse, l1, ssim"),
        ("5*mse - ssim", "cannot read '- ssim'"),
        ("2mse", "cannot read '2mse'"),
        ("mse mse", "cannot read 'mse'"),
        ("mse*2", "cannot read '*2'"),
        ("mse + mse", "'mse' stands there twice"),
        ("0*mse", "the weight of 'mse' is 0; expected a finite number above 0"),
        ("1e999*mse", "the weight of 'mse' is 1e999"),
        ("1e-999*mse", "the weight of 'mse' is 1e-999"),
        ("nan*mse", "cannot read"),
        ("kl", "no term that scores an image; add one of: mse"),
        ("mse + __import__('os')", "cannot read"),
        ("MSE", "unknown term 'MSE'"),
        ("mse\n+ nlll", "unknown term 'nlll'"),
    ],
)
def test_refusals_say_what_was_expected(expression, message):
    with pytest.raises(ConfigError) as error:
        parse_objective(expression)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_heads_and_densities_follow():
    objective = parse_objective("5*mse + 2*nll + 0.1*kl")
    assert objective.heads == {"reconstruction", "mixture", "variational"}
    assert objective.densities == (("nll", 2.0),)
    assert parse_objective("mse + vae_image").heads == {"reconstruction", "image-variational"}
    assert parse_objective("mse + vae_image").densities == ()
